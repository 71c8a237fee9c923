/* SPDX-License-Identifier: MIT */
/*
 * The volatile journal (docs/format.md section 10): what a process that serves a device leaves
 * behind when it is killed, so that its successor, on the same device, loses nothing that was
 * acknowledged.
 *
 * It is the file UUID.vj in a directory that outlives the process, normally on a tmpfs, and holds
 * every record that is not yet durable in the image.  image_open() with image_open_opts.recover
 * goes on with one, image_vj_start() begins one, image_close() removes it.  A process that dies, or
 * image_abandon(), leaves it.
 */
#ifndef IMAGE_VJ_H
#define IMAGE_VJ_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"

struct image;

/*
 * Begin a volatile journal for the block device with number @device in the directory @dir (a
 * descriptor, which stays the caller's).  @im is open for writing; nobody writes to it yet.  From
 * then on every change is recoverable before it is acknowledged.
 *
 * -ENOSPC: the directory has no space for all of it (4 MiB); -EEXIST: there is one of another file
 * with the same uuid, a copy of the image; -EROFS; other errors of making a file.  Messages are
 * logged.  The image is as usable as before: the caller decides whether to serve a device that
 * cannot be recovered.
 */
MUST_CHECK errint_t image_vj_start(struct image *im, int dir, uint32_t device);

/*
 * For image_open_opts.recover: go on with the device that a dead process has served.  The image
 * keeps its session, and the volatile journal that was found is the one that is kept up from then
 * on.  Refused, with neither touched: -EBUSY: somebody still holds the image; -ENOENT: no volatile
 * journal; -ESTALE: one of another boot, session, file or device; -EIO: the image had stopped after
 * a failed write or sync; -ENOTSUP: of another version; -EBADMSG: damaged.  Messages are logged.
 */
struct vj_recover {
	int dir;	 /* descriptor of the directory that it is in, until image_open() returns */
	uint32_t device; /* which it must be of */
	unsigned lock_ms; /* how long to wait for the image lock; 0: a minute */
};

/*
 * For image_open_opts.state: where a dead process may have left a volatile journal.  An image whose
 * device awaits recovery is opened for writing only with image_open_opts.force, which gives up what
 * is in there: else -EBUSY.  Opening for reading warns that it is missing.
 */
struct vj_state {
	int dir; /* descriptor, until image_open() returns */
	/* Is there a block device with that number?  Called by image_open() in its thread. */
	bool (*device_exists)(void *arg, uint32_t device);
	void *arg;
	bool refuse_readers; /* them too */
};

/* What stands in a volatile journal. */
struct vj_info {
	uint8_t session[16];
	uint64_t dev, ino; /* of the image file, as stat() tells; of a device its number, and 0 */
	uint32_t device;
	bool poisoned;	    /* the image had stopped: it cannot be recovered */
	uint64_t unretired; /* records that are not yet known to be durable in the image */
	uint64_t generation;
};

/*
 * Is there an intact volatile journal of this boot for the image with @uuid in @dir?  0: *info is
 * about it; -ENOENT: none, or one of an earlier boot; -ENOTSUP, -EBADMSG: one that cannot be used,
 * message logged; errors of reading, message logged.  Changes nothing; any thread.
 */
MUST_CHECK errint_t vj_pending(int dir, const uint8_t uuid[16], struct vj_info *info);

/*
 * Remove the volatile journal of the image with @uuid, if it is that of device @device: the device
 * is gone, and what was not recovered is given up.  For who is responsible for that device; any
 * thread.
 */
void vj_discard(int dir, const uint8_t uuid[16], uint32_t device);

#endif
