/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/bridge_snapshots.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bridge/bridge.h"
#include "bridge/in_use.h"
#include "cli/snapshot_ops.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"
#include "image/snapshot.h"

/* ---- while the disk is in use -------------------------------------------------------------- */

static errint_t run(struct bridge *b, snapshot_op_fn op, struct socket_request *rq, json_t **result)
{
	errint_t err = bridge_use_begin(b);

	if (err)
		return err;
	err = op(bridge_image(b), rq->params, result);
	bridge_use_end(b);
	return err;
}

errint_t bridge_snapshot_create(void *arg, struct socket_request *rq, json_t **result)
{
	return run(arg, snapshot_op_create, rq, result);
}

errint_t bridge_snapshot_list(void *arg, struct socket_request *rq, json_t **result)
{
	return run(arg, snapshot_op_list, rq, result);
}

errint_t bridge_snapshot_rename(void *arg, struct socket_request *rq, json_t **result)
{
	return run(arg, snapshot_op_rename, rq, result);
}

errint_t bridge_snapshot_delete(void *arg, struct socket_request *rq, json_t **result)
{
	return run(arg, snapshot_op_delete, rq, result);
}

errint_t bridge_snapshot_diff(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge *b = arg;
	errint_t err;

	(void)result;
	if (rq->fd < 0)
		return log_fail(-EINVAL, "snapshot-diff: no file came with it");
	err = bridge_use_begin(b);
	if (err)
		return err;
	err = snapshot_op_diff(bridge_image(b), rq->params, rq->fd);
	bridge_use_end(b);
	return err;
}

/* ---- another size ------------------------------------------------------------------------- */

static errint_t resize_image(struct bridge *b, uint64_t size, bool shrink)
{
	struct engine_thread *thread;
	errint_t err = engine_thread_new(bridge_engine(b), &thread);

	if (err)
		return err;
	err = engine_resize(thread, size, shrink);
	engine_thread_free(thread);
	return err;
}

static errint_t grow(struct bridge *b, uint64_t size)
{
	uint64_t old = image_size(bridge_image(b));
	errint_t err;

	if (size < old)
		return log_fail(-EBUSY,
				"%s is attached, and its %" PRIu64 " bytes can only become more; "
				"detach it to make it smaller",
				bridge_opts(b)->image, old);
	err = bridge_resize_device(b); /* can it be done at all? */
	if (!err)
		err = resize_image(b, size, false);
	if (err)
		return err;
	err = bridge_resize_device(b);
	/* Nobody has seen what is taken away again. */
	if (err && resize_image(b, old, true))
		log_warn("%s: the disk has %" PRIu64 " bytes when it is attached again",
			 bridge_opts(b)->image, size);
	return err;
}

errint_t bridge_resize(void *arg, struct socket_request *rq, json_t **result)
{
	const json_t *size = json_object_get(rq->params, "virtual_size");
	struct bridge *b = arg;
	errint_t err;

	(void)result;
	if (!json_is_integer(size) || json_integer_value(size) <= 0)
		return log_fail(-EINVAL, "resize: \"virtual_size\" is missing");
	err = bridge_use_begin(b);
	if (err)
		return err;
	err = grow(b, (uint64_t)json_integer_value(size));
	bridge_use_end(b);
	return err;
}

/* ---- rolling back ------------------------------------------------------------------------- */

/* What the kernel remembers of the device is in the image, and forgotten. */
static errint_t drop_cache(int fd, const char *path)
{
	return ioctl(fd, BLKFLSBUF, 0) ? log_errno("%s: cannot write out what is cached", path) : 0;
}

/* Nobody can mount the device, or build on it, while *@fd is open. */
static errint_t claim(const struct device *d, int *fd)
{
	char how[IN_USE_TEXT_MAX] = "somebody has it as their own";
	bool used = in_use_find("/proc", "/sys", device_name(d), how);

	if (!used)
		*fd = open(d->path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (used || (*fd < 0 && errno == EBUSY))
		return log_fail(-EBUSY, "%s is in use: %s; unmount or close it first", d->path,
				how);
	return *fd < 0 ? log_errno("%s: cannot open the device", d->path)
		       : drop_cache(*fd, d->path);
}

/* Another size has to be possible before it is there. */
static errint_t check_size(struct bridge *b, const char *name, bool *other)
{
	struct snapshot_info s;
	errint_t err = name ? snapshot_find(bridge_image(b), name, &s) : -ENOENT;

	*other = !err && s.size != image_size(bridge_image(b));
	return *other ? bridge_resize_device(b) : 0;
}

static errint_t roll_back(struct bridge *b, const json_t *params, json_t **result)
{
	const char *path = bridge_device(b)->path;
	CLEANUP(close) int fd = -1;
	bool resized = false;
	errint_t err = claim(bridge_device(b), &fd);

	if (!err)
		err = check_size(b, json_string_value(json_object_get(params, "name")), &resized);
	if (!err)
		err = snapshot_op_rollback(bridge_image(b), params, result);
	if (!err && resized)
		err = bridge_resize_device(b);
	return err ? err : drop_cache(fd, path);
}

errint_t bridge_snapshot_rollback(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge *b = arg;
	errint_t err = bridge_use_begin(b);

	if (err)
		return err;
	err = roll_back(b, rq->params, result);
	bridge_use_end(b);
	return err;
}
