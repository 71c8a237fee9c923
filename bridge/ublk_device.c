/* SPDX-License-Identifier: MIT */
/*
 * The life of a ublk device.  The order in which things begin and end is the driver's:
 *
 *   ADD_DEV -> SET_PARAMS -> open /dev/ublkcN -> map descriptors -> queues fetch -> START_DEV
 *   STOP_DEV -> every tag of every queue comes back with -ENODEV -> rings are gone -> unmap ->
 *   close /dev/ublkcN -> DEL_DEV
 *
 * START_DEV waits until every tag of every queue was fetched; DEL_DEV, until the last reference to
 * /dev/ublkcN is gone, of which rings and mappings hold some.
 */
#include "config.h"

#include "bridge/ublk_device.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bridge/dead_device.h"
#include "bridge/in_use.h"
#include "bridge/params.h"
#include "bridge/queue.h"
#include "bridge/ublk_device_priv.h"
#include "bridge/write_out.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	NODE_SECONDS = 15,    /* for a node in /dev to appear and be accessible */
	POLL_MS = 5,	      /* between looks at it */
	GONE_SECONDS = 5,     /* for the nodes of a deleted device to go */
	CACHED_SECONDS = 120, /* for what is cached to be written */
};

/* --- waiting for nodes --------------------------------------------------------------------------
 */

/* Opens the node at @path when it is there and is device @number of type @type (S_IFCHR, S_IFBLK):
 * a node of an older device of that name may still be there. */
static errint_t open_node(const char *path, mode_t type, dev_t number, int flags, int *fd)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	if ((st.st_mode & S_IFMT) != type || st.st_rdev != number)
		return -EEXIST;
	*fd = open(path, flags | O_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

/* The same, waiting: udev makes the node, and may change its owner afterwards. */
static errint_t wait_node(const char *path, mode_t type, dev_t number, int flags, int *fd)
{
	uint64_t until = clock_ms() + NODE_SECONDS * 1000;
	errint_t err;

	for (;;) {
		err = open_node(path, type, number, flags, fd);
		if (!err)
			return 0;
		if (clock_ms() >= until && err == -EEXIST)
			return log_fail(err,
					"%s is something else than device %u:%u, and stays so; "
					"remove it",
					path, major(number), minor(number));
		if (clock_ms() >= until)
			return log_err(err,
				       "%s (device %u:%u) cannot be opened within %d s; is /dev a "
				       "devtmpfs, or kept by udev?",
				       path, major(number), minor(number), NODE_SECONDS);
		clock_sleep_ms(POLL_MS);
	}
}

static void wait_gone(const char *path)
{
	uint64_t until = clock_ms() + GONE_SECONDS * 1000;

	while (!access(path, F_OK) && clock_ms() < until)
		clock_sleep_ms(POLL_MS);
}

/* --- making
 * ---------------------------------------------------------------------------------------
 */

void ublk_device_set(struct ublk_device *u, const struct ublksrv_ctrl_dev_info *info)
{
	u->id = info->dev_id;
	u->flags = info->flags;
	u->mark = info->ublksrv_flags;
	u->nqueues = info->nr_hw_queues;
	u->depth = info->queue_depth;
	snprintf(u->dev.path, sizeof(u->dev.path), "/dev/ublkb%" PRIu32, u->id);
}

errint_t ublk_device_promise(struct ublk_device *u, const struct ublk_device_config *cfg)
{
	return cfg->recovery ? cfg->promise(cfg->promise_arg, &u->dev, u->id, u->mark) : 0;
}

/* What the device is added with. */
static uint64_t device_flags(const struct ublk_device_config *cfg)
{
	uint64_t flags = mode_flags(cfg->choice->mode);

	/* For idle() of queue.c.  A driver that does nothing else sets it by itself. */
	if (cfg->choice->mode == BRIDGE_COPY)
		flags |= UBLK_F_URING_CMD_COMP_IN_TASK;
	if (cfg->recovery)
		flags |= UBLK_RECOVERY_FLAGS | (cfg->features & UBLK_F_QUIESCE);
	return flags;
}

static errint_t add_device(struct ublk_device *u, const struct ublk_device_config *cfg)
{
	struct ublksrv_ctrl_dev_info info = {
		.nr_hw_queues = (uint16_t)cfg->queues,
		.queue_depth = (uint16_t)cfg->depth,
		.max_io_buf_bytes = BRIDGE_REQUEST_MAX,
		.dev_id = UINT32_MAX,
		.ublksrv_pid = getpid(),
		.ublksrv_flags = dead_device_mark(getpid()),
		.flags = device_flags(cfg),
	};
	const uint64_t wanted = info.flags;
	errint_t err = control_add(u->control, &info);

	if (err)
		return err;
	u->added = true;
	ublk_device_set(u, &info);
	if (u->nqueues > cfg->queues || !u->nqueues || u->depth != cfg->depth ||
	    info.max_io_buf_bytes < BRIDGE_REQUEST_MAX || ~info.flags & wanted)
		return log_fail(-ENOTSUP,
				"the ublk driver made device %" PRIu32 " with %u queues of %u, "
				"requests of %" PRIu32 " bytes and flags %#" PRIx64
				", which is not what it was asked for; try another --mode",
				u->id, u->nqueues, u->depth, info.max_io_buf_bytes, info.flags);
	return 0;
}

static errint_t set_params(struct ublk_device *u, const struct ublk_device_config *cfg)
{
	const struct geometry *geo = image_geometry(cfg->image);
	const struct params_facts facts = {
		.size = image_size(cfg->image),
		.sector_shift = geo->sector_shift,
		.block_shift = (uint8_t)subblock_shift(geo),
		.cluster_shift = geo->cluster_shift,
		.read_only = cfg->read_only,
		.mode = cfg->choice->mode,
		.mem_align = store_mem_align(image_store(cfg->image)),
	};
	struct ublk_params params;

	params_make(&facts, &params);
	return control_set_params(u->control, u->id, &params);
}

errint_t ublk_device_open_char(struct ublk_device *u)
{
	struct ublk_params params;
	char path[64];
	errint_t err = control_get_params(u->control, u->id, &params);

	if (err)
		return err;
	snprintf(path, sizeof(path), "/dev/ublkc%" PRIu32, u->id);
	return wait_node(path, S_IFCHR, makedev(params.devt.char_major, params.devt.char_minor),
			 O_RDWR, &u->char_fd);
}

/* The distance of two queues' descriptors in the mapping, and the length of one queue's. */
static size_t round_to_pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) & ~(page - 1);
}

