/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "bridge/client.h"
#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "fuse/session.h"

/* Writing out what is cached for a device takes its time. */
#define DETACH_MS 180000
#define GONE_MS	  30000
#define VIEWS_MS  20000

struct detach_opts {
	bool all, force, json;
};

struct detach {
	bool force;
	json_t *gone; /* with --json: the devices that went away */
	errint_t err; /* the first */
};

/* Where views of the image are mounted; NULL: nowhere, or it cannot be told. */
static json_t *mounted_views(struct bridge_client *c)
{
	json_t *result = NULL, *views;
	errint_t err = client_call(c, "views", NULL, -1, VIEWS_MS, &result);

	if (err)
		return NULL;
	views = json_incref(json_object_get(result, "views"));
	json_decref(result);
	return views;
}

/* Nobody answers there any more. */
static void unmount_views(json_t *views)
{
	json_t *dir;
	size_t i;

	json_array_foreach(views, i, dir)
	{
		const char *path = json_string_value(dir);

		if (!session_is_mounted(path) || !session_is_dead(path))
			continue;
		if (session_unmount(path, true))
			log_warn("%s: a view of the image is left there; \"ublk-img umount %s\" "
				 "removes it",
				 path, path);
		else
			log_warn("the view on %s has ended with the device", path);
	}
}

static errint_t detach_one(struct detach *d, struct bridge_client *c)
{
	const char *device = client_text(c, "device");
	json_t *views = mounted_views(c);
	errint_t err = client_call(c, "detach", json_pack("{s:b}", "force", d->force), -1,
				   DETACH_MS, NULL);

	if (!err)
		err = client_wait_gone(c, GONE_MS);
	if (!err)
		unmount_views(views);
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

static errint_t detach_named(struct detach *d, const char *what)
{
	CLEANUP(client) struct bridge_client c;
	errint_t err = client_find(what, &c);

	if (err == -ENOENT)
		return log_fail(err,
				"%s: no such device, image or name is attached; \"ublk-img "
				"list\" shows what is",
				what);
	return err ? err : detach_one(d, &c);
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
		.help = "Detach also a device that is in use: whoever uses it gets I/O errors.",
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
		"where.",
	.examples = examples,
	.run = run_detach,
};
