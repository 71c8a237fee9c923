/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/backing_choice.h"
#include "cli/commands.h"
#include "cli/image_file.h"
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
	const char *backing;
	int format; /* enum backing_format */
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

static errint_t make_image(const struct create_opts *o, const char *path, uint64_t size,
			   const struct backing_ref *backing)
{
	const struct image_params params = {
		.size = size,
		.cluster_shift = o->cluster_shift,
		.sector_shift = o->sector_shift,
		.codec = o->compression.codec,
		.level = o->compression.level,
		.creator = PACKAGE_STRING,
		.backing = backing,
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

static errint_t print_json(const struct create_opts *o, const char *path, uint64_t size,
			   const struct backing_ref *backing)
{
	json_t *doc = json_document("create");

	json_put_text(doc, "image", path);
	json_put_u64(doc, "virtual_size", size);
	json_put_u64(doc, "cluster_size", 1ull << o->cluster_shift);
	json_put_u64(doc, "sector_size", 1ull << o->sector_shift);
	json_put(doc, "compression",
		 report_compression_json(o->compression.codec, o->compression.level));
	json_put(doc, "backing", report_backing_json(backing));
	return json_print(doc);
}

/* The size that was asked for, or the backing's. */
static errint_t find_size(struct invocation *inv, const struct backing_ref *backing, uint64_t *size)
{
	const struct create_opts *o = inv->opts;
	errint_t err = 0;

	if (inv->nargs > 1) {
		err = size_parse("SIZE", inv->args[1], size);
		inv->usage = err != 0;
	} else if (!backing->size) {
		return log_fail(-EINVAL, "%s: is empty; give the disk a SIZE", o->backing);
	} else {
		*size = backing->size;
	}
	return err ? err : whole_sectors(o, size);
}

static errint_t create(struct invocation *inv, const struct backing_ref *backing, uint64_t *size)
{
	const struct create_opts *o = inv->opts;
	struct backing_ref shown = *backing;
	errint_t err = find_size(inv, backing, size);

	if (err)
		return err;
	shown.limit = backing_limit(backing->size, *size);
	return make_image(o, inv->args[0], *size, o->backing ? &shown : NULL);
}

static errint_t run_create(struct invocation *inv)
{
	const struct create_opts *o = inv->opts;
	CLEANUP(backing) struct backing *open = NULL;
	struct backing_ref backing = {.kind = BACKING_NONE};
	const char *path = inv->args[0];
	uint64_t size;
	errint_t err = 0;

	if (inv->nargs < 2 && !o->backing)
		return usage_error(inv, "SIZE is missing");
	if (o->backing)
		err = backing_choose(o->backing, (enum backing_format)o->format, path, &backing,
				     &open);
	if (!err)
		err = create(inv, &backing, &size);
	if (err)
		return err;
	log_info("%s: created, a disk of %" PRIu64 " bytes", path, size);
	if (o->backing && backing_needs_allowing(&backing) && !image_file_allows_backing())
		log_warn(
			"%s: is not at or below the image's directory, so the image is opened only "
			"with --allow-backing",
			backing.path);
	return o->json ? print_json(o, path, size, &backing) : 0;
}

static const struct cmd_option options[] = {
	OPTION_ZSTD(struct create_opts,
		    "Compress what is written to the disk with zstd at this level (3 unless given; "
		    "higher is smaller and slower, negative is faster still). Clusters that do not "
		    "shrink are stored as they are."),
	OPTION_CLUSTER_SIZE(struct create_opts),
	OPTION_SECTOR_SIZE(struct create_opts),
	{
		.name = "backing",
		.letter = 'b',
		.arg = "FILE",
		.set = option_string,
		.offset = offsetof(struct create_opts, backing),
		.help = "Read from FILE what has not been written to the disk. FILE is a raw file or "
			"device, or an image; FILE@NAME is a snapshot of an image. It must not be "
			"changed afterwards, and is named in IMAGE from IMAGE's directory on if it is "
			"there or below; else from the root, and then IMAGE is opened only with "
			"\"--allow-backing\".",
	},
	{
		.name = "backing-format",
		.arg = "FORMAT",
		.words = backing_format_words,
		.set = option_word,
		.offset = offsetof(struct create_opts, format),
		.help = "What FILE is: auto (an image if it begins like one, else raw; the default), "
			"raw or ublk-img. IMAGE remembers it.",
	},
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
	{"create --backing base.raw overlay.ublk",
	 "A disk that begins as what is in base.raw, and leaves that alone."},
	{NULL, NULL},
};

const struct command cmd_create = {
	.name = "create",
	.group = "Images",
	.summary = "Make an empty disk",
	.operands = "IMAGE [SIZE]",
	.min_args = 1,
	.max_args = 2,
	.options = options,
	.opts_size = sizeof(struct create_opts),
	.defaults = &defaults,
	.help = "Makes the file IMAGE with an empty disk of SIZE bytes in it, all of which reads as "
		"zeros. The file takes some 28 KiB, whatever the size of the disk, and grows as the "
		"disk is written. When it is first opened for writing it takes what its journal and "
		"the next changes of its metadata need, so that these do not fail when the host is "
		"full: 6 MiB for a disk of 1 GiB, 16 MiB for 10 GiB, 98 MiB from 64 GiB on.\n\n"
		"A SIZE that is no whole number of sectors is rounded up. An interrupted or failed "
		"create leaves nothing behind, and with --force the old file as it was.\n\n"
		"With --backing the disk begins as FILE, of its size unless SIZE is given; a larger "
		"disk has zeros behind it. Opening IMAGE is refused when FILE is not there, or is not "
		"what it was; see rebase and commit.",
	.examples = examples,
	.run = run_create,
};
