/* SPDX-License-Identifier: MIT */
/*
 * The data path against an array of bytes: random reads, writes, discards and zeroes of every
 * alignment, closed and reopened again and again, for each cluster size with and without
 * compression; then what must happen when the store fails or a blob is damaged.
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
#include "engine/engine.h"
#include "image/check.h"
#include "image/plan.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"

#define DISK	  ((10ull << 20) + 7 * 512) /* ends within a sub-block */
#define STORE_MAX (1ull << 30)
#define MAX_OP	  (1536u << 10)

struct world {
	struct store *st;
	struct image *im;
	struct engine *e;
	struct engine_thread *t;
	uint8_t *model; /* what the disk must hold */
	uint8_t *room;	/* MAX_OP and any misalignment */
	struct rng rng;
	uint8_t shift, codec;
	bool on_file;
};

/* ---- a disk ----------------------------------------------------------------------------- */

static void open_world(struct world *w)
{
	const struct image_open_opts opts = {0};

	assert_int_equal(image_open(w->st, &opts, &w->im), 0);
	assert_int_equal(engine_new(w->im, NULL, &w->e), 0);
	assert_int_equal(engine_thread_new(w->e, &w->t), 0);
}

static void free_engine(struct world *w)
{
	engine_thread_free(w->t);
	engine_free(w->e);
}

static void close_world(struct world *w)
{
	free_engine(w);
	assert_int_equal(image_close(w->im), 0);
}

static void create_world(struct world *w, struct store *st, uint8_t shift, uint8_t codec,
			 uint64_t seed)
{
	const struct image_params params = {
		.size = DISK,
		.cluster_shift = shift,
		.codec = codec,
		.level = 1,
		.creator = "test-engine",
	};

	memset(w, 0, sizeof(*w));
	w->st = st;
	w->shift = shift;
	w->codec = codec;
	w->rng.state = seed;
	w->model = calloc(1, DISK);
	w->room = aligned_alloc(4096, MAX_OP + 8192);
	assert_non_null(w->model);
	assert_non_null(w->room);
	assert_int_equal(image_create(st, &params), 0);
	open_world(w);
}

static void free_world(struct world *w)
{
	store_close(w->st);
	free(w->model);
	free(w->room);
}

static void print_problem(void *arg, const char *problem)
{
	(void)arg;
	print_message("check: %s\n", problem);
}

static void check_exact(struct world *w)
{
	const struct check_opts opts = {.data = true, .threads = 1, .report = print_problem};
	struct check_result res;

	assert_int_equal(check_image(w->im, &opts, &res), 0);
	assert_int_equal(res.corruptions, 0);
	assert_int_equal(res.leaks, 0);
}

/* Stop, check every byte of metadata in the closed image, go on. */
static void reopen(struct world *w)
{
	const struct image_open_opts read_only = {.read_only = true};

	close_world(w);
	assert_int_equal(image_open(w->st, &read_only, &w->im), 0);
	check_exact(w);
	assert_int_equal(image_close(w->im), 0);
	open_world(w);
}

/* Stop without a word, as a crash does that loses nothing of what had been written. */
static void crash(struct world *w)
{
	free_engine(w);
	image_abandon(w->im);
	open_world(w);
}

/* ---- operations ------------------------------------------------------------------------- */

struct range {
	uint64_t off;
	size_t len;
};

/* All alignments, with an eye on clusters and small pieces. */
static struct range pick_range(struct world *w)
{
	static const unsigned align[] = {9, 9, 12, 13, 14, 16, 17, 18};
	unsigned a = align[rng_below(&w->rng, 8)];
	size_t limit = rng_chance(&w->rng, 70) ? 64u << 10 : MAX_OP;
	uint64_t off = rng_below(&w->rng, DISK >> a) << a;
	uint64_t len = (1 + rng_below(&w->rng, limit >> 9)) << 9;

