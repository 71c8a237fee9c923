/* SPDX-License-Identifier: MIT */
/* Images with a backing: what that holds, and commits into it. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "common/crc32c.h"
#include "engine/commit.h"
#include "image/backing.h"
#include "image/check.h"
#include "tests/crash/crash.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sim_pages.h"

/* ---- a backing that random programs read from ---------------------------------------------- */

struct pattern {
	struct store st;
	const struct config *cfg;
};

/* It ends within the disk, sometimes within a zone. */
static uint64_t backing_bytes(const struct config *cfg)
{
	return cfg->seed % 3 ? cfg->params.size
			     : cfg->params.size / 4 * 3 / SECTOR_SIZE * SECTOR_SIZE;
}

value backing_value(const struct config *cfg, unsigned k)
{
	if (!cfg->backing || k % 7 == 3 || zone_offset(&cfg->zones, k) >= backing_bytes(cfg))
		return 0;
	return 2 * (5 + k / 16) + (k / 3 % 2);
}

static void fill_sector(const struct config *cfg, uint8_t *buf, uint64_t off)
{
	memset(buf, 0, SECTOR_SIZE);
	for (unsigned i = 0; i < cfg->zones.n; i++) {
		const struct zone *z = &cfg->zones.zone[i];
		uint64_t n = (off - z->off) / SECTOR_SIZE;

		if (off >= z->off && n < z->sectors)
			value_fill(buf, z->first + (unsigned)n,
				   backing_value(cfg, z->first + (unsigned)n));
	}
}

static errint_t pattern_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	const struct pattern *p = (const struct pattern *)st;

	sim_yield("read the backing");
	for (size_t i = 0; i < len; i += SECTOR_SIZE)
		fill_sector(p->cfg, (uint8_t *)buf + i, off + i);
	return 0;
}

static errint_t pattern_length(struct store *st, uint64_t *len)
{
	*len = backing_bytes(((const struct pattern *)st)->cfg);
	return 0;
}

struct store *backing_pattern(const struct config *cfg)
{
	static const struct store_ops ops = {
		.kind = "pattern", .read = pattern_read, .length = pattern_length};
	struct pattern *p = sim_calloc(1, sizeof(*p));

	p->st = (struct store){.ops = &ops, .name = "backing", .align = 512, .read_only = true};
	p->cfg = cfg;
	return &p->st;
}

/* Its stamp is not compared: it never changes. */
void backing_describe(const struct config *cfg, struct backing_ref *ref)
{
	*ref = (struct backing_ref){
		.kind = BACKING_RAW, .size = backing_bytes(cfg), .path = "backing"};
	ref->limit = backing_limit(ref->size, cfg->params.size);
}

/* ---- commits -------------------------------------------------------------------------------- */

#define BYTES	 65536u
#define CLUSTERS 12u
#define BELOW	 8u /* clusters of the backing */

struct commit {
	const struct config *cfg;
	struct world *w;
	struct sim_disk *below; /* of the backing */
	struct sim_store store;
	uint8_t *expected; /* of all clusters */
	bool done;
};

static void fill_below(struct commit *c)
{
	struct sim_store st;

	c->below = sim_disk_new();
	sim_store_init(&st, c->below);
	for (unsigned i = 0; i < BELOW; i++)
		memset(c->expected + i * BYTES, 'a' + (int)i, BYTES);
	if (store_write(&st.st, c->expected, BELOW * BYTES, 0) || store_datasync(&st.st))
		crash_fail("cannot fill the backing");
}

static errint_t write_above(struct world *w, void *arg)
{
	struct commit *c = arg;
	/* Whole clusters and parts, over the backing, at its end and behind it; zeros. */
	static const struct {
		unsigned off, len;
		int with;
	} writes[] = {{0, BYTES, 'A'},
		      {BYTES + 4096, 8192, 'B'},
		      {3 * BYTES + 512, 1024, 'C'},
		      {7 * BYTES, 2 * BYTES, 'D'},
		      {10 * BYTES, 4096, 'E'}};
	errint_t err = 0;

	for (unsigned i = 0; i < sizeof(writes) / sizeof(*writes) && !err; i++) {
		memset(c->expected + writes[i].off, writes[i].with, writes[i].len);
		err = engine_write(w->thread[0], c->expected + writes[i].off, writes[i].off,
				   writes[i].len, false);
	}
	memset(c->expected + 5 * BYTES, 0, BYTES);
	err = err ? err : engine_discard(w->thread[0], 5 * BYTES, BYTES);
	return err ? err : engine_flush(w->thread[0]);
}

static errint_t compare_all(struct world *w, void *arg)
{
	const struct commit *c = arg;
	uint8_t *buf = store_buffer(CLUSTERS * BYTES);
	errint_t err = engine_read(w->thread[0], buf, 0, CLUSTERS * BYTES);

	for (unsigned i = 0; i < CLUSTERS * BYTES && !err; i++)
		if (buf[i] != c->expected[i])
			crash_fail("byte %u of cluster %u is %u instead of %u", i % BYTES,
				   i / BYTES, buf[i], c->expected[i]);
	free(buf);
	return err;
}

