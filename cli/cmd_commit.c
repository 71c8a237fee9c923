/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>

#include "bridge/client.h"
#include "cli/attached.h"
#include "cli/backing_work.h"
#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "common/cleanup.h"
#include "common/log.h"

struct commit_opts {
	int progress;
	bool json;
};

static errint_t commit(struct invocation *inv, struct work_result *res)
{
	const struct commit_opts *o = inv->opts;
	const char *what = inv->args[0];
	CLEANUP(image_file) struct image_file f = {0};
	CLEANUP(client) struct bridge_client c;
	errint_t err = attached_find(what, &c);

	if (err != -ENOENT)
		return err ? err : backing_work_ask(&c, "commit", res);
	err = image_file_open(what, true, &f);
	if (!err)
		err = backing_commit_here(f.image, (enum progress_mode)o->progress, res);
	return err ? err : image_file_close(&f);
}

static errint_t run_commit(struct invocation *inv)
{
	const struct commit_opts *o = inv->opts;
	struct work_result res;
	errint_t err = commit(inv, &res);

	if (err)
		return err;
	log_info("%s: %" PRIu64 " bytes of the disk are in its backing now", inv->args[0],
		 res.bytes);
	if (res.left)
		log_warn("%s: %" PRIu64
			 " bytes of the disk, which are being written, are still the "
			 "image's own",
			 inv->args[0], res.left);
	return o->json ? backing_work_json("commit", inv->args[0], &res) : 0;
}

static const struct cmd_option options[] = {
	OPTION_PROGRESS(struct commit_opts),
	OPTION_JSON(struct commit_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"commit overlay.ublk", "Write what the overlay has into the file below it."},
	{"commit /dev/ublkb0", "The same while the disk is in use."},
	{NULL, NULL},
};

const struct command cmd_commit = {
	.name = "commit",
	.group = "Images",
	.summary = "Write an image's data into its backing file",
	.operands = "IMAGE|DEVICE",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct commit_opts),
	.help = "Writes all that IMAGE has itself into its backing file, and empties IMAGE. The disk "
		"reads the same before, meanwhile and afterwards; the backing file becomes what the "
		"disk is, and as large if it was smaller. Other images on top of the same file are "
		"of no use afterwards: what they show has changed, and they say so.\n\n"
		"A commit that is interrupted, even by a power cut, leaves an image that reads as "
		"before; it is finished by another commit.\n\n"
		"Refused for an image with snapshots, whose content would change, and when the "
		"backing is a snapshot or is in use by somebody else.",
	.examples = examples,
	.run = run_commit,
};
