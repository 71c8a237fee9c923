/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bridge/awaiting.h"
#include "bridge/client.h"
#include "bridge/dead_device.h"
#include "cli/attached_view.h"
#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "common/cleanup.h"
#include "common/log.h"

/* Writing out what is cached for a device takes its time. */
#define DETACH_MS 180000
#define GONE_MS	  30000

struct detach_opts {
	bool all, force, json;
};

struct detach {
	bool force;
	json_t *gone; /* with --json: the devices that went away */
	errint_t err; /* the first */
};

static errint_t detach_one(struct detach *d, struct bridge_client *c)
{
	const char *device = client_text(c, "device");
	json_t *views = attached_view_list(c);
	errint_t err = client_call(c, "detach", json_pack("{s:b}", "force", d->force), -1,
				   DETACH_MS, NULL);

	if (!err)
		err = client_wait_gone(c, GONE_MS);
	if (!err)
		attached_view_unmount(views);
	json_decref(views);
	if (err)
		return err;
	log_info("%s is detached", device);
	if (d->gone)
		json_append_text(d->gone, device);
	return 0;
}

static bool visit(void *arg, struct bridge_client *c)
{
	struct detach *d = arg;
	errint_t err = detach_one(d, c);

	if (err && !d->err)
		d->err = err;
	return true; /* one that is in use does not keep the others */
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

static errint_t remove_awaiting(struct detach *d, const struct device_state *s)
{
	uint64_t lost;
	errint_t err;

	if (!d->force)
		return log_fail(
			-EBUSY,
			"%s (%s) awaits recovery, its bridge has died: \"ublk-img recover "
			"%s\" takes it back, after which it can be detached; --force removes "
			"it without what was not flushed",
			s->device, s->image, s->device);
	err = awaiting_remove(s, &lost);
	if (err)
		return err;
	tell_lost(s, lost);
	if (d->gone)
		json_append_text(d->gone, s->device);
	return 0;
}

static bool visit_awaiting(void *arg, const struct device_state *s)
{
	struct detach *d = arg;
	errint_t err = remove_awaiting(d, s);

	if (err && !d->err)
		d->err = err;
	return true;
}

/* ------------------------------------------------------------------------------------------ */

/* Of which nothing is recorded. */
static errint_t remove_orphan(struct detach *d, const char *what)
{
	errint_t err = d->force ? dead_device_force(what) : -ENOENT;

	if (err == -ENOENT)
		return log_fail(err,
				"%s: no such device, image or name is attached; \"ublk-img "
				"list\" shows what is",
				what);
	if (err)
		return err;
	log_warn(
		"%s is removed; what its bridge had recorded of it is lost, so it cannot be told how "
		"much of what it had acknowledged is as well",
		what);
	if (d->gone)
		json_append_text(d->gone, what);
	return 0;
}

static errint_t detach_named(struct detach *d, const char *what)
{
	CLEANUP(client) struct bridge_client c;
	CLEANUP(free) struct device_state *state = NULL;
	errint_t err = client_find(what, &c);

	if (err != -ENOENT)
		return err ? err : detach_one(d, &c);
	err = awaiting_find(what, &state);
	if (err == -ENOENT)
		return remove_orphan(d, what);
	return err ? err : remove_awaiting(d, state);
}

static errint_t run_detach(struct invocation *inv)
{
	const struct detach_opts *o = inv->opts;
	struct detach d = {.force = o->force};
	json_t *doc = NULL;
	errint_t err = 0;

	if (o->all != !inv->nargs)
		return usage_error(inv, "give either DEVICE, IMAGE or NAME, or --all");
	if (!o->all && !inv->args[0][0])
		return usage_error(inv, "the name of a device cannot be empty");
	if (o->json) {
		doc = json_document("detach");
		d.gone = json_array();
	}
	if (o->all) {
		err = client_visit_all(visit, &d);
		err = err ? err : awaiting_visit(visit_awaiting, &d);
		err = err ? err : d.err;
	} else {
		err = detach_named(&d, inv->args[0]);
	}
	if (o->json) {
		json_put(doc, "devices", d.gone);
		if (json_print(doc) && !err)
			err = -ENOMEM;
	}
	return err;
}

static const struct cmd_option options[] = {
	{
		.name = "all",
		.letter = 'a',
		.set = option_flag,
		.offset = offsetof(struct detach_opts, all),
		.help = "Detach every device.",
	},
	{
		.name = "force",
		.set = option_flag,
		.offset = offsetof(struct detach_opts, force),
		.help = "Detach also a device that is in use, or awaits recovery: whoever uses it gets "
			"I/O errors.",
	},
	OPTION_JSON(struct detach_opts),
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
	.opts_size = sizeof(struct detach_opts),
	.help = "Takes away the block device that attach made, and closes its image. Everything that "
		"was written to the device is in the image when the command ends.\n\n"
		"A device that is mounted, or open in a process, is not taken away; the message says "
		"where. With --force it is, and so is one that awaits recovery (see recover): what it had "
		"acknowledged, and nobody had flushed, is then lost.",
	.examples = examples,
	.run = run_detach,
};
