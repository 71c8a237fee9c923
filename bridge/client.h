/* SPDX-License-Identifier: MIT */
/* Talking to bridges from the commands. */
#ifndef BRIDGE_CLIENT_H
#define BRIDGE_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "bridge/message.h"
#include "common/errint.h"

/* A connection to a bridge. */
struct bridge_client {
	int sock;
	struct message_stream stream;
	json_t *about; /* the bridge's answer to "ping": who it is and what it serves */
};

/*
 * Calls @fn for each bridge of this user that answers, until it returns false.  @fn may keep the
 * connection by client_steal().  What dead bridges left is removed; a bridge that does not answer
 * is left out, with a warning.
 */
typedef bool (*client_visit_fn)(void *arg, struct bridge_client *client);
MUST_CHECK errint_t client_visit_all(client_visit_fn fn, void *arg);

/*
 * Connects to the bridge that @what means: a device ("/dev/ublkb0", a link to it, or "ublkb0"), a
 * name given with --name, or the image's file.  -ENOENT without a message when there is none.
 */
MUST_CHECK errint_t client_find(const char *what, struct bridge_client *client);

/* The same, for images only: by the file that @path leads to. */
MUST_CHECK errint_t client_find_image(const char *path, struct bridge_client *client);

/*
 * Calls @method with @params (stolen, may be NULL), passing @fd along unless that is -1.  *result
 * is the caller's.  An error of the bridge is returned with its message logged here.
 */
MUST_CHECK errint_t client_call(struct bridge_client *client, const char *method, json_t *params,
				int fd, int timeout_ms, json_t **result);

/* Waits until the bridge's process has gone, as far as that can be seen.  -ETIMEDOUT, message
 * logged. */
MUST_CHECK errint_t client_wait_gone(struct bridge_client *client, int timeout_ms);

/* Texts of client->about; "" where there is none. */
const char *client_text(const struct bridge_client *client, const char *key);
long client_pid(const struct bridge_client *client);

/* Takes the connection out of @from, which is closed afterwards. */
struct bridge_client client_steal(struct bridge_client *from);

void client_close(struct bridge_client *client);

static inline void cleanup_client(struct bridge_client *client)
{
	client_close(client);
}

#endif
