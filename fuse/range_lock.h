/* SPDX-License-Identifier: MIT */
/*
 * Keeps writes of sectors apart while one of them reads a sector, changes a part of it and writes
 * it back: a write of the whole sector in between would be lost.
 *
 * Those who come wait for those who came before and are in their way, so nobody starves; a thread
 * holds one range at a time, so nobody waits in a circle.
 */
#ifndef FUSE_RANGE_LOCK_H
#define FUSE_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* One who holds or waits for [first, end). */
struct range_holder {
	uint64_t first, end;
	bool exclusive;
	struct range_holder *next; /* who came later */
};

struct range_lock {
	pthread_mutex_t lock;
	pthread_cond_t left;	     /* somebody has left */
	struct range_holder *oldest; /* protected by lock, as is all that hangs on it */
};

void range_lock_init(struct range_lock *l);
void range_lock_destroy(struct range_lock *l); /* nobody holds a range */

/*
 * Hold [@first, @end), not empty, until range_unlock() of the same @h, which the caller keeps where
 * it is.  Waits for all earlier holders of a range that overlaps, unless both are shared: whole
 * sectors may be written by many at once, as on any disk.
 */
void range_lock(struct range_lock *l, struct range_holder *h, uint64_t first, uint64_t end,
		bool exclusive);
void range_unlock(struct range_lock *l, struct range_holder *h);

#endif
