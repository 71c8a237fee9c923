/* SPDX-License-Identifier: MIT */
/*
 * Where the messages of a bridge go: a file or the system log; besides, as long as somebody waits
 * for the device, to that command (report.h), and for the methods of the control socket, to their
 * callers.
 */
#ifndef BRIDGE_LOG_SINK_H
#define BRIDGE_LOG_SINK_H

#include "common/errint.h"

/*
 * Sends all messages of this process from now on to the file at @path (appended to, made when
 * needed), NULL: to the system log; "-": to standard error.  And to @report_fd unless that is -1.
 */
MUST_CHECK errint_t log_sink_begin(const char *path, int report_fd);

/* Messages go to the report no more; the caller closes it. */
void log_sink_end_report(void);

#endif
