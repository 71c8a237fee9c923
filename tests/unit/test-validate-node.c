/* SPDX-License-Identifier: MIT */
/*
 * validate_node() decides most entries without validate_desc(): the two must agree, on descriptors
 * that are good, nearly good and anything.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "image/checksum.h"
#include "image/validate.h"
#include "tests/lib/blocks.h"
#include "tests/lib/rng.h"

#define NODES 20000u

/* Numbers about the borders of what is allowed. */
static uint64_t near(struct rng *rng, uint64_t value)
{
	return value + rng_below(rng, 5) - 2;
}

static uint64_t some_unit(struct rng *rng, const struct limits *lim)
{
	static const uint64_t in_region[] = {0, 2, 16, 64, 512, 32768 - 64, 32768 - 16, 32768};
	static const uint64_t regions[] = {0, 1, 255, 256, 257};
	uint64_t region = regions[rng_below(rng, 5)];

	if (rng_chance(rng, 10))
		region = near(rng, lim->phys_regions);
	uint64_t unit = region * REGION_UNITS + in_region[rng_below(rng, 8)];
	return (rng_chance(rng, 20) ? near(rng, unit) : unit) & ((1ull << DESC_UNIT_BITS) - 1);
}

static struct desc some_desc(struct rng *rng, const struct limits *lim, unsigned level)
{
	uint32_t birth = (uint32_t)(rng_chance(rng, 10) ? near(rng, BLOCKS_EPOCH)
							: 1 + rng_below(rng, BLOCKS_EPOCH));
	unsigned shift = granule_shift(&lim->geo);
	struct desc d = {0};

	switch (rng_below(rng, 6)) {
	case 0:
		break;
	case 1:
		d = desc_zero_make(birth);
		break;
	case 2:
		d = desc_node_make(some_unit(rng, lim), birth, (uint32_t)rng_next(rng));
		break;
	case 3:
		d = desc_raw_make(some_unit(rng, lim), birth, 0xff, 0xff00);
		break;
	default: {
		uint64_t granule = some_unit(rng, lim) << (UNIT_SHIFT - shift);
		unsigned n = rng_chance(rng, 30) ? (unsigned)near(rng, BLOB_MAX_GRANULES - 2)
						 : 1 + (unsigned)rng_below(rng, 300);

		granule = near(rng, granule + rng_below(rng, UNIT_SIZE >> shift));
		d = desc_zstd_make(granule & ((1ull << DESC_GRANULE_BITS) - 1), n, birth, 7);
	}
	}
	if (level && rng_chance(rng, 80))
		d = desc_node_make(some_unit(rng, lim), birth, 1);
	if (rng_chance(rng, 10))
		d.w0 ^= 1ull << rng_below(rng, 64);
	if (rng_chance(rng, 5))
		d.aux ^= 1u << rng_below(rng, 32);
	if (rng_chance(rng, 6))
		d.birth = rng_chance(rng, 50) ? 0 : (uint32_t)rng_next(rng);
	return d;
}

static void node_and_entry_agree(void **state)
{
	struct rng rng = {42};
	unsigned good = 0, bad = 0;
	struct disk_node node;
	struct reason why;

	(void)state;
	for (unsigned i = 0; i < NODES; i++) {
		struct limits lim = blocks_limits(16 + i % 3);
		unsigned level = (unsigned)rng_below(&rng, 2);
		uint32_t birth = 1 + (uint32_t)rng_below(&rng, BLOCKS_EPOCH);
		/* One entry decides. */
		unsigned slot = (unsigned)rng_below(&rng, NODE_ENTRIES);
		struct desc d = some_desc(&rng, &lim, level);

		lim.zstd = !rng_chance(&rng, 10);
		memset(&node, 0, sizeof(node));
		node.entry[slot] = desc_to_disk(d);
		struct desc self = desc_node_make(REGION_UNITS + 20, birth,
						  checksum_node(lim.uuid_seed, level, 3, &node));
		bool entry_ok = !validate_desc(d, &lim, level, birth, &why);

		assert_int_equal(!validate_node(&node, self, level, 3, UINT64_MAX, &lim, &why),
				 entry_ok);
		good += entry_ok;
		bad += !entry_ok;
	}
	/* Both happen. */
	assert_true(good > NODES / 10 && bad > NODES / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(node_and_entry_agree)};

	return cmocka_run_group_tests_name("validate-node", tests, NULL, NULL);
}
