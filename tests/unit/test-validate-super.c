/* SPDX-License-Identifier: MIT */
/* IDENT and superblocks: every field broken, with the checksum made right again. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "image/checksum.h"
#include "tests/lib/blocks.h"
#include "tests/lib/breaking.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define BAD	     -EBADMSG
#define NEW	     -ENOTSUP

static errint_t judge_ident(void *block, struct reason *why)
{
	blocks_seal_ident(block);
	return validate_ident(block, why);
}

static errint_t judge_super(void *block, struct reason *why)
{
	struct disk_ident ident;

	blocks_ident(&ident, 16);
	blocks_seal_super(block);
	return validate_super(block, &ident, why);
}

static void test_ident_accepted(void **state)
{
	struct disk_ident ident;
	struct reason why;

	(void)state;
	for (unsigned shift = CLUSTER_SHIFT_MIN; shift <= CLUSTER_SHIFT_MAX; shift++) {
		blocks_ident(&ident, shift);
		assert_int_equal(validate_ident(&ident, &why), 0);
	}
	memset(ident.creator, 'x', sizeof(ident.creator));
	assert_int_equal(judge_ident(&ident, &why), 0);
	memset(ident.creator, 0, sizeof(ident.creator));
	assert_int_equal(judge_ident(&ident, &why), 0);
}

static void test_ident_fields(void **state)
{
	static const struct poke pokes[] = {
		{0, 8, 0, BAD, "magic at 0: 0x0000000000000000 is not 0x01474d494b4c4255"},
		{7, 1, 2, BAD, "magic at 0"},
		{12, 4, 0, NEW,
		 "major at 12: format version 0 is not 1 (made by \"ublk-img 0.1.0\")"},
		{12, 4, 2, NEW, "major at 12"},
		{32, 1, 9, BAD, "unit_shift at 32: 9 is not 12"},
		{33, 1, 15, BAD, "cluster_shift at 33: 15 is not in 16..18"},
		{33, 1, 19, NEW, "cluster_shift at 33: 19 is reserved"},
		{33, 1, 20, NEW, "cluster_shift at 33: 20 is reserved"},
		{33, 1, 21, BAD, "cluster_shift at 33"},
		{33, 1, 255, BAD, "cluster_shift at 33"},
		{34, 1, 26, BAD, "region_shift at 34: 26 is not 27"},
		{40, 8, 0, BAD, "super_offset at 40: 0 is not 65536"},
		{48, 8, UINT64_MAX, BAD, "super_offset at 48"},
		{56, 8, 0x40000, BAD, "super_offset at 56"},
		{64, 8, 0x30000, BAD, "super_offset at 64: 196608 is not 262144"},
		{72, 1, 0x1b, BAD, "creator at 72: \"?blk-img 0.1.0\" is not UTF-8 or has control"},
		{73, 1, 0xff, BAD, "creator at 72: \"u?lk-img 0.1.0\""},
		{73, 2, 0xa4c3, 0, NULL},
		{73, 2, 0x85c2, BAD,
		 "creator at 72: \"u?\?k-img 0.1.0\" is not UTF-8 or has control"},
		{72 + 20, 1, 'x', BAD, "padding of creator at 86: byte 92 holds 0x78"},
	};
	static const struct byte_range any[] = {
		{8, 4},	  /* the checksum, made right again */
		{16, 16}, /* uuid */
	};
	struct disk_ident ident;

	(void)state;
	blocks_ident(&ident, 16);
	break_each(&ident, sizeof(ident), pokes, COUNT(pokes), judge_ident);
	break_reserved(&ident, sizeof(ident), (struct byte_range){35, 5}, judge_ident);
	break_reserved(&ident, sizeof(ident), (struct byte_range){136, 3960}, judge_ident);
	/* A creator of one byte: the rest is padding. */
	memset(ident.creator, 0, sizeof(ident.creator));
	ident.creator[0] = 'x';
	break_every_byte(&ident, sizeof(ident), any, COUNT(any), judge_ident);
}

