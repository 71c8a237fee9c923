/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/take_back.h"

#include "bridge/awaiting.h"
#include "bridge/daemon.h"
#include "cli/serve.h"
#include "common/cleanup.h"
#include "common/log.h"

static const char *text_or_null(const char *text)
{
	return *text ? text : NULL;
}

static struct bridge_opts opts_of(const struct device_state *s)
{
	return (struct bridge_opts){
		.image = s->image,
		.name = text_or_null(s->name),
		.log_file = text_or_null(s->log),
		.read_only = s->read_only,
		.allow_backing = s->allow_backing,
		.recovery = BRIDGE_RECOVERY_REQUIRE,
		.takeover = s,
	};
}

/* What the user can do, unless the device has gone, or somebody else has become responsible. */
static void advise(const struct device_state *s)
{
	CLEANUP(free) struct device_state *now = NULL;

	if (awaiting_find(s->device, &now))
		return;
	log_warn("%s still awaits recovery, requests on it wait: \"ublk-img recover %s\" tries "
		 "again, \"ublk-img detach --force %s\" gives it up",
		 s->device, s->device, s->device);
}

errint_t take_back(const struct device_state *s, bool restart)
{
	struct serve serve = {.mode = s->mode};
	struct daemon_opts opts = {.bridge = opts_of(s)};
	char device[REPORT_DEVICE_MAX];
	struct bridge_parts parts;
	errint_t err = serve_parts(&serve, &parts);

	if (err)
		return err;
	opts.parts = &parts;
	opts.bridge.restart = restart;
	err = daemon_start(&opts, device);
	serve_free(&serve);
	if (err)
		advise(s);
	return err;
}

errint_t take_back_here(const struct device_state *s, void (*ready)(void *arg, const char *device),
			void *arg)
{
	struct serve serve = {.mode = s->mode};
	struct daemon_opts opts = {.bridge = opts_of(s)};
	struct bridge_parts parts;
	errint_t err = serve_parts(&serve, &parts);

	if (err)
		return err;
	opts.parts = &parts;
	opts.bridge.foreground = true;
	err = daemon_run(&opts, ready, arg);
	serve_free(&serve);
	return err;
}
