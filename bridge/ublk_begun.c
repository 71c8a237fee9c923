/* SPDX-License-Identifier: MIT */
/*
 * What a server leaves that dies while it takes a device back, in older drivers.
 *
 * Before Linux 6.15 (and 6.14.6) START_USER_RECOVERY is what resets the queues, and only those that
 * a task which is dead now has fetched: when no queue was, it says -EINVAL, for ever, and when some
 * were it follows a null pointer.  So before it is called, a thread that then ends fetches the tags
 * of every queue that nobody has fetched since it was reset.  The driver refuses the others.  No
 * request comes: the device is quiesced, and that ends with END_USER_RECOVERY.
 *
 * Where the driver resets them by itself, which cannot be seen in all versions, the thread fetches
 * everything, and is one more server that died; what requests it was given are issued again.
 * Before Linux 6.7 the driver does not take the tags from the thread when it ends: there such a
 * device can only be removed.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bridge/ublk_device_priv.h"
#include "common/cleanup.h"
#include "common/log.h"

struct fetcher {
	const struct ublksrv_ctrl_dev_info *info;
	int char_fd;
	errint_t err;
	bool fetched; /* something */
};

static void prepare_fetch(const struct fetcher *f, struct io_uring_sqe *sqe, uint16_t queue,
			  uint16_t tag)
{
	const struct ublksrv_io_cmd cmd = {
		.q_id = queue,
		.tag = tag,
		.result = -1,
		/* Of a buffer that a request would be copied to, and that there is not. */
		.addr = f->info->flags & UBLK_F_USER_COPY ? 0 : 1,
	};

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, f->char_fd, NULL, 0, 0);
	sqe->cmd_op = UBLK_U_IO_FETCH_REQ;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
}

/* What is refused has completed when it was submitted.  @other: for another reason than that
 * somebody else has fetched it. */
static unsigned count_refused(struct io_uring *ring, unsigned *other)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0, refused = 0;

	*other = 0;
	io_uring_for_each_cqe(ring, head, cqe)
	{
		n++;
		refused += cqe->res < 0;
		*other += cqe->res < 0 && cqe->res != -EINVAL;
	}
	io_uring_cq_advance(ring, n);
	return refused;
}

/* All tags of a queue, or none. */
static errint_t fetch_queue(struct fetcher *f, struct io_uring *ring, uint16_t queue)
{
	unsigned depth = f->info->queue_depth, refused, other;

	for (unsigned tag = 0; tag < depth; tag++)
		prepare_fetch(f, io_uring_get_sqe(ring), queue, (uint16_t)tag);

	int n = io_uring_submit(ring);

	refused = count_refused(ring, &other);
	if (n == (int)depth && !other && (!refused || refused == depth)) {
		f->fetched |= !refused;
		return 0;
	}
	return log_fail(-EIO,
			"/dev/ublkb%" PRIu32 ": queue %u is neither what its last server has left "
			"nor new (%d submitted, %u refused, %u for other reasons)",
			f->info->dev_id, queue, n, refused, other);
}

static void *fetch_all(void *arg)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SUBMIT_ALL};
	struct fetcher *f = arg;
	struct io_uring ring;
	int err = io_uring_queue_init_params(f->info->queue_depth, &ring, &params);

	if (err) {
		f->err = log_err(err, "cannot set up io_uring");
		return NULL;
	}
	for (uint16_t q = 0; q < f->info->nr_hw_queues && !f->err; q++)
		f->err = fetch_queue(f, &ring, q);
	io_uring_queue_exit(&ring);
	return NULL;
}

errint_t ublk_fetch_begun(const struct ublksrv_ctrl_dev_info *info, bool *fetched)
{
	CLEANUP(close) int fd = -1;
	struct fetcher f = {.info = info};
	pthread_t thread;
	char path[64];

	if (info->state != UBLK_S_DEV_QUIESCED)
		return -EBUSY;
	snprintf(path, sizeof(path), "/dev/ublkc%" PRIu32, info->dev_id);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		bool gone = errno == ENOENT || errno == ENXIO || errno == ENODEV;

		return gone || errno == EBUSY ? -EBUSY : log_errno("%s: cannot open", path);
	}
	f.char_fd = fd;

	int err = pthread_create(&thread, NULL, fetch_all, &f);

	if (err)
		return log_err(-err, "cannot start a thread");
	pthread_join(thread, NULL);
	*fetched = f.fetched;
	return f.err;
}
