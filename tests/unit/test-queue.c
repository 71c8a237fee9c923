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
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "engine/queue_priv.h"
#include "image/check.h"
#include "tests/lib/rng.h"

#define DISK	  (48u << 20)
#define DEPTH	  16u
#define CHUNK	  (64u << 10) /* of the table of what is busy */
#define PATH	  "queue.img"
#define MAX_BYTES REQ_MAX_BYTES

enum payload_kind { MEMORY, FILE_BYTES, REGISTERED, KINDS };

struct slot {
	struct engine_req r;
	struct bench *b;
	unsigned index;
	bool busy;
	uint8_t *mem; /* what the payload is; of FILE_BYTES and REGISTERED a mapping */
};

struct bench {
	struct store *st;
	struct image *im;
	struct engine *e;
	struct pool *pool;
	struct engine_queue *q;
	enum payload_kind kind;
	bool codec;
	int fd; /* FILE_BYTES */
	struct slot slot[DEPTH];
	unsigned writers[DISK / CHUNK], readers[DISK / CHUNK];
	uint8_t *model;
	struct rng rng;
	unsigned submitted, completed, cookies;
};

static void fill(struct rng *rng, uint8_t *mem, size_t len)
{
	unsigned how = (unsigned)rng_below(rng, 3);

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = how == 0 ? 0 : how == 1 ? rng_next(rng) : i / 64 * 0x0101010101;

		memcpy(mem + i, &v, 8);
	}
}

static void mark(struct bench *b, const struct engine_req *r, int by)
{
	unsigned *table = r->op == REQ_READ ? b->readers : b->writers;

	if (!r->len)
		return;
	for (uint64_t c = r->off / CHUNK; c <= (r->off + r->len - 1) / CHUNK; c++)
		table[c] += (unsigned)by;
}

static bool is_free(const struct bench *b, const struct engine_req *r)
{
	if (!r->len)
		return true;
	for (uint64_t c = r->off / CHUNK; c <= (r->off + r->len - 1) / CHUNK; c++)
		if (b->writers[c] || (r->op != REQ_READ && b->readers[c]))
			return false;
	return true;
}

static void done(void *client, struct engine_req *r)
{
	struct bench *b = client;
	struct slot *s = (struct slot *)r;

	assert_true(s->busy);
	assert_int_equal(r->result, 0);
	s->busy = false;
	b->completed++;
	mark(b, r, -1);
	if (r->op == REQ_READ)
		assert_memory_equal(s->mem, b->model + r->off, r->len);
	else if (r->op == REQ_WRITE_ZEROES)
		memset(b->model + r->off, 0, r->len);
}

static void completed(void *client, uint64_t cookie, int res)
{
	struct bench *b = client;

	assert_int_equal(res, 0);
	assert_int_equal(cookie, 0x1234567);
	b->cookies++;
}

static const struct queue_client_ops ops = {.done = done, .completed = completed};

static void set_payload(struct bench *b, struct slot *s)
{
	s->r.payload = (struct payload){.buf_index = -1, .ops = &payload_memory_ops, .mem = s->mem};
	if (b->kind == MEMORY)
		return;
	s->r.payload.mem = NULL;
	s->r.payload.ops = &payload_file_ops;
	s->r.payload.fd = b->fd;
	s->r.payload.pos = (uint64_t)s->index * MAX_BYTES;
	if (b->kind != REGISTERED)
		return;
	s->r.payload.buf_index = (int)s->index;
	s->r.payload.buf_base = (uintptr_t)s->mem;
}

/* A discard leaves open what is read afterwards, so none here. */
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
	if (!is_free(b, r))
		return;
	set_payload(b, s);
	if (r->op == REQ_WRITE) {
		fill(&b->rng, s->mem, r->len);
		memcpy(b->model + r->off, s->mem, r->len);
	} else if (r->op == REQ_READ) {
		memset(s->mem, 0xa5, r->len);
	}
	s->busy = true;
	b->submitted++;
	mark(b, r, 1);
	engine_queue_submit(b->q, r);
}

static void drain(struct bench *b)
{
	while (engine_queue_active(b->q))
		assert_int_equal(engine_queue_turn(b->q), 0);
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
	drain(b);
	assert_int_equal(b->submitted, b->completed);
}

