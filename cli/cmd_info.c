/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/attached.h"
#include "cli/blocks.h"
#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/report_read.h"
#include "cli/size.h"
#include "cli/source.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/dump.h"
#include "image/reason.h"
#include "image/report.h"

struct info_opts {
	bool blocks, json;
};

/* Bytes of a disk that are stored, and that they take. */
struct snapshot_bytes {
	uint64_t mapped, stored;
};

/* Of an image that nobody serves. */
static errint_t gather_here(const char *path, json_t **doc)
{
	CLEANUP(image_file) struct image_file file;
	struct report report;
	const struct image_file_opts opts = {
		.stream = true,
		.accept_delta = true,
		.accept_applying = true,
	};
	errint_t err = image_file_open_as(path, &opts, &file);

	if (!err)
		err = report_gather(file.image, &report);
	if (err)
		return err;
	*doc = report_info_json(&report, path);
	if (!*doc)
		return log_err(-ENOMEM, "%s: cannot describe the image", path);
	return image_file_close(&file);
}

/* Of any image; the caller's. */
static errint_t gather(const char *path, json_t **doc)
{
	errint_t err =
		attached_ask(path, "info", json_pack("{s:o}", "image", json_text(path)), doc);

	return err == -ENOENT ? gather_here(path, doc) : err;
}

/* ---- as text ------------------------------------------------------------------------------ */

static uint64_t number(const json_t *doc, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(doc, key));
}

static const char *text(const json_t *doc, const char *key)
{
	const char *value = json_string_value(json_object_get(doc, key));

	return value ? value : "";
}

static void print_size(const char *what, uint64_t bytes)
{
	char size[SIZE_TEXT_MAX];

	printf("%-16s%s", what, size_text(bytes, size));
	if (bytes >= 1024)
		printf(" (%" PRIu64 " bytes)", bytes);
	putchar('\n');
}

static void print_map(const json_t *doc)
{
	const json_t *clusters = json_object_get(doc, "clusters");
	uint64_t stored = number(doc, "raw_bytes") + number(doc, "compressed_bytes");

	printf("%-16s%" PRIu64 " never written, %" PRIu64 " zero, %" PRIu64 " raw, %" PRIu64
	       " compressed",
	       "clusters:", number(clusters, "hole"), number(clusters, "zero"),
	       number(clusters, "raw"), number(clusters, "zstd"));
	if (number(clusters, "backing"))
		printf(", %" PRIu64 " from the backing file", number(clusters, "backing"));
	putchar('\n');
	print_size("data:", number(doc, "mapped_bytes"));
	if (!stored)
		return;
	print_size("stored in:", stored);
	printf("%-16s%.2f\n", "ratio:", json_real_value(json_object_get(doc, "ratio")));
}

static void print_backing(const json_t *doc)
{
	const json_t *b = json_object_get(doc, "backing");

	if (!json_is_object(b))
		return;
	char path[BACKING_PATH_MAX + 1];

	reason_printable(text(b, "file"), BACKING_PATH_MAX, path);
	printf("%-16s%s (%s%s)\n", "backing file:", path,
	       json_is_string(json_object_get(b, "snapshot_uuid")) ? "a snapshot, " : "",
	       text(b, "format"));
	print_size("backing size:", number(b, "size"));
	if (number(b, "shown_bytes") < number(b, "size"))
		print_size("of it shown:", number(b, "shown_bytes"));
	if (json_is_true(json_object_get(b, "commit_interrupted")))
		printf("%-16sinterrupted; to be finished by another commit\n", "commit:");
}

static void print_state(const json_t *doc)
{
	const json_t *attached = json_object_get(doc, "attached");
	uint64_t replayed = number(doc, "replayed_transactions");

	printf("%-16s", "state:");
	if (json_is_true(json_object_get(doc, "errors")))
		puts("damage was found, opens read-only");
	else if (attached)
		printf("attached as %s (pid %" PRIu64 ", mode %s)\n", text(attached, "device"),
		       number(attached, "pid"), text(attached, "mode"));
	else if (replayed)
		printf("not closed cleanly; %" PRIu64 " transaction%s to replay\n", replayed,
		       replayed == 1 ? "" : "s");
	else
		puts(json_is_true(json_object_get(doc, "clean")) ? "clean" : "not closed cleanly");
}

