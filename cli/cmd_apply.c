/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/apply.h"
#include "cli/attached.h"
#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/workers.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/report.h"

enum { CHUNK = 1 << 20 };

struct apply_opts {
	bool force, json;
	unsigned threads;
	int progress; /* enum progress_mode */
};

errint_t apply_refuse(const struct apply *a, const char *why)
{
	char base[POINT_TEXT_MAX];

	return log_fail(-EINVAL,
			"%s: is not known to be at %s, which the delta begins with: %s; --force "
			"applies it to anything of the right size",
			a->target, point_text(&a->delta.content.base, base), why);
}

errint_t apply_changes(struct apply *a, struct sink *sink)
{
	uint64_t data, zero;

	changes_total(&a->delta.changes, &data, &zero);

	CLEANUP(progress)
	struct progress *bar =
		progress_begin((enum progress_mode)a->progress, "apply", data + zero);
	struct convert c = {
		.source = a->delta_path,
		.disk = a->disk,
		.changes = &a->delta.changes,
		.sink = sink,
		.chunk_bytes = CHUNK,
		.bar = bar,
	};
	errint_t err = convert_run(&c, workers_count(a->threads));

	a->totals = sink->totals;
	return err;
}

/* By what is found at its name. */
static errint_t apply_to_any(struct apply *a)
{
	CLEANUP(client) struct bridge_client c;
	enum disk_format format;
	struct stat st;
	errint_t err = attached_find(a->target, &c);

	if (err != -ENOENT)
		return err ? err : apply_to_attached(a, &c);
	if (stat(a->target, &st) || !S_ISREG(st.st_mode))
		return apply_to_raw(a);
	err = disk_detect(a->target, &format);
	if (err)
		return err;
	return format == DISK_UBLK ? apply_to_image(a) : apply_to_raw(a);
}

static errint_t open_delta(struct apply *a)
{
	const struct content *d = &a->delta.content;
	bool raw;
	errint_t err = delta_read(a->delta_path, &a->delta, &raw);

	/* What a disk that grows has not been given is zeros, also where the target has more. */
	if (!err && d->target.size > d->base.size)
		err = changes_end_with_zeros(&a->delta.changes, d->base.size, d->target.size);
	return err ? err : disk_open_delta(a->delta_path, &a->disk);
}

static errint_t print_json(const struct apply *a)
{
	json_t *doc = json_document("apply");
	uint64_t data, zero;

	changes_total(&a->delta.changes, &data, &zero);
	json_put_text(doc, "delta", a->delta_path);
	json_put_text(doc, "target", a->target);
	json_put(doc, "base", report_point_json(&a->delta.content.base));
	json_put(doc, "snapshot", report_point_json(&a->delta.content.target));
	json_put_bool(doc, "applied", !a->nothing_to_do);
	json_put_u64(doc, "data_bytes", data);
	json_put_u64(doc, "zero_bytes", zero);
	return json_print(doc);
}

static errint_t run_apply(struct invocation *inv)
{
	const struct apply_opts *o = inv->opts;
	struct apply a = {
		.delta_path = inv->args[0],
		.target = inv->args[1],
		.force = o->force,
		.threads = o->threads,
		.progress = o->progress,
	};
	char target[POINT_TEXT_MAX];
	errint_t err = open_delta(&a);

	if (!err)
		err = apply_to_any(&a);
	if (!err)
		log_info("%s: %s %s", a.target, a.nothing_to_do ? "was already at" : "is now at",
			 point_text(&a.delta.content.target, target));
	if (!err && o->json)
		err = print_json(&a);
	disk_close(a.disk);
	cleanup_delta(&a.delta);
	return err;
}

static const struct cmd_option options[] = {
	{
		.name = "force",
		.set = option_flag,
		.offset = offsetof(struct apply_opts, force),
		.help = "Apply it also to what is not known to be where the delta begins, if it has "
			"the right size; needed for raw files and block devices. If it was somewhere "
			"else, what comes out is a mixture of both.",
	},
	OPTION_THREADS(struct apply_opts,
		       "Processors to use for compressing and decompressing; all unless given."),
	OPTION_PROGRESS(struct apply_opts),
	OPTION_JSON(struct apply_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"convert --zstd disk.ublk@monday copy.ublk", "A copy of the disk as it was on Monday,"},
	{"convert --zstd --since monday disk.ublk@tuesday tuesday.delta",
	 "what has changed until Tuesday,"},
	{"apply tuesday.delta copy.ublk", "and the copy is as the disk was then."},
	{NULL, NULL},
};

const struct command cmd_apply = {
	.name = "apply",
	.group = "Snapshots",
	.summary = "Bring a copy of a disk up to date with a delta",
	.operands = "DELTA TARGET",
	.min_args = 2,
	.max_args = 2,
	.options = options,
	.opts_size = sizeof(struct apply_opts),
	.help = "Writes to TARGET, a copy of a disk at one snapshot, what DELTA holds, which \"ublk-img "
		"convert --since\" has made: then it is a copy of the disk at another one, and has "
		"its size.\n\n"
		"TARGET may be an image, which has to be known to be where the delta begins: it was "
		"made by \"convert\" from that very snapshot, or brought there by \"apply\", and its "
		"disk has not been opened for writing since; or it has that snapshot itself, and "
		"nothing has been written since. Taking and deleting snapshots of TARGET does no harm. "
		"An image that is attached, or its device, needs the snapshot, and nobody may "
		"use it meanwhile. A raw file or another block device needs --force.\n\n"
		"When it was interrupted, the same command goes on and finishes. Until then an image "
		"is refused by all other commands but those that show it, its snapshots excepted, and "
		"so is a raw file on a file system with extended attributes; of a device nobody can tell.",
	.examples = examples,
	.run = run_apply,
};
