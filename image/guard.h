/* SPDX-License-Identifier: MIT */
/*
 * Guards and exclusive markers.
 *
 * Whoever uses storage that a mapping named holds a guard from before it looked the mapping up
 * until its I/O is complete.  Freed storage is reused only after every guard that existed when it
 * was unmapped is gone.  Guards are counted per epoch; an epoch ends when somebody wants to wait
 * for those before it.
 *
 * An exclusive marker on a cluster keeps other writers off while its content is copied.  It
 * may be held across I/O; nobody waits for one while holding a guard (rule G1).
 *
 * All functions: im->lock held.
 */
#ifndef IMAGE_GUARD_H
#define IMAGE_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"

struct image;
struct need;

#define GUARD_EPOCHS 64u

struct guards {
	uint64_t epoch;		      /* new guards join this one; starts at 1 */
	uint64_t oldest;	      /* no guard of an older epoch is left */
	uint32_t count[GUARD_EPOCHS]; /* by epoch % GUARD_EPOCHS */
	uint64_t *excl;		      /* clusters that are marked */
	unsigned nexcl, excl_cap;
};

/* Returns the epoch, to be handed to guard_leave(). */
uint64_t guard_enter(struct image *im);
void guard_leave(struct image *im, uint64_t epoch);

/* An epoch such that guard_drained() of it means: all guards that exist now are gone. */
uint64_t guard_barrier(struct image *im);
bool guard_drained(struct image *im, uint64_t barrier);

/* Mark @vcluster; -EAGAIN with @need when somebody else has, -ENOMEM. */
MUST_CHECK errint_t excl_take(struct image *im, uint64_t vcluster, struct need *need);
void excl_drop(struct image *im, uint64_t vcluster);
/* Is any of [first, first + count) marked? */
bool excl_held(struct image *im, uint64_t first, uint64_t count);

#endif
