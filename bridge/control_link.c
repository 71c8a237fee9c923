/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/control_link.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

/* An SQE of a ring with IORING_SETUP_SQE128; the command is in its last 80 bytes. */
#define SQE_SIZE     128
#define SQE_CMD_AT   48
#define RING_ENTRIES 4

_Static_assert(offsetof(struct io_uring_sqe, cmd) == SQE_CMD_AT, "where the command begins");
_Static_assert(SQE_CMD_AT + sizeof(struct ublksrv_ctrl_cmd) <= SQE_SIZE, "it fits");

struct link {
	int fd;
	struct io_uring ring;
};

/* Reasons that the user can do something about, as control_open() names them. */
static errint_t open_reason(int error)
{
	switch (error) {
	case ENOENT: /* no node */
	case ENXIO:  /* a node without a driver */
	case ENODEV:
		return -ENOENT;
	case EPERM:
	case EACCES:
		return -EACCES;
	default:
		return -error;
	}
}

errint_t control_link_open(void **out)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQE128};
	CLEANUP(free) struct link *link = calloc(1, sizeof(*link));
	CLEANUP(close) int fd = open(UBLK_CONTROL_PATH, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return open_reason(errno);
	if (!link)
		return -ENOMEM;
	if (io_uring_queue_init_params(RING_ENTRIES, &link->ring, &params))
		return -ENOSYS;
	link->fd = steal_fd(&fd);
	*out = steal_pointer(&link);
	return 0;
}

static int link_run(void *arg, uint32_t op, const struct ublksrv_ctrl_cmd *cmd)
{
	struct link *link = arg;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&link->ring);
	struct io_uring_cqe *cqe;
	unsigned char *bytes = (unsigned char *)sqe;
	int result;

	if (!sqe)
		return -EBUSY; /* cannot be: one command at a time */
	memset(bytes, 0, SQE_SIZE);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = link->fd;
	sqe->cmd_op = op;
	memcpy(bytes + SQE_CMD_AT, cmd, sizeof(*cmd));
	do
		result = io_uring_submit(&link->ring);
	while (result == -EINTR || result == -EAGAIN);
	if (result < 0)
		return result;
	do
		result = io_uring_wait_cqe(&link->ring, &cqe);
	while (result == -EINTR);
	if (result < 0)
		return result;
	result = cqe->res;
	io_uring_cqe_seen(&link->ring, cqe);
	return result;
}

static void link_close(void *arg)
{
	struct link *link = arg;

	io_uring_queue_exit(&link->ring);
	close(link->fd);
	free(link);
}

const struct control_link_ops control_link_uring = {.run = link_run, .close = link_close};