static void print_properties(const json_t *doc)
{
	const json_t *compression = json_object_get(doc, "compression");
	uint64_t incompat = strtoull(text(json_object_get(doc, "features"), "incompat"), NULL, 16);
	char buf[256];

	if (json_is_null(compression))
		printf("%-16snone\n", "compression:");
	else
		printf("%-16s%s level %d\n", "compression:", text(compression, "codec"),
		       (int)json_integer_value(json_object_get(compression, "level")));
	printf("%-16s%" PRIu64 " KiB\n", "cluster size:", number(doc, "cluster_size") >> 10);
	printf("%-16s%" PRIu64 " bytes\n", "sector size:", number(doc, "sector_size"));
	printf("%-16s%s\n", "features:", dump_incompat(incompat, buf, sizeof(buf)));
}

static const char *point(const json_t *doc, char *buf, size_t len)
{
	char name[POINT_TEXT_MAX];
	struct content_point p;

	if (report_read_point(doc, &p))
		return "?";
	snprintf(buf, len, "%s (%s)", point_text(&p, name), text(doc, "uuid"));
	return buf;
}

/* What is known of the disk as a whole. */
static void print_content(const json_t *content)
{
	if (!content)
		return;

	const char *state = text(content, "state");
	const json_t *base = json_object_get(content, "base");
	const json_t *target = json_object_get(content, "target");
	char from[256], to[256];

	if (!strcmp(state, "at")) {
		printf("%-16s%s\n", "same as:", point(target, to, sizeof(to)));
		return;
	}
	printf("%-16s%s\n", !strcmp(state, "delta") ? "delta from:" : "interrupted:",
	       point(base, from, sizeof(from)));
	printf("%16swith %" PRIu64 " bytes\n", "", number(base, "virtual_size"));
	printf("%-16s%s\n", "to:", point(target, to, sizeof(to)));
	printf("%-16s%s\n", "of the image:", text(content, "image_uuid"));
}

static void print_facts(const char *path, const json_t *doc)
{
	printf("%-16s%s\n", "image:", path);
	printf("%-16sublk-img version %" PRIu64 "\n", "format:", number(doc, "format_version"));
	print_size("virtual size:", number(doc, "virtual_size"));
	print_size("disk usage:", number(doc, "disk_usage"));
	print_size("file length:", number(doc, "file_length"));
	print_backing(doc);
	print_map(doc);
	print_properties(doc);
	print_state(doc);
	print_content(json_object_get(doc, "content"));
	printf("%-16s%" PRIu64 "\n", "snapshots:", number(doc, "snapshots"));
	printf("%-16s%" PRIu64 "\n", "generation:", number(doc, "generation"));
	if (number(doc, "journal_length"))
		printf("%-16s%s at byte %" PRIu64 "\n",
		       "journal:", SIZE_TEXT(number(doc, "journal_length")),
		       number(doc, "journal_offset"));
	else
		printf("%-16snone yet\n", "journal:");
	printf("%-16s%s\n", "uuid:", text(doc, "uuid"));
	printf("%-16s%s\n", "created by:", text(doc, "creator"));
}

/* ---- a snapshot --------------------------------------------------------------------------- */

static errint_t count_extent(void *arg, const struct map_extent *e)
{
	struct snapshot_bytes *b = arg;

	if (!report_is_stored(e))
		return 0;
	b->mapped += e->len;
	b->stored += report_stored_bytes(e);
	return 0;
}

/* What snapshot list tells of it. */
static errint_t find_snapshot(struct source *s, json_t **out)
{
	CLEANUP(close) int fd = -1;
	struct snapshot_info info;
	errint_t err;

	if (s->root < 0) {
		err = snapshot_find_id(s->file.image, snapshot_view_id(s->view), &info);
		*out = err ? NULL : report_snapshot_json(&info);
		return err ? log_err(err, "%s: cannot describe it", s->text) : 0;
	}
	err = source_file(s, "info.json", &fd);
	if (err)
		return err;
	*out = json_loadfd(fd, 0, NULL);
	return *out ? 0 : log_fail(-EPROTO, "%s: cannot describe it", s->text);
}