static void open_image(struct bench *b)
{
	const struct engine_queue_opts opts = {
		.depth = DEPTH, .buffers = DEPTH, .client_fd = -1, .ops = &ops, .client = b};
	struct engine_queue_opts with_pool = opts;
	const struct image_open_opts open_opts = {.cache_nodes = 64};

	assert_int_equal(store_file_open(PATH, 0, &b->st), 0);
	assert_int_equal(image_open(b->st, &open_opts, &b->im), 0);
	assert_int_equal(engine_new(b->im, NULL, &b->e), 0);
	assert_int_equal(pool_new(b->e, NULL, &b->pool), 0);
	with_pool.pool = b->pool;
	assert_int_equal(engine_queue_new(b->e, &with_pool, &b->q), 0);
}

static void close_image(struct bench *b)
{
	engine_queue_free(b->q);
	pool_free(b->pool);
	engine_free(b->e);
	assert_int_equal(image_close(b->im), 0);
	store_close(b->st);
}

static void make_payloads(struct bench *b)
{
	struct iovec iov[DEPTH];
	__u64 tags[DEPTH] = {0};
	uint8_t *map;

	b->fd = memfd_create("payloads", MFD_CLOEXEC);
	assert_true(b->fd >= 0);
	assert_int_equal(ftruncate(b->fd, DEPTH * MAX_BYTES), 0);
	map = mmap(NULL, DEPTH * MAX_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	for (unsigned i = 0; i < DEPTH; i++) {
		b->slot[i].b = b;
		b->slot[i].index = i;
		b->slot[i].mem = map + i * MAX_BYTES;
		iov[i] = (struct iovec){.iov_base = b->slot[i].mem, .iov_len = MAX_BYTES};
	}
	if (b->kind == REGISTERED)
		assert_int_equal(
			io_uring_register_buffers_update_tag(&b->q->ring, 0, iov, tags, DEPTH),
			DEPTH);
}

static struct bench *begin(enum payload_kind kind, bool codec, uint64_t seed)
{
	struct bench *b = calloc(1, sizeof(*b));
	const struct image_params params = {.size = DISK,
					    .codec = codec ? CODEC_ZSTD : CODEC_NONE,
					    .level = codec ? 1 : 0,
					    .creator = "test"};

	assert_non_null(b);
	b->kind = kind;
	b->codec = codec;
	b->rng = (struct rng){seed};
	b->model = calloc(1, DISK);
	assert_non_null(b->model);
	unlink(PATH);
	assert_int_equal(store_file_open(PATH, STORE_FILE_CREATE, &b->st), 0);
	assert_int_equal(image_create(b->st, &params), 0);
	store_close(b->st);
	open_image(b);
	make_payloads(b);
	return b;
}

/* Everything again, after closing the image, and an exact check. */
static void verify(struct bench *b)
{
	const struct check_opts check_opts = {.data = true};
	struct check_result res = {0};
	struct engine_thread *t;
	uint8_t *buf = store_buffer(1 << 20);

	close_image(b);
	open_image(b);
	assert_int_equal(check_image(b->im, &check_opts, &res), 0);
	assert_int_equal(res.corruptions + res.leaks, 0);
	assert_int_equal(engine_thread_new(b->e, &t), 0);
	for (uint64_t off = 0; off < DISK; off += 1 << 20) {
		assert_int_equal(engine_read(t, buf, off, 1 << 20), 0);
		assert_memory_equal(buf, b->model + off, 1 << 20);
	}
	engine_thread_free(t);
	free(buf);
}

static void end(struct bench *b)
{
	close_image(b);
	munmap(b->slot[0].mem, DEPTH * MAX_BYTES);
	close(b->fd);
	unlink(PATH);
	free(b->model);
	free(b);
}

static void random_program(enum payload_kind kind, bool codec)
{
	struct bench *b = begin(kind, codec, 1 + kind + 10u * codec);
	struct engine_stats s;

	run(b, 1500);
	engine_get_stats(b->e, &s);
	assert_true(s.requests[REQ_READ] > 0 && s.requests[REQ_WRITE] > 0);
	assert_int_equal(s.errors, 0);
	if (codec)
		assert_true(s.blob_read > 0);
	verify(b);
	end(b);
}

static void test_memory(void **state)
{
	(void)state;
	random_program(MEMORY, false);
	random_program(MEMORY, true);
}

static void test_file_bytes(void **state)
{
	(void)state;
	random_program(FILE_BYTES, false);
	random_program(FILE_BYTES, true);
}

static void test_registered(void **state)
{
	(void)state;
	random_program(REGISTERED, false);
	random_program(REGISTERED, true);
}

/* ---- directed ---------------------------------------------------------------------------- */

static errint_t expected;

static void done_as_expected(void *client, struct engine_req *r)
{
	struct bench *b = client;
	struct slot *s = (struct slot *)r;

	s->busy = false;
	b->completed++;
	if (expected)
		assert_int_equal(r->result, expected);
	else
		assert_int_equal(r->result, 0);
}

static const struct queue_client_ops directed_ops = {.done = done_as_expected,
						     .completed = completed};

static void submit(struct bench *b, unsigned slot, enum req_op op, uint64_t off, uint32_t len)
{
	struct slot *s = &b->slot[slot];

	s->r.op = op;
	s->r.fua = false;
	s->r.off = off;
	s->r.len = len;
	set_payload(b, s);
	s->busy = true;
	engine_queue_submit(b->q, &s->r);
}

static void one(struct bench *b, enum req_op op, uint64_t off, uint32_t len)
{
	submit(b, 0, op, off, len);
	drain(b);
}

static struct bench *begin_directed(enum payload_kind kind, bool codec)
{
	struct bench *b = begin(kind, codec, 0);

	b->q->opts.ops = &directed_ops;
	expected = 0;
	return b;
}

static struct engine_stats since(struct bench *b, const struct engine_stats *before)
{
	struct engine_stats s;

	engine_get_stats(b->e, &s);
	s.sqes -= before->sqes;
	s.enters -= before->enters;
	s.handoffs -= before->handoffs;
	s.copied -= before->copied;
	s.copied_raw -= before->copied_raw;
	s.zero_copy_read -= before->zero_copy_read;
	s.zero_copy_written -= before->zero_copy_written;
	s.zero_read -= before->zero_read;
	s.blob_read -= before->blob_read;
	return s;
}

/* In place, a request costs one SQE, no copy, no other thread, and a fraction of a system call. */
static void test_bare_path(void **state)
{
	struct bench *b = begin_directed(REGISTERED, false);
	struct engine_stats before, s;
	const unsigned rounds = 20;

	(void)state;
	one(b, REQ_WRITE, 0, DEPTH * 65536);
	one(b, REQ_FLUSH, 0, 0);
	engine_get_stats(b->e, &before);
	for (unsigned i = 0; i < rounds; i++) {
		for (unsigned k = 0; k < DEPTH; k++)
			submit(b, k, k % 2 ? REQ_READ : REQ_WRITE, k * 65536 + i * 512, 4096);
		drain(b);
	}
	s = since(b, &before);
	assert_int_equal(s.sqes, rounds * DEPTH);
	assert_int_equal(s.zero_copy_read, rounds * DEPTH / 2 * 4096);
	assert_int_equal(s.zero_copy_written, rounds * DEPTH / 2 * 4096);
	assert_int_equal(s.copied, 0);
	assert_int_equal(s.handoffs, 0);
	assert_true(s.enters < rounds * DEPTH);

	/* A MiB that lies in one piece is one SQE; what is not there is read from nowhere. */
	engine_get_stats(b->e, &before);
	one(b, REQ_READ, 0, DEPTH * 65536);
	one(b, REQ_READ, DISK / 2, 1 << 20);
	s = since(b, &before);
	assert_int_equal(s.sqes, 2);
	assert_int_equal(s.zero_copy_read, DEPTH * 65536);
	assert_int_equal(s.zero_read, 1 << 20);
	assert_int_equal(s.copied, 0);
	for (unsigned i = 0; i < 1 << 20; i++)
		assert_int_equal(b->slot[0].mem[i], 0);
	end(b);
}

/* One request of which a part is stored compressed: only that part is copied. */
static void test_mixed(void **state)
{
	struct bench *b = begin_directed(REGISTERED, true);
	struct engine_stats before, s;

	(void)state;
	memset(b->slot[0].mem, 0x5a, 65536);
	one(b, REQ_WRITE, 0, 65536);
	for (unsigned i = 0; i < 65536; i += 4096) {
		memset(b->slot[0].mem, (int)(i / 4096 + 1), 4096);
		one(b, REQ_WRITE, 65536 + i, 4096);
	}
	engine_get_stats(b->e, &before);
	memset(b->slot[0].mem, 0, 3 * 65536);
	one(b, REQ_READ, 0, 3 * 65536);
	s = since(b, &before);
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
	end(b);
}

/* Parts of a cluster are decompressed once, and the memory is given back when nobody comes. */
static void test_cached(void **state)
{
	struct bench *b = begin_directed(REGISTERED, true);
	struct engine_stats s;

	(void)state;
	memset(b->slot[0].mem, 0x5a, 65536);
	one(b, REQ_WRITE, 0, 65536);
	for (unsigned i = 0; i < DEPTH; i++)
		submit(b, i, REQ_READ, i * 4096, 4096);
	drain(b);
	engine_get_stats(b->e, &s);
	assert_int_equal(s.cache_misses, 1);
	assert_int_equal(s.cache_bytes, 65536);
	assert_int_equal(s.cached_read, 65536 - 4096);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(engine_maintain(b->e), 0);
	engine_get_stats(b->e, &s);
	assert_int_equal(s.cache_bytes, 0);
	end(b);
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
		one(b, REQ_WRITE, (uint64_t)mib << 20, 1 << 20);
	}
	one(b, REQ_FLUSH, 0, 0);
}

