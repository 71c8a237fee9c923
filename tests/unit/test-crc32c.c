/* SPDX-License-Identifier: MIT */
/* CRC-32C: the published vectors, and both versions against a bit-by-bit model. */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>

#include <cmocka.h>

#include "common/crc32c.h"
#include "tests/unit/random.h"

enum { BUFFER = 96 << 10, POLYNOMIAL_REFLECTED = (int)0x82f63b78 };

typedef uint32_t (*crc_fn)(uint32_t crc, const void *buf, size_t len);

static const crc_fn versions[] = {crc32c, crc32c_portable};

/* The definition, one bit at a time. */
static uint32_t crc32c_model(uint32_t crc, const uint8_t *p, size_t len)
{
	crc = ~crc;
	for (; len; p++, len--) {
		crc ^= *p;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? (uint32_t)POLYNOMIAL_REFLECTED : 0);
	}
	return ~crc;
}

static uint8_t *random_buffer(size_t len)
{
	uint64_t state = 1;
	uint8_t *p = malloc(len);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)random_next(&state);
	return p;
}

/* RFC 3720, B.4, and the check value of the catalogue of CRCs. */
static void test_vectors(void **state)
{
	uint8_t zeros[32] = {0}, ones[32], up[32], down[32];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	for (int i = 0; i < 32; i++) {
		up[i] = (uint8_t)i;
		down[i] = (uint8_t)(31 - i);
	}
	for (size_t v = 0; v < 2; v++) {
		assert_int_equal(versions[v](0, "123456789", 9), 0xe3069283);
		assert_int_equal(versions[v](0, zeros, 32), 0x8a9136aa);
		assert_int_equal(versions[v](0, ones, 32), 0x62a8ab43);
		assert_int_equal(versions[v](0, up, 32), 0x46dd794e);
		assert_int_equal(versions[v](0, down, 32), 0x113fdb5c);
		assert_int_equal(versions[v](0, NULL, 0), 0);
		assert_int_equal(versions[v](0x1234567, NULL, 0), 0x1234567);
	}
}

/* Every length up to past two short groups of lanes, at every alignment. */
static void test_short_lengths(void **state)
{
	uint8_t *p = random_buffer(BUFFER);

	(void)state;
	for (size_t len = 0; len < 2100; len++) {
		size_t at = len % 8;
		uint32_t want = crc32c_model(0, p + at, len);

		assert_int_equal(crc32c(0, p + at, len), want);
		assert_int_equal(crc32c_portable(0, p + at, len), want);
	}
	free(p);
}

/* Lengths around the ones where the lanes change, and those of real blocks. */
static void test_long_lengths(void **state)
{
	static const size_t lengths[] = {4079,	4080,  4081,  4087,	  4088,	 4095,	4096,
					 5087,	5088,  8159,  8160,	  8192,	 24576, 65535,
					 65536, 65537, 80000, BUFFER - 1, BUFFER};
	uint8_t *p = random_buffer(BUFFER);

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint32_t want = crc32c_model(0xdeadbeef, p, lengths[i]);

		assert_int_equal(crc32c(0xdeadbeef, p, lengths[i]), want);
		assert_int_equal(crc32c_portable(0xdeadbeef, p, lengths[i]), want);
	}
	free(p);
}

/* A buffer cut in two anywhere has the same sum as the whole. */
static void test_continued(void **state)
{
	uint8_t *p = random_buffer(BUFFER);
	uint64_t rng = 2;

	(void)state;
	for (int round = 0; round < 300; round++) {
		size_t len = random_below(&rng, 20000), cut = random_below(&rng, len + 1);
		uint32_t whole = crc32c_portable(0, p, len);

		assert_int_equal(crc32c(crc32c(0, p, cut), p + cut, len - cut), whole);
		assert_int_equal(crc32c_portable(crc32c(0, p, cut), p + cut, len - cut), whole);
	}
	free(p);
}

/* One changed bit changes the sum, wherever it is: no byte of any lane is left out. */
static void test_every_byte_counts(void **state)
{
	uint8_t *p = random_buffer(8192);
	uint32_t before = crc32c(0, p, 8192);

	(void)state;
	for (size_t i = 0; i < 8192; i++) {
		p[i] ^= (uint8_t)(1u << i % 8);
		assert_int_not_equal(crc32c(0, p, 8192), before);
		p[i] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(crc32c(0, p, 8192), before);
	free(p);
}

static void *first_call(void *arg)
{
	*(uint32_t *)arg = crc32c(0, "123456789", 9);
	return NULL;
}

/* The version is chosen at the first call; this runs first so that threads race for it, which the
 * thread sanitizer watches. */
static void test_first_call_in_threads(void **state)
{
	uint32_t sums[4] = {0};
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, first_call, &sums[i]), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(sums[i], 0xe3069283);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_call_in_threads),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_short_lengths),
		cmocka_unit_test(test_long_lengths),
		cmocka_unit_test(test_continued),
		cmocka_unit_test(test_every_byte_counts),
	};

	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
