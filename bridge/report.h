/* SPDX-License-Identifier: MIT */
/*
 * From a bridge that starts to the command that waits for it, through a pipe: messages to show, and
 * at last the device's path.  One line each: a letter, a space, the text.
 */
#ifndef BRIDGE_REPORT_H
#define BRIDGE_REPORT_H

#include "common/errint.h"
#include "common/log.h"

/* The bridge's side.  A reader that went away is no failure. */
void report_message(int fd, enum log_level level, const char *message);
void report_ready(int fd, const char *device);

#define REPORT_DEVICE_MAX 256

/*
 * The command's side: shows the messages that come from @fd until the device is ready, and sets
 * @device to its path.  -EPIPE when the bridge ended before: a message of its own was shown, or is
 * logged here; -ETIMEDOUT, message logged, when all of it takes longer than @seconds.
 */
MUST_CHECK errint_t report_wait(int fd, unsigned seconds, char device[REPORT_DEVICE_MAX]);

#endif