/* The queue decompresses by itself what is alone; many at a time are more than it has buffers for,
 * and workers take part. */
static void read_blobs(enum payload_kind kind)
{
	struct bench *b = begin_directed(kind, true);
	struct engine_stats before, s;

	write_blobs(b);
	engine_get_stats(b->e, &before);
	one(b, REQ_READ, 65536 + 4096, 4096);
	one(b, REQ_READ, 1 << 20, 65536);
	check_clusters(b->slot[0].mem, 16, 1);
	s = since(b, &before);
	assert_int_equal(s.blob_read, 65536 + 4096);
	assert_int_equal(s.sqes, 2);
	assert_int_equal(s.handoffs, 0);

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < DEPTH; i++) {
			memset(b->slot[i].mem, 0, 1 << 20);
			submit(b, i, REQ_READ, (uint64_t)i << 20, 1 << 20);
		}
		drain(b);
		for (unsigned i = 0; i < DEPTH; i++)
			check_clusters(b->slot[i].mem, i * 16, 16);
	}
	s = since(b, &before);
	assert_true(s.handoffs > 0);
	assert_true(s.sqes > 2);
	end(b);
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
	struct bench *b = begin_directed(FILE_BYTES, true);
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
	expected = -EIO;
	one(b, REQ_READ, 65536, 65536);
	for (unsigned i = 0; i < DEPTH; i++)
		submit(b, i, REQ_READ, 65536 + i * 4096, 4096);
	drain(b);
	assert_int_equal(pwrite(fd, &was, 1, at + stored - 1), 1);

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, at), 0);
	one(b, REQ_READ, 65536, 65536);
	one(b, REQ_READ, 65536, 4096);
	expected = 0;
	assert_int_equal(ftruncate(fd, st.st_size), 0);
	end(b);
}

