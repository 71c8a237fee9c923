/* SPDX-License-Identifier: MIT */
/*
 * Devices that await recovery: their bridge has ended without taking them away, requests on them
 * wait in the kernel.  They stay until they are taken back (bridge_opts.takeover) or removed here.
 *
 * As a rule commands that find none go on as if there was none, so that each looks at what is there
 * itself; the errors are those of reading the runtime directory, logged.
 */
#ifndef BRIDGE_AWAITING_H
#define BRIDGE_AWAITING_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/state_file.h"
#include "bridge/ublk_abi.h"
#include "common/errint.h"

struct control;

/* Calls @fn for each of this user's, until it returns false.  What is left of devices that the
 * kernel has no more is removed. */
typedef bool (*awaiting_fn)(void *arg, const struct device_state *s);
MUST_CHECK errint_t awaiting_visit(awaiting_fn fn, void *arg);

/* The one that @what means, as for client_find(): *s is the caller's, to be freed.  -ENOENT without
 * a message when there is none. */
MUST_CHECK errint_t awaiting_find(const char *what, struct device_state **s);
/* The same for images only: by the file that @path leads to. */
MUST_CHECK errint_t awaiting_find_image(const char *path, struct device_state **s);
/* The one that process @pid has left, a bridge that had made it, or that was to take back @before.
 */
MUST_CHECK errint_t awaiting_find_left(pid_t pid, const struct device_state *before,
				       struct device_state **s);

/* Is anything known of the one that @what means?  If it does not await recovery, nor answers, then
 * a process is about to make it do one of them, or to end. */
bool awaiting_known(const char *what);

/* Does @device ("ublkb0"), on whose control socket nobody listens, await recovery?  What is left of
 * one that does not, or was never to outlive its bridge, is removed. */
bool awaiting_settle(int dir, const char *device);

/*
 * Removes the device: who uses it gets I/O errors.  *lost: changes that were acknowledged, and are
 * not in the image; UINT64_MAX when that cannot be told.  -EBUSY: a process has become responsible
 * for it; errors of the driver; messages are logged.  In bounded time.
 */
MUST_CHECK errint_t awaiting_remove(const struct device_state *s, uint64_t *lost);

/* vj_state.device_exists (image/vj.h), for the volatile journals in the runtime directory. */
bool awaiting_device_exists(void *arg, uint32_t device);

/* ---- the decisions, for tests ------------------------------------------------------------ */

/* What the driver's @info, or its @err, says of a device for which no process is responsible.
 * @seen: there is a block device of its number. */
enum awaiting_is {
	AWAITING_NOT,  /* it is gone, or another device has its number */
	AWAITING_DEAD, /* it only has to be deleted */
	AWAITING_YES,
};
enum awaiting_is awaiting_judge(const struct device_state *s, errint_t err, bool seen,
				const struct ublksrv_ctrl_dev_info *info);

#endif
