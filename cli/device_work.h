/* SPDX-License-Identifier: MIT */
/* Commands that do one thing to a device that is attached, or to all of them. */
#ifndef CLI_DEVICE_WORK_H
#define CLI_DEVICE_WORK_H

#include <stdbool.h>

#include "bridge/awaiting.h"
#include "bridge/client.h"
#include "cli/command.h"

struct device_opts {
	bool all, force, json;
};

/* What is done.  Both log their failures. */
struct device_work {
	const char *command; /* of the document with --json */
	errint_t (*attached)(struct bridge_client *c, bool force);
	/* To one that awaits recovery. */
	errint_t (*awaiting)(const struct device_state *s, bool force);
	bool all_awaiting; /* --all means these as well */
	/* To one of which nothing is recorded; -ENOENT without a message: it is not there.  NULL:
	 * no such is looked for. */
	errint_t (*unknown)(const char *what, bool force);
};

/* Either one operand, or --all: a usage error if not.  For a command that takes one operand. */
MUST_CHECK errint_t device_usage(struct invocation *inv, bool all);

/* Does @w as inv->opts, a struct device_opts, says.  With --all one that fails does not keep the
 * others from it; the first error is returned.  With --json, tells to which it was done. */
MUST_CHECK errint_t device_work(struct invocation *inv, const struct device_work *w);

#endif
