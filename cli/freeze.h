/* SPDX-License-Identifier: MIT */
/*
 * Freezing file systems (FIFREEZE): what they hold is on their device, and stays as it is until
 * they are thawed.
 *
 * A child process freezes and thaws.  It thaws as soon as this process says so or is no more,
 * however it ended, and after FREEZE_SECONDS in any case.
 */
#ifndef CLI_FREEZE_H
#define CLI_FREEZE_H

#include <sys/types.h>

#include "common/errint.h"

/* For so long nobody can write to a frozen file system at the most. */
#define FREEZE_SECONDS 60u

struct freeze {
	pid_t child; /* 0: nothing is frozen */
	int to, from;
	char **points;
	unsigned n;
};

#define FREEZE_NONE                                                                                \
	{                                                                                          \
		.to = -1, .from = -1                                                               \
	}

/* Adds what is mounted on @point.  -EINVAL, message logged, when it is no mount point. */
MUST_CHECK errint_t freeze_add(struct freeze *f, const char *point);

/* Adds every file system on the block device @name ("ublkb0"), on its partitions, and on devices
 * built of them, that this process sees. */
MUST_CHECK errint_t freeze_add_device(struct freeze *f, const char *name);

/*
 * Writes out and freezes what was added: all of it, or, after an error, nothing.  Until
 * freeze_end() nothing may be written to them by this process.  -EBUSY when somebody else has
 * frozen one; -EOPNOTSUPP for a file system that cannot; -EPERM.  Messages logged.
 */
MUST_CHECK errint_t freeze_begin(struct freeze *f);

/* Thaws.  -ETIMEDOUT, message logged: they were not frozen all the time. */
MUST_CHECK errint_t freeze_end(struct freeze *f);

/* For CLEANUP(): thaws if need be. */
void cleanup_freeze(struct freeze *f);

#endif
