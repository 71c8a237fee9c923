/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bridge/awaiting.h"
#include "bridge/daemon.h"
#include "bridge/params.h"
#include "bridge/runtime_dir.h"
#include "cli/attached.h"
#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/serve.h"
#include "cli/take_back.h"
#include "common/cleanup.h"
#include "common/log.h"

struct attach_opts {
	const char *name, *log;
	int mode;     /* enum bridge_mode */
	int recovery; /* enum bridge_recovery */
	unsigned queues, depth;
	bool read_only, foreground, restart, json;
};

static const char *const recovery_words[] = {
	[BRIDGE_RECOVERY_AUTO] = "auto",
	[BRIDGE_RECOVERY_REQUIRE] = "require",
	[BRIDGE_RECOVERY_OFF] = "off",
	NULL,
};

/* What does not need the image to be seen as wrong. */
static errint_t check_options(struct invocation *inv)
{
	const struct attach_opts *o = inv->opts;

	if (o->name && runtime_name_check(o->name)) {
		inv->usage = true;
		return -EINVAL;
	}
	if (o->queues > BRIDGE_MAX_QUEUES)
		return usage_error(inv, "--queues: at most %u", BRIDGE_MAX_QUEUES);
	if (o->depth > BRIDGE_MAX_DEPTH)
		return usage_error(inv, "--depth: at most %u", BRIDGE_MAX_DEPTH);
	if (o->restart && o->recovery == BRIDGE_RECOVERY_OFF)
		return usage_error(inv, "--restart needs recovery, so not --recovery=off");
	return 0;
}

/* The absolute path of @path, which exists; *out is the caller's. */
static errint_t absolute(const char *path, char **out)
{
	*out = realpath(path, NULL);
	return *out ? 0 : log_errno("%s: cannot find the file", path);
}

/* The same for a file that may not exist yet: the bridge leaves the working directory. */
static errint_t absolute_log(const char *path, char **out)
{
	CLEANUP(free) char *cwd = NULL;

	if (path[0] == '/') {
		*out = strdup(path);
	} else {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return log_errno("cannot find the working directory");
		if (asprintf(out, "%s/%s", cwd, path) < 0)
			*out = NULL;
	}
	return *out ? 0 : log_err(-ENOMEM, "%s: cannot name the log file", path);
}

/* What the result says. */
struct result {
	bool json;
	const char *image;
};

static void ready(void *arg, const char *device)
{
	const struct result *r = arg;
	json_t *doc;

	if (!r->json) {
		puts(device);
	} else {
		doc = json_document("attach");
		json_put_text(doc, "image", r->image);
		json_put_text(doc, "device", device);
		if (json_print(doc))
			return; /* logged */
	}
	fflush(stdout);
}

static errint_t attach(struct invocation *inv, const char *image, const char *log)
{
	const struct attach_opts *o = inv->opts;
	struct result result = {.json = o->json, .image = image};
	struct serve serve = {
		.mode = (enum bridge_mode)o->mode, .queues = o->queues, .depth = o->depth};
	char device[REPORT_DEVICE_MAX];
	struct bridge_parts parts;
	errint_t err;

	err = serve_parts(&serve, &parts);
	if (err)
		return err;
	const struct daemon_opts opts = {
		.bridge = {.image = image,
			   .name = o->name,
			   .log_file = log,
			   .read_only = o->read_only,
			   .allow_backing = image_file_allows_backing(),
			   .foreground = o->foreground,
			   .restart = o->restart && !o->foreground,
			   .recovery = (enum bridge_recovery)o->recovery},
		.parts = &parts,
	};
	if (o->foreground) {
		err = daemon_run(&opts, ready, &result);
	} else {
		err = daemon_start(&opts, device);
		if (!err)
			ready(&result, device);
	}
	serve_free(&serve);
	return err;
}

/* The image has a device that awaits recovery. */
static errint_t attach_again(const struct attach_opts *o, const struct device_state *s)
{
	struct result result = {.json = o->json, .image = s->image};
	errint_t err;

	if (!o->restart)
		return log_fail(
			-EBUSY,
			"%s is attached as %s, which awaits recovery, as its bridge has died: "
			"\"ublk-img recover %s\" takes it back (as attach --restart does), "
			"\"ublk-img detach --force %s\" gives up what was not flushed",
			s->image, s->device, s->device, s->device);
	if (o->read_only != s->read_only)
		return log_fail(-EBUSY,
				"%s awaits recovery as %s, which %s be written; --read-only "
				"is for new devices",
				s->image, s->device, s->read_only ? "cannot" : "can");
	if (o->foreground)
		return take_back_here(s, ready, &result);
	err = take_back(s, true);
	if (!err)
		ready(&result, s->device);
	return err;
}

