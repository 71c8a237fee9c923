/* SPDX-License-Identifier: MIT */
/* What a seed decides about an image and the program that runs on it. */
#include "config.h"

#include <string.h>

#include "codecs/codec.h"
#include "tests/crash/crash.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

static const uint8_t uuid[16] = "crash test image";

/* Zones where trees have their edges: at the start, across two leaves, at the disk's end. */
static void choose_zones(struct config *cfg, struct rng *rng)
{
	uint64_t cluster = 1ull << cfg->params.cluster_shift;
	uint64_t leaf = cluster << 8;
	uint64_t few = cluster << (18 - cfg->params.cluster_shift); /* 256 KiB */

	cfg->zones = (struct zones){0};
	if (cfg->params.size <= 2 * few) {
		zones_add(&cfg->zones, 0, cfg->params.size);
		return;
	}
	zones_add(&cfg->zones, 0, few + (rng_chance(rng, 50) ? cluster : 0));
	if (cfg->params.size > leaf + 4 * few)
		zones_add(&cfg->zones, leaf - 2 * cluster, 4 * cluster);
	zones_add(&cfg->zones, (cfg->params.size - few) / cluster * cluster,
		  cfg->params.size - (cfg->params.size - few) / cluster * cluster);
}

static uint64_t choose_size(struct rng *rng)
{
	static const uint64_t sizes[] = {KIB(256), MIB(1), MIB(40), GIB(6), GIB(6)};
	uint64_t size = sizes[rng_below(rng, sizeof(sizes) / sizeof(*sizes))];

	return size + (rng_chance(rng, 50) ? rng_below(rng, 256) * 512 : 0);
}

void config_random(struct config *cfg, uint64_t seed)
{
	static const unsigned weights[OPS] = {
		[OP_WRITE] = 30,      [OP_FULL_WRITE] = 12, [OP_FUA] = 4,	 [OP_DISCARD] = 5,
		[OP_TRIM] = 4,	      [OP_ZEROES] = 4,	    [OP_READ] = 10,	 [OP_FLUSH] = 9,
		[OP_MAINTAIN] = 2,    [OP_RESIZE] = 1,	    [OP_CHECKPOINT] = 2, [OP_SNAPSHOT] = 2,
		[OP_SNAP_DELETE] = 2, [OP_ROLLBACK] = 1,    [OP_RECLAIM] = 4,	 [OP_SNAP_READ] = 2,
	};
	struct rng rng = {seed ^ 0xc0ff};

	memset(cfg, 0, sizeof(*cfg));
	cfg->seed = seed;
	cfg->params.cluster_shift = rng_chance(&rng, 70) ? 16 : (uint8_t)(17 + rng_below(&rng, 2));
	cfg->params.sector_shift = 9;
	cfg->params.size = choose_size(&rng);
	cfg->params.codec = rng_chance(&rng, 60) ? CODEC_ZSTD : CODEC_NONE;
	cfg->params.level = 1;
	cfg->params.creator = "crash test";
	cfg->params.uuid = uuid;
	choose_zones(cfg, &rng);
	cfg->max_regions = rng_chance(&rng, 50) ? 4 : 0;
	cfg->journal_length = rng_chance(&rng, 50) ? KIB(64) : rng_chance(&rng, 60) ? KIB(256) : 0;
	cfg->dirty_cap = rng_chance(&rng, 40) ? 4 + (unsigned)rng_below(&rng, 12) : 0;
	cfg->cache_nodes = rng_chance(&rng, 50) ? 1 + (unsigned)rng_below(&rng, 5) : 0;
	cfg->no_punch = rng_chance(&rng, 10);
	cfg->first_fit = rng_chance(&rng, 50);
	cfg->inject = rng_chance(&rng, 10);
	cfg->steps = 500;
	cfg->tasks = 1 + (unsigned)rng_below(&rng, MAX_TASKS);
	cfg->nowait = rng_chance(&rng, 40) ? 70 : 0;
	cfg->crashes = 12;
	cfg->process = 40;
	cfg->late = 20;
	cfg->late_wait = 40;
	memcpy(cfg->weight, weights, sizeof(weights));
	if (rng_chance(&rng, 50)) /* a program with a liking of its own */
		cfg->weight[rng_below(&rng, OPS)] *= 5;
	if (rng_chance(&rng, 15))
		config_nearly_full(cfg);
	else
		cfg->snapshot = rng_chance(&rng, 25);
	cfg->backing = !cfg->nearly_full && !cfg->snapshot && rng_chance(&rng, 40);
	cfg->vj = rng_chance(&rng, 60);
	if (cfg->vj)
		cfg->process = 60;
}

/* The disk is large enough to be filled up far from the zones; see world_base(). */
void config_nearly_full(struct config *cfg)
{
	struct rng rng = {cfg->seed ^ 0xf011};

	cfg->nearly_full = true;
	cfg->snapshot = cfg->backing = false;
	cfg->max_regions = 2;
	cfg->params.size = GIB(6);
	choose_zones(cfg, &rng);
}