static errint_t print_snapshot(struct source *s, const json_t *doc, const struct snapshot_bytes *b)
{
	printf("%-16s%s\n", "snapshot:", s->text);
	print_size("virtual size:", number(doc, "virtual_size"));
	print_size("data:", b->mapped);
	if (b->stored) {
		print_size("stored in:", b->stored);
		printf("%-16s%.2f\n", "ratio:", (double)b->mapped / (double)b->stored);
	}
	printf("%-16s%s\n", "created:", text(doc, "created"));
	printf("%-16s%s\n", "uuid:", text(doc, "uuid"));
	return 0;
}

static errint_t show_snapshot(struct source *s, bool json)
{
	CLEANUP(json) json_t *about = NULL;
	struct snapshot_bytes b = {0};
	json_t *doc;
	errint_t err = source_open(s);

	if (!err)
		err = find_snapshot(s, &about);
	if (!err)
		err = source_walk(s, 0, UINT64_MAX, count_extent, &b);
	if (!err)
		err = source_close(s);
	if (err)
		return err;
	if (!json)
		return print_snapshot(s, about, &b);
	doc = json_document("info-snapshot");
	json_put_text(doc, "image", s->image);
	json_put(doc, "snapshot", json_incref(about));
	json_put_u64(doc, "mapped_bytes", b.mapped);
	json_put_u64(doc, "stored_bytes", b.stored);
	return json_print(doc);
}

/* ------------------------------------------------------------------------------------------- */

/* Without opening the image: also for what cannot be opened. */
static errint_t show_blocks(const char *path, bool json)
{
	CLEANUP(store) struct store *st = NULL;
	errint_t err = store_file_open(path, STORE_FILE_READ_ONLY, &st);
	json_t *doc;

	if (err)
		return err;
	if (!json)
		return blocks_print(stdout, st);
	doc = json_document("info-blocks");
	json_put_text(doc, "image", path);
	err = blocks_json(doc, st);
	if (err) {
		json_decref(doc);
		return err;
	}
	return json_print(doc);
}

static errint_t run_info(struct invocation *inv)
{
	const struct info_opts *o = inv->opts;
	CLEANUP(source) struct source s = SOURCE_NONE;
	json_t *doc;
	errint_t err;

	if (o->blocks)
		return show_blocks(inv->args[0], o->json);
	err = source_parse(inv->args[0], &s);
	if (!err && s.snapshot)
		return show_snapshot(&s, o->json);
	if (!err)
		err = gather(inv->args[0], &doc);
	if (err)
		return err;
	if (o->json)
		return json_print(doc);
	print_facts(inv->args[0], doc);
	json_decref(doc);
	return 0;
}

static const struct cmd_option options[] = {
	{
		.name = "blocks",
		.set = option_flag,
		.offset = offsetof(struct info_opts, blocks),
		.help = "Print the image's own blocks, field by field, also of an image that is "
			"damaged or in use.",
	},
	OPTION_JSON(struct info_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"info disk.ublk", "Everything about a disk."},
	{"info --json disk.ublk | jq .ratio", "How well it compresses."},
	{"info disk.ublk@monday", "A snapshot of it."},
	{NULL, NULL},
};

const struct command cmd_info = {
	.name = "info",
	.group = "Images",
	.summary = "Describe an image",
	.operands = "IMAGE[@NAME]",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct info_opts),
	.help = "Prints, of IMAGE or its snapshot NAME, the size of the disk, what it takes, how well it is compressed, and the "
		"image's properties:\n\n"
		" virtual size  bytes of the disk\n"
		" disk usage    bytes that the file takes on its file system\n"
		" file length   where the file ends; what lies before it may have holes\n"
		" data          bytes of the disk that are stored\n"
		" stored in     bytes that they take\n"
		" ratio         of the last two",
	.examples = examples,
	.run = run_info,
};
