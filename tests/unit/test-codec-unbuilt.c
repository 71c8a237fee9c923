/* SPDX-License-Identifier: MIT */
/* The registry of a build without any codec: ids keep their names, and the errors use them. */
#include <config.h>

#include <config.h>

#define TEST_WITHOUT_CODECS
#include "codecs/codec.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char message[256];

static void remember(void *arg, enum log_level level, const char *text)
{
	(void)arg, (void)level;
	assert_true(strlen(text) < sizeof(message));
	strcpy(message, text);
}

static void test_known_but_not_built(void **state)
{
	const struct codec *codec = NULL;

	(void)state;
	log_set_sink(remember, NULL);
	assert_false(codec_built(CODEC_ZSTD));
	assert_int_equal(codec_find(CODEC_ZSTD, &codec), -ENOTSUP);
	assert_null(codec);
	assert_string_equal(message, "zstd compression is not part of this build: use one that "
				     "was configured with it");
	assert_string_equal(codec_name(CODEC_ZSTD), "zstd");
	assert_int_equal(codec_by_name("zstd"), CODEC_ZSTD);
}

static void test_unknown(void **state)
{
	const struct codec *codec = NULL;

	(void)state;
	log_set_sink(remember, NULL);
	assert_false(codec_built(CODEC_NONE));
	assert_false(codec_built(77));
	assert_int_equal(codec_find(77, &codec), -EINVAL);
	assert_null(codec);
	assert_string_equal(message, "compression id 77 is unknown to this version");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_but_not_built),
		cmocka_unit_test(test_unknown),
	};

	return cmocka_run_group_tests_name("codec-unbuilt", tests, NULL, NULL);
}