	if (rng_chance(&w->rng, 50))
		len = (len + (1u << a) - 1) >> a << a;
	if (len > MAX_OP)
		len = MAX_OP;
	if (len > DISK - off)
		len = DISK - off;
	return (struct range){off, (size_t)len};
}

static uint8_t *pick_buffer(struct world *w)
{
	static const size_t skew[] = {0, 0, 0, 512, 1, 4095};

	return w->room + skew[rng_below(&w->rng, 6)];
}

static void fill_random(struct rng *rng, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = rng_next(rng);

		memcpy(buf + i, &v, 8);
	}
}

static void fill_text(struct rng *rng, uint8_t *buf, size_t len)
{
	static const char letters[] = "etaoin shrdlu\n";

	fill_random(rng, buf, len);
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)letters[buf[i] % (sizeof(letters) - 1)];
}

/* Contents that compress well, badly, not at all; zeros; all of it in one request. */
static void fill(struct world *w, uint8_t *buf, size_t len)
{
	for (size_t n; len; buf += n, len -= n) {
		n = rng_chance(&w->rng, 50) ? len : (1 + rng_below(&w->rng, len >> 9)) << 9;
		switch (rng_below(&w->rng, 4)) {
		case 0:
			fill_random(&w->rng, buf, n);
			break;
		case 1:
			memset(buf, 0, n);
			break;
		case 2:
			memset(buf, 1 + (int)rng_below(&w->rng, 255), n);
			break;
		default:
			fill_text(&w->rng, buf, n);
		}
	}
}

static void do_write(struct world *w, bool fua)
{
	struct range r = pick_range(w);
	uint8_t *buf = pick_buffer(w);

	fill(w, buf, r.len);
	memcpy(w->model + r.off, buf, r.len);
	assert_int_equal(engine_write(w->t, buf, r.off, r.len, fua), 0);
	assert_memory_equal(w->model + r.off, buf, r.len);
}

static void verify(struct world *w, struct range r)
{
	uint8_t *buf = pick_buffer(w);

	memset(buf, 0xa5, r.len);
	assert_int_equal(engine_read(w->t, buf, r.off, r.len), 0);
	assert_memory_equal(buf, w->model + r.off, r.len);
}

static void verify_all(struct world *w)
{
	for (uint64_t off = 0; off < DISK; off += MAX_OP)
		verify(w, (struct range){off, DISK - off < MAX_OP ? DISK - off : MAX_OP});
}

static void do_zeroes(struct world *w)
{
	struct range r = pick_range(w);

	assert_int_equal(engine_write_zeroes(w->t, r.off, r.len), 0);
	memset(w->model + r.off, 0, r.len);
	verify(w, r);
}

/* A sector may keep its content, unless its whole cluster was discarded. */
static void adopt_discarded(struct world *w, uint64_t off, const uint8_t *now, struct range r)
{
	static const uint8_t zero[512];
	uint64_t first = off >> w->shift << w->shift;
	bool whole = first >= r.off && first + (1u << w->shift) <= r.off + r.len;

	if (whole || memcmp(now, w->model + off, 512))
		assert_memory_equal(now, zero, 512);
	memcpy(w->model + off, now, 512);
}

static void do_discard(struct world *w)
{
	struct range r = pick_range(w);

	assert_int_equal(engine_discard(w->t, r.off, r.len), 0);
	assert_int_equal(engine_read(w->t, w->room, r.off, r.len), 0);
	for (size_t at = 0; at < r.len; at += 512)
		adopt_discarded(w, r.off + at, w->room + at, r);
}

/* What was flushed, and one FUA write after that, survive; nothing else is pending. */
static void do_crash(struct world *w)
{
	assert_int_equal(engine_flush(w->t), 0);
	if (rng_chance(&w->rng, 50))
		do_write(w, true);
	crash(w);
	verify_all(w);
}

