/* SPDX-License-Identifier: MIT */
/* What shows snapshots: list, diff. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/size.h"
#include "cli/snapshot_ops.h"
#include "cli/snapshot_target.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"

/* ---- list ---------------------------------------------------------------------------------- */

struct list_opts {
	bool json;
};

static int by_id(const void *id, const void *item)
{
	json_int_t a = *(const json_int_t *)id;
	json_int_t b = json_integer_value(json_object_get(*(json_t *const *)item, "id"));

	return a < b ? -1 : a > b;
}

/* Names may hold control characters, which a terminal would obey. */
static void print_name(const char *name, int width)
{
	for (; *name; name++) {
		putchar((unsigned char)*name < ' ' || *name == 0x7f ? '?' : *name);
		width -= (*name & 0xc0) != 0x80; /* one column for a character */
	}
	printf("%*s  ", width > 0 ? width : 0, "");
}

static uint64_t number(const json_t *item, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(item, key));
}

/* Snapshots, and the disk, that descend directly from @item. */
static unsigned children(json_t *all, const json_t *item)
{
	unsigned n = json_is_true(json_object_get(item, "current"));
	uint64_t id = number(item, "id");
	json_t *other;
	size_t i;

	json_array_foreach(all, i, other) n += number(other, "parent") == id;
	return n;
}

static void print_state(json_t *all, const json_t *item)
{
	uint64_t end = number(item, "clusters");
	const char *sep = "";

	if (json_is_true(json_object_get(item, "deleting"))) {
		if (children(all, item) > 1)
			printf("deleted, two others have it in common");
		else
			printf("deleting, %" PRIu64 "%%",
			       end ? number(item, "clusters_done") * 100 / end : 0);
		sep = ", ";
	} else if (json_is_true(json_object_get(item, "current"))) {
		printf("current");
		sep = ", ";
	}
	if (number(item, "open"))
		printf("%sopen", sep);
	putchar('\n');
}

static void print_list(json_t *all)
{
	size_t n = json_array_size(all), i;
	json_t **items = calloc(n + 1, sizeof(*items));
	json_t *item;

	if (n)
		printf("%-24s  %-20s  %-10s  %-24s  %s\n", "NAME", "CREATED", "SIZE", "PARENT",
		       "STATE");
	json_array_foreach(all, i, item)
	{
		json_int_t parent = json_integer_value(json_object_get(item, "parent"));
		json_t **of = NULL;

		if (items) {
			items[i] = item;
			of = bsearch(&parent, items, i, sizeof(*items), by_id);
		}
		print_name(json_string_value(json_object_get(item, "name")), 24);
		printf("%-20s  %-10s  ", json_string_value(json_object_get(item, "created")),
		       SIZE_TEXT(number(item, "virtual_size")));
		print_name(of ? json_string_value(json_object_get(*of, "name")) : "-", 24);
		print_state(all, item);
	}
	free(items);
}

static errint_t run_list(struct invocation *inv)
{
	const struct list_opts *o = inv->opts;
	CLEANUP(snapshot_target) struct snapshot_target t = SNAPSHOT_TARGET_NONE;
	CLEANUP(json) json_t *all = NULL;
	json_t *doc;
	errint_t err = snapshot_target_open(inv->args[0], false, &t);

	if (!err)
		err = snapshot_target_list(&t, &all);
	if (!err)
		err = snapshot_target_close(&t);
	if (err)
		return err;
	if (!o->json) {
		print_list(all);
		return 0;
	}
	doc = json_document("snapshot list");
	json_put_text(doc, "image", inv->args[0]);
	json_put(doc, "snapshots", json_incref(all));
	return json_print(doc);
}

static const struct cmd_option list_options[] = {
	OPTION_JSON(struct list_opts),
	{.name = NULL},
};

static const struct cmd_example list_examples[] = {
	{"snapshot list disk.ublk", "Show all snapshots."},
	{"snapshot list --json disk.ublk | jq -r '.snapshots[].name'", "Their names only."},
	{NULL, NULL},
};

