/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/source.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/report.h"

struct map_opts {
	uint64_t offset, length;
	bool json;
};

static const struct map_opts defaults = {.length = UINT64_MAX};

static errint_t print_extent(void *arg, const struct map_extent *e)
{
	(void)arg;
	printf("%16" PRIu64 " %16" PRIu64 "  %-4s", e->off, e->len, report_kind(e->kind));
	if (report_is_stored(e))
		printf(" %16" PRIu64 " %16" PRIu64 "\n", e->file_off, report_stored_bytes(e));
	else
		printf(" %16s %16s\n", "-", "-");
	return output_check();
}

static errint_t print_extent_json(void *arg, const struct map_extent *e)
{
	json_t *o = json_object();

	json_put_u64(o, "offset", e->off);
	json_put_u64(o, "length", e->len);
	json_put_text(o, "kind", report_kind(e->kind));
	if (report_is_stored(e)) {
		json_put_u64(o, "file_offset", e->file_off);
		json_put_u64(o, "stored", report_stored_bytes(e));
	}
	return json_stream_item(arg, o);
}

static errint_t print_map(struct source *s, uint64_t off, uint64_t len)
{
	printf("%16s %16s  %-4s %16s %16s\n", "offset", "length", "kind", "file offset", "stored");
	return source_walk(s, off, len, print_extent, NULL);
}

static errint_t print_map_json(struct source *source, uint64_t size, uint64_t off, uint64_t len)
{
	json_t *doc = json_document("map");
	struct json_stream s;
	errint_t err;

	json_put_text(doc, "image", source->text);
	json_put_u64(doc, "virtual_size", size);
	err = json_stream_begin(&s, doc, "extents");
	if (!err)
		err = source_walk(source, off, len, print_extent_json, &s);
	/* Also on failure: what was printed stays a document, and the exit status tells. */
	json_stream_end(&s);
	return err;
}

static errint_t run_map(struct invocation *inv)
{
	const struct map_opts *o = inv->opts;
	CLEANUP(source) struct source s = SOURCE_NONE;
	uint64_t size, len = o->length;
	errint_t err = source_parse(inv->args[0], &s);

	s.accept_delta = true;
	if (!err)
		err = source_open_live(&s);
	if (!err)
		err = source_size(&s, &size);
	if (err)
		return err;
	if (o->offset > size)
		return log_fail(-EINVAL, "%s: --offset: the disk ends at %" PRIu64, inv->args[0],
				size);
	if (len > size - o->offset)
		len = size - o->offset;
	err = o->json ? print_map_json(&s, size, o->offset, len) : print_map(&s, o->offset, len);
	return err ? err : source_close(&s);
}

static const struct cmd_option options[] = {
	{
		.name = "offset",
		.arg = "SIZE",
		.set = option_size,
		.offset = offsetof(struct map_opts, offset),
		.help = "Begin at this byte of the disk instead of 0.",
	},
	{
		.name = "length",
		.arg = "SIZE",
		.set = option_size,
		.offset = offsetof(struct map_opts, length),
		.help = "Look at so many bytes instead of all to the end.",
	},
	OPTION_JSON(struct map_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"map disk.ublk", "The whole map, as a table."},
	{"map --json disk.ublk | jq '[.extents[] | select(.kind == \"zstd\").stored] | add'",
	 "Bytes of compressed data."},
	{NULL, NULL},
};

const struct command cmd_map = {
	.name = "map",
	.group = "Images",
	.summary = "List what is stored where",
	.operands = "IMAGE[@NAME]",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct map_opts),
	.defaults = &defaults,
	.help = "Lists the extents of the disk, or of its snapshot NAME, in order and without gaps, all in bytes: where on the "
		"disk each begins, how long it is, and how it is kept:\n\n"
		" hole  never written, or discarded: reads as zeros\n"
		" zero  written with zeros: takes no space\n"
		" raw   stored as it is, at the file offset given\n"
		" zstd  one cluster, compressed to the stored bytes at the file offset given\n"
		" backing  not in the image: read from the same place of its backing file",
	.examples = examples,
	.run = run_map,
};
