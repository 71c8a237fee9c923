/* SPDX-License-Identifier: MIT */
/*
 * Memory runs out: each allocation of a program fails once, in turn.  Whatever the program is told,
 * the image stays exact, and holds what had been flushed or something newer.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"

/* The linker sends every call of the program and its libraries here; see Makefile.am. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

static bool counting;
static unsigned calls, fail_at; /* 0: never */

static bool fails(void)
{
	return counting && ++calls == fail_at;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	bool stores = n == 1 && size == 64u << 10; /* the store in memory is no part of this */

	return !stores && fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(align, n);
}

/* ---- the model -------------------------------------------------------------------------- */

#define SLOTS 60u

struct bench {
	struct live l;
	struct rng rng;
	bool open;
	bool possible[SLOTS][256]; /* the first byte of a slot, since the last flush */
	uint8_t now[SLOTS];
	unsigned refused;
};

/* Slots are far apart, in clusters of many leaves. */
static uint64_t slot_off(unsigned i)
{
	return i * 13 * LEAF + i % 3 * 4096;
}

static void only(struct bench *b, unsigned i, uint8_t byte)
{
	memset(b->possible[i], 0, sizeof(b->possible[i]));
	b->possible[i][byte] = true;
	b->now[i] = byte;
}

/* An operation may be refused for want of memory, and everything after a fail-stop. */
static bool done(struct bench *b, errint_t err)
{
	if (!err)
		return true;
	assert_true(err == -ENOMEM || (err == -EIO && b->l.im->failed));
	b->refused++;
	return false;
}

static void change(struct bench *b, unsigned i)
{
	uint8_t byte = rng_chance(&b->rng, 30) ? 0 : (uint8_t)rng_next(&b->rng);
	errint_t err;

	b->possible[i][byte] = true;
	counting = true;
	if (byte)
		err = live_try_put(&b->l, slot_off(i), 4096, byte);
	else
		err = engine_discard(b->l.t, slot_off(i) & ~(CLUSTER - 1ull), CLUSTER);
	counting = false;
	if (done(b, err))
		b->now[i] = byte;
}

static void flush(struct bench *b, bool checkpoint)
{
	counting = true;
	errint_t err = checkpoint ? image_checkpoint(b->l.im) : engine_flush(b->l.t);
	counting = false;

	if (done(b, err))
		for (unsigned i = 0; i < SLOTS; i++)
			only(b, i, b->now[i]);
}

static void look(struct bench *b, unsigned i)
{
	counting = true;
	errint_t err = engine_read(b->l.t, b->l.buf, slot_off(i), 4096);
	counting = false;

	if (!done(b, err))
		return;
	assert_true(b->possible[i][b->l.buf[0]]);
}

static void open_again(struct bench *b)
{
	counting = true;
	errint_t err = image_open(b->l.st, &b->l.opts, &b->l.im);
	counting = false;

	if (err) {
		assert_true(err == -ENOMEM || err == -EIO); /* its checkpoint failed */
		b->refused++;
		assert_int_equal(image_open(b->l.st, &b->l.opts, &b->l.im), 0);
	}
	assert_int_equal(engine_new(b->l.im, NULL, &b->l.e), 0);
	assert_int_equal(engine_thread_new(b->l.e, &b->l.t), 0);
}

static void verify(struct bench *b)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		assert_int_equal(engine_read(b->l.t, b->l.buf, slot_off(i), 4096), 0);
		assert_true(b->possible[i][b->l.buf[0]]);
		only(b, i, b->l.buf[0]);
	}
}

static void crash(struct bench *b)
{
	live_crash(&b->l);
	live_check(&b->l);
	open_again(b);
	verify(b);
}

static void resize(struct bench *b, uint64_t size)
{
	counting = true;
	errint_t err = image_resize(b->l.im, size, false);
	counting = false;

	done(b, err);
}

static void program(struct bench *b, uint64_t seed)
{
	b->rng.state = seed;
	for (unsigned i = 0; i < SLOTS; i++)
		only(b, i, 0);
	open_again(b);
	for (unsigned i = 0; i < 220; i++) {
		unsigned slot = (unsigned)rng_below(&b->rng, SLOTS);

		if (rng_chance(&b->rng, 60))
			change(b, slot);
		else
			look(b, slot);
		if (i % 20 == 19)
			flush(b, i % 40 == 19);
		if (i == 100)
			resize(b, 5000 * GIB); /* a level more */
		if (i % 90 == 89)
			crash(b);
	}
	counting = true;
	errint_t err = live_try_close(&b->l);
	counting = false;
	if (err)
		b->refused++;
	live_check(&b->l);
	open_again(b);
	verify(b);
	live_close(&b->l);
}

static unsigned run(unsigned fail)
{
	static struct bench b;

	memset(&b, 0, sizeof(b));
	live_new(&b.l, GIB, 64 * GIB);
	b.l.opts.cache_nodes = 12;
	b.l.opts.dirty_cap = 20;
	b.l.opts.journal_length = 64 << 10;
	b.l.opts.max_regions = 4;
	calls = 0;
	fail_at = fail;
	program(&b, 5);
	assert_int_equal(b.refused > 0, fail > 0);
	fail_at = 0;
	live_free(&b.l);
	return calls;
}

static void each_allocation(void **state)
{
	unsigned n = run(0);

	(void)state;
	assert_true(n > 200);
	for (unsigned i = 1; i <= n; i++) {
		/* Few of the loads of nodes and bitmaps differ from each other. */
		if (i > 150 && i % 7)
			continue;
		run(i);
	}
	print_message("%u allocations\n", n);
}

/* The first region of a new group. */
static void new_group(void **state)
{
	(void)state;
	for (unsigned i = 1; i < 20; i++) {
		struct live l;

		live_new(&l, 34 * GIB, 64 * GIB);
		assert_int_equal(store_truncate(l.st, 257 * REGION_SIZE), 0);
		live_open(&l);
		l.im->alloc.search[CLASS_NONE] = 256;
		calls = 0;
		fail_at = i;
		counting = true;
		errint_t err = live_try_put(&l, 0, CLUSTER, 1);
		counting = false;
		fail_at = 0;
		if (err) {
			l.im->alloc.search[CLASS_NONE] = 1;
			assert_int_equal(image_checkpoint(l.im), 0);
			live_put(&l, 0, CLUSTER, 2);
		}
		live_close(&l);
		live_check(&l);
		live_open(&l);
		live_expect(&l, 0, CLUSTER, err ? 2 : 1);
		live_close(&l);
		live_free(&l);
		if (!err)
			return;
	}
	fail();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation),
		cmocka_unit_test(new_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
