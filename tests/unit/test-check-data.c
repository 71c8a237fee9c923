/* SPDX-License-Identifier: MIT */
/*
 * The check of images that were in use, also of those that nobody closed, and of what compressed
 * clusters contain.
 */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/bitmap.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"
#include "image/checksum.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"
#include "tests/lib/sample.h"

/* --- images that were in use --------------------------------------------------------------------
 */

static void write_some(struct engine_thread *t, uint64_t seed, unsigned n)
{
	struct rng rng = {seed};
	CLEANUP(free) uint8_t *buf = malloc(MIB);

	for (unsigned i = 0; i < n; i++) {
		size_t len = (1 + rng_below(&rng, 256)) << 12;
		uint64_t off = rng_below(&rng, (64 * MIB - len) >> 12) << 12;

		/* Here and there all over the disk. */
		off += rng_below(&rng, 4) * 5 * GIB;
		memset(buf, (int)i + 1, len);
		if (rng_chance(&rng, 20))
			assert_int_equal(engine_discard(t, off, len), 0);
		else
			assert_int_equal(engine_write(t, buf, off, len, false), 0);
	}
}

/* @st in use: @n operations, ended by a close or by a flush and a crash. */
static void use_image(struct store *st, uint64_t seed, unsigned n, bool crash)
{
	const struct image_open_opts opts = {.journal_length = 4 * MIB};
	struct image *im;
	struct engine *e;
	struct engine_thread *t;

	assert_int_equal(image_open(st, &opts, &im), 0);
	assert_int_equal(engine_new(im, NULL, &e), 0);
	assert_int_equal(engine_thread_new(e, &t), 0);
	write_some(t, seed, n);
	if (crash)
		assert_int_equal(engine_flush(t), 0);
	engine_thread_free(t);
	engine_free(e);
	if (crash)
		image_abandon(im);
	else
		assert_int_equal(image_close(im), 0);
}

static void image_in_use_stays_sound(void **state)
{
	struct store *st = mem_store_new(SAMPLE_STORE);
	struct image_params params = {.size = SAMPLE_DISK, .codec = CODEC_ZSTD, .level = 1};
	struct outcome o;

	(void)state;
	assert_int_equal(image_create(st, &params), 0);
	for (unsigned i = 0; i < 6; i++) {
		/* A crash leaves nodes that are newer in memory than on disk, or only there. */
		use_image(st, i, 100, i & 1);
		expect(st, 0, 0, NULL);
		run_check(st, (struct check_opts){.data = true}, &o);
		assert_int_equal(o.res.corruptions + o.res.leaks, 0);
		assert_true(o.res.raw_clusters + o.res.blobs > 0);
	}
	store_close(st);
}

static void journal_is_referenced(void **state)
{
	struct store *st = mem_store_new(SAMPLE_STORE);
	struct image_params params = {.size = SAMPLE_DISK};
	struct surgery s;

	(void)state;
	assert_int_equal(image_create(st, &params), 0);
	use_image(st, 1, 50, false);
	surgery_begin(&s, st);
	uint64_t off = le64_get(s.sb.journal_offset);
	assert_true(le64_get(s.sb.journal_length) >= 4 * MIB);
	surgery_mark(&s, off + 5 * UNIT_SIZE, false);
	expect(st, 1, 0, "the journal");
	surgery_mark(&s, off + 5 * UNIT_SIZE, true);
	expect(st, 0, 0, NULL);
	/* A region without journal that thinks it has one: both ends are wrong. */
	s.sb.journal_offset = le64_make(off + UNIT_SIZE);
	surgery_super(&s);
	struct outcome o;
	run_check(st, (struct check_opts){0}, &o);
	assert_true(o.res.corruptions + o.res.leaks > 0);
	store_close(st);
}

/* --- --data -------------------------------------------------------------------------------------
 */

/* Without @data nothing is found, with it one blob. */
static void expect_data(struct store *st, const char *says)
{
	struct outcome o;

	expect(st, 0, 0, NULL);
	for (unsigned threads = 1; threads <= 3; threads++) {
		run_check(st, (struct check_opts){.data = true, .threads = threads}, &o);
		if (o.res.corruptions != 1 || o.res.leaks || !strstr(o.text, says))
			fail_msg("expected \"%s\", got %" PRIu64 " corruptions and:\n%s", says,
				 o.res.corruptions, o.text);
	}
}

static void damaged_blob(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	mem_store_flip(st, desc_extent(&s.geo, surgery_desc(&s, 123)).off + 1000);
	expect_data(st, "cluster 123 (disk offset 0x7b0000)");
	expect_data(st, "the checksum is wrong");
	store_close(st);
}

