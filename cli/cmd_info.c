/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/blocks.h"
#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/size.h"
#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/dump.h"
#include "image/walk.h"

struct info_opts {
	bool blocks, json;
};

/* Everything that is told. */
struct facts {
	const char *path;
	struct image_info info;
	struct map_totals map;
	uint64_t file_length, file_usage;
};

static errint_t gather(const char *path, struct facts *f)
{
	CLEANUP(image_file) struct image_file file;
	errint_t err = image_file_open_stream(path, &file);

	if (err)
		return err;
	f->path = path;
	image_get_info(file.image, &f->info);
	f->file_usage = store_usage(file.store);
	err = store_length(file.store, &f->file_length);
	if (!err)
		err = walk_totals(file.image, &f->map);
	return err ? err : image_file_close(&file);
}

/* Bytes that the mapped part of the disk takes as it is stored. */
static uint64_t stored_bytes(const struct facts *f)
{
	return f->map.raw_bytes + f->map.zstd_stored;
}

/* How many bytes of the disk each stored byte stands for; 0 when nothing is stored. */
static double ratio(const struct facts *f)
{
	return stored_bytes(f) ? (double)f->map.mapped_bytes / (double)stored_bytes(f) : 0;
}

static const char *state_text(const struct facts *f, char *buf, size_t len)
{
	snprintf(buf, len, "%s", f->info.flags & SUPER_CLEAN ? "clean" : "not closed cleanly");
	if (f->info.replayed)
		snprintf(buf, len, "not closed cleanly; %" PRIu64 " transaction%s to replay",
			 f->info.replayed, f->info.replayed == 1 ? "" : "s");
	if (f->info.flags & SUPER_ERRORS)
		snprintf(buf, len, "damage was found, opens read-only");
	return buf;
}

static void print_size(const char *what, uint64_t bytes)
{
	char text[SIZE_TEXT_MAX];

	printf("%-16s%s", what, size_text(bytes, text));
	if (bytes >= 1024)
		printf(" (%" PRIu64 " bytes)", bytes);
	putchar('\n');
}

static void print_map(const struct facts *f)
{
	printf("%-16s%" PRIu64 " never written, %" PRIu64 " zero, %" PRIu64 " raw, %" PRIu64
	       " compressed\n",
	       "clusters:", f->map.clusters[MAP_HOLE], f->map.clusters[MAP_ZERO],
	       f->map.clusters[MAP_RAW], f->map.clusters[MAP_ZSTD]);
	print_size("data:", f->map.mapped_bytes);
	if (!stored_bytes(f))
		return;
	print_size("stored in:", stored_bytes(f));
	printf("%-16s%.2f\n", "ratio:", ratio(f));
}

static void print_facts(const struct facts *f)
{
	const struct image_info *i = &f->info;
	char buf[256];

	printf("%-16s%s\n", "image:", f->path);
	printf("%-16sublk-img version %d\n", "format:", FORMAT_MAJOR);
	print_size("virtual size:", i->size);
	print_size("disk usage:", f->file_usage);
	print_size("file length:", f->file_length);
	print_map(f);
	if (i->codec == CODEC_NONE)
		printf("%-16snone\n", "compression:");
	else
		printf("%-16s%s level %d\n", "compression:", codec_name(i->codec), i->level);
	printf("%-16s%llu KiB\n", "cluster size:", 1ull << i->geo.cluster_shift >> 10);
	printf("%-16s%llu bytes\n", "sector size:", 1ull << i->geo.sector_shift);
	printf("%-16s%s\n", "features:", dump_incompat(i->incompat, buf, sizeof(buf)));
	printf("%-16s%s\n", "state:", state_text(f, buf, sizeof(buf)));
	printf("%-16s%" PRIu32 "\n", "snapshots:", i->nsnapshots);
	printf("%-16s%" PRIu64 "\n", "generation:", i->generation);
	if (i->journal_length)
		printf("%-16s%s at byte %" PRIu64 "\n", "journal:", SIZE_TEXT(i->journal_length),
		       i->journal_offset);
	else
		printf("%-16snone yet\n", "journal:");
	dump_uuid(i->uuid, buf);
	printf("%-16s%s\n", "uuid:", buf);
	printf("%-16s%s\n", "created by:", i->creator);
}

static json_t *clusters_json(const struct facts *f)
{
	json_t *o = json_object();

	json_put_u64(o, "hole", f->map.clusters[MAP_HOLE]);
	json_put_u64(o, "zero", f->map.clusters[MAP_ZERO]);
	json_put_u64(o, "raw", f->map.clusters[MAP_RAW]);
	json_put_u64(o, "zstd", f->map.clusters[MAP_ZSTD]);
	return o;
}

static json_t *features_json(const struct image_info *i)
{
	json_t *o = json_object();

	json_put_mask(o, "incompat", i->incompat);
	json_put_mask(o, "ro_compat", i->ro_compat);
	json_put_mask(o, "compat", i->compat);
	return o;
}

static errint_t print_json(const struct facts *f)
{
	const struct image_info *i = &f->info;
	json_t *doc = json_document("info");
	char uuid[37];

	dump_uuid(i->uuid, uuid);
	json_put_text(doc, "image", f->path);
	json_put_u64(doc, "format_version", FORMAT_MAJOR);
	json_put_text(doc, "uuid", uuid);
	json_put_text(doc, "creator", i->creator);
	json_put_u64(doc, "virtual_size", i->size);
	json_put_u64(doc, "disk_usage", f->file_usage);
	json_put_u64(doc, "file_length", f->file_length);
	json_put_u64(doc, "cluster_size", 1ull << i->geo.cluster_shift);
	json_put_u64(doc, "sector_size", 1ull << i->geo.sector_shift);
	json_put(doc, "compression", json_compression(i->codec, i->level));
	json_put(doc, "clusters", clusters_json(f));
	json_put_u64(doc, "mapped_bytes", f->map.mapped_bytes);
	json_put_u64(doc, "raw_bytes", f->map.raw_bytes);
	json_put_u64(doc, "compressed_bytes", f->map.zstd_stored);
	json_put(doc, "ratio", stored_bytes(f) ? json_real(ratio(f)) : json_null());
	json_put_u64(doc, "map_nodes", f->map.nodes);
	json_put_u64(doc, "used_units", i->used_units);
	json_put(doc, "features", features_json(i));
	json_put_bool(doc, "clean", i->flags & SUPER_CLEAN && !i->replayed);
	json_put_bool(doc, "errors", i->flags & SUPER_ERRORS);
	json_put_u64(doc, "replayed_transactions", i->replayed);
	json_put_u64(doc, "generation", i->generation);
	json_put_u64(doc, "epoch", i->epoch);
	json_put_u64(doc, "snapshots", i->nsnapshots);
	json_put_u64(doc, "journal_offset", i->journal_offset);
	json_put_u64(doc, "journal_length", i->journal_length);
	return json_print(doc);
}

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
	struct facts f;
	errint_t err;

	if (o->blocks)
		return show_blocks(inv->args[0], o->json);
	err = gather(inv->args[0], &f);
	if (err)
		return err;
	if (o->json)
		return print_json(&f);
	print_facts(&f);
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
	{NULL, NULL},
};

const struct command cmd_info = {
	.name = "info",
	.group = "Images",
	.summary = "Describe an image",
	.operands = "IMAGE",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct info_opts),
	.help = "Prints the size of the disk, what it takes, how well it is compressed, and the "
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