static errint_t map_descs(struct ublk_device *u, unsigned q)
{
	size_t stride = round_to_pages(UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc));
	void *p = mmap(NULL, u->desc_len, PROT_READ, MAP_SHARED | MAP_POPULATE, u->char_fd,
		       (off_t)(UBLKSRV_CMD_BUF_OFFSET + q * stride));

	if (p == MAP_FAILED)
		return log_errno("cannot map the request descriptors of queue %u of %s", q,
				 u->dev.path);
	u->queues[q].descs = p;
	return 0;
}

static errint_t make_queue(struct ublk_device *u, const struct ublk_device_config *cfg, unsigned q)
{
	struct queue_config qc = {
		.id = q,
		.depth = u->depth,
		.char_fd = u->char_fd,
		.engine = cfg->engine,
		.pool = cfg->pool,
		.mode = cfg->choice->mode,
		.dev_id = u->id,
		.max_bytes = BRIDGE_REQUEST_MAX,
		.completes_in_task = u->flags & UBLK_F_URING_CMD_COMP_IN_TASK,
	};
	errint_t err = map_descs(u, q);

	if (err)
		return err;
	qc.descs = u->queues[q].descs;
	if (control_affinity(u->control, u->id, q, &qc.cpus, sizeof(qc.cpus)))
		CPU_ZERO(&qc.cpus);
	return bridge_queue_new(&qc, &u->queues[q].queue);
}

errint_t ublk_device_start_queues(struct ublk_device *u, const struct ublk_device_config *cfg)
{
	struct bridge_queue *queues[BRIDGE_MAX_QUEUES];
	errint_t err = 0;

	u->desc_len = round_to_pages(u->depth * sizeof(struct ublksrv_io_desc));
	for (unsigned q = 0; q < u->nqueues && !err; q++) {
		err = make_queue(u, cfg, q);
		queues[q] = u->queues[q].queue;
	}
	return err ? err : bridge_queues_start(queues, u->nqueues, u->dev.gone_fd);
}

/* The block device is there when it can be opened and has its size: udev and file systems look at
 * once. */
static errint_t wait_answers(struct ublk_device *u, uint64_t size)
{
	CLEANUP(close) int fd = -1;
	struct ublk_params params;
	uint64_t got;
	errint_t err = control_get_params(u->control, u->id, &params);

	if (!err)
		err = wait_node(u->dev.path, S_IFBLK,
				makedev(params.devt.disk_major, params.devt.disk_minor), O_RDONLY,
				&fd);
	if (err)
		return err;
	if (ioctl(fd, BLKGETSIZE64, &got))
		return log_errno("%s: cannot get the size of the device", u->dev.path);
	if (got != size)
		return log_fail(-EIO, "%s has %" PRIu64 " bytes, it should have %" PRIu64,
				u->dev.path, got, size);
	return 0;
}

/* --- ending
 * ---------------------------------------------------------------------------------------
 */

void ublk_device_end_queues(struct ublk_device *u)
{
	for (unsigned q = 0; q < u->nqueues; q++) {
		struct queue_slot *s = &u->queues[q];

		if (s->queue) {
			bridge_queue_join(s->queue);
			bridge_queue_free(s->queue);
			s->queue = NULL;
		}
		if (s->descs != MAP_FAILED)
			munmap(s->descs, u->desc_len);
		s->descs = MAP_FAILED;
	}
	if (u->char_fd >= 0)
		close(u->char_fd);
	u->char_fd = -1;
}

