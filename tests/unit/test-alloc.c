/* SPDX-License-Identifier: MIT */
/*
 * The allocator against a model that keeps one small struct for each sector: whose it is.  What is
 * reserved, set, cleared and released is chosen at random, as a program above might do it.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/bitmap.h"
#include "image/alloc_priv.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"

#define REGIONS 4u
#define SECTORS (REGIONS * REGION_SECTORS)
#define THINGS	600u

enum what { RESERVED, BATCH, USED, LIMBO };

/* Something that keeps space from others. */
struct thing {
	enum what what;
	struct extent ext;
	struct desc d;	 /* USED */
	unsigned blobs;	 /* BATCH: may still be published */
	uint32_t filled; /* BATCH: bytes taken by them */
};

struct bench {
	struct live l;
	struct image *im;
	struct rng rng;
	unsigned cu;
	struct thing thing[THINGS];
	unsigned n;
	uint8_t *used;	/* by sector: its bit */
	uint16_t *held; /* by unit: holds */
	uint64_t refused;
};

/* ---- the model -------------------------------------------------------------------------- */

static void model_hold(struct bench *b, struct extent e, int by)
{
	for (uint64_t u = e.off >> 12; u < (e.off + e.len + 4095) >> 12; u++) {
		assert_true(by > 0 || b->held[u] > 0);
		b->held[u] = (uint16_t)(b->held[u] + by);
	}
}

static void model_own(struct bench *b, struct desc d, bool own)
{
	struct extent e = desc_extent(&b->im->geo, d);

	for (uint64_t s = (e.off + 511) >> 9; s < (e.off + e.len + 511) >> 9; s++) {
		assert_int_equal(b->used[s], !own);
		b->used[s] = own;
	}
}

/* What has just been reserved was nobody's, and lies where things of its class do. */
static void model_reserve(struct bench *b, struct extent e, enum region_class class_)
{
	uint64_t region = region_of(e.off);
	const struct region *r = region_get(b->im, region);

	assert_true(region < REGIONS && region_of(e.off + e.len - 1) == region);
	assert_true(r->class_ == class_ ||
		    (r->class_ == CLASS_MIXED && class_ == CLASS_META && !region));
	assert_true(e.off % REGION_SIZE >= (region ? 16 * 4096ull : REGION0_START));
	for (uint64_t u = e.off >> 12; u < (e.off + e.len) >> 12; u++) {
		assert_int_equal(b->held[u], 0);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(b->used[u * 8 + i], 0);
	}
	model_hold(b, e, 1);
}

static struct thing *add(struct bench *b, struct thing t)
{
	assert_true(b->n < THINGS);
	b->thing[b->n] = t;
	return &b->thing[b->n++];
}

static void drop(struct bench *b, struct thing *t)
{
	*t = b->thing[--b->n];
}

/* ---- steps ------------------------------------------------------------------------------ */

static bool got(struct bench *b, errint_t err, const struct need *need)
{
	if (!err)
		return true;
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(need->kind, NEED_SPACE);
	b->refused++;
	return false;
}

static void reserve_clusters(struct bench *b)
{
	unsigned want = 1 + (unsigned)rng_below(&b->rng, 64), n;
	struct need need = {0};
	uint64_t unit;

	if (!got(b, alloc_reserve_clusters(b->im, want, &unit, &n, &need), &need))
		return;
	assert_in_range(n, 1, want);
	assert_int_equal(unit % b->cu, 0);
	struct extent e = {unit << 12, (uint64_t)n * b->cu << 12};
	model_reserve(b, e, CLASS_DATA);
	add(b, (struct thing){.what = RESERVED, .ext = e});
}

static void reserve_units(struct bench *b, enum region_class class_)
{
	unsigned n = 1 + (unsigned)rng_below(&b->rng, class_ == CLASS_META ? 4 : 80);
	struct need need = {0};
	uint64_t unit;
	errint_t err = class_ == CLASS_META ? alloc_reserve_meta(b->im, n, &unit, &need)
					    : alloc_reserve_batch(b->im, n, &unit, &need);

	if (!got(b, err, &need))
		return;
	struct extent e = {unit << 12, (uint64_t)n << 12};
	model_reserve(b, e, class_);
	if (class_ == CLASS_BLOB)
		add(b, (struct thing){.what = BATCH, .ext = e, .blobs = 8});
	for (unsigned i = 0; class_ == CLASS_META && i < n; i++)
		add(b, (struct thing){.what = USED,
				      .ext = {(unit + i) << 12, 4096},
				      .d = desc_node_make(unit + i, 1, 0)});
	for (unsigned i = 0; class_ == CLASS_META && i < n; i++) {
		struct thing *t = &b->thing[b->n - 1 - i];

		assert_int_equal(alloc_set(b->im, t->d), 0);
		model_own(b, t->d, true);
		model_hold(b, t->ext, -1);
	}
}

