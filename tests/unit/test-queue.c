/* SPDX-License-Identifier: MIT */
/*
 * The queue on a real file and a real ring: many requests at a time, of random kind, place and
 * length, none of which touches what another one that is under way writes, against a model in
 * memory.  The payloads are of all three kinds: memory, bytes of a file (as ublk's user copy), and
 * pages registered with the ring (as ublk's zero copy).
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "engine/backing.h"
#include "engine/queue_priv.h"
#include "image/check.h"
#include "image/core.h"
#include "tests/lib/queue_bench.h"

static enum req_op random_op(struct rng *rng)
{
	unsigned p = (unsigned)rng_below(rng, 100);

	return p < 45 ? REQ_READ : p < 90 ? REQ_WRITE : p < 97 ? REQ_WRITE_ZEROES : REQ_FLUSH;
}

static void random_range(struct rng *rng, struct engine_req *r)
{
	static const unsigned unit[] = {512, 4096, 65536};
	unsigned u = unit[rng_below(rng, 3)];

	r->off = rng_below(rng, DISK / u) * u;
	r->len = (1 + rng_below(rng, rng_chance(rng, 10) ? MAX_BYTES / u : 65536 / u)) * u;
	if (r->len > DISK - r->off)
		r->len = DISK - r->off;
}

static void submit_random(struct bench *b, struct slot *s)
{
	struct engine_req *r = &s->r;

	r->op = random_op(&b->rng);
	r->fua = rng_chance(&b->rng, 10);
	r->off = r->len = 0;
	if (r->op != REQ_FLUSH)
		random_range(&b->rng, r);
	if (!bench_is_free(b, r))
		return;
	bench_set_payload(b, s);
	if (r->op == REQ_WRITE) {
		bench_fill(&b->rng, s->mem, r->len);
		memcpy(b->model + r->off, s->mem, r->len);
	} else if (r->op == REQ_READ) {
		memset(s->mem, 0xa5, r->len);
	}
	s->busy = true;
	b->submitted++;
	bench_mark(b, r, 1);
	engine_queue_submit(b->q, r);
}

static void run(struct bench *b, unsigned requests)
{
	while (b->submitted < requests) {
		for (unsigned i = 0; i < DEPTH; i++)
			if (!b->slot[i].busy && rng_chance(&b->rng, 70))
				submit_random(b, &b->slot[i]);
		if (engine_queue_active(b->q))
			assert_int_equal(engine_queue_turn(b->q), 0);
	}
	bench_drain(b);
	assert_int_equal(b->submitted, b->completed);
}

static void random_program(enum payload_kind kind, bool codec, enum below below)
{
	struct bench *b = bench_begin(kind, codec, below, 1 + kind + 10u * codec + 100u * below);
	struct engine_stats s;

	run(b, 1500);
	engine_get_stats(b->e, &s);
	assert_true(s.requests[REQ_READ] > 0 && s.requests[REQ_WRITE] > 0);
	assert_int_equal(s.errors, 0);
	if (codec)
		assert_true(s.blob_read > 0);
	assert_int_equal(s.backing_read > 0, below != ALONE);
	bench_verify(b);
	bench_end(b);
	unlink(BELOW);
}

static void test_memory(void **state)
{
	(void)state;
	random_program(MEMORY, false, ALONE);
	random_program(MEMORY, true, ALONE);
}

static void test_file_bytes(void **state)
{
	(void)state;
	random_program(FILE_BYTES, false, ALONE);
	random_program(FILE_BYTES, true, ALONE);
}

static void test_registered(void **state)
{
	(void)state;
	random_program(REGISTERED, false, ALONE);
	random_program(REGISTERED, true, ALONE);
}

static void test_on_backing(void **state)
{
	(void)state;
	for (enum payload_kind kind = MEMORY; kind < KINDS; kind++) {
		random_program(kind, false, ON_RAW);
		random_program(kind, true, ON_RAW);
		random_program(kind, kind == FILE_BYTES, ON_IMAGE);
	}
}

/* ---- directed ---------------------------------------------------------------------------- */

