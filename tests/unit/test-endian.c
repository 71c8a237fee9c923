/* SPDX-License-Identifier: MIT */
/* Disk integers: the order of the bytes, whatever the machine's own. */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/endian_types.h"

static const uint8_t bytes[8] = {0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0xf1};

static void test_make(void **state)
{
	le16 v16 = le16_make(0x0708);
	le32 v32 = le32_make(0x05060708);
	le64 v64 = le64_make(UINT64_C(0xf102030405060708));

	(void)state;
	assert_memory_equal(&v16, bytes, 2);
	assert_memory_equal(&v32, bytes, 4);
	assert_memory_equal(&v64, bytes, 8);
}

static void test_get(void **state)
{
	le16 v16;
	le32 v32;
	le64 v64;

	(void)state;
	memcpy(&v16, bytes, 2);
	memcpy(&v32, bytes, 4);
	memcpy(&v64, bytes, 8);
	assert_int_equal(le16_get(v16), 0x0708);
	assert_int_equal(le32_get(v32), 0x05060708);
	assert_int_equal(le64_get(v64), UINT64_C(0xf102030405060708));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_make),
		cmocka_unit_test(test_get),
	};

	return cmocka_run_group_tests_name("endian", tests, NULL, NULL);
}
