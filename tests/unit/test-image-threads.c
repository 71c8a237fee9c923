/* SPDX-License-Identifier: MIT */
/*
 * Several threads on one image: each writes where nobody else does, and all of them write to the
 * same few megabytes, while others flush and checkpoint.
 *
 * Each sector that is written carries a stamp: who wrote it, in which operation.  Every operation
 * is recorded with the time of its start and end, and what a read finds in a sector must be
 * possible:
 *
 *   - a whole stamp for this very sector, or zeros;
 *   - of an operation that had started when the read ended;
 *   - not superseded: no operation on the sector began after that one had ended and was itself
 *     complete when the read began.
 *
 * With a volatile journal the process dies at the end, so to speak, and what its successor finds is
 * judged in the same way.
 *
 * TEST_THREADS_OPS=n sets the number of operations of each thread.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "engine/engine.h"
#include "image/check.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"

#define THREADS	   4u
#define OWN	   2u /* islands of each thread */
#define ISLANDS	   (THREADS * OWN + 4u)
#define ISLAND	   (1u << 20)
#define STRIDE	   (80u << 20) /* their distance on the disk: other nodes hold their mappings */
#define USED	   (ISLANDS * ISLAND)
#define FILLER	   (ISLANDS * (uint64_t)STRIDE) /* what fills an image lies behind the islands */
#define FILLER_MAX (128u << 20)
#define DISK	   (FILLER + FILLER_MAX)
#define SECTORS	   (USED >> 9)
#define MAX_OP	   (512u << 10)
#define STORE_MAX  (1ull << 30)

/* The head of a written sector; the rest of it follows from these. */
struct stamp {
	uint64_t magic;
	uint64_t sector;
	uint32_t thread;
	uint32_t op; /* from 1 on, in each thread */
	uint64_t noise;
};
#define STAMP_MAGIC 0x53454354 /* also where the noise of random contents begins */

/* One thread's last complete operation on a sector.  op 0, times 0: none yet, so zeros. */
struct record {
	uint32_t op;
	bool zeros;
	uint64_t start, end;
	uint32_t zeroing; /* the newest operation here that makes zeros, running or complete */
};

struct bench {
	struct store *st;
	struct image *im;
	struct engine *e;
	uint8_t shift, codec;
	struct image_open_opts opts;
	bool may_be_full;
	unsigned ops;

	_Atomic uint64_t clock;
	_Atomic uint32_t started[THREADS]; /* newest operation */
	_Atomic bool stop;

	pthread_mutex_t lock; /* the table */
	struct record (*table)[THREADS];
};

struct worker {
	struct bench *b;
	pthread_t thread;
	unsigned id;
	struct engine_thread *t;
	struct rng rng;
	uint32_t op;
	uint8_t *buf;
	struct record *seen;	 /* of a read's sectors, THREADS each, copied before it */
	uint64_t refused;	 /* for want of space */
	uint64_t reads, foreign; /* sectors read; written by others */
};

#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond);                 \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static uint64_t now(struct bench *b)
{
	return atomic_fetch_add(&b->clock, 1) + 1;
}

/* ---- sectors ---------------------------------------------------------------------------- */

/* Every other operation writes what does not compress. */
static void make_sector(uint8_t *to, uint64_t sector, uint32_t thread, uint32_t op)
{
	struct stamp s = {STAMP_MAGIC, sector, thread, op, 0};
	struct rng rng = {sector << 32 ^ (uint64_t)thread << 28 ^ op};

	for (unsigned i = 0; i < 512 / sizeof(s); i++) {
		if (op % 2) {
			s.noise = rng_next(&rng);
			if (i)
				s.magic = rng_next(&rng);
			if (i)
				s.sector = rng_next(&rng);
		}
		memcpy(to + i * sizeof(s), &s, sizeof(s));
	}
}

static bool is_zero(const uint8_t *p)
{
	static const uint8_t zero[512];

	return !memcmp(p, zero, 512);
}