static errint_t delete_device(struct ublk_device *u)
{
	char path[64];
	errint_t err = control_delete(u->control, u->id);

	if (err)
		return err;
	u->added = false;
	snprintf(path, sizeof(path), "/dev/ublkc%" PRIu32, u->id);
	wait_gone(path);
	return 0;
}

/* Everything after the first use of the driver, in any state. */
static errint_t take_down(struct ublk_device *u)
{
	errint_t err = 0;

	if (!u->added)
		return 0;
	/* Also for a device that never started: its queues wait in the kernel for their tags. */
	err = control_stop(u->control, u->id, false);
	if (err == -ETIMEDOUT)
		return err; /* the queues will not end either */
	u->started = false;
	ublk_device_end_queues(u);
	return delete_device(u);
}

static errint_t ublk_stop(struct device *d, bool force)
{
	struct ublk_device *u = ublk_of(d);
	bool safe = !force && u->features & UBLK_F_SAFE_STOP_DEV;
	errint_t err = 0;

	if (!u->started)
		return take_down(u);
	/* Where the driver cannot do this itself, somebody may come between this and the stop; what
	 * they have written by then is written out all the same. */
	if (!force)
		err = in_use_check(u->dev.path);
	if (!err && safe) {
		err = control_stop(u->control, u->id, true);
		if (err == -EBUSY)
			return in_use_refuse(u->dev.path, "somebody has it open");
	}
	if (err)
		return err;
	if (u->dev.recoverable && !safe)
		write_out(u->dev.path, CACHED_SECONDS);
	return take_down(u);
}

static errint_t ublk_resize(struct device *d, uint64_t size)
{
	struct ublk_device *u = ublk_of(d);

	if (!(u->features & UBLK_F_UPDATE_SIZE))
		return log_fail(-ENOTSUP,
				"%s: the ublk driver of this kernel cannot change the size of a "
				"device in use (Linux 6.16 can); detach and attach it",
				d->path);
	return control_update_size(u->control, u->id, size);
}

static void ublk_describe(struct device *d, struct json_build *o)
{
	struct ublk_device *u = ublk_of(d);

	json_build_u64(o, "queues", u->nqueues);
	json_build_u64(o, "depth", u->depth);
}

static void ublk_free(struct device *d)
{
	struct ublk_device *u = ublk_of(d);

	control_close(u->control);
	if (u->dev.gone_fd >= 0)
		close(u->dev.gone_fd);
	free(u);
}

static const struct device_ops ublk_device_ops = {
	.kind = "ublk",
	.stop = ublk_stop,
	.resize = ublk_resize,
	.describe = ublk_describe,
	.hand_over = ublk_hand_over,
	.free = ublk_free,
};

static errint_t bring_up(struct ublk_device *u, const struct ublk_device_config *cfg)
{
	errint_t err = add_device(u, cfg);

	if (!err)
		err = set_params(u, cfg);
	if (!err)
		err = ublk_device_open_char(u);
	if (!err)
		err = ublk_device_start_queues(u, cfg);
	if (!err)
		err = ublk_device_promise(u, cfg);
	if (!err)
		err = control_start(u->control, u->id);
	if (err)
		return err;
	u->started = true;
	return wait_answers(u, image_size(cfg->image));
}

static errint_t ublk_device_alloc(const struct ublk_device_config *cfg, struct ublk_device **out)
{
	struct ublk_device *u = calloc(1, sizeof(*u));

	if (!u) {
		control_close(cfg->control);
		return log_err(-ENOMEM, "cannot make a ublk device");
	}
	*u = (struct ublk_device){
		.dev = {.ops = &ublk_device_ops,
			.choice = *cfg->choice,
			.recoverable = cfg->recovery,
			.gone_fd = -1},
		.control = cfg->control,
		.features = cfg->features,
		.read_only = cfg->read_only,
		.char_fd = -1,
	};
	for (unsigned q = 0; q < BRIDGE_MAX_QUEUES; q++)
		u->queues[q].descs = MAP_FAILED;
	*out = u;
	u->dev.gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return u->dev.gone_fd < 0 ? log_errno("cannot make an event descriptor") : 0;
}

errint_t ublk_device_new(const struct ublk_device_config *cfg, struct device **out)
{
	struct ublk_device *u = NULL;
	errint_t err = ublk_device_alloc(cfg, &u);

	if (!u)
		return err;
	if (!err)
		err = bring_up(u, cfg);
	if (!err) {
		*out = &u->dev;
		return 0;
	}
	/* The first failure is the one to tell.  A device whose driver is stuck stays, and so does
	 * what its queues use: the caller has it, to know that. */
	if (take_down(u))
		*out = &u->dev;
	else
		ublk_free(&u->dev);
	return err;
}

errint_t ublk_device_take_back(const struct ublk_device_config *cfg, uint32_t id,
			       struct device **out)
{
	struct ublk_device *u = NULL;
	errint_t err = ublk_device_alloc(cfg, &u);

	if (!err)
		err = ublk_device_recover(u, cfg, id);
	if (!err)
		*out = &u->dev;
	return err;
}
