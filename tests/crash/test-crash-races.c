/* SPDX-License-Identifier: MIT */
/*
 * Races that random programs meet too seldom: each situation is set up on purpose, and its tasks
 * run in many orders.  CRASH_ITERATIONS orders each, from CRASH_SEED on.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "image/check.h"
#include "image/plan.h"
#include "tests/crash/crash.h"

#define DEFAULT_ORDERS 60u
#define CLUSTER	       (64u << 10)
#define SUBBLOCK       (CLUSTER / 16)

/* ---- a world, and what its tasks do ------------------------------------------------------ */

static struct config config;

/* For programmers: CRASH_BREAK is a mask of rules to break. */
static uint64_t number(const char *name, uint64_t def)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : def;
}

static struct world *open_world(uint64_t seed, unsigned codec)
{
	config_random(&config, seed);
	config.params.cluster_shift = 16;
	config.params.size = 64u << 20;
	config.params.codec = (uint8_t)codec;
	config.nearly_full = config.no_punch = config.snapshot = false;
	config.backing = false;
	config.first_fit = true;
	config.max_regions = 4;
	config.dirty_cap = 0;
	config.broken_rules = number("CRASH_BREAK", 0);
	crash_report_seed(seed);
	counts.runs++;

	struct world *w = world_new(&config, world_base(&config), seed);
	if (world_open(w, false))
		crash_fail("cannot open a new image");
	return w;
}

/* One write, filled with one byte; or a read that must find it. */
struct io {
	struct world *w;
	unsigned thread;
	uint64_t off;
	size_t len;
	uint8_t byte;
	bool flush; /* after the write */
	bool done;
	errint_t failed;
};

static void put(struct io *io)
{
	uint8_t *buf = store_buffer(io->len);

	memset(buf, io->byte, io->len);
	if (engine_write(io->w->thread[io->thread], buf, io->off, io->len, false))
		crash_fail("write of %zu bytes at %" PRIu64 " failed", io->len, io->off);
	if (io->flush && engine_flush(io->w->thread[io->thread]))
		crash_fail("flush failed");
	io->done = true;
	free(buf);
}

static void put_task(void *arg)
{
	put(arg);
}

static errint_t put_now(struct world *w, void *arg)
{
	(void)w;
	put(arg);
	return 0;
}

static errint_t expect_now(struct world *w, void *arg)
{
	const struct io *io = arg;
	uint8_t *buf = store_buffer(io->len);
	errint_t err = engine_read(w->thread[io->thread], buf, io->off, io->len);

	for (size_t i = 0; !err && i < io->len; i++)
		if (buf[i] != io->byte)
			crash_fail("byte %" PRIu64 " is %02x instead of %02x", io->off + i, buf[i],
				   io->byte);
	free(buf);
	return err;
}

static void write_now(struct world *w, uint64_t off, size_t len, uint8_t byte)
{
	struct io io = {.w = w, .off = off, .len = len, .byte = byte};

	world_do(w, put_now, &io);
}

static void expect(struct world *w, uint64_t off, size_t len, uint8_t byte)
{
	struct io io = {.off = off, .len = len, .byte = byte};

	if (world_do(w, expect_now, &io))
		crash_fail("cannot read %zu bytes at %" PRIu64, len, off);
}

static errint_t flush_now(struct world *w, void *arg)
{
	(void)arg;
	return engine_flush(w->thread[0]);
}

static errint_t settle_now(struct world *w, void *arg)
{
	(void)arg;
	errint_t err = image_checkpoint(w->im);

	return err ? err : image_maintain(w->im);
}

static errint_t discard_now(struct world *w, void *arg)
{
	return engine_discard(w->thread[0], *(const uint64_t *)arg, CLUSTER);
}

static void must(struct world *w, errint_t (*fn)(struct world *w, void *arg), void *arg,
		 const char *what)
{
	errint_t err = world_do(w, fn, arg);

	if (err)
		crash_fail("%s: error %d", what, err);
}

static errint_t check_now(struct world *w, void *arg)
{
	struct check_opts opts = {.data = true, .threads = 1};

	return check_image(w->im, &opts, arg);
}

/* The image after a power loss that keeps only what was made durable: exact, and opened. */
static struct world *lose_power(struct world *w, struct rng *rng)
{
	struct world *after = world_new(
		&config, sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, rng), rng_next(rng));
	struct check_result res = {0};

	counts.power[SIM_LOSS_NONE_KEPT]++;
	if (world_open(after, false))
		crash_fail("power loss: cannot open");
	must(after, check_now, &res, "check");
	if (res.corruptions || res.leaks)
		crash_fail("power loss: %" PRIu64 " corruptions, %" PRIu64 " leaks",
			   res.corruptions, res.leaks);
	return after;
}