/* The file ends within an extent: what is missing reads as zeros, never as what was in the client's
 * pages before. */
static void short_read(enum payload_kind kind, unsigned odd)
{
	struct bench *b = begin_directed(kind, false);
	uint64_t at;
	struct stat st;

	memset(b->slot[0].mem, 0x77, 65536);
	one(b, REQ_WRITE, 0, 65536);
	one(b, REQ_FLUSH, 0, 0);
	{
		struct read_plan p;

		assert_int_equal(plan_read(b->im, 0, 65536, IMAGE_MAY_BLOCK, &p), 0);
		assert_int_equal(p.nsegs, 1);
		at = p.seg[0].file_off;
		plan_read_done(b->im, &p);
	}
	assert_int_equal(stat(PATH, &st), 0);
	assert_int_equal(truncate(PATH, (off_t)(at + odd)), 0);
	memset(b->slot[0].mem, 0xee, 65536);
	one(b, REQ_READ, 0, 65536);
	for (unsigned i = 0; i < 65536; i++)
		assert_int_equal(b->slot[0].mem[i], i < odd ? 0x77 : 0);
	assert_int_equal(truncate(PATH, st.st_size), 0);
	end(b);
}

static void test_short_read(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		short_read(kind, 0);
		short_read(kind, 8192);
		short_read(kind, 8192 + 700);
	}
}