static void flip_each_bit(void *block, size_t len, errint_t (*validate)(void *, struct reason *))
{
	uint8_t *bytes = block;
	struct reason why;

	for (size_t i = 0; i < len; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);
		bytes[i] ^= bit;
		if (!validate(block, &why))
			fail_msg("a changed bit in byte %zu is accepted", i);
		bytes[i] ^= bit;
	}
	assert_int_equal(validate(block, &why), 0);
}

static errint_t only_validate_ident(void *block, struct reason *why)
{
	return validate_ident(block, why);
}

static errint_t only_validate_super(void *block, struct reason *why)
{
	struct disk_ident ident;

	blocks_ident(&ident, 16);
	return validate_super(block, &ident, why);
}

static void test_bit_flips(void **state)
{
	struct disk_ident ident;
	struct disk_super sb;

	(void)state;
	blocks_ident(&ident, 17);
	flip_each_bit(&ident, sizeof(ident), only_validate_ident);
	blocks_super(&sb);
	flip_each_bit(&sb, sizeof(sb), only_validate_super);
	sb.crc = le32_make(le32_get(sb.crc) ^ 1);
	struct reason why;
	assert_refused(only_validate_super(&sb, &why), &why, "crc at 8");
}

static void test_super_accepted(void **state)
{
	struct disk_super sb;
	struct reason why;

	(void)state;
	blocks_super(&sb);
	assert_int_equal(only_validate_super(&sb, &why), 0);
	blocks_super_fresh(&sb);
	assert_int_equal(only_validate_super(&sb, &why), 0);
}

