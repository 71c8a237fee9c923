/* SPDX-License-Identifier: MIT */
/*
 * The cache of decompressed clusters, one for each engine, shared by all of its threads.  Not for
 * other directories.
 *
 * An entry is named by where its blob is stored.  Space is used again, so the name alone does not
 * say that the bytes are still the same; two rules do:
 *
 *   C1. Whoever looks an entry up or loads one holds a guard that covers the blob (plan.h), so the
 *       blob's space is not used again meanwhile.
 *   C2. The packer calls cache_forget() for the space of a batch after it has been given that space
 *       and before it writes to it.  From the time when space may be used again until then nobody
 *       holds such a guard, so nothing is loaded from it, and what had been loaded goes.
 *
 * One mutex, held for moments only: never across I/O, decompressing or copying.
 */
#ifndef ENGINE_CACHE_H
#define ENGINE_CACHE_H

#include "image/plan.h"

struct cache;
struct cached;

/* Somebody who wants a cluster that another thread is loading. */
struct cache_waiter {
	struct cache_waiter *next;
	/* Called once, in the loading thread: the cluster's bytes, valid during the call, or NULL
	 * and why not.  May block; the waiter may be gone on return. */
	void (*ready)(struct cache_waiter *w, const uint8_t *bytes, errint_t err);
};

/* A cache of clusters of @cluster bytes, at most @max_bytes of them.  Memory is taken when it is
 * first needed.  -ENOMEM, message logged. */
MUST_CHECK errint_t cache_new(size_t cluster, size_t max_bytes, struct cache **out);
void cache_free(struct cache *c); /* NULL is allowed; no entry may be held */

enum cache_answer {
	CACHE_HIT,    /* *out holds the cluster; cache_release() it */
	CACHE_LOAD,   /* fill cache_bytes(*out), then cache_loaded() */
	CACHE_JOINED, /* another thread loads it, and will call w->ready() */
	CACHE_NONE,   /* no room, or another thread loads it and there is no waiter: do without */
};
/* Look the blob of @s up.  @w may be NULL, and stays the caller's unless CACHE_JOINED. */
enum cache_answer cache_acquire(struct cache *c, const struct seg *s, struct cache_waiter *w,
				struct cached **out);
/* Is it there?  Only CACHE_HIT and CACHE_NONE. */
enum cache_answer cache_lookup(struct cache *c, const struct seg *s, struct cached **out);
/* Loading ended with @err.  Calls those who joined.  On success the entry is still held; after a
 * failure it is gone. */
void cache_loaded(struct cache *c, struct cached *e, errint_t err);
void cache_release(struct cache *c, struct cached *e);
uint8_t *cache_bytes(struct cached *e);

/* Rule C2: bytes of the file. */
void cache_forget(struct cache *c, uint64_t off, uint64_t len);
/* Give all memory back that is not in use just now. */
void cache_shrink(struct cache *c);

struct cache_stats {
	uint64_t hits, misses;
	uint64_t bytes;
};
void cache_get_stats(struct cache *c, struct cache_stats *stats);

#endif
