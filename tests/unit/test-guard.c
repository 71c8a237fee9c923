/* SPDX-License-Identifier: MIT */
/* Guards against a list of those that are held, and exclusive markers. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "image/core.h"
#include "tests/lib/rng.h"

#define HELD	 300u /* more than there are epochs */
#define BARRIERS 200u

struct held {
	uint64_t epoch;
	uint64_t since; /* step at which it was entered */
};

struct barrier {
	uint64_t value;
	uint64_t set; /* step */
};

struct bench {
	struct image *im;
	struct rng rng;
	uint64_t step;
	struct held held[HELD];
	unsigned nheld;
	struct barrier barrier[BARRIERS];
	unsigned nbarriers;
	uint64_t passed, refused;
};

static struct image *new_image(void)
{
	struct image *im = calloc(1, sizeof(*im));

	assert_non_null(im);
	im->guards.epoch = im->guards.oldest = 1;
	pthread_mutex_init(&im->lock, NULL);
	pthread_cond_init(&im->changed, NULL);
	return im;
}

static void free_image(struct image *im)
{
	free(im->guards.excl);
	pthread_cond_destroy(&im->changed);
	pthread_mutex_destroy(&im->lock);
	free(im);
}

static void leave(struct bench *b, unsigned i)
{
	guard_leave(b->im, b->held[i].epoch);
	b->held[i] = b->held[--b->nheld];
}

/* Is a guard held that is as old as the barrier? */
static bool anybody_before(const struct bench *b, const struct barrier *w)
{
	for (unsigned i = 0; i < b->nheld; i++)
		if (b->held[i].since < w->set)
			return true;
	return false;
}

static void ask(struct bench *b, unsigned i)
{
	bool drained = guard_drained(b->im, b->barrier[i].value);

	if (drained) {
		assert_false(anybody_before(b, &b->barrier[i]));
		b->passed++;
		b->barrier[i] = b->barrier[--b->nbarriers];
	} else {
		b->refused++;
	}
}

static void step(struct bench *b, unsigned enter)
{
	unsigned what = (unsigned)rng_below(&b->rng, 100);

	b->step++;
	if (what < enter && b->nheld < HELD) {
		b->held[b->nheld++] = (struct held){guard_enter(b->im), b->step};
	} else if (what < 60 && b->nheld) {
		leave(b, (unsigned)rng_below(&b->rng, b->nheld));
	} else if (what < 80 && b->nbarriers < BARRIERS) {
		b->barrier[b->nbarriers++] = (struct barrier){guard_barrier(b->im), b->step};
	} else if (b->nbarriers) {
		ask(b, (unsigned)rng_below(&b->rng, b->nbarriers));
	}
}

/* Who held no guard before a barrier is not waited for: at the latest when the older ones have
 * left, however many came since. */
static void older_suffices(struct bench *b)
{
	struct barrier w = {guard_barrier(b->im), ++b->step};
	bool full = b->im->guards.epoch - b->im->guards.oldest >= GUARD_EPOCHS - 1;
	struct held young = {guard_enter(b->im), ++b->step};

	for (unsigned i = b->nheld; i-- > 0;)
		leave(b, i);
	/* In a full ring the young one shared an epoch with the old ones. */
	assert_true(guard_drained(b->im, w.value) || full);
	guard_leave(b->im, young.epoch);
	assert_true(guard_drained(b->im, w.value));
}

static void random_guards(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct bench b = {.im = new_image(), .rng = {seed}};
		unsigned enter = 20 + (unsigned)rng_below(&b.rng, 30);

		for (unsigned i = 0; i < 2000; i++)
			step(&b, enter);
		older_suffices(&b);
		while (b.nbarriers)
			ask(&b, 0);
		assert_true(b.passed > 20);
		assert_true(b.refused > 0);
		free_image(b.im);
	}
}

/* A full ring closes its newest epoch as soon as there is room, and does not wait for all that
 * come. */
static void full_ring(void **state)
{
	struct image *im = new_image();
	uint64_t epoch[GUARD_EPOCHS + 8];

	(void)state;
	for (unsigned i = 0; i < GUARD_EPOCHS + 8; i++) {
		epoch[i] = guard_enter(im);
		guard_barrier(im);
	}
	assert_int_equal(im->guards.epoch - im->guards.oldest, GUARD_EPOCHS - 1);
	uint64_t w = guard_barrier(im);
	for (unsigned i = 0; i < GUARD_EPOCHS; i++)
		guard_leave(im, epoch[i]);
	assert_false(guard_drained(im, w));
	uint64_t young = guard_enter(im);
	for (unsigned i = GUARD_EPOCHS; i < GUARD_EPOCHS + 8; i++)
		guard_leave(im, epoch[i]);
	assert_true(guard_drained(im, w));
	guard_leave(im, young);
	free_image(im);
}

/* Each end of a wait is announced. */
static void leaving_wakes(void **state)
{
	struct image *im = new_image();
	uint64_t a = guard_enter(im), w = guard_barrier(im), b = guard_enter(im);
	uint64_t events = im->events;

	(void)state;
	assert_false(guard_drained(im, w));
	guard_leave(im, a);
	assert_true(im->events > events);
	assert_true(guard_drained(im, w));
	guard_leave(im, b);
	free_image(im);
}

static void markers(void **state)
{
	struct image *im = new_image();
	struct need need = {0};

	(void)state;
	for (uint64_t v = 0; v < 1000; v++)
		assert_int_equal(excl_take(im, v * 10, &need), 0);
	assert_int_equal(excl_take(im, 990, &need), -EAGAIN);
	assert_int_equal(need.kind, NEED_EVENT);
	assert_int_equal(need.events, im->events);
	assert_true(excl_held(im, 985, 6));
	assert_false(excl_held(im, 985, 5));
	assert_true(excl_held(im, 0, 1));
	assert_false(excl_held(im, 9991, UINT64_MAX - 9991));
	excl_drop(im, 990);
	assert_true(im->events != need.events);
	assert_false(excl_held(im, 981, 19));
	assert_int_equal(excl_take(im, 990, &need), 0);
	for (uint64_t v = 1000; v-- > 0;)
		excl_drop(im, v * 10);
	assert_false(excl_held(im, 0, UINT64_MAX));
	free_image(im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_guards),
		cmocka_unit_test(full_ring),
		cmocka_unit_test(leaving_wakes),
		cmocka_unit_test(markers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
