/* SPDX-License-Identifier: MIT */
/* Checked arithmetic at the edges, and against 128-bit arithmetic. */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/checked.h"
#include "tests/unit/random.h"

typedef unsigned __int128 u128;

static void test_edges(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_true(checked_add(UINT64_MAX - 1, 1, &v));
	assert_int_equal(v, UINT64_MAX);
	assert_false(checked_add(UINT64_MAX, 1, &v));
	assert_true(checked_mul(UINT64_C(1) << 32, UINT32_MAX, &v));
	assert_int_equal(v, (UINT64_C(1) << 32) * UINT32_MAX);
	assert_false(checked_mul(UINT64_C(1) << 32, UINT64_C(1) << 32, &v));
	assert_true(checked_mul(UINT64_MAX, 0, &v));
	assert_int_equal(v, 0);
}

static void test_round_up(void **state)
{
	const uint64_t last = ~UINT64_C(4095);
	uint64_t v = 7;

	(void)state;
	assert_true(checked_round_up(0, 4096, &v));
	assert_int_equal(v, 0);
	assert_true(checked_round_up(1, 4096, &v));
	assert_int_equal(v, 4096);
	assert_true(checked_round_up(4096, 4096, &v));
	assert_int_equal(v, 4096);
	assert_true(checked_round_up(UINT64_MAX, 1, &v));
	assert_int_equal(v, UINT64_MAX);
	assert_true(checked_round_up(last, 4096, &v));
	assert_int_equal(v, last);
	assert_false(checked_round_up(last + 1, 4096, &v));
	assert_false(checked_round_up(UINT64_MAX, 4096, &v));
}

static void test_div_round_up(void **state)
{
	(void)state;
	assert_int_equal(div_round_up(0, 512), 0);
	assert_int_equal(div_round_up(1, 512), 1);
	assert_int_equal(div_round_up(512, 512), 1);
	assert_int_equal(div_round_up(513, 512), 2);
	assert_int_equal(div_round_up(UINT64_MAX, 1), UINT64_MAX);
	assert_int_equal(div_round_up(UINT64_MAX, 2), UINT64_C(1) << 63);
	assert_int_equal(div_round_up(UINT64_MAX, UINT64_MAX), 1);
}

/* A number of random magnitude, so that sums and products fit about half of the time. */
static uint64_t any_number(uint64_t *rng)
{
	return random_next(rng) >> random_below(rng, 64);
}

static void test_against_128_bits(void **state)
{
	uint64_t rng = 3;
	int fitted = 0;

	(void)state;
	for (int round = 0; round < 100000; round++) {
		uint64_t a = any_number(&rng), b = any_number(&rng), v;
		uint64_t to = UINT64_C(1) << random_below(&rng, 64);
		u128 sum = (u128)a + b, product = (u128)a * b, up = ((u128)a + to - 1) / to * to;

		assert_int_equal(checked_add(a, b, &v), sum <= UINT64_MAX);
		if (sum <= UINT64_MAX)
			assert_int_equal(v, (uint64_t)sum);
		assert_int_equal(checked_mul(a, b, &v), product <= UINT64_MAX);
		if (product <= UINT64_MAX)
			assert_int_equal(v, (uint64_t)product);
		assert_int_equal(checked_round_up(a, to, &v), up <= UINT64_MAX);
		if (up <= UINT64_MAX)
			assert_int_equal(v, (uint64_t)up);
		if (b)
			assert_int_equal(div_round_up(a, b), (uint64_t)(((u128)a + b - 1) / b));
		fitted += product <= UINT64_MAX;
	}
	assert_in_range(fitted, 20000, 80000); /* both outcomes were really tried */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_round_up),
		cmocka_unit_test(test_div_round_up),
		cmocka_unit_test(test_against_128_bits),
	};

	return cmocka_run_group_tests_name("checked", tests, NULL, NULL);
}
