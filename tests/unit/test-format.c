/* SPDX-License-Identifier: MIT */
/*
 * The format's constants and offsets as docs/format.md states them, and its checksums against
 * values that another implementation computed (bit by bit, in another language).
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/checksum.h"
#include "image/desc.h"
#include "image/format.h"
#include "tests/lib/blocks.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* The numbers below are typed from the tables of docs/format.md. */
static void test_offsets(void **state)
{
	(void)state;
#define AT(type, member, offset) assert_int_equal(offsetof(struct type, member), offset)
	AT(disk_ident, magic, 0);
	AT(disk_ident, crc, 8);
	AT(disk_ident, major, 12);
	AT(disk_ident, uuid, 16);
	AT(disk_ident, unit_shift, 32);
	AT(disk_ident, cluster_shift, 33);
	AT(disk_ident, region_shift, 34);
	AT(disk_ident, zero1, 35);
	AT(disk_ident, super_offset, 40);
	AT(disk_ident, creator, 72);
	AT(disk_ident, zero2, 136);

	AT(disk_super, magic, 0);
	AT(disk_super, crc, 8);
	AT(disk_super, flags, 12);
	AT(disk_super, uuid, 16);
	AT(disk_super, generation, 32);
	AT(disk_super, incompat, 40);
	AT(disk_super, ro_compat, 48);
	AT(disk_super, compat, 56);
	AT(disk_super, size, 64);
	AT(disk_super, sector_shift, 72);
	AT(disk_super, levels, 73);
	AT(disk_super, zero1, 74);
	AT(disk_super, epoch, 80);
	AT(disk_super, head_parent, 84);
	AT(disk_super, root, 88);
	AT(disk_super, snaptab, 104);
	AT(disk_super, nsnapshots, 120);
	AT(disk_super, next_snapshot, 124);
	AT(disk_super, journal_offset, 128);
	AT(disk_super, journal_length, 136);
	AT(disk_super, journal_pos, 144);
	AT(disk_super, journal_seq, 152);
	AT(disk_super, journal_chain, 160);
	AT(disk_super, zero2, 164);
	AT(disk_super, phys_regions, 168);
	AT(disk_super, used_units, 176);
	AT(disk_super, root_slots, 184);
	AT(disk_super, root_crc, 192);
	AT(disk_super, session, 448);
	AT(disk_super, zero3, 464);
	AT(disk_super, backing, 512);
	AT(disk_super, tlv, 2048);
	AT(disk_super, zero4, 4080);

	AT(disk_backing, kind, 0);
	AT(disk_backing, path_len, 2);
	AT(disk_backing, zero2, 4);
	AT(disk_backing, size, 8);
	AT(disk_backing, id, 16);
	AT(disk_backing, stamp, 32);
	AT(disk_backing, path, 40);
	AT(disk_backing, limit, 1064);

	AT(disk_snapshot, id, 0);
	AT(disk_snapshot, parent, 4);
	AT(disk_snapshot, epoch, 8);
	AT(disk_snapshot, flags, 12);
	AT(disk_snapshot, cursor, 16);
	AT(disk_snapshot, size, 24);
	AT(disk_snapshot, levels, 32);
	AT(disk_snapshot, root, 40);
	AT(disk_snapshot, ctime_ns, 56);
	AT(disk_snapshot, uuid, 64);
	AT(disk_snapshot, name_len, 80);
	AT(disk_snapshot, name, 96);
	AT(disk_snapshot, backing_limit, 224);
	AT(disk_snapshot, zero3, 232);

	AT(disk_alloc_entry, crc, 0);
	AT(disk_alloc_entry, free_units, 4);
	AT(disk_alloc_entry, slots, 8);
	AT(disk_alloc_entry, in_use, 9);
	AT(disk_alloc_entry, class_, 10);
	AT(disk_alloc_entry, run_log2, 11);
	AT(disk_alloc_entry, dead_sectors, 12);

	AT(disk_txn, magic, 0);
	AT(disk_txn, crc, 4);
	AT(disk_txn, sequence, 8);
	AT(disk_txn, nblocks, 16);
	AT(disk_txn, nrecords, 20);
	AT(disk_txn, sb_gen, 24);
	AT(disk_txn, prev_crc, 32);
	AT(disk_txn, zero, 36);
	AT(disk_txn, rec, 64);
	AT(disk_record, x16, 2);
	AT(disk_record, x32, 4);
	AT(disk_record, a, 8);
	AT(disk_record, b, 16);
#undef AT
}

static void test_sizes(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct disk_ident), 4096);
	assert_int_equal(sizeof(struct disk_super), 4096);
	assert_int_equal(sizeof(struct disk_node), 4096);
	assert_int_equal(sizeof(struct disk_alloc_block), 4096);
	assert_int_equal(sizeof(struct disk_txn), 4096);
	assert_int_equal(sizeof(struct disk_desc), 16);
	assert_int_equal(sizeof(struct disk_alloc_entry), 16);
	assert_int_equal(sizeof(struct disk_record), 32);
	assert_int_equal(sizeof(struct disk_snapshot), 256);
	assert_int_equal(sizeof(struct disk_backing), 1536);
}

