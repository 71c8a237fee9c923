/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>

#include "bridge/dead_device.h"
#include "cli/attached_view.h"
#include "cli/commands.h"
#include "cli/device_work.h"
#include "cli/options.h"
#include "common/log.h"

/* Writing out what is cached for a device takes its time. */
#define DETACH_MS 180000
#define GONE_MS	  30000

static errint_t detach_one(struct bridge_client *c, bool force)
{
	const char *device = client_text(c, "device");
	json_t *views = attached_view_list(c);
	errint_t err =
		client_call(c, "detach", json_pack("{s:b}", "force", force), -1, DETACH_MS, NULL);

	if (!err)
		err = client_wait_gone(c, GONE_MS);
	if (!err)
		attached_view_unmount(views);
	json_decref(views);
	if (!err)
		log_info("%s is detached", device);
	return err;
}

/* ---- devices that await recovery --------------------------------------------------------- */

static void tell_lost(const struct device_state *s, uint64_t lost)
{
	if (lost == UINT64_MAX)
		log_warn(
			"%s is removed; how much of what it had acknowledged is lost cannot be told",
			s->device);
	else if (lost)
		log_warn("%s is removed; %" PRIu64
			 " changes that it had acknowledged, and nobody had "
			 "flushed, are lost",
			 s->device, lost);
	else
		log_info("%s is removed; nothing that it had acknowledged is lost", s->device);
}

static errint_t remove_awaiting(const struct device_state *s, bool force)
{
	uint64_t lost;
	errint_t err;

	if (!force)
		return log_fail(
			-EBUSY,
			"%s (%s) awaits recovery, its bridge has died: \"ublk-img recover "
			"%s\" takes it back, after which it can be detached; --force removes "
			"it without what was not flushed",
			s->device, s->image, s->device);
	err = awaiting_remove(s, &lost);
	if (!err)
		tell_lost(s, lost);
	return err;
}

/* ------------------------------------------------------------------------------------------ */

/* Of which nothing is recorded. */
static errint_t remove_orphan(const char *what, bool force)
{
	errint_t err = force ? dead_device_force(what) : -ENOENT;

	if (!err)
		log_warn(
			"%s is removed; what its bridge had recorded of it is lost, so it cannot be "
			"told how much of what it had acknowledged is as well",
			what);
	return err;
}

static errint_t run_detach(struct invocation *inv)
{
	static const struct device_work work = {
		.command = "detach",
		.attached = detach_one,
		.awaiting = remove_awaiting,
		.unknown = remove_orphan,
		.all_awaiting = true,
	};

	return device_work(inv, &work);
}

static const struct cmd_option options[] = {
	{
		.name = "all",
		.letter = 'a',
		.set = option_flag,
		.offset = offsetof(struct device_opts, all),
		.help = "Detach every device.",
	},
	{
		.name = "force",
		.set = option_flag,
		.offset = offsetof(struct device_opts, force),
		.help = "Detach also a device that is in use, or awaits recovery: whoever uses it gets "
			"I/O errors.",
	},
	OPTION_JSON(struct device_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"detach /dev/ublkb0", "Take a device away."},
	{"detach disk.ublk", "The device of this image."},
	{"detach --all", "All of them."},
	{NULL, NULL},
};

const struct command cmd_detach = {
	.name = "detach",
	.group = "Devices",
	.summary = "Take a block device away",
	.operands = "[DEVICE|IMAGE|NAME]",
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct device_opts),
	.help = "Takes away the block device that attach made, and closes its image. Everything that "
		"was written to the device is in the image when the command ends.\n\n"
		"A device that is mounted, or open in a process, is not taken away; the message says "
		"where. With --force it is, and so is one that awaits recovery (see recover): what it had "
		"acknowledged, and nobody had flushed, is then lost.",
	.examples = examples,
	.run = run_detach,
};
