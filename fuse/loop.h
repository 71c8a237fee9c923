/* SPDX-License-Identifier: MIT */
/*
 * A loop device on the file disk of a view that is mounted nowhere: a block device for machines
 * without ublk.  Needs root, /dev/fuse and the loop driver with LOOP_CONFIGURE (Linux 5.8).
 *
 * The device uses direct I/O, so nothing is kept in memory twice, and a flush of the device is a
 * flush of the image (fsync() of disk).  Discards and zeroing reach the image as punched holes.
 * The driver clears the device by itself when this process is gone and nobody uses it any longer;
 * until then all I/O on it fails.
 *
 * The order: loop_start(), after which the device answers; loop_resize() after the image was
 * resized; loop_stop(), also when loop_ended_fd() told that somebody else has taken the device away
 * (losetup -d).
 *
 * One thread at a time, which none of the session's; it may block.
 */
#ifndef FUSE_LOOP_H
#define FUSE_LOOP_H

#include <stdbool.h>

#include "common/errint.h"
#include "fuse/view.h"

struct loop;

struct loop_opts {
	struct view *view; /* not "changing"; writable unless read_only; outlives the loop */
	bool read_only;
	unsigned block_size; /* logical: 512 or 4096 */
	unsigned threads;    /* as session_opts.threads */
};

/* Can this process make one?  0, -EACCES: not root, -ENOENT: no loop driver, -ENODEV: no FUSE.
 * Without a message; any thread. */
MUST_CHECK errint_t loop_probe(void);

/* Message logged. */
MUST_CHECK errint_t loop_start(const struct loop_opts *opts, struct loop **out);

/* "/dev/loop0"; valid until loop_stop(). */
const char *loop_path(const struct loop *l);
int loop_ended_fd(const struct loop *l);

/* session_maintain() */
void loop_maintain(struct loop *l);

/* Have the device notice the disk's new size. */
MUST_CHECK errint_t loop_resize(struct loop *l);

/*
 * Take the device away and free @l.  What is cached for the device is written first.  Without
 * @force: -EBUSY, without a message and with nothing changed, when somebody else holds the device
 * exclusively, as a mount does, or still uses it after @timeout seconds: it then goes away as soon
 * as they are done, and the call is to be repeated.  With @force requests fail from now on for
 * whoever still uses it.  Another error: data could not be written, message logged; @l is freed.
 * -ETIMEDOUT as session_stop().
 */
MUST_CHECK errint_t loop_stop(struct loop *l, bool force, unsigned timeout);

#endif
