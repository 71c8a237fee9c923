/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/format.h"

#define BUCKETS 4096u

struct cached {
	struct cached *chain;	      /* of its bucket */
	struct cached *newer, *older; /* among those that are not held; see idle_add() */
	uint64_t file_off, vcluster;
	uint32_t stored, crc;
	unsigned refs;
	bool named;   /* in a bucket; otherwise it goes with its last holder */
	bool loading; /* held by the loader alone */
	struct cache_waiter *waiters;
	uint8_t *bytes;
};

struct cache {
	size_t cluster; /* constant */
	size_t max;	/* entries; constant */

	pthread_mutex_t lock; /* all that follows, and every entry but its bytes */
	size_t n;
	struct cached *newest, *oldest; /* entries that nobody holds */
	struct cache_stats stats;
	struct cached *bucket[BUCKETS];
};

errint_t cache_new(size_t cluster, size_t max_bytes, struct cache **out)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return log_err(-ENOMEM, "cannot set up the cache of decompressed clusters");
	c->cluster = cluster;
	c->max = max_bytes / cluster;
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

/* A blob is found by the unit that it begins in. */
static struct cached **bucket_of(struct cache *c, uint64_t file_off)
{
	return &c->bucket[(file_off >> UNIT_SHIFT) % BUCKETS];
}

static void unname(struct cache *c, struct cached *e)
{
	struct cached **at = bucket_of(c, e->file_off);

	assert(e->named);
	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	e->named = false;
}

static void idle_add(struct cache *c, struct cached *e)
{
	e->newer = NULL;
	e->older = c->newest;
	if (c->newest)
		c->newest->newer = e;
	else
		c->oldest = e;
	c->newest = e;
}

static void idle_remove(struct cache *c, struct cached *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
}

static void destroy(struct cache *c, struct cached *e)
{
	assert(!e->refs && !e->named && !e->waiters);
	c->n--;
	free(e->bytes);
	free(e);
}

static void drop(struct cache *c, struct cached *e)
{
	assert(e->refs > 0);
	if (--e->refs)
		return;
	if (e->named)
		idle_add(c, e);
	else
		destroy(c, e);
}

static void forget_entry(struct cache *c, struct cached *e)
{
	unname(c, e);
	if (!e->refs) {
		idle_remove(c, e);
		destroy(c, e);
	}
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	while (c->oldest)
		forget_entry(c, c->oldest);
	assert(!c->n);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct cached *find(struct cache *c, const struct seg *s)
{
	struct cached *e = *bucket_of(c, s->file_off);

	while (e && (e->file_off != s->file_off || e->stored != s->stored ||
		     e->vcluster != s->vcluster || e->crc != s->crc))
		e = e->chain;
	return e;
}

static void hold(struct cache *c, struct cached *e)
{
	if (!e->refs++)
		idle_remove(c, e);
}

/* An entry with memory: the one that was not used for longest, or a new one. */
static struct cached *obtain(struct cache *c)
{
	struct cached *e;

	if (c->n >= c->max) {
		e = c->oldest;
		if (!e)
			return NULL;
		unname(c, e);
		idle_remove(c, e);
		return e;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->bytes = store_buffer(c->cluster);
	if (!e->bytes) {
		free(e);
		return NULL;
	}
	c->n++;
	return e;
}

static enum cache_answer begin_load(struct cache *c, const struct seg *s, struct cached **out)
{
	struct cached **bucket = bucket_of(c, s->file_off);
	struct cached *e = obtain(c);

	if (!e)
		return CACHE_NONE;
	*e = (struct cached){.chain = *bucket,
			     .file_off = s->file_off,
			     .vcluster = s->vcluster,
			     .stored = s->stored,
			     .crc = s->crc,
			     .refs = 1,
			     .named = true,
			     .loading = true,
			     .bytes = e->bytes};
	*bucket = e;
	*out = e;
	return CACHE_LOAD;
}

enum cache_answer cache_acquire(struct cache *c, const struct seg *s, struct cache_waiter *w,
				struct cached **out)
{
	SCOPED_LOCK(&c->lock);
	struct cached *e = find(c, s);

	if (!e) {
		c->stats.misses++;
		return begin_load(c, s, out);
	}
	c->stats.hits++;
	if (!e->loading) {
		hold(c, e);
		*out = e;
		return CACHE_HIT;
	}
	if (!w)
		return CACHE_NONE;
	w->next = e->waiters;
	e->waiters = w;
	return CACHE_JOINED;
}

enum cache_answer cache_lookup(struct cache *c, const struct seg *s, struct cached **out)
{
	SCOPED_LOCK(&c->lock);
	struct cached *e = find(c, s);

	if (!e || e->loading)
		return CACHE_NONE;
	c->stats.hits++;
	hold(c, e);
	*out = e;
	return CACHE_HIT;
}

/* Nobody can join any more.  Returns those who have. */
static struct cache_waiter *end_load(struct cache *c, struct cached *e, errint_t err)
{
	SCOPED_LOCK(&c->lock);
	struct cache_waiter *waiters = e->waiters;

	assert(e->loading && e->refs == 1);
	e->waiters = NULL;
	e->loading = false;
	if (err) {
		if (e->named)
			unname(c, e);
		drop(c, e);
	}
	return waiters;
}

void cache_loaded(struct cache *c, struct cached *e, errint_t err)
{
	const uint8_t *bytes = err ? NULL : e->bytes;
	struct cache_waiter *next;

	for (struct cache_waiter *w = end_load(c, e, err); w; w = next) {
		next = w->next;
		w->ready(w, bytes, err);
	}
}

void cache_release(struct cache *c, struct cached *e)
{
	SCOPED_LOCK(&c->lock);
	assert(!e->loading);
	drop(c, e);
}

uint8_t *cache_bytes(struct cached *e)
{
	return e->bytes;
}

void cache_forget(struct cache *c, uint64_t off, uint64_t len)
{
	/* A blob that reaches into the range begins less than a cluster before it. */
	uint64_t from = off > c->cluster ? off - c->cluster : 0;

	SCOPED_LOCK(&c->lock);
	for (uint64_t unit = from >> UNIT_SHIFT; unit << UNIT_SHIFT < off + len; unit++) {
		struct cached *e = *bucket_of(c, unit << UNIT_SHIFT), *next;

		for (; e; e = next) {
			next = e->chain;
			if (e->file_off >= off + len || e->file_off + e->stored <= off)
				continue;
			/* A damaged image may call space free that a blob is being loaded from: the
			 * loader keeps what it gets, and nobody finds it. */
			forget_entry(c, e);
		}
	}
}

void cache_shrink(struct cache *c)
{
	SCOPED_LOCK(&c->lock);
	while (c->oldest)
		forget_entry(c, c->oldest);
}

void cache_get_stats(struct cache *c, struct cache_stats *stats)
{
	SCOPED_LOCK(&c->lock);
	*stats = c->stats;
	stats->bytes = (uint64_t)c->n * c->cluster;
}