/* ---- discard while somebody reads -------------------------------------------------------- */

static errint_t plan_old(struct world *w, void *arg)
{
	return plan_read(w->im, 0, CLUSTER, IMAGE_MAY_BLOCK, arg);
}

/*
 * A reader has planned; then its cluster is discarded, that is made durable, and as many clusters
 * are written as there is hurry to reuse: what the plan names keeps its bytes until it is done.
 * After that the space is used again.
 */
static void discard_racing_read(uint64_t seed)
{
	struct world *w = open_world(seed, CODEC_NONE);
	struct read_plan plan;
	uint64_t victim = 0, at;
	uint8_t *buf = store_buffer(CLUSTER);

	write_now(w, 0, CLUSTER, 'a');
	must(w, flush_now, NULL, "flush");
	must(w, plan_old, &plan, "plan");
	if (plan.nsegs != 1 || plan.seg[0].kind != SEG_FILE)
		crash_fail("a raw cluster is planned as %u segments", plan.nsegs);
	at = plan.seg[0].file_off;
	must(w, discard_now, &victim, "discard");
	must(w, settle_now, NULL, "checkpoint");
	for (unsigned i = 1; i <= 130; i++) /* two windows */
		write_now(w, i * (uint64_t)CLUSTER, SUBBLOCK, 'b');
	must(w, settle_now, NULL, "checkpoint");
	sim_disk_read(w->disk, buf, CLUSTER, at);
	for (unsigned i = 0; i < CLUSTER; i++)
		if (buf[i] != 'a')
			crash_fail("the reader's cluster changed under it at byte %u", i);
	expect(w, 0, CLUSTER, 0);
	plan_read_done(w->im, &plan);
	must(w, settle_now, NULL, "checkpoint");
	sim_disk_read(w->disk, buf, CLUSTER, at);
	bool punched = !buf[0];
	for (unsigned i = 131; i <= 260; i++)
		write_now(w, i * (uint64_t)CLUSTER, SUBBLOCK, 'c');
	sim_disk_read(w->disk, buf, CLUSTER, at);
	if (!punched || buf[0] != 'c')
		crash_fail("freed space is not used again");
	free(buf);
	world_free(w);
}

/* ---- blobs that share units, freed in any order -------------------------------------------- */

#define BLOBS 4u

static void free_and_look(struct world *w, const unsigned *order, struct rng *rng)
{
	bool gone[BLOBS] = {false};

	for (unsigned i = 0; i < BLOBS; i++) {
		uint64_t off = order[i] * (uint64_t)CLUSTER;

		must(w, discard_now, &off, "discard");
		must(w, i % 2 ? settle_now : flush_now, NULL, "flush");
		gone[order[i]] = true;
		struct world *after = lose_power(w, rng);
		for (unsigned k = 0; k < BLOBS; k++) {
			expect(w, k * (uint64_t)CLUSTER, CLUSTER, gone[k] ? 0 : 'A' + k);
			expect(after, k * (uint64_t)CLUSTER, CLUSTER, gone[k] ? 0 : 'A' + k);
		}
		world_free(after);
		/* Whatever is free is wanted at once. */
		write_now(w, (16 + i) * (uint64_t)CLUSTER, CLUSTER, 'z');
	}
}

struct bytes {
	uint8_t *buf;
	uint64_t off;
	size_t len;
};

static errint_t write_bytes(struct world *w, void *arg)
{
	const struct bytes *b = arg;

	return engine_write(w->thread[0], b->buf, b->off, b->len, false);
}

/* The caller frees b->buf. */
static errint_t read_bytes(struct world *w, void *arg)
{
	struct bytes *b = arg;

	b->buf = store_buffer(b->len);
	return engine_read(w->thread[0], b->buf, b->off, b->len);
}

/* Any order of freeing, at different times. */
static void blob_neighbours(uint64_t seed)
{
	struct rng rng = {seed};
	struct world *w = open_world(seed, CODEC_ZSTD);
	uint8_t *buf = store_buffer(BLOBS * CLUSTER);
	struct bytes all = {.buf = buf, .len = BLOBS * CLUSTER};
	unsigned order[BLOBS] = {0};
	struct image_stats stats;

	for (unsigned i = 0; i < BLOBS; i++) {
		unsigned k = (unsigned)rng_below(&rng, i + 1);

		order[i] = order[k];
		order[k] = i;
		memset(buf + i * CLUSTER, 'A' + (int)i, CLUSTER);
	}
	must(w, write_bytes, &all, "write");
	image_get_stats(w->im, &stats);
	if (stats.blobs_written != BLOBS)
		crash_fail("%" PRIu64 " blobs instead of %u", stats.blobs_written, BLOBS);
	must(w, flush_now, NULL, "flush");
	free_and_look(w, order, &rng);
	free(buf);
	world_free(w);
}

