/* SPDX-License-Identifier: MIT */
/*
 * What a bridge is put together from: the kinds of devices that there are, and which of them this
 * machine can make.
 */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include "bridge/bridge.h"
#include "bridge/mode.h"
#include "bridge/socket.h"

struct bridge_views;
struct control;

struct serve {
	enum bridge_mode mode; /* asked for; BRIDGE_MODE_AUTO: the best */
	unsigned queues;       /* 0: by the number of processors */
	unsigned depth;	       /* 0: BRIDGE_DEFAULT_DEPTH */

	/* serve_parts()'s own. */
	struct bridge_views *views;
	struct control *control; /* for a device that is taken back */
	uint64_t features;
	struct socket_method methods[16];
};

/* Fills @parts for a bridge as @s, which outlives it, says.  Message logged. */
MUST_CHECK errint_t serve_parts(struct serve *s, struct bridge_parts *parts);

/* After the bridge's end. */
void serve_free(struct serve *s);

#endif