static void step(struct world *w)
{
	unsigned what = (unsigned)rng_below(&w->rng, 1000);

	if (what < 420)
		do_write(w, rng_chance(&w->rng, 10));
	else if (what < 780)
		verify(w, pick_range(w));
	else if (what < 860)
		do_discard(w);
	else if (what < 930)
		do_zeroes(w);
	else if (what < 955)
		assert_int_equal(engine_flush(w->t), 0);
	else if (what < 970)
		assert_int_equal(image_maintain(w->im), 0);
	else if (what < 980)
		assert_int_equal(image_checkpoint(w->im), 0);
	else if (what < 990)
		reopen(w);
	else
		do_crash(w);
}

static void differential(struct store *st, uint8_t shift, uint8_t codec, unsigned steps)
{
	struct image_stats stats;
	struct world w;

	print_message("clusters of %u KiB, %s, seed %u\n", 1u << (shift - 10), codec_name(codec),
		      shift);
	create_world(&w, st, shift, codec, shift);
	verify_all(&w);
	for (unsigned i = 0; i < steps; i++)
		step(&w);
	verify_all(&w);
	reopen(&w);
	verify_all(&w);
	fill_text(&w.rng, w.room, MAX_OP);
	assert_int_equal(engine_write(w.t, w.room, 0, MAX_OP, false), 0);
	image_get_stats(w.im, &stats);
	assert_int_equal(stats.blobs_written > 0, codec != CODEC_NONE);
	close_world(&w);
	free_world(&w);
}

static unsigned steps_of(unsigned normal)
{
	const char *more = getenv("TEST_ENGINE_STEPS");

	return more ? (unsigned)strtoul(more, NULL, 10) : normal;
}

static void in_memory(void **state)
{
	(void)state;
	for (uint8_t shift = 16; shift <= 18; shift++) {
		differential(mem_store_new(STORE_MAX), shift, CODEC_NONE, steps_of(1500));
		differential(mem_store_new(STORE_MAX), shift, CODEC_ZSTD, steps_of(1500));
	}
}

static void in_a_file(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char path[4096];
	struct store *st;

	(void)state;
	snprintf(path, sizeof(path), "%s/test-engine.img", tmp ? tmp : "/var/tmp");
	unlink(path);
	assert_int_equal(store_file_open(path, STORE_FILE_CREATE, &st), 0);
	differential(st, 16, CODEC_ZSTD, steps_of(300));
	unlink(path);
}

/* ---- directed --------------------------------------------------------------------------- */

static struct world directed_world(uint8_t codec)
{
	struct world w;

	create_world(&w, mem_store_new(STORE_MAX), 16, codec, 1);
	return w;
}

static void write_text(struct world *w, uint64_t off, size_t len)
{
	fill_text(&w->rng, w->model + off, len);
	assert_int_equal(engine_write(w->t, w->model + off, off, len, false), 0);
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
	verify_all(&w);
	reopen(&w);
	verify_all(&w);
	close_world(&w);
	free_world(&w);
}

/* Small reads in sequence decompress a cluster once. */
static void sequential_reads(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);
	uint64_t reads;

	(void)state;
	write_text(&w, 0, 128u << 10);
	verify(&w, (struct range){0, 4096}); /* metadata is in memory now */
	reads = mem_store_calls(w.st, MEM_READ);
	for (uint64_t off = 65536; off < 131072; off += 4096)
		verify(&w, (struct range){off, 4096});
	assert_int_equal(mem_store_calls(w.st, MEM_READ) - reads, 1);
	/* The cluster is written again: what is cached is of no use any more. */
	write_text(&w, 65536, 65536);
	verify(&w, (struct range){65536, 4096});
	close_world(&w);
	free_world(&w);
}

/* Zeros, and data that does not compress, make no blobs. */
static void not_compressed(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);
	struct image_stats stats;

	(void)state;
	fill_random(&w.rng, w.model, 256u << 10);
	assert_int_equal(engine_write(w.t, w.model, 0, 512u << 10, false), 0);
	image_get_stats(w.im, &stats);
	assert_int_equal(stats.blobs_written, 0);
	assert_int_equal(stats.clusters_allocated, 4);
	verify_all(&w);
	close_world(&w);
	free_world(&w);
}

