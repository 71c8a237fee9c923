/* SPDX-License-Identifier: MIT */
/*
 * The driver's control device: commands that make, start, stop and delete ublk devices.
 *
 * A command may wait inside the kernel for as long as the driver likes, on some kernels for ever
 * and unkillably.  So commands run in a thread of their own, and callers wait for a bounded time.
 * After a command that did not come back in time the connection is stuck: all that follow fail with
 * -ETIMEDOUT at once, and control_close() leaves the thread and its memory behind.
 *
 * One caller at a time; messages are logged unless told otherwise.
 */
#ifndef BRIDGE_CONTROL_H
#define BRIDGE_CONTROL_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bridge/ublk_abi.h"
#include "common/errint.h"

struct control;

/*
 * Connects to the driver and asks for its features (UBLK_F_*).  What a user can do something about
 * is returned without a message, as struct mode_facts.driver takes it: -ENOENT without a driver,
 * -EACCES without the right to use it, -ENOTSUP when it is too old to name its features, -ENOSYS
 * where io_uring is not to be had.  Call in the process that serves the device.
 */
MUST_CHECK errint_t control_open(struct control **out, uint64_t *features);
void control_close(struct control *c); /* NULL is allowed */

/* Adds a device as @info says, by default with the next free id (dev_id UINT32_MAX); on return
 * @info is what the driver made of it.  /dev/ublkcN appears soon after. */
MUST_CHECK errint_t control_add(struct control *c, struct ublksrv_ctrl_dev_info *info);
MUST_CHECK errint_t control_set_params(struct control *c, uint32_t id, const struct ublk_params *p);
MUST_CHECK errint_t control_get_params(struct control *c, uint32_t id, struct ublk_params *p);
/* The driver's view of a device.  Without a message, -ENODEV: there is no such device. */
MUST_CHECK errint_t control_find(struct control *c, uint32_t id,
				 struct ublksrv_ctrl_dev_info *info);

/* The processors whose requests come to @queue.  Without a message: it is a hint. */
MUST_CHECK errint_t control_affinity(struct control *c, uint32_t id, unsigned queue, void *mask,
				     size_t len);

/* Makes /dev/ublkbN.  All fetches of all queues must have been issued. */
MUST_CHECK errint_t control_start(struct control *c, uint32_t id);

/*
 * Takes /dev/ublkbN away, having written out what is cached for it; its fetches come back with
 * -ENODEV.  With @idle_only: -EBUSY, without a message, when somebody has it open; that needs
 * UBLK_F_SAFE_STOP_DEV.
 */
MUST_CHECK errint_t control_stop(struct control *c, uint32_t id, bool idle_only);

/* Deletes the device; the caller has closed and unmapped /dev/ublkcN.  Does not wait for others who
 * have the gone /dev/ublkbN open. */
MUST_CHECK errint_t control_delete(struct control *c, uint32_t id);

/* Tells the block layer of a new size; needs UBLK_F_UPDATE_SIZE. */
MUST_CHECK errint_t control_update_size(struct control *c, uint32_t id, uint64_t bytes);

/*
 * A device that was added with UBLK_F_USER_RECOVERY, whose server has gone (state
 * UBLK_S_DEV_QUIESCED): its requests wait for the server that begins to take it back, opens
 * /dev/ublkcN, has all tags fetched, and ends that.  control_start_recovery() returns -EBUSY,
 * without a message, as long as the driver has not noticed the end of the former server, of which
 * rings hold references to /dev/ublkcN; and when there is nothing to be taken back.
 */
MUST_CHECK errint_t control_start_recovery(struct control *c, uint32_t id);
MUST_CHECK errint_t control_end_recovery(struct control *c, uint32_t id);

/*
 * Keeps new requests from the server: they wait in the block layer.  Fetches that wait for one come
 * back with -ENODEV; those of requests under way do after another call.  Needs UBLK_F_QUIESCE, also
 * of the device.  @ms, positive: how long to wait until a tag of each queue is idle; -EBUSY after
 * that.
 */
MUST_CHECK errint_t control_quiesce(struct control *c, uint32_t id, unsigned ms);

/*
 * What carries commands to the driver; tests have one of their own.  All of it is called on the
 * connection's thread, one command at a time, and may block.
 */
struct control_link_ops {
	/* Returns the command's result: 0, or a negative errno value. */
	int (*run)(void *link, uint32_t op, const struct ublksrv_ctrl_cmd *cmd);
	/* Called last, from control_close(); not for a connection that is stuck. */
	void (*close)(void *link);
};

/* A connection over @link.  @patience: how many seconds a command may take, 0 for its usual time.
 * -ENOMEM and -EAGAIN, message logged. */
MUST_CHECK errint_t control_new(const struct control_link_ops *ops, void *link, unsigned patience,
				struct control **out);
/* GET_FEATURES on any connection, with the results of control_open(). */
MUST_CHECK errint_t control_features(struct control *c, uint64_t *features);

#endif
