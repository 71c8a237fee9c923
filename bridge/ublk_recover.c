/* SPDX-License-Identifier: MIT */
/*
 * A ublk device from one server to the next:
 *
 *	         QUIESCE_DEV, or the server's death           START_USER_RECOVERY
 *	LIVE ------------------------------------> QUIESCED ----------------------+
 *	  ^                                                                       |
 *	  +---- END_USER_RECOVERY <- queues fetch <- map <- open /dev/ublkcN <-----+
 *
 * While it is QUIESCED, requests wait in the block layer; new ones only until the queues fetch.
 * Those that the former server had not completed are issued again to the next one
 * (UBLK_F_USER_RECOVERY_REISSUE); docs/architecture.md says why that is safe.
 */
#include "config.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bridge/params.h"
#include "bridge/ublk_device_priv.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"

enum {
	QUIESCED_MS = 60000, /* for the former server's end: its last request may take that long */
	DRAIN_MS = 30000,    /* for requests under way */
	IDLE_MS = 10000,     /* of it, for the driver's own waiting */
	FETCHED_MS = 100,    /* for work that the driver does later, if on a device to be served */
	POLL_MS = 10,
};

/* ---- taking back ------------------------------------------------------------------------- */

bool ublk_device_can_recover(uint64_t features)
{
	return !(~features & UBLK_RECOVERY_FLAGS);
}

/* Is it there, and the same, and one that waits for a server? */
static errint_t check_device(struct control *c, uint32_t id, uint64_t mark,
			     struct ublksrv_ctrl_dev_info *info)
{
	errint_t err = control_find(c, id, info);

	if (err && err != -ENODEV)
		return log_err(err, "cannot get the state of /dev/ublkb%" PRIu32, id);
	if (err || info->ublksrv_flags != mark || info->state == UBLK_S_DEV_DEAD)
		return log_fail(-ENODEV,
				"/dev/ublkb%" PRIu32
				" is gone, and cannot be taken back; its image "
				"has what was flushed",
				id);
	if (~info->flags & UBLK_RECOVERY_FLAGS)
		return log_fail(-ENOTSUP, "/dev/ublkb%" PRIu32 " was made without recovery", id);
	return 0;
}

errint_t ublk_device_wait_quiesced(struct control *c, uint64_t features, uint32_t id, uint64_t mark)
{
	bool begun = !(features & UBLK_F_SUPPORT_ZERO_COPY), fetched = false;
	uint64_t until = clock_ms() + QUIESCED_MS;
	struct ublksrv_ctrl_dev_info info = {.dev_id = 0};
	errint_t err;

	do {
		err = check_device(c, id, mark, &info);
		if (err)
			return err;
		if (begun) {
			err = ublk_fetch_begun(&info, &fetched);
			begun = err != 0;
			if (fetched)
				clock_sleep_ms(FETCHED_MS);
		}
		if (!err)
			err = control_start_recovery(c, id);
		if (err != -EBUSY)
			return err;
		clock_sleep_ms(POLL_MS);
	} while (clock_ms() < until);
	return log_fail(err,
			"/dev/ublkb%" PRIu32 ": the kernel still waits for the end of its former "
			"bridge after %d s, which may have requests under way on storage that does "
			"not answer; try again later",
			id, QUIESCED_MS / 1000);
}

/* The device keeps what it was made with. */
static errint_t find_device(struct ublk_device *u, const struct ublk_device_config *cfg,
			    uint32_t id)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = 0};
	uint64_t wanted = mode_flags(cfg->choice->mode) | UBLK_RECOVERY_FLAGS;
	struct ublk_params params;
	errint_t err = control_find(u->control, id, &info);

	if (err)
		return log_err(err, "cannot get the state of /dev/ublkb%" PRIu32, id);
	err = control_get_params(u->control, id, &params);
	if (err)
		return err;
	if (~info.flags & wanted || !info.nr_hw_queues || info.nr_hw_queues > BRIDGE_MAX_QUEUES ||
	    !info.queue_depth || info.queue_depth > BRIDGE_MAX_DEPTH ||
	    params.basic.max_sectors > BRIDGE_REQUEST_MAX / 512)
		return log_fail(-ENOTSUP,
				"/dev/ublkb%" PRIu32 " has %u queues of %u, requests of %" PRIu32
				" bytes and flags %#" PRIx64
				", which this version of ublk-img cannot serve",
				id, info.nr_hw_queues, info.queue_depth,
				params.basic.max_sectors * 512, info.flags);
	u->added = true;
	ublk_device_set(u, &info);
	return 0;
}

/* The former server may have ended between changing the image's size and telling the kernel. */
static void update_size(struct ublk_device *u, uint64_t size)
{
	struct ublk_params params;

	if (control_get_params(u->control, u->id, &params) ||
	    params.basic.dev_sectors == size / 512)
		return;
	if (!(u->features & UBLK_F_UPDATE_SIZE) || control_update_size(u->control, u->id, size))
		log_warn("%s has %" PRIu64 " bytes and its image %" PRIu64
			 "; detach and attach it to make them the same",
			 u->dev.path, (uint64_t)params.basic.dev_sectors * 512, size);
}

errint_t ublk_device_recover(struct ublk_device *u, const struct ublk_device_config *cfg,
			     uint32_t id)
{
	errint_t err = find_device(u, cfg, id);

	if (!err)
		err = ublk_device_open_char(u);
	/* As soon as a queue is ready, some kernels (6.18, 7.3) give it new requests. */
	if (!err)
		err = ublk_device_promise(u, cfg);
	if (!err)
		err = ublk_device_start_queues(u, cfg);
	if (!err)
		err = fault_point("end_recovery");
	if (!err)
		err = control_end_recovery(u->control, u->id);
	if (err)
		return err;
	u->started = true;
	update_size(u, image_size(cfg->image));
	return 0;
}

/* ---- handing over ------------------------------------------------------------------------ */

/* The last tag of every queue has come back; a queue counts itself when it ends. */
static bool wait_queues(struct ublk_device *u, unsigned *ended, unsigned ms)
{
	struct pollfd p = {.fd = u->dev.gone_fd, .events = POLLIN};
	uint64_t n;

	while (*ended < u->nqueues) {
		if (poll(&p, 1, (int)ms) <= 0 || read(p.fd, &n, sizeof(n)) != sizeof(n))
			return false;
		*ended += (unsigned)n;
	}
	return true;
}

/*
 * A call of QUIESCE_DEV brings back the tags that are idle; those of requests under way are when
 * these are done, and come back with another call.  No new requests come meanwhile.
 */
static errint_t drain(struct ublk_device *u)
{
	uint64_t until = clock_ms() + DRAIN_MS;
	unsigned ended = 0;
	errint_t err;

	do {
		err = control_quiesce(u->control, u->id, IDLE_MS);
		if (err)
			return err;
		if (wait_queues(u, &ended, POLL_MS))
			return 0;
	} while (clock_ms() < until);
	return log_fail(-ETIMEDOUT, "%s: requests that are under way do not come to an end in %d s",
			u->dev.path, DRAIN_MS / 1000);
}

void ublk_hand_over(struct device *d, bool *drained)
{
	struct ublk_device *u = ublk_of(d);

	*drained = false;
	if (!(u->flags & UBLK_F_QUIESCE) || drain(u))
		return;
	ublk_device_end_queues(u);
	u->started = u->added = false;
	*drained = true;
}
