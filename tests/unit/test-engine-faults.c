/* SPDX-License-Identifier: MIT */
/*
 * What the data path does in particular: how much I/O it takes, and what must happen when the store
 * fails, a blob is damaged, or the image is full.
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
#include "common/log.h"
#include "image/plan.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/engine_world.h"

static struct world directed_world(uint8_t codec)
{
	const struct image_open_opts opts = {0};
	struct world w;

	world_create(&w, mem_store_new(STORE_MAX), 16, codec, &opts);
	return w;
}

static void write_text(struct world *w, uint64_t off, size_t len)
{
	world_text(&w->rng, w->model + off, len);
	assert_int_equal(engine_write(w->t, w->model + off, world_offset(off), len, false), 0);
}

/* One large write makes one batch, whose blobs lie one behind the other. */
static void one_batch(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);
	struct image_stats before, after;
	uint64_t writes;

	(void)state;
	image_get_stats(w.im, &before);
	writes = mem_store_calls(w.st, MEM_WRITE);
	write_text(&w, 0, 1u << 20);
	assert_int_equal(mem_store_calls(w.st, MEM_WRITE) - writes, 1);
	image_get_stats(w.im, &after);
	assert_int_equal(after.blobs_written - before.blobs_written, 16);
	world_verify_all(&w);
	world_reopen(&w);
	world_verify_all(&w);
	world_close(&w);
	world_free(&w);
}

/* Small reads in sequence decompress a cluster once. */
static void sequential_reads(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);
	uint64_t reads;

	(void)state;
	write_text(&w, 0, 128u << 10);
	world_verify(&w, (struct range){0, 4096}); /* metadata is in memory now */
	reads = mem_store_calls(w.st, MEM_READ);
	for (uint64_t off = 65536; off < 131072; off += 4096)
		world_verify(&w, (struct range){off, 4096});
	assert_int_equal(mem_store_calls(w.st, MEM_READ) - reads, 1);
	/* The cluster is written again: what is cached is of no use any more. */
	write_text(&w, 65536, 65536);
	world_verify(&w, (struct range){65536, 4096});
	world_close(&w);
	world_free(&w);
}

/* Zeros, and data that does not compress, make no blobs. */
static void not_compressed(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);
	struct image_stats stats;

	(void)state;
	world_random(&w.rng, w.model, 256u << 10);
	assert_int_equal(engine_write(w.t, w.model, world_offset(0), 512u << 10, false), 0);
	image_get_stats(w.im, &stats);
	assert_int_equal(stats.blobs_written, 0);
	assert_int_equal(stats.clusters_allocated, 4);
	world_verify_all(&w);
	world_close(&w);
	world_free(&w);
}

/* The file offset of the blob that holds the cluster at @off. */
static uint64_t blob_at(struct world *w, uint64_t off)
{
	struct read_plan p;

	assert_int_equal(plan_read(w->im, world_offset(off), 512, IMAGE_MAY_BLOCK, &p), 0);
	assert_int_equal(p.seg[0].kind, SEG_BLOB);
	plan_read_done(w->im, &p);
	return p.seg[0].file_off;
}

static unsigned messages;

static void count_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	messages++;
	print_message("expected: %s\n", message);
}

/* A damaged blob is an error, for its cluster only, and is never merged into new data. */
static void damaged_blob(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);
	uint8_t sector[512] = {1};

	(void)state;
	write_text(&w, 0, 256u << 10);
	mem_store_flip(w.st, blob_at(&w, 65536) + 100);
	log_set_sink(count_message, NULL);
	messages = 0;
	assert_int_equal(engine_read(w.t, w.room, world_offset(65536), 4096), -EIO);
	assert_int_equal(messages, 1);
	assert_int_equal(engine_read(w.t, w.room, world_offset(0), 256u << 10), -EIO);
	assert_int_equal(engine_write(w.t, sector, world_offset(65536 + 512), 512, false), -EIO);
	log_set_sink(NULL, NULL);
	world_verify(&w, (struct range){0, 65536});
	world_verify(&w, (struct range){131072, 131072});
	write_text(&w, 65536, 65536); /* a full cluster needs no old content */
	world_verify_all(&w);
	world_reopen(&w);
	world_close(&w);
	world_free(&w);
}

/* ---- a store that fails ----------------------------------------------------------------- */

