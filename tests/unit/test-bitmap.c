/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps against a model of one bool per bit.  The map lies at the end of a heap block, so that
 * the address sanitizer sees an access to a byte behind it.
 */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/bitmap.h"
#include "tests/unit/random.h"

enum { MAX_BITS = 1024 };

struct fixture {
	uint8_t *map;
	size_t nbits;
	bool model[MAX_BITS];
	uint64_t rng;
};

static void check_same(const struct fixture *f)
{
	for (size_t i = 0; i < f->nbits; i++)
		assert_int_equal(bit_test(f->map, i), f->model[i]);
}

/* Runs of 1 to 96 bits, so that words of all kinds occur: a bit by bit random map has no long run.
 */
static void fill_randomly(struct fixture *f)
{
	bool value = random_next(&f->rng) & 1;

	for (size_t i = 0; i < f->nbits; value = !value)
		for (size_t n = 1 + random_below(&f->rng, 96); n && i < f->nbits; n--, i++) {
			f->model[i] = value;
			if (value)
				bit_set(f->map, i);
			else
				bit_clear(f->map, i);
		}
	check_same(f);
}

static void check_queries(const struct fixture *f, size_t from, size_t end)
{
	size_t count = 0, first_set = end, first_clear = end;

	for (size_t i = end; i-- > from;) {
		count += f->model[i];
		if (f->model[i])
			first_set = i;
		else
			first_clear = i;
	}
	assert_int_equal(bits_count(f->map, from, end - from), count);
	assert_int_equal(bits_next_set(f->map, from, end), first_set);
	assert_int_equal(bits_next_clear(f->map, from, end), first_clear);
	assert_int_equal(bits_all_set(f->map, from, end - from), first_clear == end);
	assert_int_equal(bits_all_clear(f->map, from, end - from), first_set == end);
}

static void change(struct fixture *f, size_t from, size_t end, bool value)
{
	if (value)
		bits_set(f->map, from, end - from);
	else
		bits_clear(f->map, from, end - from);
	for (size_t i = from; i < end; i++)
		f->model[i] = value;
	check_same(f);
}

static void with_map(struct fixture *f, size_t bytes, void (*body)(struct fixture *f))
{
	f->map = malloc(bytes);
	assert_non_null(f->map);
	f->nbits = bytes * 8;
	fill_randomly(f);
	body(f);
	free(f->map);
}

static void every_run(struct fixture *f)
{
	for (size_t from = 0; from <= f->nbits; from++)
		for (size_t end = from; end <= f->nbits; end++)
			check_queries(f, from, end);
}

/* All runs of small maps: every alignment of both ends, within and across words. */
static void test_every_run(void **state)
{
	struct fixture f = {.rng = 4};

	(void)state;
	for (size_t bytes = 1; bytes <= 26; bytes++)
		with_map(&f, bytes, every_run);
}

static void every_change(struct fixture *f)
{
	for (size_t from = 0; from <= f->nbits; from++)
		for (size_t end = from; end <= f->nbits; end++)
			change(f, from, end, random_next(&f->rng) & 1);
}

static void test_every_change(void **state)
{
	struct fixture f = {.rng = 5};

	(void)state;
	for (size_t bytes = 1; bytes <= 11; bytes++)
		with_map(&f, bytes, every_change);
}

static void random_runs(struct fixture *f)
{
	for (int round = 0; round < 200; round++) {
		size_t from = random_below(&f->rng, f->nbits + 1);
		size_t end = from + random_below(&f->rng, f->nbits - from + 1);

		check_queries(f, from, end);
		change(f, from, end, round & 1);
		if (round % 20 == 0)
			fill_randomly(f);
	}
}

static void test_random_runs(void **state)
{
	struct fixture f = {.rng = 6};

	(void)state;
	for (int round = 0; round < 50; round++)
		with_map(&f, 1 + random_below(&f.rng, MAX_BITS / 8), random_runs);
}

/* The order of bits is part of the disk format, so it is spelled out once. */
static void test_disk_order(void **state)
{
	static const uint8_t want[3] = {0x80, 0xff, 0x01};
	uint8_t map[3] = {0};

	(void)state;
	bits_set(map, 7, 10);
	assert_memory_equal(map, want, sizeof(map));
	assert_true(bit_test(map, 7) && bit_test(map, 16));
	assert_false(bit_test(map, 6) || bit_test(map, 17));
}

/* One different bit in a long run is found wherever it is. */
static void test_single_bits(void **state)
{
	uint8_t map[64];

	(void)state;
	for (size_t i = 0; i < 512; i++) {
		memset(map, 0, sizeof(map));
		bit_set(map, i);
		assert_int_equal(bits_next_set(map, 0, 512), i);
		assert_int_equal(bits_next_set(map, i + 1, 512), 512);
		assert_false(bits_all_clear(map, 0, 512));
		memset(map, 0xff, sizeof(map));
		bit_clear(map, i);
		assert_int_equal(bits_next_clear(map, 0, 512), i);
		assert_int_equal(bits_count(map, 0, 512), 511);
		assert_false(bits_all_set(map, 0, 512));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk_order),  cmocka_unit_test(test_single_bits),
		cmocka_unit_test(test_every_run),   cmocka_unit_test(test_every_change),
		cmocka_unit_test(test_random_runs),
	};

	return cmocka_run_group_tests_name("bitmap", tests, NULL, NULL);
}
