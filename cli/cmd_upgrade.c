/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "bridge/awaiting.h"
#include "bridge/client.h"
#include "cli/attached_view.h"
#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/take_back.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

/* Each of the steps of handing over is bounded by itself. */
#define HAND_OVER_MS 240000
#define GONE_MS	     30000
/* For the service manager to start the next bridge. */
#define RETURN_SECONDS 90
#define POLL_MS	       50

struct upgrade_opts {
	bool all, force, json;
};

struct upgrade {
	bool force;
	json_t *done; /* with --json: the devices */
	errint_t err; /* the first */
};

static errint_t check(struct bridge_client *c, const json_t *views, bool force)
{
	const char *device = client_text(c, "device");

	if (!json_is_true(json_object_get(c->about, "recovery")))
		return log_fail(-ENOTSUP,
				"%s cannot be handed over, since it was attached without recovery "
				"(%s); detach and attach it",
				device, client_text(c, "recovery_reason"));
	if (json_array_size(views) && !force)
		return log_fail(
			-EBUSY,
			"%s: views of the image are mounted, on %s%s, and would end; unmount "
			"them, or say --force",
			device, json_string_value(json_array_get(views, 0)),
			json_array_size(views) > 1 ? " and elsewhere" : "");
	return 0;
}

/* A bridge that was run by a service manager is started again by that. */
static errint_t wait_return(const char *device, long old)
{
	for (unsigned i = 0; i < RETURN_SECONDS * 1000 / POLL_MS; i++) {
		CLEANUP(client) struct bridge_client c;
		errint_t err = client_find(device, &c);

		if (!err && client_pid(&c) != old)
			return 0;
		if (err && err != -ENOENT)
			return err;
		clock_sleep_ms(POLL_MS);
	}
	return log_fail(
		-ETIMEDOUT,
		"%s: its bridge ran in the foreground and has ended, and nothing has started "
		"it again within %d s; \"ublk-img recover %s\" does",
		device, RETURN_SECONDS, device);
}

/* The connection ends before the process does. */
static errint_t wait_awaiting(const char *device, struct device_state **state)
{
	errint_t err = -ENOENT;

	for (unsigned i = 0; err == -ENOENT && i < GONE_MS / POLL_MS; i++) {
		if (i)
			clock_sleep_ms(POLL_MS);
		err = awaiting_find(device, state);
	}
	return err;
}

static errint_t start_next(const char *device, bool foreground, long old)
{
	CLEANUP(free) struct device_state *state = NULL;
	errint_t err;

	if (foreground)
		return wait_return(device, old);
	err = wait_awaiting(device, &state);
	if (err == -ENOENT)
		return log_fail(err, "%s has gone, or somebody else has taken it over", device);
	return err ? err : take_back(state, state->restart);
}

static errint_t upgrade_one(struct upgrade *u, struct bridge_client *c)
{
	const char *device = client_text(c, "device");
	json_t *views = attached_view_list(c);
	errint_t err = check(c, views, u->force);

	if (!err)
		err = client_call(c, "hand-over", NULL, -1, HAND_OVER_MS, NULL);
	if (!err)
		err = client_wait_gone(c, GONE_MS);
	if (!err)
		err = start_next(device, json_is_true(json_object_get(c->about, "foreground")),
				 client_pid(c));
	if (!err)
		attached_view_unmount(views);
	json_decref(views);
	if (err)
		return err;
	log_info("%s has a new bridge", device);
	if (u->done)
		json_append_text(u->done, device);
	return 0;
}

static bool visit(void *arg, struct bridge_client *c)
{
	struct upgrade *u = arg;
	errint_t err = upgrade_one(u, c);

	if (err && !u->err)
		u->err = err;
	return true;
}

static errint_t upgrade_named(struct upgrade *u, const char *what)
{
	CLEANUP(client) struct bridge_client c;
	CLEANUP(free) struct device_state *state = NULL;
	errint_t err = client_find(what, &c);

	if (err != -ENOENT)
		return err ? err : upgrade_one(u, &c);
	err = awaiting_find(what, &state);
	if (!err)
		return log_fail(-ENOENT,
				"%s has no bridge that could be upgraded: \"ublk-img recover %s\" "
				"starts one",
				state->device, state->device);
	if (err != -ENOENT)
		return err;
	return log_fail(err,
			"%s: no such device, image or name is attached; \"ublk-img list\" shows "
			"what is",
			what);
}

static errint_t run_upgrade(struct invocation *inv)
{
	const struct upgrade_opts *o = inv->opts;
	struct upgrade u = {.force = o->force};
	json_t *doc = NULL;
	errint_t err;

	if (o->all != !inv->nargs)
		return usage_error(inv, "give either DEVICE, IMAGE or NAME, or --all");
	if (!o->all && !inv->args[0][0])
		return usage_error(inv, "the name of a device cannot be empty");
	if (o->json) {
		doc = json_document("upgrade");
		u.done = json_array();
	}
	if (o->all) {
		err = client_visit_all(visit, &u);
		err = err ? err : u.err;
	} else {
		err = upgrade_named(&u, inv->args[0]);
	}
	if (o->json) {
		json_put(doc, "devices", u.done);
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
		.offset = offsetof(struct upgrade_opts, all),
		.help = "Upgrade the bridge of every device.",
	},
	{
		.name = "force",
		.set = option_flag,
		.offset = offsetof(struct upgrade_opts, force),
		.help = "Also when views of the image are mounted: they end.",
	},
	OPTION_JSON(struct upgrade_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"upgrade --all", "After the program was updated: have all devices served by the new one."},
	{NULL, NULL},
};

const struct command cmd_upgrade = {
	.name = "upgrade",
	.group = "Devices",
	.summary = "Have a device served by this version of the program",
	.operands = "[DEVICE|IMAGE|NAME]",
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct upgrade_opts),
	.help = "Replaces the process that serves a device while the device is in use: programs that "
		"use it, and file systems that are mounted, see a pause and no error.\n\n"
		"From Linux 6.16 on the old process finishes what it has begun and closes the image "
		"before the new one takes the device. On older kernels it is ended, and the new "
		"one recovers the device (see recover).\n\n"
		"If the new process fails, the device waits: \"ublk-img recover\" tries again, and may "
		"be that of the old version. A device that was attached with --foreground is left to the "
		"service manager, which has to start the next process (the unit that comes with "
		"ublk-img does).\n\n"
		"Views of the image that are mounted (see mount) end with the old process.",
	.examples = examples,
	.run = run_upgrade,
};