static void test_magics(void **state)
{
	struct disk_ident ident = {.magic = le64_make(IDENT_MAGIC)};
	struct disk_super sb = {.magic = le64_make(SUPER_MAGIC)};
	struct disk_txn txn = {.magic = le32_make(JOURNAL_MAGIC)};

	(void)state;
	assert_memory_equal(&ident, "UBLKIMG\x01", 8);
	assert_memory_equal(&sb, "UBLKSB\x00\x01", 8);
	assert_memory_equal(&txn, "UJTX", 4);
}

static void test_places(void **state)
{
	(void)state;
	assert_int_equal(SUPER_OFFSET + 3 * SUPER_STRIDE, 0x40000);
	assert_int_equal(REGION0_BITMAP, 0x50000);
	assert_int_equal(REGION0_BITMAP + 16 * UNIT_SIZE, GROUP0_TABLE);
	assert_int_equal(GROUP0_TABLE, 0x60000);
	assert_int_equal(ALLOC_ROOT_OFFSET, 0x80000);
	assert_int_equal(ALLOC_ROOT_OFFSET + ALLOC_ROOT_BLOCKS * 8192, ZERO_WINDOW_OFFSET);
	assert_int_equal(ZERO_WINDOW_OFFSET + ZERO_WINDOW_SIZE, REGION0_START);
	assert_int_equal(REGION0_START, 2 << 20);
	assert_int_equal(REGION_SIZE, 128 << 20);
	assert_int_equal(REGION_SIZE, (uint64_t)REGION_UNITS * UNIT_SIZE);
	assert_int_equal(REGION_SIZE, (uint64_t)REGION_SECTORS * SECTOR_SIZE);
	assert_int_equal(REGION_SECTORS / 8, BITMAP_BLOCKS * UNIT_SIZE);
	assert_int_equal(REGION_HEADER_UNITS, 2 * BITMAP_BLOCKS);
	assert_int_equal(MAX_REGIONS * REGION_SIZE, 512ull << 40);
	assert_int_equal(TXN_FIRST_RECORDS, (UNIT_SIZE - 64) / 32);
	assert_int_equal(TXN_BLOCK_RECORDS, UNIT_SIZE / 32);
	assert_int_equal(TXN_MAX_RECORDS, 256 * 128 - 2);
	assert_int_equal(MAX_SNAPSHOTS * sizeof(struct disk_snapshot),
			 SNAPTAB_MAX_UNITS * UNIT_SIZE);
}

static void test_seeds(void **state)
{
	static const struct {
		enum seed_kind kind;
		unsigned level;
		uint64_t index;
		uint32_t seed;
	} known[] = {
		{SEED_NODE, 0, 0, 0x51fd8b1f},
		{SEED_NODE, 4, 0, 0x96671c00},
		{SEED_NODE, 0, 0xffffffff, 0x222ac66a},
		{SEED_BLOB, 0, 0, 0x611ec2ae},
		{SEED_BLOB, 0, 0xffffffffff, 0x3aca6799},
		{SEED_SNAPTAB, 0, 0, 0x714005c1},
		{SEED_ALLOC, ALLOC_BITMAP, 0, 0x00d851cc},
		{SEED_ALLOC, ALLOC_BITMAP, MAX_REGIONS * 8 - 1, 0xeb761db6},
		{SEED_ALLOC, ALLOC_GROUP, MAX_GROUPS - 1, 0x1f6ed6ab},
		{SEED_ALLOC, ALLOC_ROOT, 63, 0xd0f74cc8},
	};
	uint32_t uuid_seed = checksum_uuid(blocks_uuid);

	(void)state;
	assert_int_equal(uuid_seed, 0xa70f5a6b);
	for (size_t i = 0; i < COUNT(known); i++)
		assert_int_equal(
			checksum_seed(uuid_seed, known[i].kind, known[i].level, known[i].index),
			known[i].seed);
}

static void test_checksums(void **state)
{
	/* Three blocks, each with byte i == (7 i + 3) mod 256. */
	static _Alignas(UNIT_SIZE) uint8_t bytes[3 * UNIT_SIZE];
	const void *block = bytes;
	uint32_t seed = checksum_uuid(blocks_uuid), crc[BITMAP_BLOCKS];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i % UNIT_SIZE * 7 + 3);
	assert_int_equal(checksum_node(seed, 2, 5, block), 0x7d2ef977);
	assert_int_equal(checksum_blob(seed, 77, block, 96), 0xfefb1bba);
	assert_int_equal(checksum_snaptab(seed, block, 2 * UNIT_SIZE), 0xf09c3d32);
	assert_int_equal(checksum_alloc(seed, ALLOC_GROUP, 9, block), 0xadc7494f);
	for (unsigned i = 0; i < BITMAP_BLOCKS; i++)
		crc[i] = 0x01020304 * (i + 1);
	assert_int_equal(checksum_combine(crc), 0xc9fe3e87);
	assert_int_equal(checksum_ident(block), 0x81eeeed4);
	assert_int_equal(checksum_super(seed, block), 0x911a6a0a);
	assert_int_equal(checksum_txn(seed, block, 1), 0xf6e4a597);
	assert_int_equal(checksum_txn(seed, block, 3), 0x5a1f9311);
	assert_int_equal(checksum_desc(block), 0x6b24bde1);
}

