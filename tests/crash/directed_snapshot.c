/* SPDX-License-Identifier: MIT */
/* Programs that go straight to the moments in which snapshots, checkpoints and writers meet. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "engine/snapshot.h"
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

/* --- a snapshot of an image that nobody has open -------------------------------------------------
 */

static errint_t write_and_flush(struct world *w, void *arg)
{
	errint_t err = put(w, 0, 1, 'a');

	(void)arg;
	err = err ? err : image_flush(w->im);
	err = err ? err : put(w, 0, 2, 'b');
	return err ? err : image_flush(w->im);
}

static errint_t write_behind(struct world *w, void *arg)
{
	errint_t err = put(w, 0, 1, 'c');

	(void)arg;
	return err ? err : image_flush(w->im);
}

struct expected {
	uint8_t first; /* of the disk's cluster 1; of cluster 2 it is 'b', of the snapshot's 1 'a'
			*/
	bool taken;    /* the snapshot is there; else it may be */
};

static void expect(const uint8_t *buf, uint8_t with, const char *what)
{
	for (unsigned i = 0; i < BYTES; i++)
		if (buf[i] != with)
			crash_fail("%s: byte %u is %#x, not '%c'", what, i, buf[i], with);
}

static errint_t read_snapshot(struct world *w, uint8_t *buf)
{
	struct snapshot_view *v;
	errint_t err = snapshot_view_open(w->im, "s", &v);

	if (err)
		return err;
	err = engine_snapshot_read(w->thread[0], v, buf, BYTES, 2 * BYTES);
	snapshot_view_close(v);
	if (err)
		return err;
	expect(buf, 'a', "the snapshot");
	expect(buf + BYTES, 'b', "the snapshot");
	return 0;
}

static errint_t read_all(struct world *w, void *arg)
{
	const struct expected *e = arg;
	uint8_t *buf = store_buffer(2 * BYTES);
	struct snapshot_info info;
	errint_t err = engine_read(w->thread[0], buf, BYTES, 2 * BYTES);

	if (!err) {
		expect(buf, e->first, "the disk");
		expect(buf + BYTES, 'b', "the disk");
		err = snapshot_find(w->im, "s", &info);
	}
	if (!err)
		err = read_snapshot(w, buf);
	else if (err == -ENOENT && !e->taken)
		err = 0;
	free(buf);
	return err;
}

/* @disk, which is taken over, opens, is exact, and is as expected. */
static void verify_left(const struct config *cfg, struct sim_disk *disk, struct expected e,
			const char *when)
{
	struct world *w = world_new(cfg, disk, 1);

	if (world_open(w, false))
		crash_fail("%s: cannot open", when);
	verify(w, when);
	if (world_do(w, read_all, &e))
		crash_fail("%s: cannot read, or the snapshot is lost", when);
	world_free(w);
}

static void take_at_rest(void *arg)
{
	struct world *w = arg;
	const struct image_open_opts opts = {.wait = &sim_wait_ops,
					     .broken_rules = w->cfg->broken_rules};

	if (snapshot_create_at_rest(&w->store.st, &opts, "s", NULL))
		crash_fail("cannot take a snapshot at rest");
}

static void crash_at_rest(struct world *w, bool taken, struct rng *rng)
{
	const struct expected e = {'a', taken};

	for (unsigned how = 0; how < SIM_LOSSES; how++) {
		counts.power[how]++;
		verify_left(w->cfg, sim_disk_power_loss(w->disk, how, rng), e, "power loss");
	}
	counts.process++;
	verify_left(w->cfg, sim_disk_process_death(w->disk, rng), e, "process death");
}

static bool is_clean(struct world *w)
{
	struct image_info info;

	if (world_open(w, true))
		crash_fail("cannot open read-only");
	image_get_info(w->im, &info);
	return info.flags & SUPER_CLEAN;
}

/* On an image with a journal to be replayed, crashed at every step; and then written to again. */
void directed_at_rest(const struct config *base)
{
	struct config cfg;
	struct world *w = begin(base, &cfg);
	struct rng rng = {base->seed};

	if (world_do(w, write_and_flush, NULL))
		crash_fail("cannot write");
	struct sim_disk *disk = sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, &rng);
	world_free(w);

	w = world_new(&cfg, disk, base->seed);
	sim_spawn(w->sched, "at rest", take_at_rest, w);
	while (sim_step(w->sched) == SIM_RUNNING)
		crash_at_rest(w, false, &rng);
	world_drain(w);
	/* What is visible, what is new, and the two places of one superblock. */
	if (w->store.count[SIM_SYNC] != 2 || w->store.count[SIM_DSYNC] != 2)
		crash_fail("a snapshot at rest has waited for the disk more than four times");
	crash_at_rest(w, true, &rng);

	struct world *left = world_new(&cfg, sim_disk_clone(w->disk), 1);
	if (!is_clean(left))
		crash_fail("after a snapshot at rest the image is not clean");
	world_free(left);
	if (world_open(w, false) || world_do(w, write_behind, NULL))
		crash_fail("cannot write behind the snapshot");
	verify_left(&cfg, sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, &rng),
		    (struct expected){'c', true}, "behind the snapshot");
	world_free(w);
}