/* In place, a request costs one SQE, no copy, no other thread, and a fraction of a system call. */
static void test_bare_path(void **state)
{
	struct bench *b = bench_begin_directed(REGISTERED, false, ALONE);
	struct engine_stats before, s;
	const unsigned rounds = 20;

	(void)state;
	bench_one(b, REQ_WRITE, 0, DEPTH * 65536);
	bench_one(b, REQ_FLUSH, 0, 0);
	engine_get_stats(b->e, &before);
	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned k = 0; k < DEPTH; k++)
			bench_submit(b, k, k % 2 ? REQ_READ : REQ_WRITE, k * 65536 + i * 512, 4096);
		bench_drain(b);
	}
	s = bench_since(b, &before);
	assert_int_equal(s.sqes, rounds * DEPTH);
	assert_int_equal(s.zero_copy_read, rounds * DEPTH / 2 * 4096);
	assert_int_equal(s.zero_copy_written, rounds * DEPTH / 2 * 4096);
	assert_int_equal(s.copied, 0);
	assert_int_equal(s.handoffs, 0);
	assert_true(s.enters < rounds * DEPTH);

	/* A MiB that lies in one piece is one SQE; what is not there is read from nowhere. */
	engine_get_stats(b->e, &before);
	bench_one(b, REQ_READ, 0, DEPTH * 65536);
	bench_one(b, REQ_READ, DISK / 2, 1 << 20);
	s = bench_since(b, &before);
	assert_int_equal(s.sqes, 2);
	assert_int_equal(s.zero_copy_read, DEPTH * 65536);
	assert_int_equal(s.zero_read, 1 << 20);
	assert_int_equal(s.copied, 0);
	for (unsigned i = 0; i < 1 << 20; i++)
		assert_int_equal(b->slot[0].mem[i], 0);
	bench_end(b);
}

/* What is in a raw backing goes to the client without a copy, and nobody is asked to help. */
static void test_bare_backing(void **state)
{
	struct bench *b = bench_begin_directed(REGISTERED, false, ON_RAW);
	struct engine_stats before, s;

	(void)state;
	memset(b->slot[0].mem, 0x77, 65536);
	memcpy(b->model + 65536, b->slot[0].mem, 65536);
	bench_one(b, REQ_WRITE, 65536, 65536);
	engine_get_stats(b->e, &before);
	bench_one(b, REQ_READ, 0, 3 * 65536);
	s = bench_since(b, &before);
	assert_memory_equal(b->slot[0].mem, b->model, 3 * 65536);
	assert_int_equal(s.sqes, 3);
	assert_int_equal(s.zero_copy_read, 3 * 65536);
	assert_int_equal(s.copied, 0);
	assert_int_equal(s.handoffs, 0);
	engine_get_stats(b->e, &s);
	assert_int_equal(s.backing_read - before.backing_read, 2 * 65536);
	/* Its end is within a sector: the rest of that, and what follows, are zeros. */
	bench_one(b, REQ_READ, BELOW_END / 65536 * 65536, 2 * 65536);
	assert_memory_equal(b->slot[0].mem, b->model + BELOW_END / 65536 * 65536, 2 * 65536);
	/* It is cut off while it is in use: an error, and not zeros. */
	assert_int_equal(truncate(BELOW, 1 << 20), 0);
	b->expected = -EIO;
	bench_one(b, REQ_READ, 2 << 20, 65536);
	b->expected = 0;
	bench_end(b);
	unlink(BELOW);
}