/* The crc field counts as zero, whatever it holds. */
static void test_own_field(void **state)
{
	struct disk_ident ident;
	struct disk_super sb;
	struct disk_txn txn;

	(void)state;
	blocks_ident(&ident, 16);
	blocks_super(&sb);
	blocks_txn(&txn, 5);
	uint32_t seed = checksum_uuid(blocks_uuid), crc = le32_get(ident.crc);
	ident.crc = le32_make(~crc);
	assert_int_equal(checksum_ident(&ident), crc);
	crc = le32_get(sb.crc);
	sb.crc = le32_make(0);
	assert_int_equal(checksum_super(seed, &sb), crc);
	crc = le32_get(txn.crc);
	txn.crc = le32_make(1);
	assert_int_equal(checksum_txn(seed, &txn, 1), crc);
}

static void test_descriptors(void **state)
{
	static const uint8_t raw[16] = {0x89, 0x67, 0x45, 0x23, 0x01, 0,    0,	  0x02,
					0x0d, 0x0c, 0x0b, 0x0a, 0xf0, 0x00, 0x01, 0x80};
	static const uint8_t zstd[16] = {0x89, 0x67, 0x45, 0x23, 0x01, 0x00, 0x78, 0x03,
					 0x01, 0,    0,	   0,	 0xef, 0xbe, 0xad, 0xde};
	static const uint8_t table[16] = {0x10, 0, 0, 0, 0, 0x00, 0x01, 0x05,
					  0x02, 0, 0, 0, 1, 0,	  0,	0};
	struct geometry g = {16, 9};
	struct disk_desc d = desc_to_disk(desc_raw_make(0x123456789, 0x0a0b0c0d, 0xf0, 0x8001));

	(void)state;
	assert_memory_equal(&d, raw, 16);
	assert_int_equal(desc_extent(&g, desc_from_disk(&d)).off, 0x123456789000);
	assert_int_equal(desc_extent(&g, desc_from_disk(&d)).len, 65536);
	d = desc_to_disk(desc_zstd_make(0x0123456789, 1920, 1, 0xdeadbeef));
	assert_memory_equal(&d, zstd, 16);
	assert_int_equal(desc_extent(&g, desc_from_disk(&d)).off, 0x0123456789 * 32);
	assert_int_equal(desc_extent(&g, desc_from_disk(&d)).len, 61440);
	d = desc_to_disk(desc_snaptab_make(16, 256, 2, 1));
	assert_memory_equal(&d, table, 16);
	assert_int_equal(desc_extent(&g, desc_from_disk(&d)).len, 1 << 20);
}

static void test_owned_sectors(void **state)
{
	static const struct {
		uint64_t off, len, first, end;
	} known[] = {
		{0, 32, 0, 1},	     {0, 512, 0, 1},	  {0, 513, 0, 2}, {32, 480, 1, 1},
		{32, 512, 1, 2},     {4064, 64, 8, 9},	  {512, 1, 1, 2}, {511, 1, 1, 1},
		{3584, 4096, 7, 15}, {3616, 4096, 8, 16},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(known); i++) {
		uint64_t first, end;
		blob_owned_sectors((struct extent){known[i].off, known[i].len}, &first, &end);
		assert_int_equal(first, known[i].first);
		assert_int_equal(end, known[i].end);
	}
}

static void test_levels(void **state)
{
	struct geometry g = {17, 9};

	(void)state;
	assert_int_equal(levels_for(0), 1);
	assert_int_equal(levels_for(256), 1);
	assert_int_equal(levels_for(257), 2);
	assert_int_equal(levels_for(1ull << 32), 4);
	assert_int_equal(levels_for((1ull << 32) + 1), 5);
	assert_int_equal(levels_for(1ull << 40), 5);
	assert_int_equal(clusters_for(&g, 0), 0);
	assert_int_equal(clusters_for(&g, 1), 1);
	assert_int_equal(clusters_for(&g, 1 << 17), 1);
	assert_int_equal(clusters_for(&g, (1 << 17) + 512), 2);
	assert_int_equal(clusters_for(&g, UINT64_MAX), 1ull << 47);
	assert_int_equal(granule_shift(&g), 6);
	assert_int_equal(subblock_shift(&g), 13);
	assert_int_equal(cluster_units(&g), 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offsets),	      cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_magics),	      cmocka_unit_test(test_places),
		cmocka_unit_test(test_seeds),	      cmocka_unit_test(test_checksums),
		cmocka_unit_test(test_own_field),     cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_owned_sectors), cmocka_unit_test(test_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