/* After a failed write each sector is as before or as asked. */
static void adopt_failed(struct world *w, struct range r, const uint8_t *asked)
{
	uint8_t now[512];

	for (size_t at = 0; at < r.len; at += 512) {
		uint8_t *old = w->model + r.off + at;

		assert_int_equal(engine_read(w->t, now, world_offset(r.off + at), 512), 0);
		if (memcmp(now, old, 512))
			assert_memory_equal(now, asked + at, 512);
		memcpy(old, now, 512);
	}
}

static void failing_write(struct world *w, unsigned nth, errint_t with)
{
	struct range r = world_pick_range(w);
	CLEANUP(free) uint8_t *asked = malloc(r.len);

	assert_non_null(asked);
	world_fill(w, asked, r.len);
	mem_store_fail(w->st, MEM_WRITE, nth, with);

	errint_t err = engine_write(w->t, asked, world_offset(r.off), r.len, false);

	mem_store_fail(w->st, MEM_WRITE, 0, 0);
	assert_true(err == 0 || err == with);
	if (!err)
		memcpy(w->model + r.off, asked, r.len);
	else
		adopt_failed(w, r, asked);
}

/* A write of data that fails is reported, and costs neither space nor other data. */
static void failing_writes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world w = directed_world(i ? CODEC_ZSTD : CODEC_NONE);

		log_set_sink(count_message, NULL);
		for (unsigned n = 0; n < 150; n++) {
			failing_write(&w, 1 + n % 3, n % 2 ? -EIO : -ENOSPC);
			world_write(&w, false);
		}
		log_set_sink(NULL, NULL);
		world_verify_all(&w);
		world_reopen(&w);
		world_verify_all(&w);
		world_close(&w);
		world_free(&w);
	}
}

/* A read that fails is reported; later ones are good. */
static void failing_reads(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);

	(void)state;
	write_text(&w, 0, MAX_OP);
	world_random(&w.rng, w.model + ISLAND, MAX_OP);
	assert_int_equal(engine_write(w.t, w.model + ISLAND, world_offset(ISLAND), MAX_OP, false),
			 0);
	log_set_sink(count_message, NULL);
	for (unsigned n = 0; n < 200; n++) {
		struct range r = world_pick_range(&w);

		mem_store_fail(w.st, MEM_READ, 1 + n % 4, -EIO);

		errint_t err = engine_read(w.t, w.room, world_offset(r.off), r.len);

		mem_store_fail(w.st, MEM_READ, 0, 0);
		assert_true(err == 0 || err == -EIO);
		if (!err)
			assert_memory_equal(w.room, w.model + r.off, r.len);
		world_verify(&w, r);
	}
	log_set_sink(NULL, NULL);
	world_close(&w);
	world_free(&w);
}

/* A sync that fails is final. */
static void failing_sync(void **state)
{
	struct world w = directed_world(CODEC_NONE);

	(void)state;
	write_text(&w, 0, 65536);
	log_set_sink(count_message, NULL);
	mem_store_fail(w.st, MEM_SYNC, 1, -EIO);
	assert_int_equal(engine_flush(w.t), -EIO);
	assert_int_equal(engine_flush(w.t), -EIO);
	assert_int_equal(engine_write(w.t, w.room, world_offset(0), 4096, false), -EIO);
	world_verify_all(&w);
	world_crash(&w);
	log_set_sink(NULL, NULL);
	world_close(&w);
	world_free(&w);
}

/* A FUA write in place asks the store for no more than one durable write; that this fails is as
 * final as a failed sync, unless the host only lacked space. */
static void fua_in_place(void **state)
{
	struct world w = directed_world(CODEC_NONE);
	uint64_t syncs, writes;

	(void)state;
	write_text(&w, 0, 65536);
	assert_int_equal(engine_flush(w.t), 0);
	syncs = mem_store_calls(w.st, MEM_SYNC);
	writes = mem_store_calls(w.st, MEM_WRITE);
	assert_int_equal(engine_write(w.t, w.model, 0, 4096, true), 0);
	assert_int_equal(mem_store_calls(w.st, MEM_WRITE) - writes, 1);
	assert_int_equal(mem_store_calls(w.st, MEM_SYNC) - syncs, 0);

	log_set_sink(count_message, NULL);
	mem_store_fail(w.st, MEM_WRITE, 1, -ENOSPC);
	assert_int_equal(engine_write(w.t, w.model, 0, 4096, true), -ENOSPC);
	assert_int_equal(engine_write(w.t, w.model, 0, 4096, true), 0);
	mem_store_fail(w.st, MEM_WRITE, 1, -EIO);
	assert_int_equal(engine_write(w.t, w.model, 0, 4096, true), -EIO);
	assert_int_equal(engine_flush(w.t), -EIO);
	world_crash(&w);
	log_set_sink(NULL, NULL);
	world_verify_all(&w);
	world_close(&w);
	world_free(&w);
}