/* The stamp of a sector whose every byte is right. */
static struct stamp read_stamp(const uint8_t *p, uint64_t sector)
{
	uint8_t want[512];
	struct stamp s;

	memcpy(&s, p, sizeof(s));
	REQUIRE(s.magic == STAMP_MAGIC && s.sector == sector && s.thread < THREADS,
		"sector %llu holds something else: magic %llx sector %llu thread %u",
		(unsigned long long)sector, (unsigned long long)s.magic,
		(unsigned long long)s.sector, s.thread);
	make_sector(want, sector, s.thread, s.op);
	REQUIRE(!memcmp(want, p, 512), "sector %llu is torn", (unsigned long long)sector);
	return s;
}

/* ---- what a read may find ---------------------------------------------------------------- */

/* Was an operation that had ended at @end superseded by the operations in @seen? */
static bool superseded(const struct record *seen, uint64_t end)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (seen[i].start > end)
			return true;
	return false;
}

static void judge_stamp(struct worker *w, const struct stamp *s, const struct record *seen)
{
	const struct record *r = &seen[s->thread];

	REQUIRE(s->op && s->op <= atomic_load(&w->b->started[s->thread]),
		"operation %u of thread %u comes from the future", s->op, s->thread);
	if (s->op > r->op)
		return; /* was still running when the read began */
	REQUIRE(s->op == r->op && !r->zeros && !superseded(seen, r->end),
		"sector %llu: stale: operation %u of thread %u, whose newest is %u",
		(unsigned long long)s->sector, s->op, s->thread, r->op);
}

/* Did an operation that was not complete when @seen was copied make this sector zero? */
static bool being_zeroed(struct bench *b, uint64_t sector, const struct record *seen)
{
	SCOPED_LOCK(&b->lock);
	for (unsigned i = 0; i < THREADS; i++)
		if (b->table[sector][i].zeroing > seen[i].op)
			return true;
	return false;
}

/* Zeros come from the beginning, from a complete operation, or from one that may be running. */
static void judge_zeros(struct worker *w, uint64_t sector, const struct record *seen)
{
	bool good = !superseded(seen, 0);

	for (unsigned i = 0; i < THREADS && !good; i++)
		good = seen[i].zeros && !superseded(seen, seen[i].end);
	REQUIRE(good || being_zeroed(w->b, sector, seen), "sector %llu: zeros are stale",
		(unsigned long long)sector);
}

static void judge(struct worker *w, uint64_t sector, const uint8_t *p, const struct record *seen)
{
	struct stamp s;

	w->reads++;
	if (is_zero(p)) {
		judge_zeros(w, sector, seen);
		return;
	}
	s = read_stamp(p, sector);
	w->foreign += s.thread != w->id;
	judge_stamp(w, &s, seen);
}

/* Where @off, at which the islands touch, is on the disk. */
static uint64_t on_disk(uint64_t off)
{
	return off / ISLAND * STRIDE + off % ISLAND;
}

/* ---- operations ------------------------------------------------------------------------- */

struct range {
	uint64_t off;
	size_t len;
};

/* A third of all operations meet in the first clusters of the first shared island. */
#define HOT (256u << 10)

static struct range pick_range(struct worker *w)
{
	static const unsigned align[] = {9, 12, 12, 14, 16, 16, 18};
	bool shared = rng_chance(&w->rng, 70);
	unsigned first = shared ? THREADS * OWN : w->id * OWN;
	unsigned end = shared ? ISLANDS : first + OWN;
	bool hot = shared && rng_chance(&w->rng, 50);
	uint64_t base = (first + (hot ? 0 : rng_below(&w->rng, end - first))) * ISLAND;
	unsigned a = align[rng_below(&w->rng, 7)];
	uint64_t off = rng_below(&w->rng, (hot ? HOT : ISLAND) >> a) << a;
	uint64_t len = (1 + rng_below(&w->rng, rng_chance(&w->rng, 80) ? 40 : MAX_OP >> 9)) << 9;

