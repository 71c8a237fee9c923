/* SPDX-License-Identifier: MIT */
/* What an engine does about its image: codecs that it does not have, and the size of the disk. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/log.h"
#include "tests/lib/live.h"
#include "tests/lib/surgery.h"

static char message[512];
static unsigned messages;

static void remember(void *arg, enum log_level level, const char *text)
{
	(void)arg;
	if (level > LOG_LEVEL_WARN)
		return;
	messages++;
	snprintf(message, sizeof(message), "%d %s", level, text);
}

static int setup(void **state)
{
	(void)state;
	messages = 0;
	log_set_sink(remember, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_set_sink(NULL, NULL);
	return 0;
}

/* ---- codecs -------------------------------------------------------------------------------- */

static void ask_for(struct live *l, uint8_t codec, int8_t level)
{
	const struct disk_tlv_compression c = {codec, level, {0}};
	const struct disk_tlv head = {le32_make(TLV_COMPRESSION), le32_make(sizeof(c))};
	struct surgery s;

	surgery_begin(&s, l->st);
	s.sb.incompat = le64_make(INCOMPAT_ZSTD_BLOBS);
	memcpy(s.sb.tlv, &head, sizeof(head));
	memcpy(s.sb.tlv + sizeof(head), &c, sizeof(c));
	surgery_super(&s);
}

static uint64_t blobs_of(struct live *l)
{
	struct image_stats stats;

	image_get_stats(l->im, &stats);
	return stats.blobs_written;
}

/* New data is stored as it is, and one warning says why; blobs that are there can be read. */
static void expect_raw(struct live *l, const char *warning)
{
	live_open(l);
	assert_int_equal(messages, 1);
	if (!strstr(message, warning))
		fail_msg("\"%s\" does not say \"%s\"", message, warning);
	live_expect(l, 0, CLUSTER, 1);
	live_put(l, CLUSTER, CLUSTER, 2);
	live_put(l, 512, 512, 3);
	live_expect(l, CLUSTER, CLUSTER, 2);
	live_expect(l, 512, 512, 3);
	live_expect(l, 1024, CLUSTER - 1024, 1);
	assert_int_equal(engine_flush(l->t), 0);
	assert_int_equal(blobs_of(l), 0);
	live_put(l, 0, CLUSTER, 1);
	assert_int_equal(messages, 1);
	live_close(l);
	live_check(l);
}

static void codec_is_missing(void **state)
{
	struct live l;

	(void)state;
	if (!codec_built(CODEC_ZSTD))
		skip();
	live_new(&l, 4 * GIB, GIB);
	ask_for(&l, CODEC_ZSTD, 3);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 1);
	assert_int_equal(blobs_of(&l), 1);
	live_close(&l);
	assert_int_equal(messages, 0);

	ask_for(&l, 77, 3);
	expect_raw(&l,
		   "1 memory: is to be compressed with codec 77, which this build does not have: "
		   "new data is stored uncompressed");
	ask_for(&l, CODEC_ZSTD, 3);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 1);
	live_close(&l);

	messages = 0;
	ask_for(&l, CODEC_ZSTD, 101);
	expect_raw(&l, "is to be compressed with zstd at level 101, which is not in ");

	/* A reader is not told. */
	ask_for(&l, CODEC_ZSTD, 3);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 1);
	live_close(&l);
	messages = 0;
	ask_for(&l, CODEC_ZSTD, 101);
	l.opts.read_only = true;
	live_open(&l);
	live_expect(&l, 0, CLUSTER, 1);
	live_close(&l);
	assert_int_equal(messages, 0);
	live_free(&l);
}

/* ---- the size ------------------------------------------------------------------------------ */

static void cut_off_is_zero(void **state)
{
	const uint64_t size = 3 * CLUSTER + 4096;
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	live_open(&l);
	for (unsigned i = 0; i < 6; i++)
		live_put(&l, i * CLUSTER, CLUSTER, (uint8_t)(i + 1));

	/* What is refused changes nothing. */
	assert_int_equal(engine_resize(l.t, size, false), -EINVAL);
	assert_int_equal(engine_resize(l.t, size + 1, true), -EINVAL);
	assert_int_equal(engine_resize(l.t, 0, true), -EINVAL);
	assert_int_equal(image_size(l.im), GIB);
	for (unsigned i = 0; i < 6; i++)
		live_expect(&l, i * CLUSTER, CLUSTER, (uint8_t)(i + 1));

	assert_int_equal(engine_resize(l.t, size, true), 0);
	assert_int_equal(image_size(l.im), size);
	live_crash(&l); /* it is durable */
	live_open(&l);
	assert_int_equal(image_size(l.im), size);
	assert_int_equal(engine_resize(l.t, GIB, false), 0);
	for (unsigned i = 0; i < 3; i++)
		live_expect(&l, i * CLUSTER, CLUSTER, (uint8_t)(i + 1));
	live_expect(&l, 3 * CLUSTER, 4096, 4);
	live_expect(&l, size, CLUSTER - 4096, 0);
	live_expect(&l, 4 * CLUSTER, CLUSTER, 0);
	live_expect(&l, 5 * CLUSTER, CLUSTER, 0);
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(codec_is_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(cut_off_is_zero, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
