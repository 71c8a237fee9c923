/* SPDX-License-Identifier: MIT */
/*
 * What a bridge leaves behind for the one that takes its device back: the file "ublkb0.json" in the
 * runtime directory (runtime_dir.h), for a device that outlives its bridge.
 *
 * It is written before the device answers, and removed when the device is gone.  Whoever is
 * responsible for the device holds a lock on it: the bridge that serves it, or a process that takes
 * it back or removes it.  The lock goes with its holder, so a file that nobody has locked tells of
 * a device whose bridge has died.
 */
#ifndef BRIDGE_STATE_FILE_H
#define BRIDGE_STATE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "bridge/mode.h"
#include "bridge/runtime_dir.h"
#include "common/errint.h"

struct device_state {
	char device[64]; /* "/dev/ublkb0" */
	uint32_t id;	 /* of the driver */
	uint64_t mark;	 /* ublksrv_flags of the device (dead_device.h) */
	char boot[40];	 /* the kernel's boot id, since which the device has been there */

	char image[PATH_MAX]; /* absolute */
	uint8_t uuid[16];     /* of it */
	dev_t image_dev;      /* st_dev, st_ino of it */
	ino_t image_ino;
	char name[BRIDGE_NAME_MAX + 1]; /* "": none */
	char log[PATH_MAX];		/* absolute; "": the system log */
	enum bridge_mode mode;
	char mode_reason[MODE_WHY_MAX];
	bool read_only;
	bool foreground; /* run by a service manager, which starts it again */
	bool restart;	 /* a supervisor starts it again */
	bool allow_backing;
	uint64_t size; /* of the disk when this was written, bytes */
	int64_t since; /* when the device was made: seconds since 1970 */
	pid_t pid;     /* of the bridge that wrote this */

	/*
	 * The image has been closed, everything acknowledged is in it, but the device is there yet:
	 * there is nothing to be replayed.  Where there is no volatile journal to tell, the image's
	 * file must not have changed since @mtime (nanoseconds since 1970; 0: whoever takes the
	 * device back has seen to that).  For a read-only device it is so from the beginning.
	 */
	bool closed;
	int64_t mtime;
};

/* "ublkb0" of "/dev/ublkb0". */
const char *state_file_device(const struct device_state *s);

/* What @st says of the image, for @image_dev, @image_ino and @mtime. */
void state_file_set_image(struct device_state *s, const struct stat *st);
int64_t state_file_mtime(const struct stat *st);

/*
 * Writes @s in one step, in place of what was there, and has it locked: *lock is the lock on what
 * was there, or -1, and afterwards the new one.  The lock is shared with processes that are forked,
 * and ends with the last of them.  Messages are logged; on failure nothing has changed.
 */
MUST_CHECK errint_t state_file_write(int dir, const struct device_state *s, int *lock);

/* Reads what is known of @device ("ublkb0").  -ENOENT: nothing, or of another boot; -EBADMSG: it is
 * damaged.  Both without a message, since it is only one of many when somebody looks around. */
MUST_CHECK errint_t state_file_read(int dir, const char *device, struct device_state *s);

/*
 * Becomes responsible for @device: the same, and *lock is held.  -EBUSY, message logged, when
 * another process is.
 */
MUST_CHECK errint_t state_file_take(int dir, const char *device, struct device_state *s, int *lock);

/* Removes the file and gives the lock up. */
void state_file_remove(int dir, const struct device_state *s, int *lock);

/* Calls @fn for each device that something is known of, in the order of their numbers, until it
 * returns false.  @owned: a process is responsible for it. */
typedef bool (*state_file_fn)(void *arg, const struct device_state *s, bool owned);
MUST_CHECK errint_t state_file_visit(int dir, state_file_fn fn, void *arg);

/* The kernel's boot id; "" when it cannot be read. */
void state_file_boot_id(char id[40]);

#endif
