/* SPDX-License-Identifier: MIT */
/* Group tables, alloc root blocks and bitmaps. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/bitmap.h"
#include "image/checksum.h"
#include "tests/lib/blocks.h"
#include "tests/lib/breaking.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define BAD	     -EBADMSG
#define ENTRY(i)     ((i) * sizeof(struct disk_alloc_entry))

static errint_t judge_group(void *block, struct reason *why)
{
	struct limits lim = blocks_limits(16);
	uint32_t crc = checksum_alloc(lim.uuid_seed, ALLOC_GROUP, 0, block);

	return validate_alloc_block(block, ALLOC_GROUP, 0, crc, &lim, why);
}

static errint_t judge_root(void *block, struct reason *why)
{
	struct limits lim = blocks_limits(16);
	uint32_t crc = checksum_alloc(lim.uuid_seed, ALLOC_ROOT, 0, block);

	return validate_alloc_block(block, ALLOC_ROOT, 0, crc, &lim, why);
}

static void test_group_fields(void **state)
{
	/* blocks_group(): mixed, data, blob, meta, -, mixed ... data. */
	static const struct poke pokes[] = {
		{9, 1, 2, BAD, "entry 0 at 0, in_use at 9: 2 is not in 0..1"},
		{9, 1, 255, BAD, "entry 0 at 0, in_use at 9"},
		{ENTRY(3) + 9, 1, 0, BAD, "entry 3 at 48, crc at 0: 50727180 is not 0"},
		{10, 1, 1, BAD, "entry 0 at 0, class at 10: 1 is not 4"},
		{10, 1, 0, BAD, "entry 0 at 0, class at 10: 0 is not 4"},
		{ENTRY(1) + 10, 1, 0, BAD, "entry 1 at 16, class at 10: 0 is not in 1..4"},
		{ENTRY(1) + 10, 1, 5, BAD, "entry 1 at 16, class at 10: 5 is not in 1..4"},
		{ENTRY(1) + 10, 1, 3, 0, NULL},
		{ENTRY(1) + 10, 1, 2, 0, NULL},
		{4, 4, 32768 - 512, BAD, "entry 0 at 0, dead_sectors at 12: 999 is not in 0..0"},
		{4, 4, 32768 - 511, BAD, "entry 0 at 0, free_units at 4: 32257 is not in 0..32256"},
		{4, 4, UINT32_MAX, BAD, "entry 0 at 0, free_units at 4"},
		{ENTRY(1) + 4, 4, 32752, 0, NULL},
		{ENTRY(1) + 4, 4, 32753, BAD,
		 "entry 1 at 16, free_units at 4: 32753 is not in 0..32752"},
		{ENTRY(1) + 8, 1, 2, BAD, "entry 1 at 16, slots at 8: 2 is not in 0..1"},
		{ENTRY(3) + 8, 1, 255, BAD, "entry 3 at 48, slots at 8: 255 is not in 0..1"},
		{ENTRY(2) + 8, 1, 0, 0, NULL},
		{ENTRY(2) + 11, 1, 15, 0, NULL},
		{ENTRY(2) + 11, 1, 16, BAD, "entry 2 at 32, run_log2 at 11: 16 is not in 0..15"},
		{ENTRY(2) + 12, 4, (32752 - 20000) * 7, 0, NULL},
		{ENTRY(2) + 12, 4, (32752 - 20000) * 7 + 1, BAD,
		 "entry 2 at 32, dead_sectors at 12: 89265 is not in 0..89264"},
		{ENTRY(2) + 12, 4, UINT32_MAX, BAD, "entry 2 at 32, dead_sectors at 12"},
		{ENTRY(1) + 12, 4, 1, BAD, "entry 1 at 16, dead_sectors at 12: 1 is not in 0..0"},
		{ENTRY(3) + 12, 4, 1, BAD, "entry 3 at 48, dead_sectors at 12: 1 is not in 0..0"},
		{ENTRY(4) + 0, 4, 1, BAD, "entry 4 at 64, crc at 0: 1 is not 0"},
		{ENTRY(4) + 4, 4, 1, BAD, "entry 4 at 64, free_units at 4: 1 is not 0"},
		{ENTRY(4) + 8, 1, 1, BAD, "entry 4 at 64, slots at 8: 1 is not 0"},
		{ENTRY(4) + 10, 1, 1, BAD, "entry 4 at 64, class at 10: 1 is not 0"},
		{ENTRY(4) + 11, 1, 1, BAD, "entry 4 at 64, run_log2 at 11: 1 is not 0"},
		{ENTRY(4) + 12, 4, 1, BAD, "entry 4 at 64, dead_sectors at 12: 1 is not 0"},
		{ENTRY(255) + 10, 1, 9, BAD, "entry 255 at 4080, class at 10"},
	};
	struct disk_alloc_block b;
	struct reason why;

	(void)state;
	blocks_group(&b);
	assert_int_equal(judge_group(&b, &why), 0);
	break_each(&b, sizeof(b), pokes, COUNT(pokes), judge_group);
}

