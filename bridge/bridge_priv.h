/* SPDX-License-Identifier: MIT */
/* The inside of a bridge, for bridge.c and bridge_info.c. */
#ifndef BRIDGE_BRIDGE_PRIV_H
#define BRIDGE_BRIDGE_PRIV_H

#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "bridge/bridge.h"

struct bridge {
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
	int dir;	/* of control sockets */
	int name_lock;	/* -1: no name */
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
		bool asked, force; /* by a method */
		bool answered;
		bool ended; /* nobody will answer any more */
		errint_t result;
		char message[1024];
	} stop;
};

#endif
