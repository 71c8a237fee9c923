/* SPDX-License-Identifier: MIT */
/*
 * File systems that are frozen for a moment (FIFREEZE): what is written to them waits, and what was
 * written is on their device.
 *
 * Frozen file systems stay so, whoever dies, until somebody thaws them.  So a process of its own
 * freezes and thaws them: it takes no signals, and thaws as soon as its parent tells it, is gone,
 * or takes too long.  If it is itself killed, the parent thaws.
 *
 * Between begin and end do nothing that may write to one of them, such as logging to standard
 * error.
 */
#ifndef CLI_FREEZE_H
#define CLI_FREEZE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/errint.h"

#define FREEZE_MAX 64

struct freeze_fs {
	int fd;		/* of a directory on it */
	char *dir;	/* where it is mounted */
	bool optional;	/* out: not frozen when it is of a kind that cannot be */
	bool is_frozen; /* out, of freeze_begin() */
};

/* What is done to them; 0, or -1 and errno. */
struct freeze_ops {
	int (*sync)(int fd);
	int (*freeze)(int fd);
	int (*thaw)(int fd);
};

struct freeze_opts {
	struct freeze_fs *fs;	      /* the caller's, until after freeze_end() */
	unsigned n;		      /* FREEZE_MAX at the most */
	unsigned ms;		      /* that they are frozen, at the longest */
	const struct freeze_ops *ops; /* NULL: the kernel's */
};

/* The process that has frozen them. */
struct freezer {
	struct freeze_opts opts;
	pid_t pid;
	int sock;
};

/*
 * Freezes all, after most of what is to be written was written; or none, with an error, message
 * logged: -EBUSY when one is frozen already, -EOPNOTSUPP, -EPERM.  The caller has one thread.
 */
MUST_CHECK errint_t freeze_begin(const struct freeze_opts *opts, struct freezer *f);

/*
 * Thaws them.  0: they were frozen until now.  -ETIMEDOUT: no longer, as it took too long or
 * somebody else has thawed one.  Otherwise one may still be frozen.  Messages are logged, after the
 * thaw.
 */
MUST_CHECK errint_t freeze_end(struct freezer *f);

#endif
