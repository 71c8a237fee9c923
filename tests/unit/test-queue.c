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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "codecs/codec.h"
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_file_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