/* One request of which a part is stored compressed: only that part is copied. */
static void test_mixed(void **state)
{
	struct bench *b = bench_begin_directed(REGISTERED, true, ALONE);
	struct engine_stats before, s;

	(void)state;
	memset(b->slot[0].mem, 0x5a, 65536);
	bench_one(b, REQ_WRITE, 0, 65536);
	for (unsigned i = 0; i < 65536; i += 4096) {
		memset(b->slot[0].mem, (int)(i / 4096 + 1), 4096);
		bench_one(b, REQ_WRITE, 65536 + i, 4096);
	}
	engine_get_stats(b->e, &before);
	memset(b->slot[0].mem, 0, 3 * 65536);
	bench_one(b, REQ_READ, 0, 3 * 65536);
	s = bench_since(b, &before);
	assert_int_equal(s.blob_read, 65536);
	assert_int_equal(s.zero_copy_read, 65536);
	assert_int_equal(s.zero_read, 65536);
	assert_int_equal(s.copied, 65536);
	assert_int_equal(s.copied_raw, 0);
	for (unsigned i = 0; i < 65536; i++) {
		assert_int_equal(b->slot[0].mem[i], 0x5a);
		assert_int_equal(b->slot[0].mem[65536 + i], i / 4096 + 1);
		assert_int_equal(b->slot[0].mem[2 * 65536 + i], 0);
	}
	bench_end(b);
}

/* Parts of a cluster are decompressed once, and the memory is given back when nobody comes. */
static void test_cached(void **state)
{
	struct bench *b = bench_begin_directed(REGISTERED, true, ALONE);
	struct engine_stats s;

	(void)state;
	memset(b->slot[0].mem, 0x5a, 65536);
	bench_one(b, REQ_WRITE, 0, 65536);
	for (unsigned i = 0; i < DEPTH; i++)
		bench_submit(b, i, REQ_READ, i * 4096, 4096);
	bench_drain(b);
	engine_get_stats(b->e, &s);
	assert_int_equal(s.cache_misses, 1);
	assert_int_equal(s.cache_bytes, 65536);
	assert_int_equal(s.cached_read, 65536 - 4096);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(engine_maintain(b->e), 0);
	engine_get_stats(b->e, &s);
	assert_int_equal(s.cache_bytes, 0);
	bench_end(b);
}

/* Buffers for bytes that are elsewhere are given back as well, the client's with them. */
static void test_idle(void **state)
{
	struct bench *b = bench_begin_directed(FILE_BYTES, false, ALONE);

	(void)state;
	for (unsigned i = 0; i < DEPTH; i++)
		bench_submit(b, i, REQ_WRITE, (uint64_t)i << 20, 1 << 20);
	bench_drain(b);
	assert_non_null(b->q->free_bounces);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(engine_maintain(b->e), 0);
	assert_int_equal(b->idle, 0);
	assert_int_equal(engine_queue_turn(b->q), 0);
	assert_null(b->q->free_bounces);
	assert_int_equal(b->idle, 1);

	/* Not while a request is under way, but when it is done. */
	pthread_mutex_lock(&b->im->lock);
	bench_submit(b, 0, REQ_FLUSH, 0, 0);
	queues_shrink(b->e);
	assert_int_equal(engine_queue_turn(b->q), 0);
	assert_int_equal(engine_queue_active(b->q), 1);
	assert_int_equal(b->idle, 1);
	pthread_mutex_unlock(&b->im->lock);
	bench_drain(b);
	while (atomic_load(&b->q->shrink))
		assert_int_equal(engine_queue_turn(b->q), 0);
	assert_int_equal(b->idle, 2);
	bench_end(b);
}

static void fill_cluster(uint8_t *mem, unsigned cluster)
{
	for (unsigned i = 0; i < 65536; i += 4) {
		uint32_t v = cluster << 16 | i / 64;

		memcpy(mem + i, &v, 4);
	}
}

static void check_clusters(const uint8_t *mem, unsigned first, unsigned n)
{
	static uint8_t expect[65536];

	for (unsigned i = 0; i < n; i++) {
		fill_cluster(expect, first + i);
		assert_memory_equal(mem + i * 65536, expect, 65536);
	}
}

