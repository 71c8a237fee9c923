/* SPDX-License-Identifier: MIT */
/* The inside of a ublk device, for ublk_device.c and ublk_recover.c. */
#ifndef BRIDGE_UBLK_DEVICE_PRIV_H
#define BRIDGE_UBLK_DEVICE_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bridge/params.h"
#include "bridge/ublk_device.h"

/* What makes a device outlive its server, with the requests that are under way. */
#define UBLK_RECOVERY_FLAGS (UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE)

struct bridge_queue;

struct queue_slot {
	struct bridge_queue *queue; /* NULL: not made yet */
	void *descs;		    /* MAP_FAILED: not mapped yet */
};

struct ublk_device {
	struct device dev;
	struct control *control;
	uint32_t id;
	uint64_t features; /* of the driver */
	uint64_t flags;	   /* of the device */
	uint64_t mark;	   /* ublksrv_flags of the device */
	unsigned depth;
	bool read_only;
	bool started;	 /* /dev/ublkbN was made */
	bool added;	 /* the driver has the device */
	int char_fd;	 /* /dev/ublkcN */
	size_t desc_len; /* bytes of one queue's descriptors, whole pages */
	unsigned nqueues;
	struct queue_slot queues[BRIDGE_MAX_QUEUES];
};

static inline struct ublk_device *ublk_of(struct device *d)
{
	return (struct ublk_device *)d;
}

/* The device is the one that the driver describes by @info. */
void ublk_device_set(struct ublk_device *u, const struct ublksrv_ctrl_dev_info *info);

/* Opens /dev/ublkcN, waiting for the node. */
MUST_CHECK errint_t ublk_device_open_char(struct ublk_device *u);

/* Each queue fetches all its tags; then the device can start. */
MUST_CHECK errint_t ublk_device_start_queues(struct ublk_device *u,
					     const struct ublk_device_config *cfg);

/* Before the device answers: see ublk_device_config.promise. */
MUST_CHECK errint_t ublk_device_promise(struct ublk_device *u,
					const struct ublk_device_config *cfg);

/*
 * Waits for the queues to end, and frees what refers to /dev/ublkcN.  The device was stopped or
 * quiesced, or never started: then stopping it is what brings the tags back.
 */
void ublk_device_end_queues(struct ublk_device *u);

/* ublk_recover.c: makes @u, which is new, device @id again. */
MUST_CHECK errint_t ublk_device_recover(struct ublk_device *u, const struct ublk_device_config *cfg,
					uint32_t id);
/*
 * ublk_begun.c, for drivers without UBLK_F_SUPPORT_ZERO_COPY, before START_USER_RECOVERY: @info's
 * device, whose server is dead, is such that it can be called, once.  *fetched: something had to be
 * done for that, which takes the driver a moment to get over.  -EBUSY, without a message: something
 * of the server is still there, or the device is gone.  Else -EIO and others; messages are logged.
 */
MUST_CHECK errint_t ublk_fetch_begun(const struct ublksrv_ctrl_dev_info *info, bool *fetched);

/* device_ops.hand_over */
void ublk_hand_over(struct device *d, bool *drained);

#endif