/* The second group of an image of 300 regions: its table stands in region 256 (R1). */
static void test_second_group(void **state)
{
	struct limits lim = blocks_limits(16);
	struct disk_alloc_block b;
	struct reason why;

	(void)state;
	memset(&b, 0, sizeof(b));
	for (unsigned class_ = CLASS_DATA; class_ <= CLASS_MIXED; class_++) {
		b.entry[0] = (struct disk_alloc_entry){.in_use = 1, .class_ = (uint8_t)class_};
		uint32_t crc = checksum_alloc(lim.uuid_seed, ALLOC_GROUP, 1, &b);
		errint_t err = validate_alloc_block(&b, ALLOC_GROUP, 1, crc, &lim, &why);
		if (class_ == CLASS_DATA || class_ == CLASS_META)
			assert_int_equal(err, 0);
		else
			assert_refused(err, &why,
				       "is neither 1 data nor 3 meta, although region 256 holds");
	}
	memset(&b, 0, sizeof(b));
	b.entry[43] = (struct disk_alloc_entry){.in_use = 1, .class_ = CLASS_BLOB};
	uint32_t crc = checksum_alloc(lim.uuid_seed, ALLOC_GROUP, 1, &b);
	assert_int_equal(validate_alloc_block(&b, ALLOC_GROUP, 1, crc, &lim, &why), 0);
	lim.phys_regions--;
	assert_refused(validate_alloc_block(&b, ALLOC_GROUP, 1, crc, &lim, &why), &why,
		       "entry 43 at 688, in_use at 9: 1 although region 299 is beyond the last");
}

static void test_root_fields(void **state)
{
	static const struct poke pokes[] = {
		{4, 4, 256 * 32752, 0, NULL},
		{4, 4, 256 * 32752 + 1, BAD,
		 "entry 0 at 0, free_units at 4: 8384513 is not in 0..8384512"},
		{4, 4, UINT32_MAX, BAD, "entry 0 at 0, free_units at 4"},
		{ENTRY(1) + 4, 4, 44 * 32752, 0, NULL},
		{ENTRY(1) + 4, 4, 44 * 32752 + 1, BAD,
		 "entry 1 at 16, free_units at 4: 1441089 is not"},
		{8, 1, 2, BAD, "entry 0 at 0, slots at 8: 2 is not in 0..1"},
		{9, 1, 2, BAD, "entry 0 at 0, in_use at 9: 2 is not in 0..1"},
		{9, 1, 0, BAD, "entry 0 at 0, crc at 0: 21930 is not 0"},
		{10, 1, 4, BAD, "entry 0 at 0, class at 10: 4 is not 0"},
		{11, 1, 1, BAD, "entry 0 at 0, run_log2 at 11: 1 is not 0"},
		{12, 4, 1, BAD, "entry 0 at 0, dead_sectors at 12: 1 is not 0"},
		{ENTRY(2) + 9, 1, 1, BAD,
		 "entry 2 at 32, in_use at 9: 1 although region 512 is beyond"},
		{ENTRY(255) + 4, 1, 1, BAD, "entry 255 at 4080, free_units at 4: 1 is not 0"},
	};
	struct disk_alloc_block b;
	struct reason why;

	(void)state;
	blocks_root(&b);
	assert_int_equal(judge_root(&b, &why), 0);
	break_each(&b, sizeof(b), pokes, COUNT(pokes), judge_root);
}

