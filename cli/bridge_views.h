/* SPDX-License-Identifier: MIT */
/*
 * Mounted views of an image that is attached: served by its bridge, beside the device.  Whoever
 * mounts one hands over the descriptor of /dev/fuse with the method "mount" of the control socket.
 */
#ifndef CLI_BRIDGE_VIEWS_H
#define CLI_BRIDGE_VIEWS_H

#include "bridge/bridge.h"
#include "bridge/socket.h"

struct bridge_views;

/* For the bridge that is about to be run.  -ENOMEM, message logged. */
MUST_CHECK errint_t bridge_views_new(struct bridge_views **out);
/* After the bridge's end. */
void bridge_views_free(struct bridge_views *v);

/* The bridge is @b from now on: main thread, when it makes its device. */
void bridge_views_begin(struct bridge_views *v, struct bridge *b);

/* Ends all views: bridge_parts.end, with its result.  They stay mounted, without anybody to answer,
 * until whoever has the device detached unmounts them: a bridge sees no mounts. */
MUST_CHECK errint_t bridge_views_end(struct bridge_views *v);

/*
 * The method "mount", {"dir": "/mnt", "image": "as the user named it", "snapshots": bool, "uid": 0,
 * "gid": 0, "mode": 0644}, with the descriptor: serves a view there that cannot be written.  @v is
 * the argument.
 */
errint_t bridge_views_mount(void *v, struct socket_request *rq, json_t **result);

/* The method "views": {"views": ["/mnt"]}, where they are mounted. */
errint_t bridge_views_list(void *v, struct socket_request *rq, json_t **result);

#endif
