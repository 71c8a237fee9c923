/* SPDX-License-Identifier: MIT */
/* Programs that go straight to the moments in which a volatile journal matters. */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "image/check.h"
#include "image/snapshot.h"
#include "tests/crash/crash.h"

#define BYTES	 65536u
#define CLUSTERS 6u

/* Cluster @c of the disk is full of the byte that was put last. */
struct trial {
	const struct config *cfg;
	struct rng rng;
	uint8_t acked[CLUSTERS], flushed[CLUSTERS];
};

static errint_t put(struct world *w, struct trial *t, unsigned cluster, uint8_t with)
{
	uint8_t *buf = store_buffer(BYTES);

	memset(buf, with, BYTES);
	errint_t err =
		engine_write(w->thread[0], buf, (uint64_t)cluster * BYTES * 256, BYTES, false);
	free(buf);
	if (!err)
		t->acked[cluster] = with;
	return err;
}

static errint_t flush(struct world *w, struct trial *t)
{
	errint_t err = image_flush(w->im);

	if (!err)
		memcpy(t->flushed, t->acked, sizeof(t->flushed));
	return err;
}

struct expected {
	const uint8_t *from, *to; /* either */
};

static errint_t read_back(struct world *w, void *arg)
{
	const struct expected *e = arg;
	struct check_opts opts = {.threads = 1};
	struct check_result res = {0};
	uint8_t *buf = store_buffer(BYTES);
	errint_t err = check_image(w->im, &opts, &res);

	if (res.corruptions || res.leaks)
		crash_fail("check: %" PRIu64 " corruptions, %" PRIu64 " leaks", res.corruptions,
			   res.leaks);
	for (unsigned c = 0; c < CLUSTERS && !err; c++) {
		err = engine_read(w->thread[0], buf, (uint64_t)c * BYTES * 256, BYTES);
		if (!err && buf[7] != e->from[c] && buf[7] != e->to[c])
			crash_fail("cluster %u holds %#x instead of %#x or %#x", c, buf[7],
				   e->from[c], e->to[c]);
	}
	free(buf);
	return err;
}

static void lose_power(struct trial *t, const struct world *w, enum sim_loss how)
{
	struct world *left = world_new(t->cfg, sim_disk_power_loss(w->disk, how, &t->rng), 1);
	struct expected e = {t->flushed, t->acked};

	counts.power[how]++;
	if (world_open(left, false) || world_do(left, read_back, &e))
		crash_fail("power loss: cannot open");
	world_free(left);
}

/* The device is recovered; @w may be a recovery itself. */
static struct world *die(struct trial *t, const struct world *w, bool open)
{
	struct world *left =
		world_new(t->cfg, sim_disk_process_death(w->disk, &t->rng), rng_next(&t->rng));
	struct expected e = {t->acked, t->acked};
	struct vj_copy *vj = world_vj(w);

	counts.process++;
	world_recover(left, vj);
	vj_copy_free(vj);
	if (!open)
		return left;
	if (world_open(left, false) || world_do(left, read_back, &e))
		crash_fail("process death: cannot recover");
	counts.recovered++;
	return left;
}

static struct world *begin(const struct config *base, struct config *cfg, struct trial *t)
{
	*cfg = *base;
	cfg->vj = true;
	cfg->first_fit = true;
	cfg->params.codec = CODEC_NONE;
	cfg->params.cluster_shift = 16;
	cfg->params.size = CLUSTERS * 256ull * BYTES;
	cfg->max_regions = cfg->journal_length = 0;
	cfg->dirty_cap = cfg->cache_nodes = 0;
	cfg->nearly_full = cfg->snapshot = false;
	*t = (struct trial){.cfg = cfg, .rng = {base->seed}};
	struct world *w = world_new(cfg, world_base(cfg), base->seed);
	if (world_open(w, false))
		crash_fail("cannot open");
	return w;
}

/* What only the volatile journal knows: writes, and what a deletion has freed. */
static errint_t unflushed(struct world *w, void *arg)
{
	struct trial *t = arg;
	errint_t err = 0;
	bool more;

	for (unsigned c = 0; c < CLUSTERS - 1 && !err; c++)
		err = put(w, t, c, (uint8_t)('a' + c));
	err = err ? err : snapshot_create(w->im, "s", NULL);
	memcpy(t->flushed, t->acked, sizeof(t->flushed));
	for (unsigned c = 0; c < 3 && !err; c++)
		err = put(w, t, c, (uint8_t)('A' + c));
	err = err ? err : flush(w, t);
	err = err ? err : image_checkpoint(w->im);
	err = err ? err : snapshot_delete(w->im, "s");
	err = err ? err : snapshot_reclaim(w->im, 100, &more);
	for (unsigned c = 2; c < CLUSTERS && !err; c++)
		err = put(w, t, c, (uint8_t)('0' + c));
	return err;
}

/* A recovery, crashed at every step in each way. */
void directed_recovery(const struct config *base)
{
	struct config cfg;
	struct trial t;
	struct world *w = begin(base, &cfg, &t);

	if (world_do(w, unflushed, &t))
		crash_fail("cannot prepare");
	struct world *left = die(&t, w, false);
	world_open_begin(left, false);
	while (sim_step(left->sched) == SIM_RUNNING) {
		lose_power(&t, left, SIM_LOSS_NONE_KEPT);
		lose_power(&t, left, SIM_LOSS_ALL_KEPT);
		world_free(die(&t, left, true));
	}
	if (world_open_end(left))
		crash_fail("cannot recover");
	memcpy(t.flushed, t.acked, sizeof(t.flushed));
	lose_power(&t, left, SIM_LOSS_NONE_KEPT);
	world_free(left);
	world_free(w);
}

static void deletion_task(void *arg)
{
	struct world *w = arg;
	bool more = true;

	while (more)
		if (snapshot_reclaim(w->im, 1, &more))
			crash_fail("deleting failed");
}

static errint_t prepare_deletion(struct world *w, void *arg)
{
	struct trial *t = arg;
	errint_t err = 0;

	for (unsigned c = 0; c < CLUSTERS && !err; c++)
		err = put(w, t, c, (uint8_t)('a' + c));
	err = err ? err : snapshot_create(w->im, "s", NULL);
	for (unsigned c = 0; c < CLUSTERS && !err; c++)
		err = put(w, t, c, (uint8_t)('A' + c));
	err = err ? err : flush(w, t);
	return err ? err : snapshot_delete(w->im, "s");
}

/* A deletion, killed between any two stores to the volatile journal. */
void directed_groups(const struct config *base)
{
	struct config cfg;
	struct trial t;
	struct world *w = begin(base, &cfg, &t);

	if (world_do(w, prepare_deletion, &t))
		crash_fail("cannot prepare");
	sim_spawn(w->sched, "deletion", deletion_task, w);
	while (sim_step(w->sched) == SIM_RUNNING)
		world_free(die(&t, w, true));
	world_drain(w);
	world_free(die(&t, w, true));
	world_free(w);
}
