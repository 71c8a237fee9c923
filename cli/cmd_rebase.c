/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>

#include "bridge/client.h"
#include "cli/attached.h"
#include "cli/backing_choice.h"
#include "cli/backing_work.h"
#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "common/cleanup.h"
#include "common/log.h"

struct rebase_opts {
	const char *backing;
	int format; /* enum backing_format */
	int progress;
	bool none, unsafe, json;
};

/* ---- only the reference (--unsafe) --------------------------------------------------------- */

static errint_t drop(struct image *im)
{
	const struct backing_ref none = {.kind = BACKING_NONE};
	errint_t err = image_backing_work_begin(im, "another backing");

	if (err)
		return err;
	err = image_set_backing(im, &none);
	image_backing_work_end(im);
	return err;
}

static errint_t refer(struct image *im, struct backing_ref *ref)
{
	struct backing_ref old;

	image_get_backing(im, &old);
	ref->limit =
		old.kind == BACKING_NONE ? backing_limit(ref->size, image_size(im)) : old.limit;
	ref->committing = old.committing;
	return image_set_backing(im, ref);
}

/* -------------------------------------------------------------------------------------------- */

static errint_t rebase_here(struct invocation *inv, struct work_result *res)
{
	const struct rebase_opts *o = inv->opts;
	const char *path = inv->args[0];
	CLEANUP(image_file) struct image_file f = {0};
	CLEANUP(backing) struct backing *to = NULL;
	struct backing_ref ref;
	errint_t err = 0;

	if (o->backing)
		err = backing_choose(o->backing, (enum backing_format)o->format, path, &ref, &to);
	if (!err)
		err = image_file_open(path, true, &f);
	if (err)
		return err;
	if (!o->unsafe)
		err = backing_rebase_here(f.image, to, to ? &ref : NULL,
					  (enum progress_mode)o->progress, res);
	else
		err = to ? refer(f.image, &ref) : drop(f.image);
	if (!err)
		err = image_file_close(&f);
	if (!err && to && backing_needs_allowing(&ref) && !image_file_allows_backing())
		log_warn(
			"%s: is not at or below the image's directory, so the image is opened only "
			"with --allow-backing",
			ref.path);
	return err;
}

static errint_t rebase(struct invocation *inv, struct work_result *res)
{
	const struct rebase_opts *o = inv->opts;
	CLEANUP(client) struct bridge_client c;
	errint_t err = attached_find(inv->args[0], &c);

	if (err == -ENOENT)
		return rebase_here(inv, res);
	if (err)
		return err;
	if (o->backing || o->unsafe)
		return log_fail(
			-EBUSY,
			"%s is attached as %s; while it is in use it can only be rebased to "
			"no backing at all, with --no-backing; detach it first",
			inv->args[0], client_text(&c, "device"));
	return backing_work_ask(&c, "flatten", res);
}

static errint_t run_rebase(struct invocation *inv)
{
	const struct rebase_opts *o = inv->opts;
	struct work_result res = {0};
	errint_t err;

	if (!o->backing == !o->none)
		return usage_error(inv, "one of --backing and --no-backing is needed");
	err = rebase(inv, &res);
	if (err)
		return err;
	log_info("%s: rebased, %" PRIu64 " bytes of the disk were copied into it", inv->args[0],
		 res.bytes);
	return o->json ? backing_work_json("rebase", inv->args[0], &res) : 0;
}

static const struct cmd_option options[] = {
	{
		.name = "backing",
		.letter = 'b',
		.arg = "FILE",
		.set = option_string,
		.offset = offsetof(struct rebase_opts, backing),
		.help = "The new backing file, or FILE@NAME, a snapshot of an image.",
	},
	{
		.name = "backing-format",
		.arg = "FORMAT",
		.words = backing_format_words,
		.set = option_word,
		.offset = offsetof(struct rebase_opts, format),
		.help = "What FILE is: auto (an image if it begins like one, else raw; the default), "
			"raw or ublk-img.",
	},
	{
		.name = "no-backing",
		.set = option_flag,
		.offset = offsetof(struct rebase_opts, none),
		.help = "None: IMAGE is to stand alone.",
	},
	{
		.name = "unsafe",
		.set = option_flag,
		.offset = offsetof(struct rebase_opts, unsafe),
		.help = "Only change what IMAGE calls its backing, and copy nothing: for a backing "
			"file that was moved, or changed in a way that does not matter. What the disk "
			"reads as is then the caller's to answer for.",
	},
	OPTION_PROGRESS(struct rebase_opts),
	OPTION_JSON(struct rebase_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"rebase --no-backing overlay.ublk", "Copy all that it shows into the overlay."},
	{"rebase --unsafe --backing new/base.raw overlay.ublk", "The backing file was moved."},
	{NULL, NULL},
};

const struct command cmd_rebase = {
	.name = "rebase",
	.group = "Images",
	.summary = "Give an image another backing file, or none",
	.operands = "IMAGE|DEVICE",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct rebase_opts),
	.help = "Puts IMAGE on top of another file, without changing what its disk reads as: what "
		"would read differently is copied into IMAGE before. With --no-backing that is all "
		"that the backing file shows.\n\n"
		"An image that is attached can be rebased with --no-backing only, while it is in use. "
		"An image with snapshots can be rebased with --unsafe only: they show the backing "
		"file as well, and cannot be changed.",
	.examples = examples,
	.run = run_rebase,
};
