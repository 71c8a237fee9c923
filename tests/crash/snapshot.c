/* SPDX-License-Identifier: MIT */
/*
 * Images with a snapshot.  Nothing takes snapshots yet, but what belongs to one is not the head's
 * to overwrite or to free (docs/format.md section 9, floor).  So the programs also start on an
 * image whose snapshot was put there by hand, and after each crash the snapshot must hold what it
 * held.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "tests/crash/crash.h"
#include "tests/lib/surgery_snapshot.h"

/* Three quarters of each zone are written before the snapshot is taken. */
value snapshot_value(const struct config *cfg, unsigned k)
{
	const struct zone *z = zone_of(&cfg->zones, k);

	if (!cfg->snapshot || k - z->first >= z->sectors / 4 * 3)
		return 0;
	return 2 * (1 + z->first) + (k / 5 % 3 != 0);
}

static errint_t fill_zones(struct world *w, void *arg)
{
	const struct zones *zones = &w->cfg->zones;
	errint_t err = 0;

	(void)arg;
	for (unsigned i = 0; i < zones->n && !err; i++) {
		const struct zone *z = &zones->zone[i];
		size_t len = z->sectors / 4 * 3 * (size_t)SECTOR_SIZE;
		uint8_t *buf = store_buffer(len);

		for (unsigned s = 0; s < len / SECTOR_SIZE; s++)
			value_fill(buf + s * SECTOR_SIZE, z->first + s,
				   snapshot_value(w->cfg, z->first + s));
		err = engine_write(w->thread[0], buf, z->off, len, false);
		free(buf);
	}
	return err;
}

static void take_snapshot(struct store *st)
{
	struct surgery s;

	surgery_begin(&s, st);
	(void)surgery_take_snapshot(&s);
	errint_t err = store_datasync(st);
	assert(!err);
}

struct sim_disk *snapshot_base(const struct config *cfg, struct sim_disk *disk)
{
	struct config sound = *cfg;
	struct rng rng = {1};

	sound.broken_rules = 0;
	struct world *w = world_new(&sound, disk, 1);
	if (world_open(w, false) || world_do(w, fill_zones, NULL) || world_close(w))
		crash_fail("cannot make an image for a snapshot");
	take_snapshot(&w->store.st);
	disk = sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, &rng);
	world_free(w);
	return disk;
}

/* Let the head be what the snapshot is, to look at it. */
static void show_snapshot(struct store *st)
{
	struct surgery s;

	surgery_begin(&s, st);
	struct disk_snapshot *rec = surgery_records(&s);
	if (le32_get(s.sb.nsnapshots) != 1)
		crash_fail("the snapshot is gone");
	surgery_swap_tree(&s, rec);
	surgery_super(&s);
	free(rec);
}

void snapshot_verify(const struct world *w, const char *when)
{
	struct oracle *o = oracle_new(w->cfg->zones.sectors);
	struct world *view = world_new(w->cfg, sim_disk_clone(w->disk), 1);

	snapshot_oracle(w->cfg, o);
	show_snapshot(&view->store.st);
	if (world_open(view, true))
		crash_fail("%s: cannot open the snapshot", when);
	world_verify_data(view, o, NULL, when);
	world_free(view);
	oracle_free(o);
}

void snapshot_oracle(const struct config *cfg, struct oracle *o)
{
	oracle_set_size(o, cfg->params.size, cfg->params.size);
	for (unsigned k = 0; k < cfg->zones.sectors; k++) {
		value v = snapshot_value(cfg, k);

		if (v)
			oracle_ack_durable(o, k, oracle_issue(o, k, v));
	}
}
