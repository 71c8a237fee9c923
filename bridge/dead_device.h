/* SPDX-License-Identifier: MIT */
/*
 * What is left of a device whose bridge was killed: the driver has ended its requests and taken
 * /dev/ublkbN away, but keeps the device's number and /dev/ublkcN until somebody deletes it.
 */
#ifndef BRIDGE_DEAD_DEVICE_H
#define BRIDGE_DEAD_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/ublk_abi.h"
#include "common/errint.h"

/* The mark that a bridge with process id @pid leaves on its device: ublksrv_ctrl_dev_info's
 * ublksrv_flags, which the driver only keeps. */
uint64_t dead_device_mark(int32_t pid);

/* Was this device made by a bridge, of which nothing is left?  @alive tells of a process id. */
bool dead_device_is(const struct ublksrv_ctrl_dev_info *info, bool (*alive)(int32_t pid));

/* Deletes device @name ("ublkb3") if it is such a one, or becomes it within ten seconds.  As far as
 * the user may; quietly. */
void dead_device_remove(const char *name);

/*
 * Removes a device of which only the kernel knows any more: the process of the bridge that made it
 * has died, and what it recorded in the runtime directory is lost.  @what: "/dev/ublkb3" or
 * "ublkb3". -ENOENT without a message: there is no such device; errors of the driver, logged.  In
 * bounded time.
 */
MUST_CHECK errint_t dead_device_force(const char *what);

#endif