/* ---- a full image ----------------------------------------------------------------------- */

#define FULL_DISK  (400ull << 20)
#define FULL_CHUNK (1u << 20)

static struct world full_world(uint8_t codec)
{
	const struct image_params params = {.size = FULL_DISK, .codec = codec, .level = 1};
	struct world w = {.st = mem_store_new(STORE_MAX), .shift = 16, .opts.max_regions = 3};

	w.room = aligned_alloc(4096, FULL_CHUNK);
	w.model = malloc(FULL_CHUNK);
	assert_non_null(w.room);
	assert_non_null(w.model);
	assert_int_equal(image_create(w.st, &params), 0);
	world_open(&w);
	return w;
}

/* What chunk @i holds when it was last written in @round. */
static void fill_chunk(struct world *w, uint8_t *buf, unsigned i, unsigned round)
{
	w->rng.state = i * 1000ull + round;
	world_random(&w->rng, buf, FULL_CHUNK);
	for (size_t at = 0; at < FULL_CHUNK; at += 4096) /* three quarters are random */
		memset(buf + at, (int)(i + round), 1024);
}

/* Write chunks from @from on until the image is full; how many were written. */
static unsigned fill_up(struct world *w, unsigned from, unsigned round)
{
	for (unsigned i = from; i < FULL_DISK / FULL_CHUNK; i++) {
		fill_chunk(w, w->model, i, round);

		errint_t err =
			engine_write(w->t, w->model, (uint64_t)i * FULL_CHUNK, FULL_CHUNK, false);

		assert_true(err == 0 || err == -ENOSPC);
		if (err)
			return i - from;
	}
	return (unsigned)(FULL_DISK / FULL_CHUNK) - from;
}

static void verify_chunk(struct world *w, unsigned i, unsigned round)
{
	fill_chunk(w, w->model, i, round);
	assert_int_equal(engine_read(w->t, w->room, (uint64_t)i * FULL_CHUNK, FULL_CHUNK), 0);
	assert_memory_equal(w->room, w->model, FULL_CHUNK);
}

/*
 * A full image says so, and keeps everything it had acknowledged.  Overwriting in place goes on;
 * discarding makes room, at once.
 */
static void full(uint8_t codec)
{
	struct world w = full_world(codec);
	unsigned n, again;

	n = fill_up(&w, 0, 1);
	print_message("%u of %llu MiB fit into 2 regions\n", n, FULL_DISK / FULL_CHUNK);
	assert_in_range(n, 100, FULL_DISK / FULL_CHUNK - 1);
	assert_int_equal(fill_up(&w, n, 1), 0);
	for (unsigned i = 0; i < n; i++)
		verify_chunk(&w, i, 1);
	assert_int_equal(engine_discard(w.t, 0, 40u * FULL_CHUNK), 0);
	again = fill_up(&w, 0, 2);
	assert_in_range(again, 40, n);
	for (unsigned i = 0; i < 40; i++)
		verify_chunk(&w, i, 2);
	/* The chunk that failed half-way holds something of both; the others are as they were. */
	for (unsigned i = again + 1; i < n; i++)
		verify_chunk(&w, i, 1);
	assert_int_equal(engine_discard(w.t, 0, 40u * FULL_CHUNK), 0);
	world_reopen(&w);
	for (unsigned i = again + 1; i < n; i++)
		verify_chunk(&w, i, 1);
	world_close(&w);
	world_free(&w);
}

static void full_raw(void **state)
{
	(void)state;
	full(CODEC_NONE);
}

static void full_compressed(void **state)
{
	(void)state;
	full(CODEC_ZSTD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_batch),	  cmocka_unit_test(sequential_reads),
		cmocka_unit_test(not_compressed), cmocka_unit_test(fua_in_place),
		cmocka_unit_test(damaged_blob),	  cmocka_unit_test(failing_reads),
		cmocka_unit_test(failing_writes), cmocka_unit_test(failing_sync),
		cmocka_unit_test(full_raw),	  cmocka_unit_test(full_compressed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
