/* SPDX-License-Identifier: MIT */
/* What FUSE asks for, answered by a view.  For session.c only. */
#ifndef FUSE_OPS_H
#define FUSE_OPS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>

#include "fuse/view.h"

/* The user data of a FUSE session. */
struct ops_context {
	struct view *view;
	pthread_key_t thread; /* of each thread that serves: its struct view_thread */
};

extern const struct fuse_lowlevel_ops view_ops;

#endif
