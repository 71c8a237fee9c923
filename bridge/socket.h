/* SPDX-License-Identifier: MIT */
/*
 * The control socket of a bridge: a table of methods, called for whoever connects.
 *
 * Only root and the user that the bridge runs as may connect.  Every connection has a thread of its
 * own; there are SOCKET_CLIENTS_MAX at a time.
 */
#ifndef BRIDGE_SOCKET_H
#define BRIDGE_SOCKET_H

#include <jansson.h>
#include <sys/types.h>

#include "common/errint.h"

#define SOCKET_CLIENTS_MAX 16

struct socket_request {
	const json_t *params; /* an object, maybe empty */
	int fd;		      /* what came with it, or -1; a method that keeps it sets -1 */
	pid_t pid;	      /* of the client */
};

/* One method.  A table of them ends with a row whose name is NULL. */
struct socket_method {
	const char *name;
	/*
	 * Sets *result to an object (or leaves it NULL for an empty one), or returns an error whose
	 * message it has logged: the client is told the last message that this thread logged
	 * (socket_log_error()).  Any thread, several at a time; may block.
	 */
	errint_t (*call)(void *arg, struct socket_request *rq, json_t **result);
	void *arg;
};

struct socket_server;

/*
 * Serves @methods, tables ended by NULL, on the socket @name in directory @dir (runtime_dir.h).
 * The tables and their arguments outlive the server.  Messages are logged.
 */
MUST_CHECK errint_t socket_server_new(int dir, const char *name,
				      const struct socket_method *const *methods,
				      struct socket_server **out);

/* No new connections, and the socket's name is gone; those that are open go on. */
void socket_server_close(struct socket_server *s);

/* Waits for calls in progress, ends all connections, and frees @s; closes it first if need be.  Not
 * from within a method. */
void socket_server_free(struct socket_server *s);

/* For the log sink of the process: remembers @message as this thread's last error. */
void socket_log_error(const char *message);
/* What it remembers; "": nothing. */
const char *socket_last_error(void);

#endif