/* The first cluster of a window comes into use, or the whole window is given back. */
static void use_reserved(struct bench *b, struct thing *t)
{
	struct extent e = {t->ext.off, (uint64_t)b->cu << 12};
	struct desc d = desc_raw_make(e.off >> 12, 1, 0, 0);

	if (rng_chance(&b->rng, 20)) {
		alloc_release(b->im, t->ext);
		model_hold(b, t->ext, -1);
		drop(b, t);
		return;
	}
	assert_int_equal(alloc_set(b->im, d), 0);
	model_own(b, d, true);
	model_hold(b, e, -1);
	t->ext.off += e.len;
	t->ext.len -= e.len;
	if (!t->ext.len)
		drop(b, t);
	add(b, (struct thing){.what = USED, .ext = e, .d = d});
}

/* The next blob of a batch is published or dropped, by the packing rule; the last ends the hold. */
static void use_batch(struct bench *b, struct thing *t)
{
	unsigned shift = granule_shift(&b->im->geo);
	uint32_t at = t->filled, granule = 1u << shift;

	if (at % 4096 > 3584)
		at = (at + 4095) & ~4095u;
	uint32_t len = (uint32_t)(1 + rng_below(&b->rng, 600)) << shift;
	uint32_t least = ((at + 511) & ~511u) - at + granule;
	len = len < least ? (least + granule - 1) & ~(granule - 1) : len;

	if (!t->blobs || at + len > t->ext.len) {
		alloc_release(b->im, t->ext);
		model_hold(b, t->ext, -1);
		drop(b, t);
		return;
	}
	t->blobs--;
	t->filled = at + len;
	if (rng_chance(&b->rng, 25))
		return;
	struct extent e = {t->ext.off + at, len};
	struct desc d = desc_zstd_make(e.off >> shift, len >> shift, 1, 0);
	assert_int_equal(alloc_set(b->im, d), 0);
	model_own(b, d, true);
	add(b, (struct thing){.what = USED, .ext = e, .d = d});
}

static void use_used(struct bench *b, struct thing *t)
{
	/* Nothing is owned twice. */
	assert_int_equal(alloc_set(b->im, t->d), -EBADMSG);
	assert_int_equal(alloc_clear(b->im, t->d, true), 0);
	model_own(b, t->d, false);
	model_hold(b, t->ext, 1);
	t->what = LIMBO;
	assert_int_equal(alloc_clear(b->im, t->d, true), -EBADMSG);
}

static void use_limbo(struct bench *b, struct thing *t)
{
	struct extent p = alloc_punchable(b->im, t->ext);

	/* Nobody else has anything there. */
	assert_int_equal(p.off % 4096 + p.len % 4096, 0);
	for (uint64_t u = p.off >> 12; u < (p.off + p.len) >> 12; u++) {
		assert_int_equal(b->held[u], 1);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(b->used[u * 8 + i], 0);
	}
	alloc_release(b->im, t->ext);
	model_hold(b, t->ext, -1);
	drop(b, t);
}

static void use(struct bench *b)
{
	struct thing *t = &b->thing[rng_below(&b->rng, b->n)];

	switch (t->what) {
	case RESERVED:
		use_reserved(b, t);
		return;
	case BATCH:
		use_batch(b, t);
		return;
	case USED:
		use_used(b, t);
		return;
	case LIMBO:
		use_limbo(b, t);
	}
}

/* ---- comparing -------------------------------------------------------------------------- */

static void compare_region(struct bench *b, uint64_t region, unsigned *busy, uint64_t *used)
{
	const struct region *r = region_get(b->im, region);
	unsigned reserved, free_units = 0, dead = 0, holds = 0;
	unsigned step = r && r->class_ == CLASS_DATA ? b->cu : 1;

	if (!r || !r->in_use)
		return;
	reserved = reserved_units(&b->im->geo, region, r->class_);
	for (unsigned u = 0; u < REGION_UNITS; u++) {
		const uint8_t *own = &b->used[(region * REGION_UNITS + u) * 8];
		uint32_t held = b->held[region * REGION_UNITS + u];
		unsigned n = 0;

		for (unsigned i = 0; i < 8; i++)
			n += u < reserved || own[i];
		free_units += !n;
		if (class_by_sector(r->class_)) {
			dead += n ? 8 - n : 0;
			assert_int_equal(__builtin_popcount(r->bits->map[u]), n);
		} else {
			assert_int_equal(bit_test(r->bits->map, u), n == 8);
		}
		if (u % step == 0) {
			assert_int_equal(busy_count(b->im, region * REGION_UNITS + u), held);
			holds += held > 0;
		}
	}
	assert_int_equal(r->free_units, free_units);
	assert_int_equal(r->dead_sectors, dead);
	assert_int_equal(r->busy, holds);
	*busy += holds;
	*used += REGION_UNITS - free_units;
}

static void compare(struct bench *b)
{
	unsigned busy = 0;
	uint64_t used = 0;

	for (uint64_t i = 0; i < REGIONS; i++)
		compare_region(b, i, &busy, &used);
	assert_int_equal(b->im->alloc.busy_n, busy);
	assert_int_equal(b->im->alloc.used_units, used);
}