/* Change byte @at of blob @v, from its end when negative, and make its checksum right. */
static void patch_blob(struct surgery *s, uint64_t v, int64_t at)
{
	struct desc d = surgery_desc(s, v);
	struct extent e = desc_extent(&s->geo, d);
	uint64_t from = e.off & ~4095ull, to = (e.off + e.len + 4095) & ~4095ull;
	CLEANUP(free) uint8_t *buf = store_buffer(to - from);
	uint8_t *blob = buf + (e.off - from);

	assert_int_equal(store_read(s->st, buf, to - from, from), 0);
	blob[at < 0 ? (int64_t)e.len + at : at] ^= 0x5a;
	assert_int_equal(store_write(s->st, buf, to - from, from), 0);
	d.aux = checksum_blob(s->uuid_seed, v, blob, e.len);
	surgery_set_desc(s, v, d);
}

static void blob_that_is_no_frame(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	patch_blob(&s, 50, 0);
	expect_data(st, "no intact frame");
	store_close(st);
}

/* The frame's length is only known to the codec: find a blob with something behind it. */
static void blob_with_tail(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t v;

	(void)state;
	for (v = 0; v < BLOBS; v++) {
		struct extent e = desc_extent(&s.geo, surgery_desc(&s, v));
		CLEANUP(free) uint8_t *unit = store_buffer(UNIT_SIZE);
		uint64_t last = e.off + e.len - 1;

		assert_int_equal(store_read(st, unit, UNIT_SIZE, last & ~4095ull), 0);
		/* A frame ends in a checksum or a block, hardly ever in eight zeros. */
		static const uint8_t zero[8];
		if (last % UNIT_SIZE >= 8 && !memcmp(unit + last % UNIT_SIZE - 7, zero, 8))
			break;
	}
	assert_true(v < BLOBS);
	patch_blob(&s, v, -1);
	expect_data(st, "not zeros");
	store_close(st);
}

/* A blob alone at its place, as long as it can be: too long for its frame. */
static void blob_too_long(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t v;

	(void)state;
	/* The last of a batch, with at least two sectors free behind it. */
	CLEANUP(free) uint8_t *bits = malloc(REGION_UNITS);
	surgery_bits(&s, 0, bits);
	uint64_t first, end;
	for (v = 0; v < BLOBS; v++) {
		blob_owned_sectors(desc_extent(&s.geo, surgery_desc(&s, v)), &first, &end);
		if (!bit_test(bits, end) && !bit_test(bits, end + 1))
			break;
	}
	assert_true(v < BLOBS);
	struct desc d = surgery_desc(&s, v);
	struct extent e = desc_extent(&s.geo, d);
	uint64_t len = ((end + 2) << SECTOR_SHIFT) - e.off;
	uint64_t from = e.off & ~4095ull;
	CLEANUP(free) uint8_t *buf = store_buffer(256 << 10);
	assert_int_equal(store_read(st, buf, 256 << 10, from), 0);
	surgery_set_desc(&s, v,
			 desc_zstd_make(desc_granule(d), (unsigned)(len / 32), 1,
					checksum_blob(s.uuid_seed, v, buf + (e.off - from), len)));
	surgery_mark(&s, end << SECTOR_SHIFT, true);
	surgery_mark(&s, (end + 1) << SECTOR_SHIFT, true);
	expect_data(st, "too short for the space");
	store_close(st);
}

/* --- reports ------------------------------------------------------------------------------------
 */

static void reports_are_bounded(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct outcome o;

	(void)state;
	s.sb.incompat = le64_make(0);
	surgery_super(&s);
	run_check(st, (struct check_opts){.max_reports = 5, .threads = 1}, &o);
	assert_int_equal(o.res.corruptions, BLOBS);
	assert_int_equal(o.lines, 6);
	assert_non_null(strstr(o.text, "more problems are counted"));
	store_close(st);
}

struct seen_progress {
	uint64_t done, total, calls;
};

static void see_progress(void *arg, uint64_t done, uint64_t total)
{
	struct seen_progress *p = arg;

	assert_true(done <= total && done >= p->done);
	assert_true(!p->calls || total == p->total);
	*p = (struct seen_progress){done, total, p->calls + 1};
}

static void progress_reaches_the_end(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct image_open_opts open = {.read_only = true};
	struct seen_progress seen = {0};
	struct check_opts opts = {.data = true, .progress = see_progress, .arg = &seen};
	struct check_result res;
	struct image *im;

	(void)state;
	assert_int_equal(image_open(st, &open, &im), 0);
	assert_int_equal(check_image(im, &opts, &res), 0);
	assert_true(seen.calls > 0);
	assert_int_equal(seen.done, seen.total);
	assert_int_equal(seen.total, res.blob_bytes);
	image_abandon(im);
	store_close(st);
}

static void ignore_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_in_use_stays_sound),
		cmocka_unit_test(journal_is_referenced),
		cmocka_unit_test(damaged_blob),
		cmocka_unit_test(blob_that_is_no_frame),
		cmocka_unit_test(blob_with_tail),
		cmocka_unit_test(blob_too_long),
		cmocka_unit_test(reports_are_bounded),
		cmocka_unit_test(progress_reaches_the_end),
	};

	if (!getenv("UBLK_IMG_TEST_VERBOSE"))
		log_set_sink(ignore_message, NULL);
	return cmocka_run_group_tests_name("check-data", tests, NULL, NULL);
}
