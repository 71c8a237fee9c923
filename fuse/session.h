/* SPDX-License-Identifier: MIT */
/*
 * A view as a mounted file system, through libfuse's low-level interface: what translates between
 * the two, the threads that serve it, and its beginning and end.
 */
#ifndef FUSE_SESSION_H
#define FUSE_SESSION_H

#include <stdbool.h>

#include "common/errint.h"
#include "fuse/view.h"

struct session;

struct session_opts {
	struct view *view; /* outlives the session */
	/* Mount on this directory; or, when NULL, serve @fd, a descriptor of /dev/fuse that is
	 * mounted already and belongs to the session from now on, also when it cannot start. */
	const char *dir;
	int fd;
	/* How to mount, with @dir only. */
	const char *source; /* the image, as the table of mounts is to show it */
	bool read_only;
	bool allow_other; /* users other than the mounting one, as far as the files' modes allow */
	unsigned threads; /* 0: two for each processor, 4 to 16 */
};

#define SESSION_MAX_THREADS 64u

/*
 * Mount, and serve in threads of the session's own, which have all signals blocked.  On return the
 * view is mounted and answers.  Message logged.
 */
MUST_CHECK errint_t session_start(const struct session_opts *opts, struct session **out);

/* Readable as soon as the view was unmounted, and stays so.  Owned by the session. */
int session_ended_fd(const struct session *s);

/* To be called each second: memory is given back when no request has come for ten of them.  From
 * one thread at a time, none of the session's own, before session_stop(). */
void session_maintain(struct session *s);

/*
 * End the session and free it: requests under way are finished, and if the view is still mounted on
 * the session's directory, it is unmounted.  Open files of it fail with ENOTCONN from then on. From
 * any thread but the session's own.  -ETIMEDOUT, message logged and nothing freed, when a request
 * is still under way after @timeout seconds: the process should then end.
 */
MUST_CHECK errint_t session_stop(struct session *s, unsigned timeout);

/*
 * Mount a view on @dir without serving it: *fd is the descriptor to be served, by the process that
 * has the image (session_opts.fd).  The caller closes it.  The other fields of @opts that matter
 * are those of mounting.
 */
MUST_CHECK errint_t session_mount(const struct session_opts *opts, int *fd);

/*
 * Make the file system of a view that is in no directory: *fuse is the descriptor to be served as
 * session_opts.fd is, and *root that of its root directory, as long as which, or what was opened
 * below it, is open the file system lives.  Nothing is left behind, however the process ends. Needs
 * root.  Message logged.
 */
MUST_CHECK errint_t session_mount_private(int *fuse, int *root);

/* Unmount @dir; what is still open there stays so with @lazy, and refuses with -EBUSY without.
 * Message logged. */
MUST_CHECK errint_t session_unmount(const char *dir, bool lazy);

/* Is a view mounted on @dir, an absolute path without symbolic links, even if nobody serves it any
 * longer?  False also when the table of mounts cannot be read. */
bool session_is_mounted(const char *dir);

/*
 * Has the view that is mounted on @dir lost its process?  Attributes of a directory may still be in
 * the kernel's memory, so this asks for an extended one, which never is.
 */
bool session_is_dead(const char *dir);

/* The type of file system that the table of mounts shows. */
#define SESSION_FSTYPE "fuse.ublk-img"

#endif
