/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/new_file.h"
#include "cli/options.h"
#include "cli/size.h"
#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/image.h"
#include "image/report.h"

struct create_opts {
	struct compression compression;
	uint8_t cluster_shift, sector_shift;
	bool force, json;
};

static const struct create_opts defaults = {.cluster_shift = 16, .sector_shift = 9};

/* A size that is no whole number of sectors is rounded up, and that is said. */
static errint_t whole_sectors(const struct create_opts *o, uint64_t *size)
{
	uint64_t sector = 1ull << o->sector_shift;
	uint64_t rounded = (*size + sector - 1) & ~(sector - 1);

	/* size_parse() leaves room above any size. */
	assert(rounded >= *size);
	if (rounded != *size)
		log_warn("the size is rounded up to %" PRIu64 " bytes, a multiple of %" PRIu64,
			 rounded, sector);
	*size = rounded;
	return 0;
}

static errint_t make_image(const struct create_opts *o, const char *path, uint64_t size)
{
	const struct image_params params = {
		.size = size,
		.cluster_shift = o->cluster_shift,
		.sector_shift = o->sector_shift,
		.codec = o->compression.codec,
		.level = o->compression.level,
		.creator = PACKAGE_STRING,
	};
	struct new_file file;
	struct store *st = NULL;
	errint_t err = new_file_begin(&file, path, o->force);

	if (!err)
		err = new_file_store(&file, 0, &st);
	if (!err)
		err = image_create(st, &params);
	store_close(st);
	if (!err)
		err = new_file_finish(&file);
	if (err)
		new_file_abandon(&file);
	return err;
}

static errint_t print_json(const struct create_opts *o, const char *path, uint64_t size)
{
	json_t *doc = json_document("create");

	json_put_text(doc, "image", path);
	json_put_u64(doc, "virtual_size", size);
	json_put_u64(doc, "cluster_size", 1ull << o->cluster_shift);
	json_put_u64(doc, "sector_size", 1ull << o->sector_shift);
	json_put(doc, "compression",
		 report_compression_json(o->compression.codec, o->compression.level));
	return json_print(doc);
}

static errint_t run_create(struct invocation *inv)
{
	const struct create_opts *o = inv->opts;
	const char *path = inv->args[0];
	uint64_t size;
	errint_t err = size_parse("SIZE", inv->args[1], &size);

	inv->usage = err != 0;
	if (!err)
		err = whole_sectors(o, &size);
	if (!err)
		err = make_image(o, path, size);
	if (err)
		return err;
	log_info("%s: created, a disk of %" PRIu64 " bytes", path, size);
	return o->json ? print_json(o, path, size) : 0;
}

static const struct cmd_option options[] = {
	OPTION_ZSTD(struct create_opts,
		    "Compress what is written to the disk with zstd at this level (3 unless given; "
		    "higher is smaller and slower, negative is faster still). Clusters that do not "
		    "shrink are stored as they are."),
	OPTION_CLUSTER_SIZE(struct create_opts),
	OPTION_SECTOR_SIZE(struct create_opts),
	{
		.name = "force",
		.letter = 'f',
		.set = option_flag,
		.offset = offsetof(struct create_opts, force),
		.help = "Replace IMAGE if it exists, unless it is in use.",
	},
	OPTION_JSON(struct create_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"create disk.ublk 64G", "A disk of 64 GiB that takes almost no space yet."},
	{"create --zstd=6 archive.ublk 1.5T",
	 "A disk whose content is compressed as it is written."},
	{NULL, NULL},
};

const struct command cmd_create = {
	.name = "create",
	.group = "Images",
	.summary = "Make an empty disk",
	.operands = "IMAGE SIZE",
	.min_args = 2,
	.max_args = 2,
	.options = options,
	.opts_size = sizeof(struct create_opts),
	.defaults = &defaults,
	.help = "Makes the file IMAGE with an empty disk of SIZE bytes in it, all of which reads as "
		"zeros. The file takes a few hundred KiB, whatever the size of the disk, and grows "
		"as the disk is written.\n\n"
		"A SIZE that is no whole number of sectors is rounded up. An interrupted or failed "
		"create leaves nothing behind, and with --force the old file as it was.",
	.examples = examples,
	.run = run_create,
};