/* ---- several writers, one cluster --------------------------------------------------------- */

/* All tasks at once; then the content, now and after a power loss. */
static void run_together(struct world *w, struct io *io, unsigned n, struct rng *rng)
{
	for (unsigned i = 0; i < n; i++) {
		io[i].w = w;
		io[i].thread = i;
		sim_spawn(w->sched, "writer", put_task, &io[i]);
	}
	world_drain(w);
	must(w, flush_now, NULL, "flush");
	struct world *after = lose_power(w, rng);
	for (unsigned i = 0; i < n; i++) {
		expect(w, io[i].off, io[i].len, io[i].byte);
		expect(after, io[i].off, io[i].len, io[i].byte);
	}
	world_free(after);
}

/* Two writers that find the same hole share one allocation. */
static void one_allocation(uint64_t seed)
{
	struct world *w = open_world(seed, CODEC_NONE);
	struct rng rng = {seed};
	struct io io[] = {
		{.off = 0, .len = SUBBLOCK, .byte = 'a'},
		{.off = 5 * SUBBLOCK, .len = 2 * SUBBLOCK, .byte = 'b'},
		{.off = 15 * SUBBLOCK, .len = SUBBLOCK, .byte = 'c'},
	};
	struct image_stats stats;

	run_together(w, io, 3, &rng);
	image_get_stats(w->im, &stats);
	if (stats.clusters_allocated != 1)
		crash_fail("%" PRIu64 " clusters for one", stats.clusters_allocated);
	expect(w, SUBBLOCK, 4 * SUBBLOCK, 0);
	world_free(w);
}

/* Whole sub-blocks become valid (FILL) while parts of them and of others are completed (RMW). */
static void fill_racing_rmw(uint64_t seed)
{
	struct world *w = open_world(seed, seed % 2 ? CODEC_ZSTD : CODEC_NONE);
	struct rng rng = {seed};
	struct io io[] = {
		{.off = 4 * SUBBLOCK, .len = SUBBLOCK, .byte = 'a'},
		{.off = 5 * SUBBLOCK, .len = SUBBLOCK / 2, .byte = 'b'},
		{.off = 5 * SUBBLOCK + SUBBLOCK / 2, .len = SUBBLOCK / 2, .byte = 'c'},
		{.off = 6 * SUBBLOCK, .len = 512, .byte = 'd'},
		{.off = 6 * SUBBLOCK + 512, .len = 2 * SUBBLOCK, .byte = 'e'},
		{.off = 9 * SUBBLOCK, .len = 3 * SUBBLOCK, .byte = 'f', .flush = true},
	};

	if (seed % 4 < 2) /* over a blob or a raw cluster; else over a hole */
		write_now(w, 0, CLUSTER, 'o');
	run_together(w, io, 6, &rng);
	expect(w, 0, 4 * SUBBLOCK, seed % 4 < 2 ? 'o' : 0);
	world_free(w);
}

/* Writes to the same bytes: any of them, but one and the same from then on. */
static void same_bytes(uint64_t seed)
{
	struct world *w = open_world(seed, seed % 2 ? CODEC_ZSTD : CODEC_NONE);
	struct rng rng = {seed};
	size_t len = seed % 3 ? CLUSTER : 1536;
	struct io io[] = {{.len = len, .byte = 'a'}, {.len = len, .byte = 'b'}};

	for (unsigned i = 0; i < 2; i++) {
		io[i].w = w;
		io[i].thread = i;
		sim_spawn(w->sched, "writer", put_task, &io[i]);
	}
	world_drain(w);
	must(w, flush_now, NULL, "flush");
	struct world *after = lose_power(w, &rng);
	struct bytes now = {.len = len}, later = {.len = len};
	must(w, read_bytes, &now, "read");
	must(after, read_bytes, &later, "read");
	for (size_t i = 0; i < len; i += 512)
		if ((now.buf[i] != 'a' && now.buf[i] != 'b') ||
		    memcmp(now.buf + i, later.buf + i, 512))
			crash_fail("sector %zu holds %02x, after a power loss %02x", i / 512,
				   now.buf[i], later.buf[i]);
	free(now.buf);
	free(later.buf);
	world_free(after);
	world_free(w);
}

/* ---- flush while somebody flushes --------------------------------------------------------- */

