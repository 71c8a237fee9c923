/* SPDX-License-Identifier: MIT */
/*
 * Starts a bridge again that has died: a process that waits for the bridge, its child, and has
 * another one take the device back when a signal or abort() has ended it.  An orderly end, also one
 * with an error, is the supervisor's end as well.
 */
#ifndef BRIDGE_SUPERVISOR_H
#define BRIDGE_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/state_file.h"
#include "common/errint.h"

/* A bridge that dies more often than SUPERVISOR_STARTS times within SUPERVISOR_SECONDS is left: its
 * device then awaits recovery. */
#define SUPERVISOR_STARTS  5
#define SUPERVISOR_SECONDS 60

struct supervised {
	/* Serves in a process of its own until the end.  @takeover: the device to be taken back;
	 * NULL: as at first. */
	errint_t (*run)(void *arg, const struct device_state *takeover);
	/* In the supervisor, when the first process has been started. */
	void (*started)(void *arg);
	/* awaiting_find_left() */
	errint_t (*find)(pid_t child, const struct device_state *before, struct device_state **out);
	void *arg;
};

/* Call with one thread.  0 when the last bridge has ended well; errors are logged. */
MUST_CHECK errint_t supervisor_run(const struct supervised *s);

/* The decision, for tests. */
struct supervisor_budget {
	int64_t at[SUPERVISOR_STARTS]; /* seconds: when it was last started again; a ring */
	unsigned next;
	unsigned used; /* of the ring */
};

/* May it be started again at @now (seconds)?  Counts that it was. */
bool supervisor_may_start(struct supervisor_budget *b, int64_t now);

#endif
