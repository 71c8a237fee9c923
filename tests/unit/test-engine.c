/* SPDX-License-Identifier: MIT */
/*
 * The data path against an array of bytes: random reads, writes, discards and zeroes of every
 * alignment, closed and opened again and again, for each cluster size with and without compression.
 *
 * TEST_ENGINE_SEED=n makes other runs, TEST_ENGINE_STEPS=n longer ones.
 */
#include "config.h"

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
#include "tests/lib/engine_world.h"

static void announce(uint8_t shift, uint8_t codec)
{
	print_message("clusters of %u KiB, %s, TEST_ENGINE_SEED=%llu\n", 1u << (shift - 10),
		      codec_name(codec), (unsigned long long)world_seed());
}

static void run(struct world *w, unsigned steps)
{
	world_verify_all(w);
	for (unsigned i = 0; i < steps; i++)
		world_step(w);
	world_verify_all(w);
	world_reopen(w);
	world_verify_all(w);
}

static void differential(struct store *st, uint8_t shift, uint8_t codec,
			 const struct image_open_opts *opts, unsigned steps)
{
	struct image_stats stats;
	struct world w;

	announce(shift, codec);
	world_create(&w, st, shift, codec, opts);
	run(&w, steps);
	world_text(&w.rng, w.room, MAX_OP);
	assert_int_equal(engine_write(w.t, w.room, 0, MAX_OP, false), 0);
	image_get_stats(w.im, &stats);
	assert_int_equal(stats.blobs_written > 0, codec != CODEC_NONE);
	world_close(&w);
	world_free(&w);
}

static unsigned steps_of(unsigned normal)
{
	return (unsigned)env_number("TEST_ENGINE_STEPS", normal);
}

static void in_memory(void **state)
{
	const struct image_open_opts opts = {0};

	(void)state;
	for (uint8_t shift = 16; shift <= 18; shift++) {
		differential(mem_store_new(STORE_MAX), shift, CODEC_NONE, &opts, steps_of(1000));
		differential(mem_store_new(STORE_MAX), shift, CODEC_ZSTD, &opts, steps_of(1000));
	}
}

/* A journal of a few transactions, and a checkpoint forced by every few nodes. */
static void tight_metadata(void **state)
{
	const struct image_open_opts opts = {.journal_length = 16 * 4096, .dirty_cap = 1};

	(void)state;
	for (uint8_t shift = 16; shift <= 18; shift++) {
		differential(mem_store_new(STORE_MAX), shift, CODEC_NONE, &opts, steps_of(1000));
		differential(mem_store_new(STORE_MAX), shift, CODEC_ZSTD, &opts, steps_of(1000));
	}
}

static void in_a_file(void **state)
{
	const struct image_open_opts opts = {0};
	const char *tmp = getenv("TMPDIR");
	char path[4096];
	struct store *st;

	(void)state;
	snprintf(path, sizeof(path), "%s/test-engine.img", tmp ? tmp : "/var/tmp");
	unlink(path);
	assert_int_equal(store_file_open(path, STORE_FILE_CREATE, &st), 0);
	differential(st, 16, CODEC_ZSTD, &opts, steps_of(300));
	unlink(path);
}

/* ---- an image that was written in one stream ---------------------------------------------- */

static void place_raw(struct bulk *b, struct world *w, uint64_t vcluster, const uint8_t *data)
{
	struct bulk_place place;

	assert_int_equal(bulk_place_raw(b, 1, &place), 0);
	assert_int_equal(place.n, 1);
	assert_int_equal(store_write(w->st, data, 1u << w->shift, place.file_off), 0);
	assert_int_equal(bulk_map_raw(b, vcluster, 1, place.file_off), 0);
}

static void place_blob(struct bulk *b, struct world *w, uint64_t vcluster, const uint8_t *frame,
		       size_t len)
{
	struct bulk_blob blob = {.vcluster = vcluster, .len = (uint32_t)len};
	CLEANUP(free) uint8_t *batch = store_buffer(1u << w->shift);
	struct bulk_place place;

	assert_non_null(batch);
	assert_int_equal(bulk_place_blobs(b, &blob, 1, &place), 0);
	memcpy(batch + blob.at, frame, len);
	blob.crc = checksum_blob(bulk_uuid_seed(b), vcluster, batch + blob.at, blob.stored);
	assert_int_equal(store_write(w->st, batch, place.len, place.file_off), 0);
	assert_int_equal(bulk_map_blobs(b, &blob, 1, place.file_off), 0);
}

/* Mapped clusters in the sea between islands, holes in the store, so that the islands' clusters
 * come to stand in regions behind the first. */
static void place_filler(struct bulk *b, const struct world *w, uint64_t off, uint64_t len)
{
	uint64_t v = off >> w->shift, end = (off + len) >> w->shift;

	while (v < end) {
		unsigned n = end - v < BULK_MAX_BLOBS ? (unsigned)(end - v) : BULK_MAX_BLOBS;
		struct bulk_place place;

		assert_int_equal(bulk_place_raw(b, n, &place), 0);
		assert_int_equal(bulk_map_raw(b, v, place.n, place.file_off), 0);
		v += place.n;
	}
}

/* A cluster of the model; the last one is cut by the disk's end. */
static void place_cluster(struct bulk *b, struct world *w, struct codec_ctx *ctx, uint64_t off)
{
	const size_t size = 1u << w->shift;
	size_t frame_len = size / 16 * 15;
	uint8_t *data = w->room, *frame = w->room + size;
	uint64_t vcluster = world_offset(off) >> w->shift;

	memset(data, 0, size);
	memcpy(data, w->model + off, off + size <= USED ? size : USED - off);
	if (codec_compress(ctx, data, frame, &frame_len))
		place_raw(b, w, vcluster, data);
	else
		place_blob(b, w, vcluster, frame, frame_len);
}

static void bulk_image(struct world *w, uint8_t codec)
{
	const struct image_params params = world_params(w, codec);
	const struct codec *zstd;
	struct codec_ctx *ctx;
	struct bulk *b;

	assert_int_equal(codec_find(CODEC_ZSTD, &zstd), 0);
	assert_int_equal(codec_ctx_new(zstd, 1, 1u << w->shift, &ctx), 0);
	assert_int_equal(bulk_begin(w->st, &params, &b), 0);
	for (unsigned i = 0; i < 2; i++)
		place_filler(b, w, i * STRIDE + 2 * ISLAND, 70u << 20);
	for (uint64_t off = 0; off < USED; off += 1u << w->shift)
		place_cluster(b, w, ctx, off);
	assert_int_equal(bulk_finish(b), 0);
	codec_ctx_free(ctx);
}

/* Raw clusters, blobs and nodes in common regions: what is written to them later goes elsewhere,
 * and what is freed in them finds a use. */
static void on_a_bulk_image(void **state)
{
	const struct image_open_opts opts = {.journal_length = 64 * 4096};
	struct image_info info;
	struct world w;

	(void)state;
	for (uint8_t shift = 16; shift <= 18; shift++) {
		announce(shift, CODEC_ZSTD);
		world_begin(&w, mem_store_new(STORE_MAX), shift, &opts);
		for (uint64_t off = 0; off < USED - ODD; off += 128u << 10)
			world_fill(&w, w.model + off, 128u << 10);
		bulk_image(&w, CODEC_ZSTD);
		world_open(&w);
		image_get_info(w.im, &info);
		assert_true(info.phys_regions >= 2);
		run(&w, steps_of(800));
		world_close(&w);
		world_free(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_memory),
		cmocka_unit_test(tight_metadata),
		cmocka_unit_test(on_a_bulk_image),
		cmocka_unit_test(in_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
