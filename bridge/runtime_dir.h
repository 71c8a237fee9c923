/* SPDX-License-Identifier: MIT */
/*
 * Where bridges can be found: /run/ublk-img for root, $XDG_RUNTIME_DIR/ublk-img for others, or the
 * directory that $UBLK_IMG_RUNTIME_DIR names.
 *
 *	ublkb0.sock	the control socket of the bridge that serves /dev/ublkb0
 *	names/NAME	a lock file, held by the bridge that was given this name
 *	ublkb0.json	what the next bridge of that device needs (state_file.h)
 *	UUID.vj		what is acknowledged and not in the image of that uuid yet (image/vj.h)
 *
 * A socket nobody listens on and a lock file nobody holds are removed by whoever comes across them;
 * the other two stay as long as there is a device that awaits recovery.
 */
#ifndef BRIDGE_RUNTIME_DIR_H
#define BRIDGE_RUNTIME_DIR_H

#include <stdbool.h>

#include "common/errint.h"

/* A name of a bridge, given with --name: letters, digits, and "._+-", not beginning with a dot or a
 * dash. */
#define BRIDGE_NAME_MAX 63

/*
 * Opens the directory, making it with @create; *fd is for openat() and friends.  -ENOENT without a
 * message when there is none; other errors with.
 */
MUST_CHECK errint_t runtime_dir_open(bool create, int *fd);

/* -EINVAL, message logged, for a name that is not allowed. */
MUST_CHECK errint_t runtime_name_check(const char *name);

/*
 * Reserves @name until *lock is closed, at the latest by the end of the process.  -EBUSY, message
 * logged, when another bridge has it, still after @wait_ms.
 */
MUST_CHECK errint_t runtime_name_lock(int dir, const char *name, unsigned wait_ms, int *lock);
void runtime_name_unlock(int dir, const char *name, int *lock);

#endif
