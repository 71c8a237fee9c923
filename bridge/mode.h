/* SPDX-License-Identifier: MIT */
/*
 * Which way a device is served: the best that the kernel and the user's rights allow, or the one
 * asked for.  A pure decision; the facts come from control.h and the store.
 */
#ifndef BRIDGE_MODE_H
#define BRIDGE_MODE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"

/* Best first: mode_choose() goes down this list. */
enum bridge_mode {
	BRIDGE_ZERO_COPY,	   /* buffers registered with each fetch, and user copy; 6.16 */
	BRIDGE_ZERO_COPY_EXPLICIT, /* buffers registered for each request, and user copy; 6.15 */
	BRIDGE_USER_COPY,	   /* pread and pwrite on /dev/ublkcN; 6.5 */
	BRIDGE_COPY,		   /* the driver copies to and from a buffer of the server */
	BRIDGE_LOOP,		   /* no ublk: a view of the disk in FUSE, under a loop device */
	BRIDGE_NMODES,
	BRIDGE_MODE_AUTO = BRIDGE_NMODES,
};

/* "zero-copy", "zero-copy-explicit", "user-copy", "copy", "loop", "auto", as --mode takes them. */
const char *mode_name(enum bridge_mode mode);
extern const char *const mode_words[]; /* in the order of the enum; ends with NULL */

/* Do requests go from and to the file without a copy? */
static inline bool mode_is_zero_copy(enum bridge_mode mode)
{
	return mode == BRIDGE_ZERO_COPY || mode == BRIDGE_ZERO_COPY_EXPLICIT;
}

/* The UBLK_F_* that a device of @mode is added with; not for BRIDGE_LOOP. */
uint64_t mode_flags(enum bridge_mode mode);

/* What the decision rests on. */
struct mode_facts {
	/* 0: the driver answered.  -ENOENT: there is none; -EACCES: no right to use it; -ENOTSUP:
	 * it is older than Linux 6.5; -ENOSYS: there is no io_uring. */
	errint_t driver;
	uint64_t features;  /* UBLK_F_* that the driver has */
	uint32_t mem_align; /* bytes: how the file's direct I/O wants memory aligned; 1: any way */
	bool stable_fd;	    /* the image is in a file or device that SQEs can name */
	/* 0: a loop device can be made from a view.  -EACCES: only root can; -ENOENT: no loop
	 * driver; -ENODEV: no FUSE. */
	errint_t loop;
};

#define MODE_WHY_MAX 320

struct mode_choice {
	enum bridge_mode mode;
	/* Why no better mode was possible, or that another was asked for; "" for the best. */
	char why[MODE_WHY_MAX];
};

/*
 * Chooses the mode for @facts, or checks that @want is possible (BRIDGE_MODE_AUTO: any).  -ENOTSUP,
 * -ENOENT or -EACCES when it is not, message logged, with what to do.  Any thread.
 */
MUST_CHECK errint_t mode_choose(const struct mode_facts *facts, enum bridge_mode want,
				struct mode_choice *choice);

#endif
