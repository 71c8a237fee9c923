/* SPDX-License-Identifier: MIT */
/*
 * Who uses a block device: mount points, swap areas, devices built on it, processes that have it
 * open.  Reads /proc and /sys only.
 */
#ifndef BRIDGE_IN_USE_H
#define BRIDGE_IN_USE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/errint.h"

#define IN_USE_TEXT_MAX 320

/*
 * Finds one user of the block device @name ("ublkb0") or of one of its partitions, and says in
 * @text how it is used: "mounted on /mnt", "open in pid 12 (dd)".  False when there is none that
 * this user can see.  @proc and @sys: where those file systems are ("/proc", "/sys"; tests have
 * their own).  The calling process is left out.
 */
bool in_use_find(const char *proc, const char *sys, const char *name, char text[IN_USE_TEXT_MAX]);

/*
 * -EBUSY, message logged, when somebody uses the block device @path ("/dev/ublkb0").  Who only has
 * a look at it, as udev does after each writer, is waited for, up to a second.  Somebody may begin
 * to use it as soon as this returns.
 */
MUST_CHECK errint_t in_use_check(const char *path);

/* Logs that @path is in use in the way that @what says, and what to do; -EBUSY. */
errint_t in_use_refuse(const char *path, const char *what);

#endif
