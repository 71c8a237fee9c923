/* SPDX-License-Identifier: MIT */
/* The cache of decompressed clusters: who gets what, and what goes when. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cache.h"

#define CLUSTER 65536u

static struct seg blob(uint64_t file_off, uint32_t crc)
{
	return (struct seg){.kind = SEG_BLOB,
			    .len = 4096,
			    .file_off = file_off,
			    .vcluster = 7,
			    .stored = 8192,
			    .crc = crc};
}

static struct cache *new_cache(unsigned clusters)
{
	struct cache *c;

	assert_int_equal(cache_new(CLUSTER, clusters * CLUSTER, &c), 0);
	return c;
}

/* Put @s into the cache, filled with @byte. */
static void load(struct cache *c, const struct seg *s, int byte)
{
	struct cached *e = NULL;

	assert_int_equal(cache_acquire(c, s, NULL, &e), CACHE_LOAD);
	memset(cache_bytes(e), byte, CLUSTER);
	cache_loaded(c, e, 0);
	cache_release(c, e);
}

/* Is @s there?  Then it must be filled with @byte. */
static bool has(struct cache *c, const struct seg *s, int byte)
{
	struct cached *e = NULL;

	if (cache_lookup(c, s, &e) != CACHE_HIT)
		return false;
	assert_int_equal(cache_bytes(e)[0], byte);
	assert_int_equal(cache_bytes(e)[CLUSTER - 1], byte);
	cache_release(c, e);
	return true;
}

/* All that names a blob takes part in the comparison. */
static void test_names(void **state)
{
	struct cache *c = new_cache(8);
	struct seg a = blob(1 << 20, 1), b;

	(void)state;
	load(c, &a, 0x11);
	assert_true(has(c, &a, 0x11));
	b = a, b.file_off += 512;
	assert_false(has(c, &b, 0));
	b = a, b.stored += 512;
	assert_false(has(c, &b, 0));
	b = a, b.vcluster++;
	assert_false(has(c, &b, 0));
	b = a, b.crc++;
	assert_false(has(c, &b, 0));
	b = a, b.skip = b.len = 512;
	assert_true(has(c, &b, 0x11));
	cache_free(c);
}

/* The one that was not used for longest makes room, unless it is held; if all are, there is none.
 */
static void test_room(void **state)
{
	struct cache *c = new_cache(2);
	struct seg s[4] = {blob(0x10000, 0), blob(0x20000, 0), blob(0x30000, 0), blob(0x40000, 0)};
	struct cached *e, *f, *g = NULL;

	(void)state;
	load(c, &s[0], 0);
	load(c, &s[1], 1);
	assert_true(has(c, &s[0], 0));
	load(c, &s[2], 2);
	assert_false(has(c, &s[1], 1));
	assert_true(has(c, &s[0], 0));

	assert_int_equal(cache_lookup(c, &s[2], &e), CACHE_HIT);
	assert_int_equal(cache_lookup(c, &s[0], &f), CACHE_HIT);
	assert_int_equal(cache_acquire(c, &s[3], NULL, &g), CACHE_NONE);
	assert_null(g);
	cache_release(c, f);
	load(c, &s[3], 3);
	assert_false(has(c, &s[0], 0));
	assert_int_equal(cache_bytes(e)[0], 2);
	cache_release(c, e);
	cache_free(c);
}

/* Space that is written again takes with it what it held, to the byte. */
static void test_forget(void **state)
{
	struct cache *c = new_cache(8);
	struct seg s = blob(1 << 20, 0);
	struct cached *e;

	(void)state;
	load(c, &s, 1);
	cache_forget(c, (1 << 20) + 8192, 4096);
	cache_forget(c, (1 << 20) - 4096, 4096);
	assert_true(has(c, &s, 1));
	cache_forget(c, (1 << 20) + 4096, 4096);
	assert_false(has(c, &s, 1));

	load(c, &s, 2);
	cache_forget(c, (1 << 20) - 4096, 8192);
	assert_false(has(c, &s, 2));

	/* Held: it stays for its holder, and nobody else finds it. */
	load(c, &s, 3);
	assert_int_equal(cache_lookup(c, &s, &e), CACHE_HIT);
	cache_forget(c, 0, 8 << 20);
	assert_false(has(c, &s, 3));
	load(c, &s, 4);
	assert_int_equal(cache_bytes(e)[0], 3);
	cache_release(c, e);
	assert_true(has(c, &s, 4));
	cache_free(c);
}

static void test_shrink(void **state)
{
	struct cache *c = new_cache(8);
	struct seg s = blob(1 << 20, 0), t = blob(2 << 20, 0);
	struct cache_stats stats;
	struct cached *e;

	(void)state;
	load(c, &s, 1);
	load(c, &t, 2);
	assert_int_equal(cache_lookup(c, &t, &e), CACHE_HIT);
	cache_shrink(c);
	cache_get_stats(c, &stats);
	assert_int_equal(stats.bytes, CLUSTER);
	assert_int_equal(stats.misses, 2);
	assert_int_equal(stats.hits, 1);
	cache_release(c, e);
	assert_false(has(c, &s, 1));
	assert_true(has(c, &t, 2));
	cache_free(c);
}

struct waiter {
	struct cache_waiter w;
	unsigned called;
	int byte;
	errint_t err;
};

static void ready(struct cache_waiter *w, const uint8_t *bytes, errint_t err)
{
	struct waiter *me = (struct waiter *)w;

	me->called++;
	me->byte = bytes ? bytes[CLUSTER - 1] : -1;
	me->err = err;
	w->next = NULL; /* it is ours again */
}

/* Several want what one loads. */
static void test_join(void **state)
{
	struct cache *c = new_cache(8);
	struct waiter a = {.w.ready = ready}, b = {.w.ready = ready};
	struct seg s = blob(1 << 20, 0);
	struct cached *e, *f = NULL;

	(void)state;
	assert_int_equal(cache_acquire(c, &s, NULL, &e), CACHE_LOAD);
	assert_int_equal(cache_acquire(c, &s, &a.w, &f), CACHE_JOINED);
	assert_int_equal(cache_acquire(c, &s, NULL, &f), CACHE_NONE);
	assert_int_equal(cache_lookup(c, &s, &f), CACHE_NONE);
	assert_int_equal(cache_acquire(c, &s, &b.w, &f), CACHE_JOINED);
	assert_null(f);
	memset(cache_bytes(e), 5, CLUSTER);
	cache_loaded(c, e, 0);
	assert_int_equal(a.called, 1);
	assert_int_equal(b.called, 1);
	assert_int_equal(a.byte, 5);
	assert_int_equal(b.byte, 5);
	cache_release(c, e);

	/* A failure is everybody's, and nothing of it stays. */
	s = blob(2 << 20, 0);
	assert_int_equal(cache_acquire(c, &s, NULL, &e), CACHE_LOAD);
	assert_int_equal(cache_acquire(c, &s, &a.w, &f), CACHE_JOINED);
	cache_loaded(c, e, -EIO);
	assert_int_equal(a.called, 2);
	assert_int_equal(a.err, -EIO);
	assert_int_equal(a.byte, -1);
	load(c, &s, 6);
	assert_true(has(c, &s, 6));
	cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),  cmocka_unit_test(test_room),
		cmocka_unit_test(test_forget), cmocka_unit_test(test_shrink),
		cmocka_unit_test(test_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
