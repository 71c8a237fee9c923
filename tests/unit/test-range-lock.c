/* SPDX-License-Identifier: MIT */
/* Threads that read, change and write back parts of sectors, and others that write whole ones, lose
 * nothing; who is not in the way does not wait. */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/range_lock.h"
#include "tests/lib/rng.h"

enum { SECTORS = 64, THREADS = 6, ROUNDS = 20000 };

struct race {
	struct range_lock lock;
	/* By sector: who is in it, and how. */
	atomic_int shared[SECTORS], exclusive[SECTORS];
	atomic_bool wrong;
	atomic_uint together; /* times that two shared holders met */
};

struct racer {
	struct race *race;
	unsigned id;
};

static void enter(struct race *r, unsigned i, bool exclusive)
{
	if (exclusive) {
		if (atomic_fetch_add(&r->exclusive[i], 1) || atomic_load(&r->shared[i]))
			r->wrong = true;
	} else {
		if (atomic_fetch_add(&r->shared[i], 1))
			r->together++;
		if (atomic_load(&r->exclusive[i]))
			r->wrong = true;
	}
}

static void leave(struct race *r, unsigned i, bool exclusive)
{
	atomic_fetch_sub(exclusive ? &r->exclusive[i] : &r->shared[i], 1);
}

static void *racer_main(void *arg)
{
	struct racer *me = arg;
	struct race *r = me->race;
	struct rng rng;

	rng.state = me->id;
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned first = (unsigned)rng_below(&rng, SECTORS);
		unsigned count = 1 + (unsigned)rng_below(&rng, SECTORS - first);
		bool exclusive = rng_below(&rng, 4) == 0;
		struct range_holder h;

		range_lock(&r->lock, &h, first, first + count, exclusive);
		for (unsigned i = 0; i < count; i++)
			enter(r, first + i, exclusive);
		if (rng_below(&rng, 64) == 0)
			usleep(1);
		for (unsigned i = 0; i < count; i++)
			leave(r, first + i, exclusive);
		range_unlock(&r->lock, &h);
	}
	return NULL;
}

static void race(void **state)
{
	static struct race r;
	struct racer racer[THREADS];
	pthread_t thread[THREADS];

	(void)state;
	range_lock_init(&r.lock);
	for (unsigned i = 0; i < THREADS; i++) {
		racer[i] = (struct racer){&r, i};
		assert_int_equal(pthread_create(&thread[i], NULL, racer_main, &racer[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_false(r.wrong);
	assert_true(r.together > 0);
	range_lock_destroy(&r.lock);
}

/* One thread can hold what does not conflict: it would wait for ever otherwise. */
static void independent(void **state)
{
	struct range_holder a, b, c, d;
	struct range_lock l;

	(void)state;
	range_lock_init(&l);
	range_lock(&l, &a, 0, 8, true);
	range_lock(&l, &b, 8, 16, true);
	range_lock(&l, &c, 16, 32, false);
	range_lock(&l, &d, 20, 24, false);
	range_unlock(&l, &b);
	range_unlock(&l, &a);
	range_unlock(&l, &d);
	range_unlock(&l, &c);
	assert_null(l.oldest);
	range_lock_destroy(&l);
}

struct waiter {
	struct range_lock *l;
	bool exclusive;
	atomic_bool in;
};

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;
	struct range_holder h;

	range_lock(w->l, &h, 0, 1, w->exclusive);
	w->in = true;
	range_unlock(w->l, &h);
	return NULL;
}

static bool is_waiting(struct range_lock *l, unsigned holders)
{
	unsigned n = 0;

	pthread_mutex_lock(&l->lock);
	for (struct range_holder *h = l->oldest; h; h = h->next)
		n++;
	pthread_mutex_unlock(&l->lock);
	return n == holders;
}

/* A shared holder who comes after a waiting exclusive one does not overtake it. */
static void in_order(void **state)
{
	struct range_lock l;
	struct range_holder h;
	struct waiter first = {.l = &l, .exclusive = true}, second = {.l = &l};
	pthread_t a, b;

	(void)state;
	range_lock_init(&l);
	range_lock(&l, &h, 0, 1, false);
	assert_int_equal(pthread_create(&a, NULL, waiter_main, &first), 0);
	while (!is_waiting(&l, 2))
		usleep(100);
	assert_int_equal(pthread_create(&b, NULL, waiter_main, &second), 0);
	while (!is_waiting(&l, 3))
		usleep(100);
	assert_false(first.in);
	assert_false(second.in);
	range_unlock(&l, &h);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	assert_true(first.in);
	assert_true(second.in);
	range_lock_destroy(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(independent),
		cmocka_unit_test(in_order),
		cmocka_unit_test(race),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
