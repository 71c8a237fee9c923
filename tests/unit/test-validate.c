/* SPDX-License-Identifier: MIT */
/* Descriptors and nodes. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/checksum.h"
#include "tests/lib/blocks.h"
#include "tests/lib/breaking.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

#define LAST_UNIT (BLOCKS_REGIONS * (uint64_t)REGION_UNITS)

static void accept(struct desc d, unsigned level, const struct limits *lim)
{
	struct reason why = {""};

	if (validate_desc(d, lim, level, 5, &why))
		fail_msg("level %u, w0 %llx: refused: %s", level, (unsigned long long)d.w0,
			 why.text);
}

static void refuse(struct desc d, unsigned level, const struct limits *lim, const char *says)
{
	struct reason why;

	assert_refused(validate_desc(d, lim, level, 5, &why), &why, says);
}

static struct desc with_w0(struct desc d, uint64_t bits)
{
	d.w0 |= bits;
	return d;
}

static void test_hole(void **state)
{
	struct limits lim = blocks_limits(16);

	(void)state;
	for (unsigned level = 0; level < MAX_LEVELS; level++) {
		accept(desc_hole(), level, &lim);
		refuse((struct desc){1, 0, 0}, level, &lim, "w0 at 0: 0x1 is not 0, as for a hole");
		refuse((struct desc){1ull << 55, 0, 0}, level, &lim, "w0 at 0");
		refuse((struct desc){0, 1, 0}, level, &lim, "birth at 8: 1 is not 0");
		refuse((struct desc){0, 0, 1}, level, &lim, "aux at 12: 0x1 is not 0");
	}
}

static void test_zero(void **state)
{
	struct limits lim = blocks_limits(16);
	struct desc d = desc_zero_make(5);

	(void)state;
	accept(d, 0, &lim);
	accept(desc_zero_make(1), 0, &lim);
	refuse(with_w0(d, 1), 0, &lim, "w0 at 0: 0x100000000000001 names storage");
	refuse(with_w0(d, 1ull << 55), 0, &lim, "w0 at 0");
	refuse(desc_zero_make(0), 0, &lim, "birth at 8: 0 is not in 1..5");
	refuse(desc_zero_make(6), 0, &lim, "birth at 8: 6 is not in 1..5");
	d.aux = 1;
	refuse(d, 0, &lim, "aux at 12: 0x1 is not 0, as for a zero range");
	refuse(desc_zero_make(5), 1, &lim, "type at 7: 1 is not 0 hole or 4 node");
}

static void test_flags_and_types(void **state)
{
	struct limits lim = blocks_limits(16);

	(void)state;
	for (unsigned type = 0; type < 16; type++) {
		struct desc d = {(uint64_t)type << 56, 1, 0};
		for (unsigned flags = 1; flags < 16; flags++)
			refuse(with_w0(d, (uint64_t)flags << 60), 0, &lim, "flags at 7");
		if (type > DESC_ZSTD)
			refuse(d, 0, &lim, "is not 0 hole, 1 zero, 2 raw or 3 zstd");
		if (type != DESC_HOLE && type != DESC_NODE)
			refuse(d, 4, &lim, "is not 0 hole or 4 node");
	}
}

static void test_raw(void **state)
{
	struct limits lim = blocks_limits(16);
	uint64_t unit = REGION_UNITS + 16;

	(void)state;
	accept(desc_raw_make(unit, 5, 0xffff, 0), 0, &lim);
	accept(desc_raw_make(unit, 1, 0, 0xffff), 0, &lim);
	accept(desc_raw_make(unit, 1, 0, 0), 0, &lim);
	accept(desc_raw_make(512, 1, 1, 0), 0, &lim);
	accept(desc_raw_make(LAST_UNIT - 16, 1, 1, 0), 0, &lim);
	accept(desc_raw_make(0, 1, 0, 0xffff), 0, &lim);
	accept(desc_raw_make(0, 1, 0, 0), 0, &lim);
	struct desc both = {(uint64_t)DESC_RAW << 56 | unit, 1, 0x00030002};
	refuse(both, 0, &lim, "aux at 12: sub-blocks 0x0002 are both valid and zero");
	refuse(desc_raw_make(0, 1, 4, 0), 0, &lim,
	       "aux at 12: valid 0x0004 is not 0 although unit");
	refuse(desc_raw_make(unit + 1, 1, 1, 0), 0, &lim,
	       "unit at 0: 32785 is not a multiple of 16");
	refuse(desc_raw_make(unit + 8, 1, 1, 0), 0, &lim, "unit at 0");
	refuse(desc_raw_make(496, 1, 1, 0), 0, &lim,
	       "unit at 0: unit 496 is among the first 512 of region 0");
	refuse(desc_raw_make(REGION_UNITS, 1, 1, 0), 0, &lim,
	       "unit at 0: unit 32768 is among the first 16 of region 1");
	refuse(desc_raw_make(LAST_UNIT + 16, 1, 1, 0), 0, &lim,
	       "unit at 0: unit 9830416 is in region 300, the last one is 299");
	refuse(desc_raw_make((1ull << 40) - 16, 1, 1, 0), 0, &lim, "unit at 0");
	refuse(with_w0(desc_raw_make(unit, 1, 1, 0), 1ull << 40), 0, &lim,
	       "w0 at 0: bits 40..55 hold 0x1");
	refuse(with_w0(desc_raw_make(0, 1, 0, 0), 1ull << 55), 0, &lim,
	       "w0 at 0: bits 40..55 hold 0x8000");
	refuse(desc_raw_make(unit, 0, 1, 0), 0, &lim, "birth at 8: 0 is not in 1..5");
	refuse(desc_raw_make(unit, 6, 1, 0), 0, &lim, "birth at 8: 6 is not in 1..5");
	refuse(desc_raw_make(0, 6, 0, 1), 0, &lim, "birth at 8");
	refuse(desc_raw_make(unit, 1, 1, 0), 1, &lim, "type at 7: 2 is not 0 hole or 4 node");
}

static void test_raw_larger_clusters(void **state)
{
	(void)state;
	for (unsigned shift = 17; shift <= 18; shift++) {
		struct limits lim = blocks_limits(shift);
		unsigned cu = cluster_units(&lim.geo);
		accept(desc_raw_make(REGION_UNITS + cu, 1, 1, 0), 0, &lim);
		accept(desc_raw_make(LAST_UNIT - cu, 1, 1, 0), 0, &lim);
		refuse(desc_raw_make(REGION_UNITS + 16, 1, 1, 0), 0, &lim, "unit at 0");
		refuse(desc_raw_make(REGION_UNITS, 1, 1, 0), 0, &lim, "unit at 0");
	}
}

/* A blob at byte @off of @len bytes, both multiples of the granule. */
static struct desc blob(const struct limits *lim, uint64_t off, uint64_t len)
{
	unsigned shift = granule_shift(&lim->geo);