	len = (len + (1u << a) - 1) >> a << a;
	if (len > MAX_OP)
		len = MAX_OP;
	if (len > ISLAND - off)
		len = ISLAND - off;
	return (struct range){base + off, (size_t)len};
}

static uint64_t begin(struct worker *w)
{
	w->op++;
	atomic_store(&w->b->started[w->id], w->op);
	return now(w->b);
}

static void begin_zeroes(struct worker *w, struct range r)
{
	SCOPED_LOCK(&w->b->lock);
	for (uint64_t s = r.off >> 9; s < (r.off + r.len) >> 9; s++)
		w->b->table[s][w->id].zeroing = w->op;
}

static void finish(struct worker *w, struct range r, uint64_t start, bool zeros)
{
	uint64_t end = now(w->b);

	SCOPED_LOCK(&w->b->lock);
	for (uint64_t s = r.off >> 9; s < (r.off + r.len) >> 9; s++) {
		struct record *done = &w->b->table[s][w->id];

		done->op = w->op;
		done->zeros = zeros;
		done->start = start;
		done->end = end;
	}
}

/* A write that was refused may still have happened in part, like one that never ends. */
static void judge_end(struct worker *w, errint_t err, struct range r, uint64_t start, bool zeros)
{
	if (err == -ENOSPC && w->b->may_be_full)
		w->refused++;
	else if (err)
		REQUIRE(!err, "%s: %d", zeros ? "write zeroes" : "write", err);
	else
		finish(w, r, start, zeros);
}

static void do_write(struct worker *w)
{
	struct range r = pick_range(w);
	uint64_t start = begin(w);

	for (size_t at = 0; at < r.len; at += 512)
		make_sector(w->buf + at, (r.off + at) >> 9, w->id, w->op);

	errint_t err = engine_write(w->t, w->buf, on_disk(r.off), r.len, rng_chance(&w->rng, 5));

	judge_end(w, err, r, start, false);
}

static void do_zeroes(struct worker *w)
{
	struct range r = pick_range(w);
	uint64_t start = begin(w);

	begin_zeroes(w, r);

	errint_t err = engine_write_zeroes(w->t, on_disk(r.off), r.len);

	judge_end(w, err, r, start, true);
}

static void read_range(struct worker *w, struct range r)
{
	uint64_t first = r.off >> 9;

	pthread_mutex_lock(&w->b->lock);
	memcpy(w->seen, w->b->table[first], (r.len >> 9) * sizeof(w->b->table[0]));
	pthread_mutex_unlock(&w->b->lock);
	memset(w->buf, 0xa5, r.len);

	errint_t err = engine_read(w->t, w->buf, on_disk(r.off), r.len);

	REQUIRE(!err, "read: %d", err);
	for (size_t at = 0; at < r.len; at += 512)
		judge(w, (r.off + at) >> 9, w->buf + at, w->seen + (at >> 9) * THREADS);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->b->ops; i++) {
		unsigned what = (unsigned)rng_below(&w->rng, 100);

		if (what < 50)
			do_write(w);
		else if (what < 88)
			read_range(w, pick_range(w));
		else if (what < 95)
			do_zeroes(w);
		else
			REQUIRE(!engine_flush(w->t), "flush");
	}
	return NULL;
}

/* What a daemon does from time to time, all the time. */
static void *housekeep(void *arg)
{
	struct bench *b = arg;

	for (unsigned i = 0; !atomic_load(&b->stop); i++) {
		errint_t err = i % 4 ? image_maintain(b->im) : image_checkpoint(b->im);

		REQUIRE(!err, "housekeeping: %d", err);
		usleep(500);
	}
	return NULL;
}

/* ---- a run ------------------------------------------------------------------------------ */

static void new_worker(struct bench *b, struct worker *w, unsigned id)
{
	*w = (struct worker){.b = b, .id = id, .rng = {b->shift * 100 + b->codec * 10 + id}};
	w->buf = aligned_alloc(4096, MAX_OP);
	w->seen = calloc(MAX_OP >> 9, sizeof(b->table[0]));
	REQUIRE(w->buf && w->seen, "memory");
	REQUIRE(!engine_thread_new(b->e, &w->t), "engine_thread_new");
}

