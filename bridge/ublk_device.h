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
	unsigned queues; /* 1..BRIDGE_MAX_QUEUES; the driver may make it less */
	unsigned depth;	 /* 1..BRIDGE_MAX_DEPTH */
};

/*
 * Makes a device on an image that stays the caller's.  When this returns, /dev/ublkbN answers.
 * Call in the process that serves it, with all signals that have handlers blocked: threads are
 * started.  Errors are those of the driver and of io_uring, or -ETIMEDOUT; messages are logged.
 */
MUST_CHECK errint_t ublk_device_new(const struct ublk_device_config *cfg, struct device **out);

#endif
