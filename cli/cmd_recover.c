/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/awaiting.h"
#include "bridge/client.h"
#include "cli/commands.h"
#include "cli/device_work.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/take_back.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define DYING_MS 30000
#define POLL_MS	 20

struct recover_opts {
	bool all, foreground, json;
};

/* What awaits recovery when the command begins: a device that fails is not tried twice. */
struct found {
	struct device_state *at;
	unsigned count;
	errint_t err;
};

static bool add(void *arg, const struct device_state *s)
{
	struct found *f = arg;
	struct device_state *more = realloc(f->at, (f->count + 1) * sizeof(*more));

	if (!more) {
		f->err = log_err(-ENOMEM, "cannot list the devices");
		return false;
	}
	f->at = more;
	f->at[f->count++] = *s;
	return true;
}

/* Says why there is nothing to recover; -EAGAIN: there may be soon. */
static errint_t not_awaiting(const char *what)
{
	CLEANUP(client) struct bridge_client c;
	errint_t err = client_find(what, &c);

	if (!err)
		return log_fail(-EBUSY,
				"%s is served by the bridge with pid %ld, and needs no recovery",
				client_text(&c, "device"), client_pid(&c));
	if (err != -ENOENT)
		return err;
	if (awaiting_known(what))
		return -EAGAIN;
	return log_fail(err,
			"%s: no such device, image or name awaits recovery; \"ublk-img list\" "
			"shows what does",
			what);
}

/* A process that was killed needs a moment to end. */
static errint_t find_one(const char *what, struct device_state **s)
{
	errint_t err = -EAGAIN;

	for (unsigned i = 0; err == -EAGAIN && i < DYING_MS / POLL_MS; i++) {
		if (i)
			clock_sleep_ms(POLL_MS);
		err = awaiting_find(what, s);
		if (err == -ENOENT)
			err = not_awaiting(what);
	}
	if (err == -EAGAIN)
		return log_fail(
			-EBUSY,
			"%s: a process that does not answer serves it, or is about to take it "
			"back or away, and has not ended within %d s; try again later",
			what, DYING_MS / 1000);
	return err;
}

static errint_t find(const struct recover_opts *o, const char *what, struct found *f)
{
	errint_t err;

	if (o->all) {
		err = awaiting_visit(add, f);
		return err ? err : f->err;
	}
	err = find_one(what, &f->at);
	f->count = !err;
	return err;
}

static void ready(void *arg, const char *device)
{
	json_t *devices = arg, *doc;

	if (!devices) {
		puts(device);
	} else {
		json_append_text(devices, device);
		doc = json_document("recover");
		json_put(doc, "devices", json_incref(devices));
		if (json_print(doc))
			return; /* logged */
	}
	fflush(stdout);
}

static errint_t recover_all(const struct found *f, json_t *devices)
{
	errint_t first = 0;

	for (unsigned i = 0; i < f->count; i++) {
		const struct device_state *s = &f->at[i];
		errint_t err = take_back(s, s->restart);

		if (err && !first)
			first = err;
		if (err)
			continue;
		if (devices)
			json_append_text(devices, s->device);
		else
			puts(s->device);
	}
	return first;
}

static errint_t recover(const struct recover_opts *o, const struct found *f)
{
	json_t *devices = o->json ? json_array() : NULL, *doc;
	errint_t err;

	if (o->foreground) {
		err = take_back_here(&f->at[0], ready, devices);
		json_decref(devices);
		return err;
	}
	err = recover_all(f, devices);
	if (o->json) {
		doc = json_document("recover");
		json_put(doc, "devices", devices);
		if (json_print(doc) && !err)
			err = -ENOMEM;
	}
	return err;
}

static errint_t run_recover(struct invocation *inv)
{
	const struct recover_opts *o = inv->opts;
	struct found f = {.count = 0};
	errint_t err = device_usage(inv, o->all);

	if (err)
		return err;
	if (o->all && o->foreground)
		return usage_error(inv, "--foreground is for one device, not for --all");
	err = find(o, o->all ? NULL : inv->args[0], &f);
	if (!err)
		err = recover(o, &f);
	free(f.at);
	return err;
}

static const struct cmd_option options[] = {
	{
		.name = "all",
		.letter = 'a',
		.set = option_flag,
		.offset = offsetof(struct recover_opts, all),
		.help = "Recover every device that awaits it.",
	},
	{
		.name = "foreground",
		.letter = 'f',
		.set = option_flag,
		.offset = offsetof(struct recover_opts, foreground),
		.help = "Serve the device in this process, as with attach.",
	},
	OPTION_JSON(struct recover_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"recover /dev/ublkb0", "Take a device back."},
	{"recover --all", "All that await it."},
	{NULL, NULL},
};

const struct command cmd_recover = {
	.name = "recover",
	.group = "Devices",
	.summary = "Take back a device whose bridge has died",
	.operands = "[DEVICE|IMAGE|NAME]",
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct recover_opts),
	.help = "When the process that serves a device is killed, or crashes, the device stays, and "
		"requests on it wait: \"ublk-img list\" shows that it awaits recovery. This command "
		"starts a new process, which goes on where the other one has ended. It prints the path of "
		"the device, which is the same as before; programs that use it, and file systems that are "
		"mounted, see a pause and no error. Every write that was acknowledged is there, flushed "
		"or not.\n\n"
		"If the device cannot be recovered, the message says why; it goes on waiting. "
		"\"ublk-img detach --force\" then removes it, with the loss of what was not "
		"flushed.\n\n"
		"Devices of mode loop, and those attached with --recovery=off, end with their "
		"process.",
	.examples = examples,
	.run = run_recover,
};