	return (struct desc){
		(uint64_t)DESC_ZSTD << 56 | len >> shift << DESC_GRANULE_BITS | off >> shift, 1, 0};
}

static void test_zstd_place(void **state)
{
	uint64_t region = 2 * REGION_SIZE;

	(void)state;
	for (unsigned shift = 16; shift <= 18; shift++) {
		struct limits lim = blocks_limits(shift);
		uint64_t max = (uint64_t)BLOB_MAX_GRANULES << granule_shift(&lim.geo);
		accept(blob(&lim, region + 65536, 512), 0, &lim);
		accept(blob(&lim, region + 65536, max), 0, &lim);
		accept(blob(&lim, REGION0_START, max), 0, &lim);
		accept(blob(&lim, region + REGION_SIZE - max, max), 0, &lim);
		accept(blob(&lim, BLOCKS_REGIONS * REGION_SIZE - max, max), 0, &lim);
		refuse(blob(&lim, region + 65536, max + (1u << granule_shift(&lim.geo))), 0, &lim,
		       "granules at 5: 1921 is not in 1..1920");
		refuse(blob(&lim, region + 65536, 0), 0, &lim, "granules at 5: 0 is not in");
		refuse(blob(&lim, region + 65536 - 512, 512), 0, &lim,
		       "granule at 0: unit 65551 is among the first 16 of region 2");
		refuse(blob(&lim, REGION0_START - 512, 1024), 0, &lim, "granule at 0: unit 511");
		refuse(blob(&lim, region + REGION_SIZE - 512, 1024), 0, &lim,
		       "granule at 0: 2 units from unit 98303 on leave region 2");
		refuse(blob(&lim, BLOCKS_REGIONS * REGION_SIZE, 512), 0, &lim, "granule at 0");
		refuse(with_w0(blob(&lim, region, 512), (1ull << 44) - 1), 0, &lim, "granule at 0");
		refuse(blob(&lim, 256 * REGION_SIZE + 65536, 512), 0, &lim,
		       "is in region 256, which cannot hold compressed extents (R1)");
		accept(blob(&lim, 255 * REGION_SIZE + 65536, 512), 0, &lim);
		struct desc d = blob(&lim, region + 65536, 512);
		d.birth = 0;
		refuse(d, 0, &lim, "birth at 8: 0 is not in 1..5");
		d.birth = 6;
		refuse(d, 0, &lim, "birth at 8: 6 is not in 1..5");
		d.birth = 5;
		refuse(d, 1, &lim, "type at 7: 3 is not 0 hole or 4 node");
		lim.zstd = false;
		refuse(d, 0, &lim, "type at 7: a compressed extent, which feature bit 0");
	}
}

