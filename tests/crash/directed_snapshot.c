/* SPDX-License-Identifier: MIT */
/* Programs that go straight to the moments in which snapshots, checkpoints and writers meet. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "image/check.h"
#include "image/snapshot.h"
#include "tests/crash/crash.h"

#define BYTES 65536u

static errint_t put(struct world *w, unsigned slot, unsigned cluster, uint8_t with)
{
	uint8_t *buf = store_buffer(BYTES);
	errint_t err;

	memset(buf, with, BYTES);
	err = engine_write(w->thread[slot], buf, (uint64_t)cluster * BYTES, BYTES, false);
	free(buf);
	return err;
}

static errint_t check_exact(struct world *w, void *arg)
{
	struct check_opts opts = {.threads = 1};

	return check_image(w->im, &opts, arg);
}

static void verify(struct world *w, const char *when)
{
	struct check_result res = {0};
	errint_t err = world_do(w, check_exact, &res);

	if (err || res.corruptions || res.leaks)
		crash_fail("%s: check: error %d, %u corruptions, %u leaks", when, err,
			   (unsigned)res.corruptions, (unsigned)res.leaks);
}

/* The power fails now: what is left opens, and is exact. */
static void lose_power(struct world *w, struct rng *rng)
{
	struct world *left =
		world_new(w->cfg, sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, rng), 1);

	if (world_open(left, false))
		crash_fail("power loss: cannot open");
	verify(left, "power loss");
	counts.power[SIM_LOSS_NONE_KEPT]++;
	world_free(left);
}

static struct world *begin(const struct config *base, struct config *cfg)
{
	*cfg = *base;
	cfg->params.codec = CODEC_NONE;
	cfg->params.cluster_shift = 16;
	cfg->params.size = 64u << 20;
	cfg->max_regions = cfg->journal_length = 0;
	cfg->dirty_cap = cfg->cache_nodes = 0;
	cfg->nearly_full = cfg->snapshot = cfg->backing = false;
	struct world *w = world_new(cfg, world_base(cfg), base->seed);
	if (world_open(w, false))
		crash_fail("cannot open");
	return w;
}

/* Two tasks, and a power loss at every step. */
static void race(struct world *w, errint_t (*prepare)(struct world *w, void *arg),
		 void (*one)(void *w), void (*two)(void *w))
{
	struct rng rng = {w->cfg->seed};

	if (prepare && world_do(w, prepare, NULL))
		crash_fail("cannot prepare");
	sim_spawn(w->sched, "one", one, w);
	sim_spawn(w->sched, "two", two, w);
	while (sim_step(w->sched) == SIM_RUNNING)
		lose_power(w, &rng);
	world_drain(w);
	verify(w, "at the end");
	world_free(w);
}

/* --- a snapshot with two children is deleted -----------------------------------------------------
 */

static errint_t make_branches(struct world *w, void *arg)
{
	struct snapshot_info k;
	bool more;
	errint_t err = put(w, 0, 1, 'a');

	(void)arg;
	err = err ? err : put(w, 0, 2, 'a'); /* k keeps it, the head does not */
	err = err ? err : snapshot_create(w->im, "s", NULL);
	err = err ? err : put(w, 0, 1, 'b');
	err = err ? err : snapshot_rollback(w->im, "s", "k");
	err = err ? err : put(w, 0, 1, 'c');
	err = err ? err : put(w, 0, 2, 'c');
	err = err ? err : snapshot_delete(w->im, "s");
	err = err ? err : snapshot_reclaim(w->im, 100, &more);
	err = err ? err : snapshot_find(w->im, "k", &k);
	return err ? err : image_checkpoint(w->im);
}

void directed_branches(const struct config *base)
{
	struct config cfg;
	struct world *w = begin(base, &cfg);
	uint32_t n;
	struct snapshot_info *list;

	if (world_do(w, make_branches, NULL))
		crash_fail("cannot branch");
	verify(w, "branches");
	if (snapshot_list(w->im, &list, &n) || n != 2)
		crash_fail("a snapshot with two children was deleted");
	free(list);
	world_free(w);
}

/* --- a deletion goes on during a checkpoint ------------------------------------------------------
 */

static errint_t prepare_deletion(struct world *w, void *arg)
{
	errint_t err = put(w, 0, 1, 'a');

	(void)arg;
	err = err ? err : snapshot_create(w->im, "s", NULL);
	err = err ? err : put(w, 0, 1, 'b');
	return err ? err : snapshot_delete(w->im, "s");
}

static void checkpoint_task(void *arg)
{
	struct world *w = arg;

	if (image_checkpoint(w->im))
		crash_fail("the checkpoint failed");
}

static void reclaim_task(void *arg)
{
	struct world *w = arg;
	bool more;

	for (unsigned i = 0; i < 20; i++)
		if (snapshot_reclaim(w->im, 1, &more) || image_flush(w->im))
			crash_fail("deleting failed");
}

void directed_reclaim(const struct config *base)
{
	struct config cfg;

	race(begin(base, &cfg), prepare_deletion, checkpoint_task, reclaim_task);
}

/* --- a writer waits for a rollback ---------------------------------------------------------------
 */

static errint_t prepare_rollback(struct world *w, void *arg)
{
	errint_t err = put(w, 0, 1, 'a');

	(void)arg;
	err = err ? err : snapshot_create(w->im, "s", NULL);
	return err ? err : put(w, 0, 1, 'b');
}

static void rollback_task(void *arg)
{
	struct world *w = arg;

	if (snapshot_rollback(w->im, "s", NULL))
		crash_fail("rolling back failed");
}

static void write_task(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; i < 8; i++)
		if (put(w, 1, 1, (uint8_t)i) || image_flush(w->im))
			crash_fail("writing failed");
}

void directed_rollback(const struct config *base)
{
	struct config cfg;

	race(begin(base, &cfg), prepare_rollback, rollback_task, write_task);
}