/* The host refuses a write: the request fails, what it was for stays as it was, and all goes on. */
static void test_refused(void **state)
{
	struct bench *b = begin_directed(REGISTERED, false);
	struct rlimit unlimited, limit;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	memset(b->slot[0].mem, 0x11, 65536);
	one(b, REQ_WRITE, 0, 65536);
	one(b, REQ_FLUSH, 0, 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	limit = unlimited;
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	expected = -EFBIG;
	memset(b->slot[0].mem, 0x22, 65536);
	one(b, REQ_WRITE, 0, 65536);
	one(b, REQ_WRITE, 1 << 20, 65536);
	expected = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	one(b, REQ_READ, 0, 2 << 20 >> 1);
	for (unsigned i = 0; i < 65536; i++)
		assert_int_equal(b->slot[0].mem[i], 0x11);
	memset(b->slot[0].mem, 0x33, 65536);
	one(b, REQ_WRITE, 1 << 20, 65536);
	memset(b->slot[0].mem, 0, 65536);
	one(b, REQ_READ, 1 << 20, 65536);
	assert_int_equal(b->slot[0].mem[65535], 0x33);
	one(b, REQ_FLUSH, 0, 0);
	end(b);
}

/* A host whose direct I/O wants memory aligned, and does not say so. */
static void test_untold_alignment(void **state)
{
	struct bench *b = begin_directed(MEMORY, false);
	struct slot *s = &b->slot[0];
	unsigned wanted = b->q->mem_align;
	struct engine_stats before, got;

	(void)state;
	memset(s->mem, 0x44, 65536);
	one(b, REQ_WRITE, 0, 65536);
	b->q->mem_align = 1;
	s->mem++;
	engine_get_stats(b->e, &before);
	for (unsigned fua = 0; fua < 2; fua++) {
		memset(s->mem, (int)(0x55 + fua), 8192);
		s->r.fua = fua;
		s->r.op = REQ_WRITE;
		s->r.off = 4096;
		s->r.len = 8192;
		set_payload(b, s);
		s->busy = true;
		engine_queue_submit(b->q, &s->r);
		drain(b);
		memset(s->mem, 0, 65536);
		one(b, REQ_READ, 0, 65536);
		for (unsigned i = 0; i < 65536; i++)
			assert_int_equal(s->mem[i], i < 4096 || i >= 12288 ? 0x44 : 0x55 + fua);
	}
	got = since(b, &before);
	if (wanted > 1)
		assert_int_equal(got.copied_raw, 2 * (8192 + 65536));
	s->mem--;
	end(b);
}

/* Pages of the image in the page cache. */
static unsigned cached_pages(void)
{
	CLEANUP(close) int fd = open(PATH, O_RDWR | O_CLOEXEC);
	unsigned n = 0;
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);

	size_t pages = ((size_t)st.st_size + 4095) / 4096;
	unsigned char *there = calloc(pages, 1);
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);

	assert_non_null(there);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mincore(map, (size_t)st.st_size, there), 0);
	for (size_t i = 0; i < pages; i++)
		n += there[i] & 1;
	munmap(map, (size_t)st.st_size);
	free(there);
	return n;
}

/* What others have left of the image in the page cache would make each direct write wait. */
static void test_page_cache(void **state)
{
	struct bench *b = begin_directed(MEMORY, false);
	static char buf[65536];
	int fd = open(PATH, O_RDONLY | O_CLOEXEC);
	struct statfs fs;

	(void)state;
	assert_true(fd >= 0);
	memset(b->slot[0].mem, 0x66, 1 << 20);
	for (unsigned i = 0; i < 8; i++)
		one(b, REQ_WRITE, (uint64_t)i << 20, 1 << 20);
	one(b, REQ_FLUSH, 0, 0);
	close_image(b);
	for (off_t at = 128 << 20; at < 144 << 20; at += sizeof(buf))
		assert_true(pread(fd, buf, sizeof(buf), at) >= 0);
	close(fd);
	assert_true(cached_pages() >= 2048);
	open_image(b);
	assert_int_equal(statfs(PATH, &fs), 0);
	/* In tmpfs they are the file. */
	if (!b->st->cached && fs.f_type != TMPFS_MAGIC)
		assert_true(cached_pages() < 256);
	end(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_file_bytes),
		cmocka_unit_test(test_bare_path),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_cached),
		cmocka_unit_test(test_short_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_blobs),
		cmocka_unit_test(test_damaged_blob),
		cmocka_unit_test(test_untold_alignment),
		cmocka_unit_test(test_page_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