static void test_zstd_packing(void **state)
{
	struct limits lim = blocks_limits(16);
	uint64_t unit = 2 * REGION_SIZE + 65536;

	(void)state;
	accept(blob(&lim, unit, 32), 0, &lim);
	accept(blob(&lim, unit + 3584, 32), 0, &lim);
	accept(blob(&lim, unit + 3584, 32 * 1920), 0, &lim);
	accept(blob(&lim, unit + 32, 512), 0, &lim);
	accept(blob(&lim, unit + 480, 64), 0, &lim);
	refuse(blob(&lim, unit + 32, 480), 0, &lim,
	       "granules at 5: 480 bytes at byte 268501024 contain no first byte of a sector (P1)");
	refuse(blob(&lim, unit + 480, 32), 0, &lim, "(P1)");
	refuse(blob(&lim, unit + 3616, 1024), 0, &lim,
	       "begins 3616 bytes into its unit, at most 3584 is allowed (P2)");
	refuse(blob(&lim, unit + 4064, 1024), 0, &lim, "(P2)");
}

static void test_node_desc(void **state)
{
	struct limits lim = blocks_limits(16);
	uint64_t unit = 3 * REGION_UNITS + 16;

	(void)state;
	for (unsigned level = 1; level < MAX_LEVELS; level++) {
		accept(desc_node_make(unit, 5, 0), level, &lim);
		accept(desc_node_make(512, 1, UINT32_MAX), level, &lim);
		accept(desc_node_make(256 * REGION_UNITS + 16, 1, 1), level, &lim);
		accept(desc_node_make(LAST_UNIT - 1, 1, 1), level, &lim);
		refuse(desc_node_make(0, 1, 1), level, &lim, "unit at 0: unit 0 is among");
		refuse(desc_node_make(511, 1, 1), level, &lim, "unit at 0: unit 511");
		refuse(desc_node_make(unit - 1, 1, 1), level, &lim, "unit at 0: unit 98319");
		refuse(desc_node_make(LAST_UNIT, 1, 1), level, &lim, "unit at 0");
		refuse(desc_node_make((1ull << 40) - 1, 1, 1), level, &lim, "unit at 0");
		refuse(with_w0(desc_node_make(unit, 1, 1), 1ull << 44), level, &lim,
		       "w0 at 0: bits 40..55 hold 0x10");
		refuse(desc_node_make(unit, 0, 1), level, &lim, "birth at 8: 0 is not in 1..5");
		refuse(desc_node_make(unit, 6, 1), level, &lim, "birth at 8: 6 is not in 1..5");
	}
	refuse(desc_node_make(unit, 1, 1), 0, &lim, "type at 7: 4 is not 0 hole, 1 zero");
	refuse(desc_snaptab_make(unit, 1, 1, 1), 0, &lim, "type at 7: 5");
	refuse(desc_snaptab_make(unit, 1, 1, 1), 1, &lim, "type at 7: 5");
}

