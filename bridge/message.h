/* SPDX-License-Identifier: MIT */
/*
 * Messages on a control socket: one JSON object a line, in both directions, with at most one file
 * descriptor beside it.
 *
 *	{"method": "info", "params": {...}}
 *	{"result": {...}}
 *	{"error": {"errno": 16, "message": "/dev/ublkb0 is in use: mounted on /mnt"}}
 */
#ifndef BRIDGE_MESSAGE_H
#define BRIDGE_MESSAGE_H

#include <jansson.h>

#include "common/errint.h"

/* Bytes of a line, newline included; longer ones end the conversation. */
#define MESSAGE_MAX (256u << 10)

/* One end of a conversation: the bytes that came after the last line. */
struct message_stream {
	int sock;
	char *buf; /* MESSAGE_MAX bytes, from message_begin() */
	size_t len;
};

/* @sock stays the caller's.  -ENOMEM. */
MUST_CHECK errint_t message_begin(struct message_stream *s, int sock);
void message_end(struct message_stream *s);

/*
 * The next line, as an object; *fd is the descriptor that came with it, or -1; the caller's.  Waits
 * @timeout_ms for all of it, -1 for ever.  -ECONNRESET at the end, -ETIMEDOUT, -EMSGSIZE for a line
 * that is too long, -EPROTO for one that is no object.  Without a message.
 */
MUST_CHECK errint_t message_receive(struct message_stream *s, int timeout_ms, json_t **msg,
				    int *fd);

/* Sends @msg and, unless that is -1, @fd; both stay the caller's.  Errors as above, and those of
 * sendmsg(); -EMSGSIZE for a message that is too long, of which nothing was sent. */
MUST_CHECK errint_t message_send(int sock, int timeout_ms, const json_t *msg, int fd);

#endif