static void test_super_identity(void **state)
{
	static const struct poke pokes[] = {
		{0, 8, 0, BAD, "magic at 0"},
		{16, 1, 0x99, BAD, "uuid at 16: not that of the image"},
		{31, 1, 0x99, BAD, "uuid at 16"},
		{12, 4, 4, BAD, "flags at 12: 0x4 has bits outside 0x3"},
		{12, 4, 0x80000000, BAD, "flags at 12"},
		{12, 4, 3, 0, NULL},
		{40, 8, 0x7, NEW,
		 "incompat at 40: 0x7 has bit 2 (fall-through), unknown here (made by "
		 "\"ublk-img 0.1.0\")"},
		{40, 8, 0xb, NEW, "bit 3 (sealed checksums)"},
		{40, 8, 0x13, NEW, "bit 4 (dictionaries)"},
		{40, 8, 0x23, NEW, "bit 5 (external data)"},
		{40, 8, 0x43, NEW, "bit 6 (encryption)"},
		{40, 8, 0x83, NEW, "has bit 7, unknown"},
		{40, 8, 1ull << 63 | 3, NEW, "has bit 63, unknown"},
		{32, 8, 1ull << 62, 0, NULL},
		{32, 8, 0, BAD, "generation at 32: 0 is not in 1.."},
		{32, 8, UINT64_MAX, BAD, "generation at 32: 18446744073709551615 is not in 1.."},
		{80, 4, 0, BAD, "epoch at 80: 0 is not in 1..4294967295"},
		/* Features that do not keep one from reading. */
		{48, 8, UINT64_MAX, 0, NULL},
		{56, 8, UINT64_MAX, 0, NULL},
	};
	struct disk_super sb;

	(void)state;
	blocks_super(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
}

static void test_super_size(void **state)
{
	static const struct poke pokes[] = {
		{72, 1, 8, BAD, "sector_shift at 72: 8 is neither 9 nor 12"},
		{72, 1, 10, BAD, "sector_shift at 72"},
		{72, 1, 64, BAD, "sector_shift at 72"},
		{72, 1, 255, BAD, "sector_shift at 72"},
		{72, 1, 12, 0, NULL},
		{73, 1, 0, BAD, "levels at 73: 0 is not in 1..5"},
		{73, 1, 6, BAD, "levels at 73: 6 is not in 1..5"},
		{73, 1, 255, BAD, "levels at 73"},
		{73, 1, 1, BAD,
		 "size at 64: 10737418240 is more than the 16777216 bytes of 1 levels"},
		{73, 1, 5, 0, NULL},
		{64, 8, 511, BAD, "size at 64: 511 is not a multiple of 512"},
		{64, 8, UINT64_MAX, BAD, "size at 64"},
		{64, 8, UINT64_MAX - 511, BAD, "size at 64"},
		{64, 8, 1ull << 40, 0, NULL},
		{64, 8, (1ull << 40) + 512, BAD, "bytes of 3 levels"},
		{64, 8, 0, 0, NULL},
	};
	struct disk_super sb;
	struct reason why;

	(void)state;
	blocks_super(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
	break_reserved(&sb, sizeof(sb), (struct byte_range){74, 6}, judge_super);
	sb.sector_shift = 12;
	sb.size = le64_make(512);
	assert_refused(judge_super(&sb, &why), &why, "size at 64: 512 is not a multiple of 4096");
	sb.levels = 5;
	sb.size = le64_make(1ull << 56);
	assert_int_equal(judge_super(&sb, &why), 0);
}

static void test_super_trees(void **state)
{
	static const struct poke pokes[] = {
		{84, 4, 30, BAD, "head_parent at 84: 30 is not in 0..29"},
		{84, 4, UINT32_MAX, BAD, "head_parent at 84"},
		{88, 5, 0, BAD, "root at 88, unit at 0: unit 0 is among the first 512 of region 0"},
		{88, 5, 511, BAD, "root at 88, unit at 0: unit 511"},
		{88, 5, 512, 0, NULL},
		{88, 5, 0xffffffffff, BAD,
		 "root at 88, unit at 0: unit 1099511627775 is in region"},
		{93, 2, 1, BAD, "root at 88, w0 at 0: bits 40..55 hold 0x1 and must be 0"},
		{95, 1, 0, BAD, "root at 88, w0 at 0"},
		{95, 1, 2, BAD, "root at 88, type at 7: 2 is not 0 hole or 4 node"},
		{95, 1, 5, BAD, "root at 88, type at 7: 5"},
		{95, 1, 0x14, BAD, "root at 88, flags at 7: 0x1 is not 0, FALLTHROUGH is reserved"},
		{95, 1, 0x24, BAD, "root at 88, flags at 7: 0x2 is not 0, SEALED is reserved"},
		{95, 1, 0x84, BAD, "root at 88, flags at 7: 0x8 is not 0"},
		{96, 4, 0, BAD, "root at 88, birth at 8: 0 is not in 1..9"},
		{96, 4, 10, BAD, "root at 88, birth at 8: 10 is not in 1..9"},
		{104, 5, 15, BAD, "snaptab at 104, unit at 0: unit 15 is among the first 512"},
		{104, 5, 4 * REGION_UNITS - 1, BAD,
		 "snaptab at 104, unit at 0: 2 units from unit 131071 on leave region 3"},
		{104, 5, 4 * REGION_UNITS - 2, 0, NULL},
		{109, 2, 0, BAD, "snaptab at 104, units at 5: 0 is not in 1..256"},
		{109, 2, 257, BAD, "snaptab at 104, units at 5: 257 is not in 1..256"},
		{109, 2, 3, BAD, "snaptab at 104, units at 5: 3 is not 2, as for 20 snapshots"},
		{111, 1, 0, BAD, "snaptab at 104, type at 7: a hole, but there are 20 snapshots"},
		{111, 1, 4, BAD, "snaptab at 104, type at 7: 4 is not 0 hole or 5 snapshot table"},
		{111, 1, 0x45, BAD, "snaptab at 104, flags at 7: 0x4 is not 0"},
		{112, 4, 0, BAD, "snaptab at 104, birth at 8: 0 is not in 1..9"},
		{112, 4, 10, BAD, "snaptab at 104, birth at 8: 10 is not in 1..9"},
		{120, 4, 4097, BAD, "nsnapshots at 120: 4097 is not in 0..4096"},
		{120, 4, UINT32_MAX, BAD, "nsnapshots at 120"},
		{120, 4, 0, BAD, "head_parent at 84: 4 is not 0 although there is no snapshot"},
		{120, 4, 16, BAD, "units at 5: 2 is not 1, as for 16 snapshots"},
		{120, 4, 17, 0, NULL},
		{124, 4, 20, BAD, "next_snapshot at 124: 20 is not in 21..4294967295"},
		{124, 4, 0, BAD, "next_snapshot at 124"},
		{124, 4, UINT32_MAX, 0, NULL},
	};
	struct disk_super sb;

	(void)state;
	blocks_super(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
}

static void test_super_no_snapshots(void **state)
{
	static const struct poke pokes[] = {
		{104, 1, 1, BAD, "snaptab at 104, w0 at 0: 0x1 is not 0, as for a hole"},
		{112, 1, 1, BAD, "snaptab at 104, birth at 8: 1 is not 0, as for a hole"},
		{116, 1, 1, BAD, "snaptab at 104, aux at 12: 0x1 is not 0, as for a hole"},
		{96, 4, 1, BAD, "root at 88, birth at 8: 1 is not 0, as for a hole"},
		{124, 4, 0, BAD, "next_snapshot at 124: 0 is not in 1..4294967295"},
	};
	struct disk_super sb;

	(void)state;
	blocks_super_fresh(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
}

static void test_super_journal(void **state)
{
	static const struct poke pokes[] = {
		{128, 8, 0, BAD,
		 "journal_offset at 128: unit 0 is among the first 512 of region 0"},
		{128, 8, REGION0_START + 512, BAD,
		 "journal_offset at 128: 2097664 is not a multiple"},
		{128, 8, REGION_SIZE - UNIT_SIZE, BAD,
		 "journal_offset at 128: 1024 units from unit"},
		{128, 8, REGION_SIZE, BAD,
		 "journal_offset at 128: unit 32768 is among the first 16"},
		{128, 8, BLOCKS_REGIONS * REGION_SIZE, BAD, "journal_offset at 128"},
		{128, 8, (uint64_t)-UNIT_SIZE, BAD, "journal_offset at 128"},
		{128, 8, 2 * REGION_SIZE - JOURNAL_MIN, 0, NULL},
		{136, 8, 0, BAD, "journal_offset at 128: 2097152 is not 0"},
		{136, 8, JOURNAL_LEAST - UNIT_SIZE, BAD, "journal_length at 136: 61440 is not in"},
		{136, 8, JOURNAL_MIN + 512, BAD,
		 "journal_length at 136: 4194816 is not a multiple"},
		{136, 8, JOURNAL_MAX + UNIT_SIZE, BAD, "journal_length at 136"},
		{136, 8, (uint64_t)-UNIT_SIZE, BAD, "journal_length at 136"},
		{136, 8, JOURNAL_MAX, BAD, "journal_offset at 128: 32752 units from unit 512 on"},
		{136, 8, REGION_SIZE - REGION0_START, 0, NULL},
		{144, 8, 1, BAD, "journal_pos at 144: 1 is not a multiple of 4096"},
		{144, 8, 1ull << 62, 0, NULL},
		{144, 8, (1ull << 62) + UNIT_SIZE, BAD, "journal_pos at 144"},
		{152, 8, 0, BAD, "journal_seq at 152: 0 is not in 1..4611686018427387904"},
		{152, 8, 1ull << 62, 0, NULL},
		{152, 8, UINT64_MAX, BAD, "journal_seq at 152"},
	};
	static const struct poke fresh[] = {
		{12, 4, 0, BAD, "flags at 12: CLEAN is not set although there is no journal"},
		{12, 4, SUPER_ERRORS, BAD, "flags at 12"},
		{128, 8, REGION0_START, BAD, "journal_offset at 128: 2097152 is not 0"},
		{144, 8, UNIT_SIZE, BAD, "journal_pos at 144: 4096 is not 0"},
		{152, 8, 2, BAD, "journal_seq at 152: 2 is not 1"},
		{152, 8, 0, BAD, "journal_seq at 152: 0 is not 1"},
		{160, 4, 1, BAD, "journal_chain at 160: 1 is not 0"},
	};
	struct disk_super sb;

	(void)state;
	blocks_super(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
	break_reserved(&sb, sizeof(sb), (struct byte_range){164, 4}, judge_super);
	blocks_super_fresh(&sb);
	break_each(&sb, sizeof(sb), fresh, COUNT(fresh), judge_super);
}

static void test_super_space(void **state)
{
	static const struct poke pokes[] = {
		{168, 8, 0, BAD, "phys_regions at 168: 0 is not in 1..4194304"},
		{168, 8, MAX_REGIONS + 1, BAD, "phys_regions at 168"},
		{168, 8, UINT64_MAX, BAD, "phys_regions at 168"},
		{168, 8, MAX_REGIONS, 0, NULL},
		{176, 8, 511, BAD, "used_units at 176: 511 is not in 512..9830400"},
		{176, 8, BLOCKS_REGIONS * REGION_UNITS, 0, NULL},
		{176, 8, BLOCKS_REGIONS * REGION_UNITS + 1, BAD, "used_units at 176"},
		{176, 8, UINT64_MAX, BAD, "used_units at 176"},
		{184, 8, 2, BAD,
		 "root_slots at 184: bit 1 is set, but the 300 regions do not reach "
		 "alloc root block 1"},
		{184, 8, 1ull << 63, BAD, "root_slots at 184: bit 63"},
		{184, 8, 0, 0, NULL},
		{196, 4, 1, BAD, "root_crc at 196: 1 is not 0"},
		{444, 4, 0xff000000, BAD, "root_crc at 444"},
		{192, 4, 0, 0, NULL},
	};
	struct disk_super sb;
	struct reason why;

	(void)state;
	blocks_super(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
	break_reserved(&sb, sizeof(sb), (struct byte_range){464, 48}, judge_super);
	break_reserved(&sb, sizeof(sb), (struct byte_range){4080, 16}, judge_super);
	sb.phys_regions = le64_make(3);
	sb.used_units = le64_make(512);
	assert_refused(judge_super(&sb, &why), &why,
		       "root at 88, unit at 0: unit 98320 is in region 3, the last one is 2");
	/* One region more than an alloc root block covers. */
	sb.phys_regions = le64_make(65536);
	sb.root_slots = le64_make(2);
	assert_refused(judge_super(&sb, &why), &why, "root_slots at 184");
	sb.phys_regions = le64_make(65537);
	assert_int_equal(judge_super(&sb, &why), 0);
}

static void test_super_backing(void **state)
{
	enum { KIND = 512, LEN = 514, PATH = 552, LIMIT = 1576, ZERO3 = 1584 };
	static const struct poke pokes[] = {
		{KIND, 1, 4, BAD, "backing.kind at 512: 4 is not in 0..3"},
		{KIND, 1, 0, BAD, "backing.kind at 512: 0 although feature bit 1 (backing) is 1"},
		{KIND, 1, 3, 0, NULL},
		{40, 8, 1, BAD, "backing.kind at 512: 1 although feature bit 1 (backing) is 0"},
		{513, 1, 1, BAD, "reserved byte at 513"},
		{LEN, 2, 0, BAD, "backing.path_len at 514: 0 is not in 1..1024"},
		{LEN, 2, 1025, BAD, "backing.path_len at 514: 1025 is not in 1..1024"},
		{LEN, 2, 65535, BAD, "backing.path_len at 514"},
		{LEN, 2, 20, BAD, "padding of backing.path at 572: byte 572 holds 0x77"},
		{LEN, 2, 30, BAD, "backing.path at 552: byte 21 of 30 is NUL"},
		{516, 4, 1, BAD, "reserved bytes at 516"},
		{PATH, 1, 0, BAD, "backing.path at 552: byte 0 of 21 is NUL"},
		{PATH + 20, 1, 0, BAD, "backing.path at 552: byte 20 of 21 is NUL"},
		{PATH + 1023, 1, 1, BAD, "padding of backing.path at 573: byte 1575"},
		{520, 8, UINT64_MAX, 0, NULL},
		{LIMIT, 8, 0, 0, NULL},
		{LIMIT, 8, 10737418240, 0, NULL},
		{LIMIT, 8, 10737418752, BAD,
		 "backing.limit at 1576: 10737418752 is not a multiple"},
		{LIMIT, 8, 1000, BAD, "backing.limit at 1576: 1000 is not a multiple of 512"},
	};
	struct disk_super sb;
	struct reason why;

	(void)state;
	blocks_super(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
	break_reserved(&sb, sizeof(sb), (struct byte_range){ZERO3, 464}, judge_super);
	memset(sb.backing.path, 'p', sizeof(sb.backing.path));
	sb.backing.path_len = le16_make(BACKING_PATH_MAX);
	assert_int_equal(judge_super(&sb, &why), 0);
	blocks_super_fresh(&sb);
	struct poke poke = {517, 1, 1, BAD, "backing at 512: byte 517 holds 0x01"};
	break_one(&sb, sizeof(sb), &poke, judge_super);
}

static void test_super_tlv(void **state)
{
	/* blocks_super(): 0x123 with 3 bytes at 2048, compression at 2064, the end at 2080. */
	static const struct poke pokes[] = {
		{2048, 4, 0, BAD, "end of the tlv list at 2048: byte 2052 holds 0x03"},
		{2048, 4, 0x80000123, NEW, "tlv.type at 2048: 0x80000123 must be understood"},
		{2052, 4, 2025, BAD, "tlv.len at 2052: 2025 is more than the 2024 bytes"},
		{2052, 4, UINT32_MAX, BAD, "tlv.len at 2052"},
		{2052, 4, 2, BAD, "padding of a tlv entry at 2058: byte 2058 holds 0x63"},
		{2059, 1, 1, BAD, "padding of a tlv entry at 2059"},
		{2063, 1, 1, BAD, "padding of a tlv entry at 2059: byte 2063"},
		{2064, 4, 0x80000001, NEW, "tlv.type at 2064"},
		{2068, 4, 7, BAD, "tlv.len (compression) at 2068: 7 is not 8"},
		{2068, 4, 16, BAD, "tlv.len (compression) at 2068"},
		{2072, 1, 0, BAD, "compression.level at 2073: 3 is not 0"},
		{2072, 1, 200, 0, NULL},
		{2074, 1, 1, BAD, "reserved bytes at 2074"},
		{2079, 1, 1, BAD, "reserved bytes at 2074: byte 2079"},
		{2084, 1, 1, BAD, "end of the tlv list at 2080"},
		{4079, 1, 1, BAD, "end of the tlv list at 2080: byte 4079"},
		{40, 8, 2, BAD,
		 "compression.codec at 2072: zstd although feature bit 0 (zstd) is not"},
	};
	struct disk_tlv head;
	struct disk_super sb;
	struct reason why;

	(void)state;
	blocks_super(&sb);
	break_each(&sb, sizeof(sb), pokes, COUNT(pokes), judge_super);
	/* More about the backing. */
	head = (struct disk_tlv){le32_make(TLV_COMMITTING), le32_make(0)};
	memcpy(sb.tlv + 32, &head, sizeof(head));
	assert_int_equal(judge_super(&sb, &why), 0);
	memcpy(sb.tlv + 40, &head, sizeof(head));
	assert_refused(judge_super(&sb, &why), &why, "tlv.type at 2088: a second backing entry");
	head = (struct disk_tlv){le32_make(TLV_BACKING_SNAPSHOT), le32_make(16)};
	memcpy(sb.tlv + 40, &head, sizeof(head));
	assert_refused(judge_super(&sb, &why), &why, "does not go with backing.kind 1");
	sb.backing.kind = BACKING_UBLK_IMG;
	assert_int_equal(judge_super(&sb, &why), 0);
	head.len = le32_make(8);
	memcpy(sb.tlv + 40, &head, sizeof(head));
	assert_refused(judge_super(&sb, &why), &why, "tlv.len (backing) at 2092: 8 is not 16");
	blocks_super(&sb);
	/* Twice the same. */
	memcpy(sb.tlv + 32, sb.tlv + 16, 16);
	assert_refused(judge_super(&sb, &why), &why, "tlv.type at 2080: a second compression");
}

/* A list that ends exactly with its area, or 8 bytes before. */
static void test_super_tlv_full(void **state)
{
	struct disk_tlv head = {le32_make(0x7fffffff), le32_make(TLV_BYTES - sizeof(head))};
	struct disk_super sb;
	struct reason why;

	(void)state;
	blocks_super(&sb);
	memset(sb.tlv, 0xee, sizeof(sb.tlv));
	memcpy(sb.tlv, &head, sizeof(head));
	assert_int_equal(judge_super(&sb, &why), 0);
	head.len = le32_make(TLV_BYTES - 2 * sizeof(head));
	memcpy(sb.tlv, &head, sizeof(head));
	memset(sb.tlv + TLV_BYTES - 8, 0, 8);
	assert_int_equal(judge_super(&sb, &why), 0);
	head = (struct disk_tlv){le32_make(5), le32_make(0)};
	memcpy(sb.tlv + TLV_BYTES - 8, &head, sizeof(head));
	assert_int_equal(judge_super(&sb, &why), 0);
	head.len = le32_make(1);
	memcpy(sb.tlv + TLV_BYTES - 8, &head, sizeof(head));
	assert_refused(judge_super(&sb, &why), &why, "tlv.len at 4076: 1 is more than the 0 bytes");
}

static void test_super_every_byte(void **state)
{
	static const struct byte_range any[] = {
		{8, 4},		     /* crc, made right again */
		{33, 6},	     /* generation, but that it is not 0 */
		{48, 16},	     /* ro_compat, compat */
		{66, 3},	     /* size, between a sector and the tree's limit */
		{81, 3},	     /* epoch, above that of the root */
		{89, 1},   {105, 1}, /* units of root and snapshot table, inside their regions */
		{100, 4},  {116, 4}, /* and their checksums */
		{125, 3},	     /* next_snapshot, above 20 */
		{131, 1},	     /* journal_offset, in steps of 16 MiB */
		{146, 5},	     /* journal_pos, above a unit */
		{152, 7},	     /* journal_seq: no single byte makes it 0 */
		{160, 4},	     /* journal_chain */
		{168, 2},	     /* phys_regions, above those that are used */
		{176, 2},	     /* used_units */
		{192, 4},	     /* root_crc[0] */
		{448, 16},	     /* session */
		{520, 32},	     /* backing: size, id, stamp */
		{1578, 2},	     /* its limit, by sectors and within the disk */
		{2048, 3}, /* type of the unknown entry, all but the must-understand bit */
		{2056, 3}, /* its data */
		{2065, 2}, {2081, 2}, /* types that become unknown ones, without data */
		{2073, 1},	      /* compression.level */
	};
	struct disk_super sb;

	(void)state;
	blocks_super(&sb);
	break_every_byte(&sb, sizeof(sb), any, COUNT(any), judge_super);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ident_accepted), cmocka_unit_test(test_ident_fields),
		cmocka_unit_test(test_bit_flips),      cmocka_unit_test(test_super_accepted),
		cmocka_unit_test(test_super_identity), cmocka_unit_test(test_super_size),
		cmocka_unit_test(test_super_trees),    cmocka_unit_test(test_super_no_snapshots),
		cmocka_unit_test(test_super_journal),  cmocka_unit_test(test_super_space),
		cmocka_unit_test(test_super_backing),  cmocka_unit_test(test_super_tlv),
		cmocka_unit_test(test_super_tlv_full), cmocka_unit_test(test_super_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
