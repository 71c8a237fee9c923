/* SPDX-License-Identifier: MIT */
/* Programs that go straight to a situation which random ones reach too seldom. */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "image/plan.h"
#include "tests/crash/crash.h"
#include "tests/lib/sim_pages.h"

/* ---- the journal goes round while a checkpoint is being written --------------------------- */

#define RING_BYTES (64u << 10)
#define BEFORE                                                                                     \
	11u /* transactions of a block each, of the ring's 16, when the checkpoint begins          \
	     */
#define DURING 10u

struct wrap {
	struct world *w;
	unsigned flushed; /* writes that a flush has covered */
};

static uint64_t place(unsigned i)
{
	return (uint64_t)i << 16;
}

/* A write to a fresh cluster and a flush: one transaction. */
static errint_t write_next(struct wrap *t)
{
	uint8_t *buf = store_buffer(4096);
	errint_t err;

	memset(buf, (int)t->flushed + 1, 4096);
	err = engine_write(t->w->thread[0], buf, place(t->flushed), 4096, false);
	if (!err)
		err = engine_flush(t->w->thread[0]);
	if (!err)
		t->flushed++;
	free(buf);
	return err;
}

static errint_t write_before(struct world *w, void *arg)
{
	struct wrap *t = arg;
	errint_t err = 0;

	(void)w;
	while (!err && t->flushed < BEFORE)
		err = write_next(t);
	return err;
}

static void write_during(void *arg)
{
	struct wrap *t = arg;

	while (t->flushed < BEFORE + DURING)
		if (write_next(t))
			crash_fail("write %u failed", t->flushed);
}

static void do_checkpoint(void *arg)
{
	struct wrap *t = arg;

	if (image_checkpoint(t->w->im))
		crash_fail("the checkpoint failed");
}

static errint_t read_flushed(struct world *w, void *arg)
{
	const struct wrap *t = arg;
	uint8_t *buf = store_buffer(4096);
	errint_t err = 0;

	for (unsigned i = 0; !err && i < t->flushed; i++) {
		err = engine_read(w->thread[0], buf, place(i), 4096);
		if (!err && buf[0] != i + 1)
			crash_fail("power loss: write %u of %u is lost", i, t->flushed);
	}
	free(buf);
	return err;
}

/* What is left when the power fails now. */
static void lose_power(struct wrap *t, struct rng *rng)
{
	struct world *w = world_new(
		t->w->cfg, sim_disk_power_loss(t->w->disk, SIM_LOSS_NONE_KEPT, rng), rng_next(rng));

	if (world_open(w, false))
		crash_fail("power loss: cannot open");
	if (world_do(w, read_flushed, t))
		crash_fail("power loss: cannot read");
	counts.power[SIM_LOSS_NONE_KEPT]++;
	world_free(w);
}

void directed_journal_wrap(const struct config *base)
{
	struct config cfg = *base;
	struct wrap t = {0};
	struct rng rng = {base->seed};

	cfg.params.codec = CODEC_NONE;
	cfg.params.cluster_shift = 16;
	cfg.params.size = 64u << 20;
	cfg.journal_length = RING_BYTES;
	cfg.dirty_cap = cfg.max_regions = 0;
	cfg.nearly_full = cfg.snapshot = cfg.backing = false;
	t.w = world_new(&cfg, world_base(&cfg), base->seed);
	if (world_open(t.w, false) || world_do(t.w, write_before, &t))
		crash_fail("cannot fill the journal");
	sim_spawn(t.w->sched, "checkpoint", do_checkpoint, &t);
	sim_spawn(t.w->sched, "writes", write_during, &t);
	for (unsigned i = 0; sim_step(t.w->sched) == SIM_RUNNING; i++)
		if (i % 4 == 0)
			lose_power(&t, &rng);
	world_drain(t.w);
	lose_power(&t, &rng);
	world_free(t.w);
}

/* ---- a cluster is written to while it is being repacked ----------------------------------- */

static errint_t repack_while_written(struct world *w, void *arg)
{
	struct engine_thread *t = w->thread[0];
	uint8_t *buf = store_buffer(4096);
	struct repack r;
	errint_t err;

	(void)arg;
	/* Zeros, but stored: what repacking finds. */
	err = engine_write(t, buf, 0, 4096, false);
	if (!err)
		err = repack_begin(w->im, 0, REPACK_RAW, &r);
	if (err)
		crash_fail("repacking cannot begin: error %d", err);
	memset(buf, 0x5a, 4096);
	err = engine_write(t, buf, 0, 4096, true);
	if (err)
		crash_fail("writing meanwhile: error %d", err);
	err = repack_zero(w->im, &r);
	repack_end(w->im, &r);
	if (err && err != -ESTALE)
		crash_fail("repacking: error %d", err);
	memset(buf, 0, 4096);
	err = engine_read(t, buf, 0, 4096);
	if (!err && buf[4095] != 0x5a)
		crash_fail("what was written during repacking is lost");
	free(buf);
	return err;
}

void directed_repack(const struct config *base)
{
	struct config cfg = *base;
	struct world *w;

	cfg.params.codec = CODEC_ZSTD;
	cfg.params.level = 1;
	cfg.max_regions = 0;
	cfg.nearly_full = cfg.snapshot = cfg.backing = false;
	w = world_new(&cfg, world_base(&cfg), base->seed);
	if (world_open(w, false) || world_do(w, repack_while_written, NULL))
		crash_fail("cannot write, repack and read");
	world_free(w);
}