/* The power fails at every step; whatever had been flushed by then is there. */
static void flush_racing_flush(uint64_t seed)
{
	struct world *w = open_world(seed, CODEC_NONE);
	struct rng rng = {seed};
	struct io io[4];

	for (unsigned i = 0; i < 4; i++) {
		io[i] = (struct io){.w = w,
				    .thread = i,
				    .off = i * (uint64_t)CLUSTER + (i % 2) * 512,
				    .len = SUBBLOCK,
				    .byte = (uint8_t)('a' + i),
				    .flush = true};
		sim_spawn(w->sched, "writer", put_task, &io[i]);
	}
	unsigned done = 0;
	while (done < 4) {
		unsigned now = 0;

		if (sim_step(w->sched) == SIM_STUCK)
			crash_fail("deadlock");
		for (unsigned i = 0; i < 4; i++)
			now += io[i].done;
		if (now == done)
			continue;
		done = now;
		struct world *after = lose_power(w, &rng);
		for (unsigned i = 0; i < 4; i++)
			if (io[i].done)
				expect(after, io[i].off, io[i].len, io[i].byte);
		world_free(after);
	}
	world_drain(w);
	world_free(w);
}

/* ---- syncs while a durable write fails ---------------------------------------------------- */

/* Durable writes of @byte, in place, until one fails or as many as there are have not. */
static void durable_task(void *arg)
{
	struct io *io = arg;
	uint8_t *buf = store_buffer(io->len);

	memset(buf, io->byte, io->len);
	for (unsigned i = 0; i < 4 && !io->failed; i++)
		io->failed = engine_write(io->w->thread[io->thread], buf, io->off, io->len, true);
	free(buf);
}

static void flushed_task(void *arg)
{
	struct io *io = arg;
	uint8_t *buf = store_buffer(io->len);

	memset(buf, io->byte, io->len);
	io->done = !engine_write(io->w->thread[io->thread], buf, io->off, io->len, false) &&
		   !engine_flush(io->w->thread[io->thread]);
	free(buf);
}

static void checkpoint_task(void *arg)
{
	struct io *io = arg;
	uint8_t *buf = store_buffer(io->len);

	memset(buf, io->byte, io->len);
	io->done = !engine_write(io->w->thread[io->thread], buf, io->off, io->len, false) &&
		   !image_checkpoint(io->w->im);
	free(buf);
}

/*
 * The host may have lost the one's writes, and tell the other: then the sync of the first, which
 * was under way, is not to be believed.  What it had made durable before is there, and the image
 * can be opened.
 */
static void race_failure(uint64_t seed, uint64_t off, void (*fn)(void *arg))
{
	struct world *w = open_world(seed, CODEC_NONE);
	struct rng rng = {seed};
	struct io io[] = {{.off = off, .byte = 'a'}, {.off = CLUSTER, .byte = 'b'}};

	write_now(w, 0, 2 * CLUSTER, 'o');
	must(w, settle_now, NULL, "checkpoint");
	w->store.fail_at = w->store.ios + 1 + rng_below(&rng, 20);
	for (unsigned i = 0; i < 2; i++) {
		io[i].w = w;
		io[i].thread = i;
		io[i].len = SUBBLOCK;
		sim_spawn(w->sched, "writer", i ? durable_task : fn, &io[i]);
	}
	world_drain(w);
	struct world *after = lose_power(w, &rng);
	if (io[0].done)
		expect(after, io[0].off, SUBBLOCK, io[0].byte);
	if (!io[1].failed)
		expect(after, io[1].off, SUBBLOCK, io[1].byte);
	expect(after, CLUSTER + SUBBLOCK, CLUSTER - SUBBLOCK, 'o');
	world_free(after);
	world_free(w);
}

static void flush_racing_failure(uint64_t seed)
{
	race_failure(seed, 0, flushed_task);
}

/* A fresh cluster: there is a node to be written. */
static void checkpoint_racing_failure(uint64_t seed)
{
	race_failure(seed, 4 * CLUSTER, checkpoint_task);
}

/* ---- running them ------------------------------------------------------------------------ */

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(uint64_t seed);
	} races[] = {
		{"discard racing read", discard_racing_read},
		{"blob neighbours freed", blob_neighbours},
		{"one allocation for several writers", one_allocation},
		{"fill racing read-modify-write", fill_racing_rmw},
		{"writes to the same bytes", same_bytes},
		{"flush racing flush", flush_racing_flush},
		{"flush racing a durable write that fails", flush_racing_failure},
		{"checkpoint racing a durable write that fails", checkpoint_racing_failure},
	};
	uint64_t first = number("CRASH_SEED", 1), n = number("CRASH_ITERATIONS", DEFAULT_ORDERS);

	(void)argc;
	crash_report_init(argv[0]);
	for (unsigned i = 0; i < sizeof(races) / sizeof(*races); i++) {
		printf("%s: %" PRIu64 " orders from seed %" PRIu64 "\n", races[i].name, n, first);
		for (uint64_t seed = first; seed < first + n; seed++)
			races[i].run(seed);
	}
	printf("%" PRIu64 " power losses\n", counts_images());
	return 0;
}