static void test_every_byte(void **state)
{
	static const struct byte_range any_group[] = {
		{0, 4},	 /* crc */
		{4, 1},	 /* free_units below 16384 */
		{8, 1},	 /* slots */
		{12, 2}, /* dead_sectors */
		{ENTRY(1), 5},	 {ENTRY(2), 5}, {ENTRY(2) + 8, 1}, {ENTRY(2) + 12, 2},
		{ENTRY(3), 5},	 {ENTRY(5), 5}, {ENTRY(5) + 8, 1}, {ENTRY(5) + 12, 2},
		{ENTRY(255), 5},
	};
	static const struct byte_range any_root[] = {{0, 6}, {ENTRY(1), 6}};
	struct disk_alloc_block b;

	(void)state;
	blocks_group(&b);
	break_every_byte(&b, sizeof(b), any_group, COUNT(any_group), judge_group);
	blocks_root(&b);
	break_every_byte(&b, sizeof(b), any_root, COUNT(any_root), judge_root);
}

static void test_block_checksum(void **state)
{
	struct limits lim = blocks_limits(16);
	struct disk_alloc_block b;
	uint8_t *bytes = (uint8_t *)&b;
	struct reason why;

	(void)state;
	blocks_group(&b);
	uint32_t crc = checksum_alloc(lim.uuid_seed, ALLOC_GROUP, 0, &b);
	for (size_t i = 0; i < sizeof(b); i++) {
		bytes[i] ^= (uint8_t)(1u << i % 8);
		assert_refused(validate_alloc_block(&b, ALLOC_GROUP, 0, crc, &lim, &why), &why,
			       "crc of the block");
		bytes[i] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(validate_alloc_block(&b, ALLOC_GROUP, 0, crc, &lim, &why), 0);
	assert_refused(validate_alloc_block(&b, ALLOC_GROUP, 1, crc, &lim, &why), &why,
		       "crc of the");
	assert_refused(validate_alloc_block(&b, ALLOC_ROOT, 0, crc, &lim, &why), &why,
		       "crc of the");
}

/* --- bitmaps ------------------------------------------------------------------------------ */

static uint8_t bits[REGION_SECTORS / 8];

static errint_t resealed(uint64_t region, struct disk_alloc_entry *e, const struct limits *lim,
			 struct reason *why)
{
	blocks_seal_bitmap(bits, region, lim, e);
	return validate_bitmap(bits, region, e, lim, why);
}

static void test_bitmap_accepted(void **state)
{
	struct disk_alloc_entry e;
	struct reason why = {""};

	(void)state;
	for (unsigned shift = 16; shift <= 18; shift++) {
		struct limits lim = blocks_limits(shift);
		for (unsigned class_ = CLASS_DATA; class_ <= CLASS_MIXED; class_++) {
			uint64_t region = class_ == CLASS_MIXED ? 0 : BLOCKS_REGIONS - 1;
			blocks_bitmap(bits, region, class_, &lim, &e);
			if (validate_bitmap(bits, region, &e, &lim, &why))
				fail_msg("class %u: %s", class_, why.text);
			/* Everything in use. */
			memset(bits, 0xff, sizeof(bits));
			assert_int_equal(resealed(region, &e, &lim, &why), 0);
			assert_int_equal(le32_get(e.free_units), 0);
		}
	}
}

static void test_bitmap_checksum(void **state)
{
	struct limits lim = blocks_limits(16);
	struct disk_alloc_entry e;
	struct reason why;

	(void)state;
	for (unsigned class_ = CLASS_DATA; class_ <= CLASS_MIXED; class_++) {
		bool sectors = class_ == CLASS_BLOB || class_ == CLASS_MIXED;
		size_t len = sectors ? sizeof(bits) : UNIT_SIZE;
		blocks_bitmap(bits, 7, class_, &lim, &e);
		for (size_t i = 0; i < len; i += 61) {
			bits[i] ^= (uint8_t)(1u << i % 8);
			assert_refused(validate_bitmap(bits, 7, &e, &lim, &why), &why,
				       "crc of the bitmap");
			bits[i] ^= (uint8_t)(1u << i % 8);
		}
		assert_int_equal(validate_bitmap(bits, 7, &e, &lim, &why), 0);
		assert_refused(validate_bitmap(bits, 8, &e, &lim, &why), &why, "for region 8");
		/* Blocks in the wrong order. */
		if (sectors) {
			memcpy(bits + 6 * UNIT_SIZE, bits + 7 * UNIT_SIZE, UNIT_SIZE);
			assert_refused(validate_bitmap(bits, 7, &e, &lim, &why), &why, "crc of");
		}
	}
}

static void test_bitmap_reserved(void **state)
{
	static const struct {
		unsigned shift, class_;
		uint64_t region;
		unsigned reserved; /* units */
	} cases[] = {
		{16, CLASS_MIXED, 0, 512}, {16, CLASS_MIXED, 3, 16}, {16, CLASS_BLOB, 3, 16},
		{18, CLASS_BLOB, 3, 16},   {16, CLASS_META, 3, 16},  {18, CLASS_META, 3, 16},
		{16, CLASS_DATA, 3, 16},   {17, CLASS_DATA, 3, 32},  {18, CLASS_DATA, 3, 64},
	};
	struct disk_alloc_entry e;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct limits lim = blocks_limits(cases[i].shift);
		bool sectors = cases[i].class_ == CLASS_BLOB || cases[i].class_ == CLASS_MIXED;
		unsigned each = sectors ? UNIT_SECTORS : 1;
		for (unsigned bit = 0; bit < cases[i].reserved * each; bit++) {
			char says[48];
			blocks_bitmap(bits, cases[i].region, cases[i].class_, &lim, &e);
			bit_clear(bits, bit);
			snprintf(says, sizeof(says), "unit %u is reserved (R2)", bit / each);
			assert_refused(resealed(cases[i].region, &e, &lim, &why), &why, says);
		}
		/* The first one behind is free to be free. */
		blocks_bitmap(bits, cases[i].region, cases[i].class_, &lim, &e);
		size_t next = (size_t)cases[i].reserved * each;
		bits_clear(bits, next, 64);
		assert_int_equal(resealed(cases[i].region, &e, &lim, &why), 0);
	}
}