const struct command cmd_snapshot_list = {
	.name = "snapshot list",
	.group = "Snapshots",
	.summary = "Show the snapshots of a disk",
	.operands = "IMAGE|DEVICE",
	.min_args = 1,
	.max_args = 1,
	.options = list_options,
	.opts_size = sizeof(struct list_opts),
	.help = "Prints the snapshots of the disk in IMAGE by age: name, when it was taken, size of "
		"the disk then, the snapshot that the disk descended from, and its state:\n\n"
		" current   the disk descends from it directly\n"
		" open      somebody is reading it\n"
		" deleting  its space is being freed; how much of it has been looked at\n"
		" deleted   two others have its space in common; it is freed with one of them",
	.examples = list_examples,
	.run = run_list,
};

/* ---- diff ---------------------------------------------------------------------------------- */

struct diff_opts {
	bool json;
};

typedef errint_t (*record_fn)(void *arg, const struct diff_record *r);

static errint_t each_record(int fd, record_fn fn, void *arg)
{
	struct diff_record r;
	FILE *in = fdopen(dup(fd), "r");
	errint_t err = 0;

	if (!in)
		return log_errno("cannot read what differs");
	rewind(in);
	while (!err && fread(&r, sizeof(r), 1, in) == 1)
		err = fn(arg, &r);
	if (!err && ferror(in))
		err = log_errno("cannot read what differs");
	fclose(in);
	return err;
}

static errint_t print_record(void *arg, const struct diff_record *r)
{
	(void)arg;
	printf("%16" PRIu64 " %16" PRIu64 " %s\n", r->off, r->len, r->zeroed ? "zero" : "data");
	return output_check();
}

static errint_t print_record_json(void *arg, const struct diff_record *r)
{
	return json_stream_item(arg,
				json_pack("{s:I, s:I, s:b}", "offset", (json_int_t)r->off, "length",
					  (json_int_t)r->len, "zero", (int)r->zeroed));
}

static errint_t print_json(const struct invocation *inv, int fd)
{
	json_t *doc = json_document("snapshot diff");
	struct json_stream s;
	errint_t err;

	json_put_text(doc, "image", inv->args[0]);
	json_put_text(doc, "from", inv->args[1]);
	json_put(doc, "to", inv->nargs > 2 ? json_string(inv->args[2]) : json_null());
	err = json_stream_begin(&s, doc, "extents");
	if (!err)
		err = each_record(fd, print_record_json, &s);
	json_stream_end(&s);
	return err;
}

static errint_t print_text(int fd)
{
	printf("%16s %16s %s\n", "#         offset", "length", "kind");
	return each_record(fd, print_record, NULL);
}

static errint_t run_diff(struct invocation *inv)
{
	const struct diff_opts *o = inv->opts;
	CLEANUP(snapshot_target) struct snapshot_target t = SNAPSHOT_TARGET_NONE;
	CLEANUP(close) int fd = memfd_create("ublk-img-diff", MFD_CLOEXEC);
	errint_t err = snapshot_check_names(inv->args + 1, inv->nargs - 1);

	if (!err && fd < 0)
		err = log_errno("cannot keep what differs");
	if (!err)
		err = snapshot_target_open(inv->args[0], false, &t);
	if (!err)
		err = snapshot_target_diff(&t,
					   json_pack("{s:s, s:s*}", "from", inv->args[1], "to",
						     inv->nargs > 2 ? inv->args[2] : NULL),
					   fd);
	if (!err)
		err = o->json ? print_json(inv, fd) : print_text(fd);
	return err ? err : snapshot_target_close(&t);
}

static const struct cmd_option diff_options[] = {
	OPTION_JSON(struct diff_opts),
	{.name = NULL},
};

static const struct cmd_example diff_examples[] = {
	{"snapshot diff disk.ublk monday", "What has changed on the disk since then."},
	{"snapshot diff disk.ublk monday tuesday", "What changed between the two."},
	{NULL, NULL},
};

const struct command cmd_snapshot_diff = {
	.name = "snapshot diff",
	.group = "Snapshots",
	.summary = "List what differs between two points in time",
	.operands = "IMAGE|DEVICE FROM [TO]",
	.min_args = 2,
	.max_args = 3,
	.options = diff_options,
	.opts_size = sizeof(struct diff_opts),
	.help = "Lists the extents of the disk, in bytes and whole clusters, that may differ between "
		"the snapshot FROM and the snapshot TO, or the disk as it is now: data, or zero when "
		"the extent reads as zeros in TO. What is not listed is the same in both.\n\n"
		"That is found in the map alone, without reading data, in a time that depends on how "
		"much differs. What was written with the bytes that it held before is listed as well.",
	.examples = diff_examples,
	.run = run_diff,
};
