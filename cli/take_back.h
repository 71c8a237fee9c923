/* SPDX-License-Identifier: MIT */
/* Starting a bridge that takes back a device which awaits recovery (bridge/awaiting.h). */
#ifndef CLI_TAKE_BACK_H
#define CLI_TAKE_BACK_H

#include <stdbool.h>

#include "bridge/report.h"
#include "bridge/state_file.h"
#include "common/errint.h"

/*
 * Has a bridge in the background take the device of @s back, as it was attached; returns when it
 * answers.  @restart: under a supervisor.  On failure, message logged, the device goes on waiting,
 * and the user is told what can be done.
 */
MUST_CHECK errint_t take_back(const struct device_state *s, bool restart);

/* The same in this process, which serves the device until its end; @ready is called when it
 * answers. */
MUST_CHECK errint_t take_back_here(const struct device_state *s,
				   void (*ready)(void *arg, const char *device), void *arg);

#endif
