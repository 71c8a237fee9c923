/* SPDX-License-Identifier: MIT */
/* Sizes as people write and read them (cli/size.h). */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/size.h"
#include "common/log.h"

static char last[256];

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	snprintf(last, sizeof(last), "%s", message);
}

static void test_good(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"1", 1},
		{"512", 512},
		{"512B", 512},
		{"512b", 512},
		{"0512", 512},
		{"1K", 1024},
		{"1k", 1024},
		{"1KiB", 1024},
		{"1kib", 1024},
		{"64M", 64ull << 20},
		{"3G", 3ull << 30},
		{"3GiB", 3ull << 30},
		{"2T", 2ull << 40},
		{"5P", 5ull << 50},
		{"7E", 7ull << 60},
		{"1.5K", 1536},
		{"1.5G", 3ull << 29},
		{"0.5T", 1ull << 39},
		{"1.25e", (1ull << 60) + (1ull << 58)},
		{"0.001K", 1},	/* 1.024 */
		{"0.0009K", 0}, /* 0.92 */
		{"1.1T", 1209462790553},
		{"0.000000000000000001E", 1},
		{"0.0000000000000000009E", 0}, /* a nineteenth digit is dropped */
		{"1.000000000000000000000000000000E", 1ull << 60},
		{"9223372036854775807", INT64_MAX},
		{"7.999999999999999999E", INT64_MAX - 1},
		{"8388607T", 8388607ull << 40},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		uint64_t bytes = 12345;

		assert_int_equal(size_parse("SIZE", good[i].text, &bytes), 0);
		if (bytes != good[i].bytes)
			fail_msg("%s is read as %llu", good[i].text, (unsigned long long)bytes);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		errint_t err;
	} bad[] = {
		{"", -EINVAL},
		{" 1", -EINVAL},
		{"1 ", -EINVAL},
		{"+1", -EINVAL},
		{"-1", -EINVAL},
		{"K", -EINVAL},
		{".5K", -EINVAL},
		{"1.K", -EINVAL},
		{"1.", -EINVAL},
		{"1.5", -EINVAL},
		{"1.5B", -EINVAL},
		{"1..5K", -EINVAL},
		{"1.5.5K", -EINVAL},
		{"1KB", -EINVAL},
		{"1Ki", -EINVAL},
		{"1KiBB", -EINVAL},
		{"1KK", -EINVAL},
		{"1Z", -EINVAL},
		{"1iB", -EINVAL},
		{"0x10", -EINVAL},
		{"1e3", -EINVAL},
		{"inf", -EINVAL},
		{"nan", -EINVAL},
		{"9223372036854775808", -ERANGE},
		{"8E", -ERANGE},
		{"8.0E", -ERANGE},
		{"8388608T", -ERANGE},
		{"18446744073709551616", -ERANGE},
		{"340282366920938463463374607431768211456", -ERANGE},
		{"99999999999999999999999999999999999999999999999E", -ERANGE},
	};

	(void)state;
	log_set_sink(keep, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint64_t bytes;
		errint_t err = size_parse("--offset", bad[i].text, &bytes);

		if (err != bad[i].err)
			fail_msg("\"%s\" gives %d", bad[i].text, err);
		assert_memory_equal(last, "--offset: ", 10);
		assert_non_null(strstr(last, bad[i].text));
	}
	log_set_sink(NULL, NULL);
}

static void test_text(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} as[] = {
		{0, "0 bytes"},
		{1, "1 byte"},
		{1023, "1023 bytes"},
		{1024, "1 KiB"},
		{1025, "1.00 KiB"},
		{1536, "1.50 KiB"},
		{10 * 1024 + 512, "10.5 KiB"},
		{100 * 1024 + 512, "100 KiB"},
		{1023 * 1024, "1023 KiB"},
		{1048575, "1024 KiB"},
		{1ull << 20, "1 MiB"},
		{64ull << 40, "64 TiB"},
		{1ull << 60, "1 EiB"},
		{UINT64_MAX, "16.0 EiB"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(as) / sizeof(*as); i++)
		assert_string_equal(SIZE_TEXT(as[i].bytes), as[i].text);
}

/* What is printed without a fraction is read back as the same size. */
static void test_exact(void **state)
{
	(void)state;
	for (unsigned shift = 0; shift < 63; shift++) {
		char text[SIZE_TEXT_MAX], digits[SIZE_TEXT_MAX], unit[8];
		uint64_t bytes;

		size_text(1ull << shift, text);
		assert_int_equal(sscanf(text, "%20s %7s", digits, unit), 2);
		strcat(digits, shift < 10 ? "" : unit);
		assert_int_equal(size_parse("SIZE", digits, &bytes), 0);
		assert_true(bytes == 1ull << shift);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