static void free_worker(struct worker *w)
{
	engine_thread_free(w->t);
	free(w->buf);
	free(w->seen);
}

static void read_everything(struct worker *w)
{
	for (uint64_t off = 0; off < USED; off += MAX_OP)
		read_range(w, (struct range){off, MAX_OP});
}

static void run_threads(struct bench *b)
{
	struct worker w[THREADS];
	pthread_t keeper;
	uint64_t foreign = 0, refused = 0;

	for (unsigned i = 0; i < THREADS; i++)
		new_worker(b, &w[i], i);
	REQUIRE(!pthread_create(&keeper, NULL, housekeep, b), "pthread_create");
	for (unsigned i = 0; i < THREADS; i++)
		REQUIRE(!pthread_create(&w[i].thread, NULL, work, &w[i]), "pthread_create");
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	atomic_store(&b->stop, true);
	pthread_join(keeper, NULL);
	read_everything(&w[0]);
	for (unsigned i = 0; i < THREADS; i++) {
		foreign += w[i].foreign;
		refused += w[i].refused;
		free_worker(&w[i]);
	}
	assert_true(foreign > 0); /* they did meet */
	assert_int_equal(refused > 0, b->may_be_full);
}

static void open_bench(struct bench *b, bool read_only)
{
	b->opts.read_only = read_only;
	assert_int_equal(image_open(b->st, &b->opts, &b->im), 0);
	assert_int_equal(engine_new(b->im, NULL, &b->e), 0);
}

static void close_bench(struct bench *b)
{
	engine_free(b->e);
	assert_int_equal(image_close(b->im), 0);
}

static void print_problem(void *arg, const char *problem)
{
	(void)arg;
	print_message("check: %s\n", problem);
}

/* The closed image is exact, and the last state is what it holds. */
static void verify_closed(struct bench *b)
{
	const struct check_opts opts = {.data = true, .threads = 1, .report = print_problem};
	struct check_result res;
	struct worker w;

	open_bench(b, true);
	assert_int_equal(check_image(b->im, &opts, &res), 0);
	assert_int_equal(res.corruptions, 0);
	assert_int_equal(res.leaks, 0);
	new_worker(b, &w, 0);
	read_everything(&w);
	free_worker(&w);
	close_bench(b);
}

static unsigned ops_of(unsigned normal)
{
	const char *more = getenv("TEST_THREADS_OPS");

	return more ? (unsigned)strtoul(more, NULL, 10) : normal;
}

/* Leave @left bytes of the second region, the only one for data. */
static void fill_up(struct bench *b, uint64_t left)
{
	struct worker w;

	new_worker(b, &w, 0);
	memset(w.buf, 0x77, MAX_OP);
	for (uint64_t at = 0; at < FILLER_MAX - left; at += MAX_OP)
		REQUIRE(!engine_write(w.t, w.buf, FILLER + at, MAX_OP, false), "filling up");
	free_worker(&w);
}

#define DEVICE 1u

/* Write once more, behind the last flush, die, and be recovered from the journal in @dir. */
static void die_and_recover(struct bench *b, int dir)
{
	const struct vj_recover recover = {.dir = dir, .device = DEVICE};
	struct image_info info;
	struct worker w;

	new_worker(b, &w, 1);
	w.op = atomic_load(&b->started[1]);
	for (unsigned i = 0; i < 50; i++) {
		do_write(&w);
		if (i % 4 == 0)
			do_zeroes(&w);
	}
	/* Where nothing is yet, so that there is a record. */
	REQUIRE(!engine_write(w.t, w.buf, FILLER, 4096, false), "the last write");
	free_worker(&w);
	engine_free(b->e);
	image_abandon(b->im);
	b->opts.recover = &recover;
	open_bench(b, false);
	b->opts.recover = NULL;
	image_get_info(b->im, &info);
	print_message("%llu records recovered\n", (unsigned long long)info.recovered);
	assert_true(info.recovered > 0);
	new_worker(b, &w, 0);
	read_everything(&w);
	free_worker(&w);
}

