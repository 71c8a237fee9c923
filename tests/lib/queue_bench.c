/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
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
#include "tests/lib/queue_bench.h"

const char *bench_path(const char *end)
{
	static char path[2][64];
	static unsigned next;
	char *p = path[next++ % 2];

	snprintf(p, sizeof(path[0]), "%s%s", program_invocation_short_name, end);
	return p;
}

void bench_fill(struct rng *rng, uint8_t *mem, size_t len)
{
	unsigned how = (unsigned)rng_below(rng, 3);

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = how == 0 ? 0 : how == 1 ? rng_next(rng) : i / 64 * 0x0101010101;

		memcpy(mem + i, &v, 8);
	}
}

void bench_mark(struct bench *b, const struct engine_req *r, int by)
{
	unsigned *table = r->op == REQ_READ ? b->readers : b->writers;

	if (!r->len)
		return;
	for (uint64_t c = r->off / CHUNK; c <= (r->off + r->len - 1) / CHUNK; c++)
		table[c] += (unsigned)by;
}

bool bench_is_free(const struct bench *b, const struct engine_req *r)
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
	bench_mark(b, r, -1);
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

static void idle(void *client)
{
	struct bench *b = client;

	assert_int_equal(engine_queue_active(b->q), 0);
	/* Of ublk's SQEs, the one that commits a READ is what has its bytes copied. */
	assert_int_equal(io_uring_sq_ready(&b->q->ring), 0);
	b->idle++;
}

static const struct queue_client_ops ops = {.done = done, .completed = completed, .idle = idle};

void bench_set_payload(struct bench *b, struct slot *s)
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
void bench_drain(struct bench *b)
{
	while (engine_queue_active(b->q))
		assert_int_equal(engine_queue_turn(b->q), 0);
}

void bench_open_image(struct bench *b)
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

void bench_close_image(struct bench *b)
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

/* What the disk shows before anything is written to it. */
static void fill_model(struct bench *b)
{
	for (unsigned at = 0; at < BELOW_END; at += CHUNK)
		if (!rng_chance(&b->rng, 20))
			bench_fill(&b->rng, b->model + at,
				   (BELOW_END - at < CHUNK ? BELOW_END - at : CHUNK) & ~7u);
}

static void make_raw(const struct bench *b)
{
	int fd = open(BELOW, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, b->model, BELOW_END), BELOW_END);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void make_image(const struct bench *b)
{
	const struct image_params params = {
		.size = DISK, .cluster_shift = 17, .codec = CODEC_ZSTD, .level = 1};
	const struct image_open_opts opts = {.cache_nodes = 0};
	struct engine_thread *t;
	struct engine *e;
	struct image *im;
	struct store *st;

	assert_int_equal(store_file_open(BELOW, STORE_FILE_CREATE, &st), 0);
	assert_int_equal(image_create(st, &params), 0);
	assert_int_equal(image_open(st, &opts, &im), 0);
	assert_int_equal(engine_new(im, NULL, &e), 0);
	assert_int_equal(engine_thread_new(e, &t), 0);
	assert_int_equal(engine_write(t, b->model, 0, DISK, false), 0);
	engine_thread_free(t);
	engine_free(e);
	assert_int_equal(image_close(im), 0);
	store_close(st);
}

/* The backing of the model's content, and what the image says of it. */
static void make_below(struct bench *b, enum below below, struct backing_ref *ref)
{
	const struct backing_how how = {.allow = true};
	struct backing *open;

	unlink(BELOW);
	if (below == ALONE)
		return;
	fill_model(b);
	if (below == ON_RAW)
		make_raw(b);
	else
		make_image(b);
	ref->kind = below == ON_RAW ? BACKING_RAW : BACKING_UBLK_IMG;
	assert_int_equal(backing_open_new(BELOW, NULL, &how, ref, &open), 0);
	backing_close(open);
	strcpy(ref->path, BELOW);
	ref->limit = backing_limit(ref->size, DISK);
}

struct bench *bench_begin(enum payload_kind kind, bool codec, enum below below, uint64_t seed)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct backing_ref ref = {.kind = BACKING_NONE};
	const struct image_params params = {.size = DISK,
					    .codec = codec ? CODEC_ZSTD : CODEC_NONE,
					    .level = codec ? 1 : 0,
					    .creator = "test",
					    .backing = below == ALONE ? NULL : &ref};

	assert_non_null(b);
	b->kind = kind;
	b->codec = codec;
	b->rng = (struct rng){seed};
	b->model = calloc(1, DISK);
	assert_non_null(b->model);
	make_below(b, below, &ref);
	unlink(PATH);
	assert_int_equal(store_file_open(PATH, STORE_FILE_CREATE, &b->st), 0);
	assert_int_equal(image_create(b->st, &params), 0);
	store_close(b->st);
	bench_open_image(b);
	make_payloads(b);
	return b;
}

/* Everything again, after closing the image, and an exact check. */
void bench_verify(struct bench *b)
{
	const struct check_opts check_opts = {.data = true};
	struct check_result res = {0};
	struct engine_thread *t;
	uint8_t *buf = store_buffer(1 << 20);

	bench_close_image(b);
	bench_open_image(b);
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

void bench_end(struct bench *b)
{
	bench_close_image(b);
	munmap(b->slot[0].mem, DEPTH * MAX_BYTES);
	close(b->fd);
	unlink(PATH);
	free(b->model);
	free(b);
}

static void done_as_expected(void *client, struct engine_req *r)
{
	struct bench *b = client;
	struct slot *s = (struct slot *)r;

	s->busy = false;
	b->completed++;
	assert_int_equal(r->result, b->expected);
}

static const struct queue_client_ops directed_ops = {
	.done = done_as_expected, .completed = completed, .idle = idle};

void bench_submit(struct bench *b, unsigned slot, enum req_op op, uint64_t off, uint32_t len)
{
	struct slot *s = &b->slot[slot];

	s->r.op = op;
	s->r.fua = false;
	s->r.off = off;
	s->r.len = len;
	bench_set_payload(b, s);
	s->busy = true;
	engine_queue_submit(b->q, &s->r);
}

void bench_one(struct bench *b, enum req_op op, uint64_t off, uint32_t len)
{
	bench_submit(b, 0, op, off, len);
	bench_drain(b);
}

struct bench *bench_begin_directed(enum payload_kind kind, bool codec, enum below below)
{
	struct bench *b = bench_begin(kind, codec, below, 0);

	b->q->opts.ops = &directed_ops;
	return b;
}

struct engine_stats bench_since(struct bench *b, const struct engine_stats *before)
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
