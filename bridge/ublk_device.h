/* SPDX-License-Identifier: MIT */
/* The life of a ublk device: made, served by its queues, stopped, deleted. */
#ifndef BRIDGE_UBLK_DEVICE_H
#define BRIDGE_UBLK_DEVICE_H

#include "bridge/control.h"
#include "bridge/device.h"
#include "bridge/mode.h"
#include "common/errint.h"
#include "image/image.h"

struct engine;
struct pool;

struct ublk_device_config {
	struct control *control; /* taken over, also on failure */
	uint64_t features;	 /* that the driver has */
	const struct mode_choice *choice;
	struct image *image;
	struct engine *engine;
	struct pool *pool;
	bool read_only;
	bool recovery;	 /* the device outlives this process */
	unsigned queues; /* 1..BRIDGE_MAX_QUEUES; the driver may make it less */
	unsigned depth;	 /* 1..BRIDGE_MAX_DEPTH */

	/*
	 * With @recovery: called when the device has its number and nobody can use it yet; on
	 * return all is recorded that its next server needs.  @mark tells the device from another
	 * one that has its number later.  An error, message logged, is the result of the whole.
	 */
	errint_t (*promise)(void *arg, const struct device *d, uint32_t id, uint64_t mark);
	void *promise_arg;
};

/*
 * Makes a device on an image that stays the caller's.  When this returns, /dev/ublkbN answers.
 * Call in the process that serves it, with all signals that have handlers blocked: threads are
 * started.  Errors are those of the driver and of io_uring, or -ETIMEDOUT; messages are logged.
 * *out, NULL before, is set after an error as well when the device could not be taken down again:
 * then its queues may still be at work on the image.
 */
MUST_CHECK errint_t ublk_device_new(const struct ublk_device_config *cfg, struct device **out);

/* Has the driver, with @features, devices that outlive their server? */
bool ublk_device_can_recover(uint64_t features);

/*
 * Waits, for a minute at most, until device @id can be taken back: its server has ended, with all
 * that refers to /dev/ublkcN.  @features are the driver's, @mark as it was given to promise().
 * -ENODEV: it is not there any more, -EBUSY: it is still being served; messages are logged.
 */
MUST_CHECK errint_t ublk_device_wait_quiesced(struct control *c, uint64_t features, uint32_t id,
					      uint64_t mark);

/*
 * The same as ublk_device_new(), for a device that is there and waits for a server; queues and
 * depth are its own.  On failure the device goes on waiting, but not before this process has ended:
 * what has begun is left as it is.
 */
MUST_CHECK errint_t ublk_device_take_back(const struct ublk_device_config *cfg, uint32_t id,
					  struct device **out);

#endif