/* Clusters 0 to 255: 16 MiB. */
static void write_blobs(struct bench *b)
{
	for (unsigned mib = 0; mib < 16; mib++) {
		for (unsigned i = 0; i < 16; i++)
			fill_cluster(b->slot[0].mem + i * 65536, mib * 16 + i);
		bench_one(b, REQ_WRITE, (uint64_t)mib << 20, 1 << 20);
	}
	bench_one(b, REQ_FLUSH, 0, 0);
}

/* The queue decompresses by itself what is alone; many at a time are more than it has buffers for,
 * and workers take part. */
static void read_blobs(enum payload_kind kind)
{
	struct bench *b = bench_begin_directed(kind, true, ALONE);
	struct engine_stats before, s;

	write_blobs(b);
	engine_get_stats(b->e, &before);
	bench_one(b, REQ_READ, 65536 + 4096, 4096);
	bench_one(b, REQ_READ, 1 << 20, 65536);
	check_clusters(b->slot[0].mem, 16, 1);
	s = bench_since(b, &before);
	assert_int_equal(s.blob_read, 65536 + 4096);
	assert_int_equal(s.sqes, 2);
	assert_int_equal(s.handoffs, 0);

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < DEPTH; i++) {
			memset(b->slot[i].mem, 0, 1 << 20);
			bench_submit(b, i, REQ_READ, (uint64_t)i << 20, 1 << 20);
		}
		bench_drain(b);
		for (unsigned i = 0; i < DEPTH; i++)
			check_clusters(b->slot[i].mem, i * 16, 16);
	}
	s = bench_since(b, &before);
	assert_true(s.handoffs > 0);
	assert_true(s.sqes > 2);
	bench_end(b);
}

static void test_blobs(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < KINDS; kind++)
		read_blobs(kind);
}

/* What is stored is damaged, or not there: an error for those who want it, each time. */
static void test_damaged_blob(void **state)
{
	struct bench *b = bench_begin_directed(FILE_BYTES, true, ALONE);
	struct read_plan p;
	struct stat st;

	(void)state;
	write_blobs(b);
	assert_int_equal(plan_read(b->im, 65536, 65536, IMAGE_MAY_BLOCK, &p), 0);
	assert_int_equal(p.seg[0].kind, SEG_BLOB);
	plan_read_done(b->im, &p);

	const off_t at = (off_t)p.seg[0].file_off;
	const uint32_t stored = p.seg[0].stored;
	CLEANUP(close) int fd = open(PATH, O_RDWR | O_CLOEXEC);
	uint8_t was, other;

	assert_int_equal(pread(fd, &was, 1, at + stored - 1), 1);
	other = was ^ 1;
	assert_int_equal(pwrite(fd, &other, 1, at + stored - 1), 1);
	b->expected = -EIO;
	bench_one(b, REQ_READ, 65536, 65536);
	for (unsigned i = 0; i < DEPTH; i++)
		bench_submit(b, i, REQ_READ, 65536 + i * 4096, 4096);
	bench_drain(b);
	assert_int_equal(pwrite(fd, &was, 1, at + stored - 1), 1);

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, at), 0);
	bench_one(b, REQ_READ, 65536, 65536);
	bench_one(b, REQ_READ, 65536, 4096);
	b->expected = 0;
	assert_int_equal(ftruncate(fd, st.st_size), 0);
	bench_end(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered), cmocka_unit_test(test_memory),
		cmocka_unit_test(test_file_bytes), cmocka_unit_test(test_bare_path),
		cmocka_unit_test(test_mixed),	   cmocka_unit_test(test_cached),
		cmocka_unit_test(test_blobs),	   cmocka_unit_test(test_damaged_blob),
		cmocka_unit_test(test_idle),	   cmocka_unit_test(test_bare_backing),
		cmocka_unit_test(test_on_backing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
