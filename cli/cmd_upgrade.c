/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/attached_view.h"
#include "cli/commands.h"
#include "cli/device_work.h"
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

/* Who serves @device now; 0: nobody that answers. */
static long served_by(const char *device)
{
	CLEANUP(client) struct bridge_client c;

	return client_find(device, &c) ? 0 : client_pid(&c);
}

/* One that has died of it has left the device as well, if not in order. */
static errint_t lost_connection(struct bridge_client *c, const char *device, errint_t err)
{
	for (unsigned i = 0; i < GONE_MS / POLL_MS; i++) {
		CLEANUP(free) struct device_state *state = NULL;

		if (!awaiting_find(device, &state)) {
			log_warn("%s: its bridge has died instead; the next one replays the "
				 "volatile journal",
				 device);
			return 0;
		}
		long pid = served_by(device);

		if (pid && pid != client_pid(c))
			return log_fail(-EAGAIN,
					"%s: its bridge has died instead, and has been replaced "
					"already (pid %ld)",
					device, pid);
		clock_sleep_ms(POLL_MS);
	}
	return log_fail(err, "%s: its bridge (pid %ld) has ended the connection", device,
			client_pid(c));
}

static errint_t hand_over(struct bridge_client *c, const char *device)
{
	errint_t err = client_call(c, "hand-over", NULL, -1, HAND_OVER_MS, NULL);

	if (err == -ECONNRESET || err == -EPIPE)
		return lost_connection(c, device, err);
	return err ? err : client_wait_gone(c, GONE_MS);
}

static errint_t upgrade_one(struct bridge_client *c, bool force)
{
	const char *device = client_text(c, "device");
	json_t *views = attached_view_list(c);
	errint_t err = check(c, views, force);

	if (!err)
		err = hand_over(c, device);
	if (!err)
		err = start_next(device, json_is_true(json_object_get(c->about, "foreground")),
				 client_pid(c));
	if (!err)
		attached_view_unmount(views);
	json_decref(views);
	if (!err)
		log_info("%s has a new bridge", device);
	return err;
}

static errint_t refuse_awaiting(const struct device_state *s, bool force)
{
	(void)force;
	return log_fail(
		-ENOENT,
		"%s has no bridge that could be upgraded: \"ublk-img recover %s\" starts one",
		s->device, s->device);
}

static errint_t run_upgrade(struct invocation *inv)
{
	static const struct device_work work = {
		.command = "upgrade",
		.attached = upgrade_one,
		.awaiting = refuse_awaiting,
	};

	return device_work(inv, &work);
}

static const struct cmd_option options[] = {
	{
		.name = "all",
		.letter = 'a',
		.set = option_flag,
		.offset = offsetof(struct device_opts, all),
		.help = "Upgrade the bridge of every device.",
	},
	{
		.name = "force",
		.set = option_flag,
		.offset = offsetof(struct device_opts, force),
		.help = "Also when views of the image are mounted: they end.",
	},
	OPTION_JSON(struct device_opts),
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
	.opts_size = sizeof(struct device_opts),
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