static errint_t check_exact(struct world *w, void *arg)
{
	struct check_opts opts = {.threads = 1};

	return check_image(w->im, &opts, arg);
}

static errint_t commit_again(struct world *w, void *arg)
{
	struct work_result res;

	(void)arg;
	return engine_commit(w->engine, NULL, &res);
}

/* Everything is as it was, and what was begun can be brought to its end. */
static void verify(struct commit *c, struct world *w, bool again, const char *when)
{
	struct check_result res = {0};
	struct backing_ref ref;

	if (world_do(w, check_exact, &res) || res.corruptions || res.leaks)
		crash_fail("%s: not as the format promises", when);
	if (world_do(w, compare_all, c))
		crash_fail("%s: cannot read", when);
	if (!again)
		return;
	if (world_do(w, commit_again, NULL) || world_do(w, compare_all, c))
		crash_fail("%s: cannot commit again", when);
	image_get_backing(w->im, &ref);
	if (ref.committing)
		crash_fail("%s: the commit is at its end, and marked", when);
}

/* What is left of both disks opens, and reads the same. */
static void lose_power(struct commit *c, struct rng *rng)
{
	enum sim_loss above = (enum sim_loss)rng_below(rng, SIM_LOSSES);
	enum sim_loss under = (enum sim_loss)rng_below(rng, SIM_LOSSES);
	struct sim_disk *disk = sim_disk_power_loss(c->below, under, rng);
	struct sim_store below;
	struct world *w =
		world_new(c->cfg, sim_disk_power_loss(c->w->disk, above, rng), rng_next(rng));

	sim_store_init(&below, disk);
	w->backing = &below.st;
	if (world_open(w, false))
		crash_fail("power loss: cannot open");
	verify(c, w, rng_chance(rng, 20), "power loss");
	counts.power[above]++;
	world_free(w);
	sim_disk_free(disk);
}

static void commit_task(void *arg)
{
	struct commit *c = arg;
	struct work_result res;

	if (engine_commit(c->w->engine, NULL, &res))
		crash_fail("the commit failed");
	c->done = true;
}

/* Records become durable while the commit is under way. */
static void flush_task(void *arg)
{
	struct commit *c = arg;

	while (!c->done) {
		if (image_flush(c->w->im))
			crash_fail("a flush failed");
		for (unsigned i = 0; i < 20; i++)
			sim_yield("rest");
	}
}

/* Somebody else writes the same bytes again: nothing is lost by what the commit moves. */
static void rewrite_task(void *arg)
{
	struct commit *c = arg;
	uint8_t *buf = store_buffer(4096);

	for (unsigned i = 0; !c->done; i++) {
		unsigned off = (i % 3 ? 0 : 7 * BYTES) + i % 4 * 4096;

		memcpy(buf, c->expected + off, 4096);
		if (engine_write(c->w->thread[1], buf, off, 4096, i % 5 == 0))
			crash_fail("writing failed");
	}
	free(buf);
}

void directed_commit(const struct config *base)
{
	struct commit *c = sim_calloc(1, sizeof(*c));
	struct config cfg = *base;
	struct rng rng = {base->seed};
	struct backing_ref ref = {
		.kind = BACKING_RAW, .size = BELOW * BYTES, .limit = BELOW * BYTES, .path = "b"};

	cfg.params.cluster_shift = 16;
	cfg.params.size = CLUSTERS * BYTES;
	cfg.max_regions = cfg.journal_length = 0;
	cfg.dirty_cap = cfg.cache_nodes = 0;
	cfg.nearly_full = cfg.snapshot = cfg.backing = false;
	cfg.params.backing = &ref;
	c->cfg = &cfg;
	c->expected = store_buffer(CLUSTERS * BYTES);
	fill_below(c);
	ref.stamp = 1ull << 32 | crc32c(0, c->expected, BELOW * BYTES);
	sim_store_init(&c->store, c->below);
	c->w = world_new(&cfg, world_base(&cfg), base->seed);
	c->w->backing = &c->store.st;
	if (world_open(c->w, false) || world_do(c->w, write_above, c))
		crash_fail("cannot make an overlay");
	sim_spawn(c->w->sched, "commit", commit_task, c);
	sim_spawn(c->w->sched, "flush", flush_task, c);
	if (base->seed % 2)
		sim_spawn(c->w->sched, "rewrite", rewrite_task, c);
	for (unsigned i = 0; sim_step(c->w->sched) == SIM_RUNNING; i++)
		if (i % 4 == base->seed % 4)
			lose_power(c, &rng);
	world_drain(c->w);
	lose_power(c, &rng);
	verify(c, c->w, true, "at the end");
	world_free(c->w);
	sim_disk_free(c->below);
	free(c->expected);
	free(c);
}
