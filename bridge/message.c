/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/message.h"

#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"

/* --- time ---------------------------------------------------------------------------------------
 */

/* When a wait of @timeout_ms ends; UINT64_MAX: never. */
static uint64_t deadline(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : clock_ms() + (uint64_t)timeout_ms;
}

static errint_t wait_for(int sock, short events, uint64_t until)
{
	for (;;) {
		struct pollfd p = {.fd = sock, .events = events};
		uint64_t now = clock_ms(), left = now < until ? until - now : 0;
		int n = poll(&p, 1, left > 1000000 ? 1000000 : (int)left);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && clock_ms() >= until)
			return -ETIMEDOUT;
	}
}

/* --- descriptors --------------------------------------------------------------------------------
 */

/* Room for the control message of one descriptor, aligned. */
union fd_space {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* Keeps the first descriptor that came, closes all others. */
static void take_fds(struct msghdr *mh, int *fd)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n =
			c->cmsg_len < CMSG_LEN(0) ? 0 : (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
			if (*fd < 0)
				*fd = got;
			else
				close(got);
		}
	}
}

/* --- receiving ----------------------------------------------------------------------------------
 */

errint_t message_begin(struct message_stream *s, int sock)
{
	*s = (struct message_stream){.sock = sock, .buf = malloc(MESSAGE_MAX)};
	return s->buf ? 0 : -ENOMEM;
}

void message_end(struct message_stream *s)
{
	free(s->buf);
	s->buf = NULL;
}

static errint_t receive_some(struct message_stream *s, int *fd)
{
	union fd_space space;
	struct iovec iov = {s->buf + s->len, MESSAGE_MAX - s->len};
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &space,
		.msg_controllen = sizeof(space),
	};
	ssize_t n = recvmsg(s->sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	take_fds(&mh, fd);
	if (n == 0)
		return -ECONNRESET;
	s->len += (size_t)n;
	return 0;
}

/* Takes the line of @len bytes, newline included, out of the buffer. */
static errint_t parse_line(struct message_stream *s, size_t len, json_t **msg)
{
	json_t *j = json_loadb(s->buf, len - 1, JSON_REJECT_DUPLICATES, NULL);

	s->len -= len;
	memmove(s->buf, s->buf + len, s->len);
	if (!json_is_object(j)) {
		json_decref(j);
		return -EPROTO;
	}
	*msg = j;
	return 0;
}

errint_t message_receive(struct message_stream *s, int timeout_ms, json_t **msg, int *out_fd)
{
	uint64_t until = deadline(timeout_ms);
	CLEANUP(close) int fd = -1;
	errint_t err;

	for (;;) {
		const char *nl = s->len ? memchr(s->buf, '\n', s->len) : NULL;

		if (nl) {
			err = parse_line(s, (size_t)(nl - s->buf) + 1, msg);
			if (!err)
				*out_fd = steal_fd(&fd);
			return err;
		}
		if (s->len == MESSAGE_MAX)
			return -EMSGSIZE;
		err = wait_for(s->sock, POLLIN, until);
		if (!err)
			err = receive_some(s, &fd);
		if (err)
			return err;
	}
}

/* --- sending ------------------------------------------------------------------------------------
 */

static ssize_t send_some(int sock, char *bytes, size_t len, int fd)
{
	union fd_space space = {.bytes = {0}};
	struct iovec iov = {bytes, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = &space;
		mh.msg_controllen = sizeof(space);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
}

errint_t message_send(int sock, int timeout_ms, const json_t *msg, int fd)
{
	uint64_t until = deadline(timeout_ms);
	CLEANUP(free) char *text = json_dumps(msg, JSON_COMPACT);
	size_t len, done = 0;

	if (!text)
		return -ENOMEM;
	len = strlen(text);
	if (len >= MESSAGE_MAX)
		return -EMSGSIZE;
	text[len++] = '\n'; /* in place of the terminator */
	while (done < len) {
		ssize_t n = send_some(sock, text + done, len - done, done ? -1 : fd);
		errint_t err;

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		err = wait_for(sock, POLLOUT, until);
		if (err)
			return err;
	}
	return 0;
}
