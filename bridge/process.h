/* SPDX-License-Identifier: MIT */
/* What the process that serves a device does to itself. */
#ifndef BRIDGE_PROCESS_H
#define BRIDGE_PROCESS_H

#include "common/errint.h"

/*
 * Makes this process fit to serve a block device; call before threads start, after the image was
 * opened:
 *
 *   - memory is never gained by writing to a file system that may be on the device
 * (PR_SET_IO_FLUSHER);
 *   - it is the last one that the kernel kills for want of memory;
 *   - it is in a mount namespace of its own, with nothing in it that could be the device's or in
 *     the way of unmounting: a server that is the last user of a namespace in which its device is
 *     mounted would wait for itself when it ends.
 *
 * Needs root.  Messages are logged.
 */
MUST_CHECK errint_t process_prepare(void);

/* Memory is never gained by writing to a device: while one awaits recovery, that would wait for
 * this very process.  Part of process_prepare(); may come before. */
void process_set_flusher(void);

/* Its name in ps(1): "ublk-bridge". */
void process_set_name(void);

/* Tells the service manager, when there is one (sd_notify(3)): "READY=1", "STOPPING=1". */
void process_notify(const char *state);

#endif