static int make_dir(char *path, size_t size)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(path, size, "%s/vj.XXXXXX", tmp ? tmp : "/var/tmp");
	assert_non_null(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	return dir;
}

static void stress(uint8_t shift, uint8_t codec, unsigned align, const struct image_open_opts *opts)
{
	struct bench b = {.shift = shift, .codec = codec, .opts = *opts, .ops = ops_of(800)};
	const struct image_params params = {
		.size = DISK, .cluster_shift = shift, .codec = codec, .level = 1};
	struct image_stats stats;
	char path[512] = "";
	int dir = opts->vj_shift ? make_dir(path, sizeof(path)) : -1;

	b.st = mem_store_new(STORE_MAX);
	b.st->align = align;
	b.table = calloc(SECTORS, sizeof(b.table[0]));
	assert_non_null(b.table);
	pthread_mutex_init(&b.lock, NULL);
	assert_int_equal(image_create(b.st, &params), 0);
	open_bench(&b, false);
	b.may_be_full = opts->max_regions;
	if (b.may_be_full)
		fill_up(&b, 4u << 20);
	mem_store_dawdle(b.st);
	if (*path)
		assert_int_equal(image_vj_start(b.im, dir, DEVICE), 0);
	run_threads(&b);
	image_get_stats(b.im, &stats);
	print_message("clusters of %u KiB, %s: %llu commits, %llu checkpoints, %llu blobs\n",
		      1u << (shift - 10), codec_name(codec), (unsigned long long)stats.commits,
		      (unsigned long long)stats.checkpoints,
		      (unsigned long long)stats.blobs_written);
	if (*path)
		die_and_recover(&b, dir);
	close_bench(&b);
	verify_closed(&b);
	if (*path) {
		close(dir);
		assert_int_equal(rmdir(path), 0);
	}
	store_close(b.st);
	pthread_mutex_destroy(&b.lock);
	free(b.table);
}

static void raw(void **state)
{
	const struct image_open_opts opts = {0};

	(void)state;
	stress(16, CODEC_NONE, 512, &opts);
	stress(18, CODEC_NONE, 512, &opts);
}

static void compressed(void **state)
{
	const struct image_open_opts opts = {0};

	(void)state;
	stress(16, CODEC_ZSTD, 512, &opts);
	stress(17, CODEC_ZSTD, 512, &opts);
}

/* A host whose direct I/O takes no less than 4 KiB. */
static void large_blocks(void **state)
{
	const struct image_open_opts opts = {0};

	(void)state;
	stress(16, CODEC_NONE, 4096, &opts);
	stress(16, CODEC_ZSTD, 4096, &opts);
}

/* A journal of a few transactions, a checkpoint forced by every few nodes: everybody waits for it.
 */
static void tight_metadata(void **state)
{
	const struct image_open_opts opts = {.journal_length = 24 * 4096, .dirty_cap = 1};

	(void)state;
	stress(17, CODEC_NONE, 512, &opts);
	stress(16, CODEC_ZSTD, 512, &opts);
}

/* Room for a third of what the threads write: they free it for each other with zeroes.  With
 * compression the one region is for blobs, and none is left for anything else. */
static void full(void **state)
{
	const struct image_open_opts opts = {.max_regions = 2};

	(void)state;
	stress(16, CODEC_NONE, 512, &opts);
	stress(16, CODEC_ZSTD, 512, &opts);
}

/* The fewest slots that there may be: everybody waits for some. */
static void recovered(void **state)
{
	const struct image_open_opts opts = {.vj_shift = 9};

	(void)state;
	stress(16, CODEC_NONE, 512, &opts);
	stress(16, CODEC_ZSTD, 4096, &opts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(raw),	      cmocka_unit_test(large_blocks),
		cmocka_unit_test(compressed), cmocka_unit_test(tight_metadata),
		cmocka_unit_test(full),	      cmocka_unit_test(recovered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
