/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "image/bulk.h"
#include "image/checksum.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"
#include "tests/lib/sample.h"

/* --- making images ------------------------------------------------------------------------------
 */

/* What a compressed cluster holds: partly noise, so that sizes differ. */
static void fill_cluster(uint8_t *p, size_t len, uint64_t vcluster)
{
	struct rng rng = {vcluster};
	size_t noise = 2000 + rng_below(&rng, 30000);

	memset(p, 'a' + (int)(vcluster % 26), len);
	for (size_t i = 0; i < noise; i++)
		p[i] = (uint8_t)rng_next(&rng);
}

static void add_blobs(struct bulk *b, struct store *st, unsigned shift, unsigned n)
{
	const struct codec *codec;
	struct codec_ctx *ctx;
	const size_t size = (size_t)1 << shift;
	CLEANUP(free) uint8_t *plain = malloc(size);
	CLEANUP(free) uint8_t *frames = malloc(64 * size);
	struct bulk_blob blob[64];
	struct bulk_place place;

	assert_int_equal(codec_find(CODEC_ZSTD, &codec), 0);
	assert_int_equal(codec_ctx_new(codec, 1, size, &ctx), 0);
	for (unsigned v = 0; v < n; v += place.n) {
		unsigned batch = n - v < 20 ? n - v : 20;

		for (unsigned i = 0; i < batch; i++) {
			size_t len = size;

			fill_cluster(plain, size, v + i);
			assert_int_equal(codec_compress(ctx, plain, frames + i * size, &len), 0);
			blob[i] = (struct bulk_blob){.vcluster = v + i, .len = (uint32_t)len};
		}
		assert_int_equal(bulk_place_blobs(b, blob, batch, &place), 0);
		CLEANUP(free) uint8_t *buf = store_buffer(place.len);
		for (unsigned i = 0; i < place.n; i++) {
			memcpy(buf + blob[i].at, frames + i * size, blob[i].len);
			blob[i].crc = checksum_blob(bulk_uuid_seed(b), blob[i].vcluster,
						    buf + blob[i].at, blob[i].stored);
		}
		assert_int_equal(store_write(st, buf, place.len, place.file_off), 0);
		assert_int_equal(bulk_map_blobs(b, blob, place.n, place.file_off), 0);
	}
	codec_ctx_free(ctx);
}

static void add_raw(struct bulk *b, uint64_t vcluster, unsigned n)
{
	struct bulk_place place;

	for (; n; n -= place.n, vcluster += place.n) {
		assert_int_equal(bulk_place_raw(b, n < 64 ? n : 64, &place), 0);
		assert_int_equal(bulk_map_raw(b, vcluster, place.n, place.file_off), 0);
	}
}

struct store *sample_image_shift(uint8_t shift)
{
	struct store *st = mem_store_new(SAMPLE_STORE);
	struct image_params params = {
		.size = SAMPLE_DISK, .cluster_shift = shift, .creator = "test"};
	struct bulk *b;

	assert_int_equal(bulk_begin(st, &params, &b), 0);
	add_blobs(b, st, shift, BLOBS);
	add_raw(b, RAW_FIRST, shift == 16 ? RAW_COUNT : 1000);
	add_raw(b, shift == 16 ? FAR : 40000, 1);
	assert_int_equal(bulk_finish(b), 0);
	return st;
}

struct store *sample_image(struct surgery *s)
{
	struct store *st = sample_image_shift(16);

	surgery_begin(s, st);
	assert_int_equal(surgery_entry(s, 0).class_, CLASS_MIXED);
	assert_int_equal(surgery_entry(s, 1).class_, CLASS_DATA);
	return st;
}

/* --- checking them ------------------------------------------------------------------------------
 */

static void keep_line(void *arg, const char *problem)
{
	struct outcome *o = arg;
	size_t at = strlen(o->text);

	o->lines++;
	snprintf(o->text + at, sizeof(o->text) - at, "%s\n", problem);
	assert_null(strchr(problem, '\n'));
}

void run_check(struct store *st, struct check_opts opts, struct outcome *o)
{
	struct image_open_opts open = {.read_only = true};
	struct image *im;

	*o = (struct outcome){0};
	opts.report = keep_line;
	opts.arg = o;
	assert_int_equal(image_open(st, &open, &im), 0);
	assert_int_equal(check_image(im, &opts, &o->res), 0);
	image_abandon(im);
}

void expect(struct store *st, uint64_t corruptions, uint64_t leaks, const char *says)
{
	const struct check_opts how[] = {
		{.threads = 1},
		{.threads = 3},
		{.threads = 2, .memory = 1}, /* one region at a time */
	};
	struct outcome o;

	for (unsigned i = 0; i < sizeof(how) / sizeof(*how); i++) {
		run_check(st, how[i], &o);
		if (o.res.corruptions != corruptions || o.res.leaks != leaks ||
		    (says && !strstr(o.text, says)) || (!corruptions && !leaks && o.lines))
			fail_msg("expected %" PRIu64 " corruptions, %" PRIu64
				 " leaks and \"%s\", got %" PRIu64 ", %" PRIu64 " and:\n%s",
				 corruptions, leaks, says ? says : "", o.res.corruptions,
				 o.res.leaks, o.text);
	}
}

void expect_refused(struct store *st)
{
	struct image_open_opts open = {.read_only = true};
	struct image *im;

	assert_int_equal(image_open(st, &open, &im), -EBADMSG);
}