/* What is in use already: the journal and nodes. */
static void adopt(struct bench *b)
{
	for (uint64_t i = 0; i < REGIONS; i++) {
		const struct region *r = region_get(b->im, i);

		for (unsigned u = REGION0_START >> 12; r && r->in_use && u < REGION_UNITS; u++)
			if (!unit_clear(r, u))
				memset(&b->used[(i * REGION_UNITS + u) * 8], 1, 8);
	}
}

static void random_space(struct bench *b, unsigned steps)
{
	static const unsigned most[] = {60, THINGS - 80};

	for (unsigned i = 0; i < steps; i++) {
		unsigned what = (unsigned)rng_below(&b->rng, 100);
		unsigned limit = most[i / 500 % 2];

		if (b->n >= limit || (what >= 45 && b->n))
			use(b);
		else if (what < 15)
			reserve_clusters(b);
		else if (what < 30)
			reserve_units(b, CLASS_BLOB);
		else
			reserve_units(b, CLASS_META);
		if (i % 400 == 0)
			compare(b);
	}
	compare(b);
}

static void begin(struct bench *b, uint64_t seed, uint8_t shift)
{
	const struct image_params params = {.size = GIB, .cluster_shift = shift};
	struct image_open_opts opts = {.max_regions = REGIONS, .journal_length = 64 << 10};

	memset(b, 0, sizeof(*b));
	b->rng.state = seed;
	b->l.st = mem_store_new(GIB);
	assert_int_equal(image_create(b->l.st, &params), 0);
	assert_int_equal(store_truncate(b->l.st, REGIONS * REGION_SIZE), 0);
	assert_int_equal(image_open(b->l.st, &opts, &b->im), 0);
	b->cu = cluster_units(&b->im->geo);
	b->used = calloc(SECTORS, 1);
	b->held = calloc(SECTORS / 8, sizeof(*b->held));
	assert_non_null(b->used);
	assert_non_null(b->held);
	adopt(b);
}

static void end(struct bench *b)
{
	image_abandon(b->im);
	store_close(b->l.st);
	free(b->used);
	free(b->held);
}

static void against_the_model(void **state)
{
	static struct bench b;

	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		begin(&b, seed, (uint8_t)(15 + seed));
		pthread_mutex_lock(&b.im->lock);
		random_space(&b, 6000);
		/* Whatever is given back comes back. */
		while (b.n)
			use(&b);
		compare(&b);
		pthread_mutex_unlock(&b.im->lock);
		end(&b);
	}
}

/* Every cluster can be had, then none, then the one that was given back. */
static void to_the_last(void **state)
{
	static struct bench b;
	struct need need = {0};
	uint64_t unit, first = 0, n = 0;
	unsigned k;
	errint_t err;

	(void)state;
	begin(&b, 1, 17);
	pthread_mutex_lock(&b.im->lock);
	while (!(err = alloc_reserve_clusters(b.im, 1000, &unit, &k, &need))) {
		model_reserve(&b, (struct extent){unit << 12, (uint64_t)k * b.cu << 12},
			      CLASS_DATA);
		first = first ? first : unit;
		n += k;
	}
	assert_int_equal(err, -EAGAIN);
	assert_int_equal(need.kind, NEED_SPACE);
	assert_int_equal(n, (REGIONS - 1) * (32768 - 32) / 32);
	alloc_release(b.im, (struct extent){(first + 64) << 12, (uint64_t)b.cu << 12});
	assert_int_equal(alloc_reserve_clusters(b.im, 1000, &unit, &k, &need), 0);
	assert_int_equal(unit, first + 64);
	assert_int_equal(k, 1);
	assert_int_equal(alloc_reserve_batch(b.im, 1, &unit, &need), -EAGAIN);
	pthread_mutex_unlock(&b.im->lock);
	end(&b);
}

/* Space at the beginning is found from the end, though a group in between was never used. */
static void around_unused_groups(void **state)
{
	struct image_open_opts opts = {.journal_length = 64 << 10};
	const struct image_params params = {.size = GIB};
	struct store *st = mem_store_new(40 * GIB);
	struct image *im;
	struct need need = {0};
	uint64_t unit;
	unsigned n;

	(void)state;
	assert_int_equal(image_create(st, &params), 0);
	assert_int_equal(store_truncate(st, 258 * REGION_SIZE), 0);
	assert_int_equal(image_open(st, &opts, &im), 0);
	pthread_mutex_lock(&im->lock);
	do
		assert_int_equal(alloc_reserve_clusters(im, 4096, &unit, &n, &need), 0);
	while (unit / REGION_UNITS < 255 || unit % REGION_UNITS + n * 16 < REGION_UNITS);
	alloc_release(im, (struct extent){(3 * REGION_UNITS + 160) << 12, CLUSTER});
	assert_int_equal(alloc_reserve_clusters(im, 64, &unit, &n, &need), 0);
	assert_int_equal(unit, 3 * REGION_UNITS + 160);
	/* R1: the region with the group's table is not for blobs. */
	assert_int_equal(alloc_reserve_batch(im, 1, &unit, &need), 0);
	assert_int_equal(unit / REGION_UNITS, 257);
	pthread_mutex_unlock(&im->lock);
	image_abandon(im);
	store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_the_model),
		cmocka_unit_test(to_the_last),
		cmocka_unit_test(around_unused_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