static void test_roots(void **state)
{
	struct limits lim = blocks_limits(16);
	uint64_t unit = 3 * REGION_UNITS + 16;
	struct reason why;

	(void)state;
	assert_int_equal(validate_root(desc_hole(), &lim, &why), 0);
	assert_int_equal(validate_root(desc_node_make(unit, BLOCKS_EPOCH, 1), &lim, &why), 0);
	assert_refused(validate_root(desc_node_make(unit, BLOCKS_EPOCH + 1, 1), &lim, &why), &why,
		       "birth at 8: 10 is not in 1..9");
	assert_refused(validate_root(desc_zero_make(1), &lim, &why), &why, "type at 7: 1");

	assert_int_equal(validate_snaptab_desc(desc_hole(), &lim, 0, &why), 0);
	assert_refused(validate_snaptab_desc(desc_hole(), &lim, 1, &why), &why,
		       "type at 7: a hole");
	struct desc d = desc_snaptab_make(unit, 1, 1, 1);
	assert_int_equal(validate_snaptab_desc(d, &lim, 1, &why), 0);
	assert_int_equal(validate_snaptab_desc(d, &lim, 16, &why), 0);
	assert_refused(validate_snaptab_desc(d, &lim, 17, &why), &why, "units at 5: 1 is not 2");
	assert_refused(validate_snaptab_desc(d, &lim, 0, &why), &why, "units at 5: 1 is not 0");
	d = desc_snaptab_make(unit, 256, 1, 1);
	assert_int_equal(validate_snaptab_desc(d, &lim, MAX_SNAPSHOTS, &why), 0);
	assert_refused(validate_snaptab_desc(d, &lim, UINT32_MAX, &why), &why,
		       "units at 5: 256 is not 268435456");
}

/* --- nodes -------------------------------------------------------------------------------- */

static unsigned node_level;

static struct desc seal_node(const struct disk_node *node, uint64_t index)
{
	return desc_node_make(5 * REGION_UNITS, 5,
			      checksum_node(checksum_uuid(blocks_uuid), node_level, index, node));
}

static errint_t judge_node(void *block, struct reason *why)
{
	struct limits lim = blocks_limits(16);

	return validate_node(block, seal_node(block, 3), node_level, 3, 1ull << 24, &lim, why);
}

static void test_node_accepted(void **state)
{
	struct disk_node node;
	struct reason why;

	(void)state;
	for (unsigned shift = 16; shift <= 18; shift++) {
		struct limits lim = blocks_limits(shift);
		blocks_leaf(&node, &lim.geo);
		node_level = 0;
		if (validate_node(&node, seal_node(&node, 3), 0, 3, 1ull << 24, &lim, &why))
			fail_msg("%s", why.text);
		/* The highest possible position. */
		uint64_t top = (1ull << 32) - 1;
		assert_int_equal(
			validate_node(&node, seal_node(&node, top), 0, top, 1ull << 40, &lim, &why),
			0);
		blocks_inner(&node);
		for (node_level = 1; node_level < MAX_LEVELS; node_level++)
			assert_int_equal(validate_node(&node, seal_node(&node, 0), node_level, 0,
						       1ull << 40, &lim, &why),
					 0);
	}
	memset(&node, 0, sizeof(node));
	node_level = 0;
	assert_int_equal(judge_node(&node, &why), 0);
}

static void test_node_entries(void **state)
{
	/* blocks_leaf(): raw, raw, zstd, zero, hole and so on. */
	static const struct poke pokes[] = {
		{7, 1, 4, -EBADMSG, "entry 0 at 0, type at 7: 4 is not 0 hole, 1 zero"},
		{0, 1, 1, -EBADMSG, "entry 0 at 0, unit at 0: 32769 is not a multiple of 16"},
		{16 * 5 + 8, 4, 6, -EBADMSG, "entry 5 at 80, birth at 8: 6 is not in 1..5"},
		{16 * 255 + 7, 1, 2, -EBADMSG, "entry 255 at 4080, birth at 8: 0 is not in 1..5"},
		{16 * 255 + 12, 4, 1, -EBADMSG, "entry 255 at 4080, aux at 12: 0x1 is not 0"},
		{16 * 2 + 5, 2, 0, -EBADMSG, "entry 2 at 32, granules at 5: 0 is not in 1..1920"},
		{16 * 3, 1, 1, -EBADMSG, "entry 3 at 48, w0 at 0"},
		{16 * 4 + 6, 1, 1, -EBADMSG, "entry 4 at 64, w0 at 0"},
	};
	struct disk_node node;
	struct limits lim = blocks_limits(16);
	struct reason why;

	(void)state;
	blocks_leaf(&node, &lim.geo);
	node_level = 0;
	break_each(&node, sizeof(node), pokes, COUNT(pokes), judge_node);
	/* Each of the 256 is looked at. */
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		char says[32];
		struct poke poke = {i * 16 + 7, 1, 0xf, -EBADMSG, says};
		snprintf(says, sizeof(says), "entry %u at %u, type", i, i * 16);
		break_one(&node, sizeof(node), &poke, judge_node);
	}
	/* The birth of the node itself is the limit, not the image's epoch. */
	struct desc self = seal_node(&node, 3);
	self.birth = 3;
	assert_refused(validate_node(&node, self, 0, 3, 1ull << 24, &lim, &why), &why,
		       "entry 3 at 48, birth at 8: 4 is not in 1..3");
}

