/* SPDX-License-Identifier: MIT */
/* Starting a bridge: in the background, where the command that starts it waits until the device
 * answers, or in the foreground, for a service manager. */
#ifndef BRIDGE_DAEMON_H
#define BRIDGE_DAEMON_H

#include "bridge/bridge.h"
#include "bridge/report.h"
#include "common/errint.h"

struct daemon_opts {
	struct bridge_opts bridge;
	/* The composition; ready is daemon.c's own. */
	const struct bridge_parts *parts;
};

/*
 * Starts a bridge in a process of its own, with bridge_opts.restart under a supervisor, and waits
 * until its device answers; @device is set to its path.  Messages of the start are shown as this
 * process's.  On failure the other process has ended, or was killed.  Call with one thread.
 */
MUST_CHECK errint_t daemon_start(const struct daemon_opts *opts, char device[REPORT_DEVICE_MAX]);

/* The same in this process: returns when the bridge has ended.  Messages go to standard error
 * unless there is a log file; @ready is called with the device's path. */
MUST_CHECK errint_t daemon_run(const struct daemon_opts *opts,
			       void (*ready)(void *arg, const char *path), void *arg);

#endif