static void test_bitmap_counts(void **state)
{
	struct limits lim = blocks_limits(16);
	struct disk_alloc_entry e, wrong;
	struct reason why;

	(void)state;
	for (unsigned class_ = CLASS_DATA; class_ <= CLASS_MIXED; class_++) {
		blocks_bitmap(bits, 4, class_, &lim, &e);
		wrong = e;
		wrong.free_units = le32_make(le32_get(e.free_units) - 1);
		assert_refused(validate_bitmap(bits, 4, &wrong, &lim, &why), &why,
			       "are free in the bitmap, the group table holds");
		wrong.free_units = le32_make(le32_get(e.free_units) + 1);
		assert_refused(validate_bitmap(bits, 4, &wrong, &lim, &why), &why, "free_units: ");
	}
	blocks_bitmap(bits, 4, CLASS_BLOB, &lim, &e);
	wrong = e;
	wrong.dead_sectors = le32_make(le32_get(e.dead_sectors) + 1);
	assert_refused(validate_bitmap(bits, 4, &wrong, &lim, &why), &why,
		       "are dead in the bitmap, the group table holds");
	wrong.dead_sectors = le32_make(0);
	assert_refused(validate_bitmap(bits, 4, &wrong, &lim, &why), &why, "dead_sectors: ");
}

/* In a DATA region a cluster is in use or free as a whole (A1). */
static void test_bitmap_clusters(void **state)
{
	struct disk_alloc_entry e;
	struct reason why;

	(void)state;
	for (unsigned shift = 16; shift <= 18; shift++) {
		struct limits lim = blocks_limits(shift);
		unsigned cu = cluster_units(&lim.geo), at = REGION_UNITS / 2;
		for (unsigned i = 0; i < cu; i++) {
			blocks_bitmap(bits, 4, CLASS_DATA, &lim, &e);
			bit_clear(bits, at + i);
			assert_refused(
				resealed(4, &e, &lim, &why), &why,
				"cluster at unit 16384 of the region is in use in part (A1)");
			blocks_bitmap(bits, 4, CLASS_META, &lim, &e);
			bit_clear(bits, at + i);
			assert_int_equal(resealed(4, &e, &lim, &why), 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_group_fields),	cmocka_unit_test(test_second_group),
		cmocka_unit_test(test_root_fields),	cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_block_checksum),	cmocka_unit_test(test_bitmap_accepted),
		cmocka_unit_test(test_bitmap_checksum), cmocka_unit_test(test_bitmap_reserved),
		cmocka_unit_test(test_bitmap_counts),	cmocka_unit_test(test_bitmap_clusters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
