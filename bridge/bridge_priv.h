/* SPDX-License-Identifier: MIT */
/* The inside of a bridge, for bridge.c, bridge_info.c and bridge_state.c. */
#ifndef BRIDGE_BRIDGE_PRIV_H
#define BRIDGE_BRIDGE_PRIV_H

#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "bridge/bridge.h"
#include "image/vj.h"

/* How a bridge comes by its image and its device: what differs between attaching an image and
 * taking back its device.  Main thread. */
struct bridge_way {
	const char *done; /* "attached" */
	/* Before the image is opened: it and the device may be had. */
	errint_t (*claim)(struct bridge *b);
	/* Fills @o, on the store that is open. */
	errint_t (*open)(struct bridge *b, struct image_open_opts *o);
	/* The device stays when the beginning fails: it was there before. */
	bool device_stays;
};

/* What main is asked for by a method. */
enum bridge_stop { BRIDGE_DETACH, BRIDGE_DETACH_FORCE, BRIDGE_HAND_OVER };

struct bridge {
	const struct bridge_way *way;
	const struct bridge_opts *opts;
	const struct bridge_parts *parts;
	struct timespec since; /* wall clock */

	/* Main thread's until methods run, constant from then until close_image(). */
	struct store *store;
	struct stat file; /* of the image */
	struct image *image;
	struct engine *engine;
	struct pool *pool;
	struct device *device;
	struct socket_server *server;
	const struct socket_method *tables[3];
	struct socket_method methods[8];
	int dir;       /* of control sockets */
	int name_lock; /* -1: no name */

	/* What the next bridge needs; valid while state_lock is held. */
	struct device_state state;
	int state_lock; /* -1: the device does not outlive this process */
	bool replays;	/* the image was opened with the volatile journal of a bridge that died */
	struct vj_recover recover;
	struct vj_state vj_state;
	bool promise_failed;
	char no_recovery[256]; /* why; "": it can be recovered, or nobody knows yet */

	int stop_fd;	/* to main: look at stop */
	bool abandoned; /* the device could not be stopped: its threads stay */
	bool maintained;
	pthread_t maintenance;

	/* Read-held by methods that use what is above; before lock. */
	pthread_rwlock_t use;
	bool closing; /* set before any of that goes; with @use write-held */

	pthread_mutex_t device_lock; /* held for the device's operations; before lock */
	bool stopped;

	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t changed;
	bool maintenance_ends;
	struct {
		bool asked; /* by a method */
		enum bridge_stop how;
		bool answered;
		bool ended; /* nobody will answer any more */
		errint_t result;
		char message[1024];
	} stop;
};

/* ---- bridge_state.c ---------------------------------------------------------------------- */

extern const struct bridge_way bridge_way_attach, bridge_way_take_back;

/* The device is there yet, its image has been closed: the next bridge only has to open it. */
MUST_CHECK errint_t bridge_state_closed(struct bridge *b);
/* The device is gone. */
void bridge_state_end(struct bridge *b);

#endif