static errint_t run_attach(struct invocation *inv)
{
	const struct attach_opts *o = inv->opts;
	CLEANUP(free) char *image = NULL, *log = NULL;
	CLEANUP(free) struct device_state *state = NULL;
	errint_t err = check_options(inv);

	if (!err)
		err = absolute(inv->args[0], &image);
	if (!err && o->log)
		err = absolute_log(o->log, &log);
	if (err)
		return err;
	err = awaiting_find_image(image, &state);
	if (!err)
		return attach_again(o, state);
	if (err == -ENOENT)
		err = attached_refuse(image, !o->read_only);
	return err ? err : attach(inv, image, log);
}

static const struct cmd_option options[] = {
	{
		.name = "name",
		.letter = 'n',
		.arg = "NAME",
		.set = option_string,
		.offset = offsetof(struct attach_opts, name),
		.help = "A name for the device, which detach and list know.",
	},
	{
		.name = "read-only",
		.letter = 'r',
		.set = option_flag,
		.offset = offsetof(struct attach_opts, read_only),
		.help = "Make a device that cannot be written. The image is not changed.",
	},
	{
		.name = "mode",
		.arg = "MODE",
		.words = mode_words,
		.set = option_word,
		.offset = offsetof(struct attach_opts, mode),
		.help = "How the device is served: auto (the best that is possible; the default), "
			"zero-copy, zero-copy-explicit, user-copy, copy or loop.",
	},
	{
		.name = "queues",
		.arg = "N",
		.set = option_count,
		.offset = offsetof(struct attach_opts, queues),
		.help = "Hardware queues, each with a thread: 1 to 64. Default: as many as there are "
			"processors, at most 16.",
	},
	{
		.name = "depth",
		.arg = "N",
		.set = option_count,
		.offset = offsetof(struct attach_opts, depth),
		.help = "Requests that a queue takes at a time: 1 to 1024. Default: 128.",
	},
	{
		.name = "recovery",
		.arg = "WHEN",
		.words = recovery_words,
		.set = option_word,
		.offset = offsetof(struct attach_opts, recovery),
		.help = "Whether the device outlives the process that serves it, so that it can be taken "
			"back (see recover): auto (where that is possible; the default), require, or "
			"off.",
	},
	{
		.name = "restart",
		.set = option_flag,
		.offset = offsetof(struct attach_opts, restart),
		.help = "Start the serving process again when it dies, up to 5 times within a minute. If "
			"the image has a device that awaits recovery, take that back. With "
			"--foreground it is for the service manager to start it again.",
	},
	{
		.name = "foreground",
		.letter = 'f',
		.set = option_flag,
		.offset = offsetof(struct attach_opts, foreground),
		.help = "Serve the device in this process, until it is detached or SIGTERM or SIGINT "
			"comes. For service managers, which are notified as of sd_notify(3).",
	},
	{
		.name = "log",
		.arg = "FILE",
		.set = option_string,
		.offset = offsetof(struct attach_opts, log),
		.help = "Append the messages of the serving process to FILE. Default: the system log; "
			"with --foreground, standard error.",
	},
	OPTION_JSON(struct attach_opts),
	{.name = NULL},
};

static const struct attach_opts defaults = {.mode = BRIDGE_MODE_AUTO};

static const struct cmd_example examples[] = {
	{"attach disk.ublk", "Make a block device; prints its path, such as /dev/ublkb0."},
	{"attach --name data --read-only disk.ublk", "One that cannot be written, with a name."},
	{NULL, NULL},
};

const struct command cmd_attach = {
	.name = "attach",
	.group = "Devices",
	.summary = "Make a block device of an image",
	.operands = "IMAGE",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct attach_opts),
	.defaults = &defaults,
	.help = "Makes a block device that shows the disk in IMAGE, and prints its path as soon as it "
		"answers. A process in the background, ublk-bridge, serves it until it is detached. "
		"Needs root.\n\n"
		"With zero-copy, data that is stored as it is goes between the block layer's memory "
		"and the image's file without being copied; only compressed data is. That needs Linux "
		"6.16 (zero-copy-explicit: 6.15); user-copy and copy work from 6.5 on. Mode loop "
		"is for kernels without ublk: a loop device on a view of the disk in FUSE, which is slower; "
		"--queues and --depth are of no use for it. \"ublk-img list --json\" tells which mode is in "
		"use, and why not a better one.\n\n"
		"SIGTERM ends the serving process: what is cached is written out, the device goes "
		"away, the image is closed. If the process is killed, the device stays and requests on it "
		"wait, until recover, or --restart, has a new process take it back, with everything that "
		"was acknowledged. Where there is no recovery (mode loop, --recovery=off, no "
		"runtime directory with 5 MiB of space in memory), requests fail instead, and the image "
		"loses what was not flushed.",
	.examples = examples,
	.run = run_attach,
};