/* The file offset of the blob that holds the cluster at @off. */
static uint64_t blob_at(struct world *w, uint64_t off)
{
	struct read_plan p;

	assert_int_equal(plan_read(w->im, off, 512, IMAGE_MAY_BLOCK, &p), 0);
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
	assert_int_equal(engine_read(w.t, w.room, 65536, 4096), -EIO);
	assert_int_equal(messages, 1);
	assert_int_equal(engine_read(w.t, w.room, 0, 256u << 10), -EIO);
	assert_int_equal(engine_write(w.t, sector, 65536 + 512, 512, false), -EIO);
	log_set_sink(NULL, NULL);
	verify(&w, (struct range){0, 65536});
	verify(&w, (struct range){131072, 131072});
	write_text(&w, 65536, 65536); /* a full cluster needs no old content */
	verify_all(&w);
	reopen(&w);
	close_world(&w);
	free_world(&w);
}

/* ---- a store that fails ----------------------------------------------------------------- */

/* After a failed write each sector is as before or as asked. */
static void adopt_failed(struct world *w, struct range r, const uint8_t *asked)
{
	uint8_t now[512];

	for (size_t at = 0; at < r.len; at += 512) {
		uint8_t *old = w->model + r.off + at;

		assert_int_equal(engine_read(w->t, now, r.off + at, 512), 0);
		if (memcmp(now, old, 512))
			assert_memory_equal(now, asked + at, 512);
		memcpy(old, now, 512);
	}
}

static void failing_write(struct world *w, unsigned nth, errint_t with)
{
	struct range r = pick_range(w);
	CLEANUP(free) uint8_t *asked = malloc(r.len);

	assert_non_null(asked);
	fill(w, asked, r.len);
	mem_store_fail(w->st, MEM_WRITE, nth, with);

	errint_t err = engine_write(w->t, asked, r.off, r.len, false);

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
			do_write(&w, false);
		}
		log_set_sink(NULL, NULL);
		verify_all(&w);
		reopen(&w);
		verify_all(&w);
		close_world(&w);
		free_world(&w);
	}
}

/* A read that fails is reported; later ones are good. */
static void failing_reads(void **state)
{
	struct world w = directed_world(CODEC_ZSTD);

	(void)state;
	write_text(&w, 0, MAX_OP);
	fill_random(&w.rng, w.model + MAX_OP, MAX_OP);
	assert_int_equal(engine_write(w.t, w.model + MAX_OP, MAX_OP, MAX_OP, false), 0);
	log_set_sink(count_message, NULL);
	for (unsigned n = 0; n < 200; n++) {
		struct range r = pick_range(&w);

		mem_store_fail(w.st, MEM_READ, 1 + n % 4, -EIO);

		errint_t err = engine_read(w.t, w.room, r.off, r.len);

		mem_store_fail(w.st, MEM_READ, 0, 0);
		assert_true(err == 0 || err == -EIO);
		if (!err)
			assert_memory_equal(w.room, w.model + r.off, r.len);
		verify(&w, r);
	}
	log_set_sink(NULL, NULL);
	close_world(&w);
	free_world(&w);
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
	assert_int_equal(engine_write(w.t, w.room, 0, 4096, false), -EIO);
	verify_all(&w);
	crash(&w);
	log_set_sink(NULL, NULL);
	close_world(&w);
	free_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_batch),	  cmocka_unit_test(sequential_reads),
		cmocka_unit_test(not_compressed), cmocka_unit_test(damaged_blob),
		cmocka_unit_test(failing_reads),  cmocka_unit_test(failing_writes),
		cmocka_unit_test(failing_sync),	  cmocka_unit_test(in_memory),
		cmocka_unit_test(in_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