static void test_node_beyond_disk(void **state)
{
	struct limits lim = blocks_limits(16);
	struct disk_node node;
	struct reason why;

	(void)state;
	memset(&node, 0, sizeof(node));
	node.entry[9] = desc_to_disk(desc_zero_make(1));
	node_level = 0;
	/* Node 3 begins with cluster 768: entry 9 is cluster 777. */
	assert_int_equal(validate_node(&node, seal_node(&node, 3), 0, 3, 778, &lim, &why), 0);
	assert_refused(validate_node(&node, seal_node(&node, 3), 0, 3, 777, &lim, &why), &why,
		       "entry 9 at 144, type at 7: 1 is not 0, although cluster 777 is beyond the "
		       "last of 777");
	assert_refused(validate_node(&node, seal_node(&node, 3), 0, 3, 0, &lim, &why), &why,
		       "entry 9");
	/* At level 2 an entry covers 65536 clusters. */
	node.entry[9] = desc_to_disk(desc_node_make(600, 1, 1));
	node_level = 2;
	uint64_t first = (3ull * 256 + 9) << 16;
	assert_int_equal(validate_node(&node, seal_node(&node, 3), 2, 3, first + 1, &lim, &why), 0);
	assert_refused(validate_node(&node, seal_node(&node, 3), 2, 3, first, &lim, &why), &why,
		       "beyond the last");
}

static void test_node_checksum(void **state)
{
	struct limits lim = blocks_limits(16);
	struct disk_node node;
	uint8_t *bytes = (uint8_t *)&node;
	struct reason why;

	(void)state;
	node_level = 1;
	blocks_inner(&node);
	struct desc self = seal_node(&node, 3);
	for (size_t i = 0; i < sizeof(node); i++) {
		bytes[i] ^= (uint8_t)(1u << i % 8);
		assert_refused(validate_node(&node, self, 1, 3, 1ull << 40, &lim, &why), &why,
			       "crc of the node");
		bytes[i] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(validate_node(&node, self, 1, 3, 1ull << 40, &lim, &why), 0);
	/* Intact, but another one. */
	assert_refused(validate_node(&node, self, 1, 4, 1ull << 40, &lim, &why), &why,
		       "crc of the");
	assert_refused(validate_node(&node, self, 2, 3, 1ull << 40, &lim, &why), &why,
		       "crc of the");
	lim.uuid_seed ^= 1;
	assert_refused(validate_node(&node, self, 1, 3, 1ull << 40, &lim, &why), &why,
		       "crc of the");
}

static void test_node_every_byte(void **state)
{
	struct byte_range any[NODE_ENTRIES * 2];
	struct disk_node node;
	size_t n = 0;

	(void)state;
	node_level = 1;
	memset(&node, 0, sizeof(node));
	for (unsigned i = 0; i < NODE_ENTRIES; i += 2)
		node.entry[i] =
			desc_to_disk(desc_node_make(3 * REGION_UNITS + 0x4020 + i / 2, 5, i));
	for (unsigned i = 0; i < NODE_ENTRIES; i += 2) {
		/* Any unit of the region will do that is not in its header. */
		any[n++] = (struct byte_range){i * sizeof(struct disk_desc), 2};
		any[n++] = (struct byte_range){i * sizeof(struct disk_desc) + 12, 4};
	}
	break_every_byte(&node, sizeof(node), any, n, judge_node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hole),
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_flags_and_types),
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_raw_larger_clusters),
		cmocka_unit_test(test_zstd_place),
		cmocka_unit_test(test_zstd_packing),
		cmocka_unit_test(test_node_desc),
		cmocka_unit_test(test_roots),
		cmocka_unit_test(test_node_accepted),
		cmocka_unit_test(test_node_entries),
		cmocka_unit_test(test_node_beyond_disk),
		cmocka_unit_test(test_node_checksum),
		cmocka_unit_test(test_node_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
