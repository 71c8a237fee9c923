/* SPDX-License-Identifier: MIT */
/* Journal transactions and records. */
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
#define BAD	     -EBADMSG
#define CLUSTERS     (1ull << 40) /* of the largest tree */

static _Alignas(UNIT_SIZE) uint8_t space[TXN_MAX_BLOCKS * UNIT_SIZE];

static struct disk_txn *txn_space(void)
{
	void *p = space;

	return p;
}

static errint_t check(const struct disk_txn *txn, size_t len, struct reason *why)
{
	struct limits lim = blocks_limits(16);

	return validate_txn(txn, len, BLOCKS_SEQUENCE, BLOCKS_PREV_CRC, &lim, why);
}

static errint_t judge_txn(void *block, struct reason *why)
{
	struct disk_txn *txn = block;

	if (le32_get(txn->nblocks) <= 2) /* there is no more */
		blocks_seal_txn(txn);
	return check(txn, 2 * UNIT_SIZE, why);
}

static void test_sizes(void **state)
{
	static const unsigned records[] = {
		1, 126, 127, 254, 255, TXN_MAX_RECORDS - 1, TXN_MAX_RECORDS};
	static const unsigned blocks[] = {1, 1, 2, 2, 3, 256, 256};
	struct disk_txn *txn = txn_space();
	struct reason why = {""};

	(void)state;
	for (size_t i = 0; i < COUNT(records); i++) {
		assert_int_equal(txn_blocks(records[i]), blocks[i]);
		blocks_txn(txn, records[i]);
		if (check(txn, (size_t)blocks[i] * UNIT_SIZE, &why))
			fail_msg("%u records: %s", records[i], why.text);
		assert_int_equal(check(txn, (size_t)blocks[i] * UNIT_SIZE - 1, &why), -ENODATA);
		assert_int_equal(check(txn, 0, &why), -ENODATA);
	}
	assert_int_equal(txn_blocks(0), 1);
	assert_ptr_equal(txn_record(txn, 0), space + 64);
	assert_ptr_equal(txn_record(txn, 126), space + UNIT_SIZE);
	assert_ptr_equal(txn_record(txn, TXN_MAX_RECORDS - 1), space + sizeof(space) - 32);
}

/* What ends a replay without being damage. */
static void test_not_this_one(void **state)
{
	static const struct poke pokes[] = {
		{0, 4, 0, -ENODATA, ""},
		{3, 1, 'Y', -ENODATA, ""},
		{8, 8, BLOCKS_SEQUENCE + 1, -ENODATA, ""},
		{8, 8, BLOCKS_SEQUENCE - 1, -ENODATA, ""},
		{8, 8, BLOCKS_SEQUENCE | 1ull << 32, -ENODATA, ""},
		{16, 4, 0, -ENODATA, ""},
		{16, 4, 3, -ENODATA, ""},
		{16, 4, 257, -ENODATA, ""},
		{16, 4, UINT32_MAX, -ENODATA, ""},
		{16, 4, 0x100002, -ENODATA, ""},
		{32, 4, 0, -ENODATA, ""},
		{32, 4, BLOCKS_PREV_CRC + 1, -ENODATA, ""},
	};
	struct disk_txn *txn = txn_space();

	(void)state;
	blocks_txn(txn, 130);
	break_each(txn, 2 * UNIT_SIZE, pokes, COUNT(pokes), judge_txn);
}

static void test_bit_flips(void **state)
{
	struct disk_txn *txn = txn_space();
	struct reason why;

	(void)state;
	blocks_txn(txn, 130);
	for (size_t i = 0; i < (size_t)2 * UNIT_SIZE; i++) {
		space[i] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(check(txn, 2 * UNIT_SIZE, &why), -ENODATA);
		space[i] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(check(txn, 2 * UNIT_SIZE, &why), 0);
	struct limits lim = blocks_limits(16);
	lim.uuid_seed++;
	assert_int_equal(
		validate_txn(txn, 2 * UNIT_SIZE, BLOCKS_SEQUENCE, BLOCKS_PREV_CRC, &lim, &why),
		-ENODATA);
}

#define REC(i) (64 + (i) * sizeof(struct disk_record))

static void test_header_fields(void **state)
{
	static const struct poke pokes[] = {
		{20, 4, 0, BAD, "nrecords at 20: 0 is not in 1..254"},
		{20, 4, 255, BAD, "nrecords at 20: 255 is not in 1..254"},
		{20, 4, UINT32_MAX, BAD, "nrecords at 20"},
		{20, 4, 126, BAD, "nblocks at 16: 2 is not 1"},
		{20, 4, 129, BAD, "bytes after the last record at 4192: byte 4192 holds 0x"},
		{20, 4, 131, BAD, "record 130 at 4224, type at 0: 0 is not in 1..6"},
		{24, 8, UINT64_MAX, 0, NULL},
		{24, 8, 0, 0, NULL},
		{REC(129), 1, 7, BAD, "record 129 at 4192, type at 0: 7 is not in 1..6"},
		{REC(0) + 23, 1, 5, BAD, "record 0 at 64, b at 16, type at 7: 5 is not"},
		{2 * UNIT_SIZE - 1, 1, 1, BAD, "bytes after the last record at 4224: byte 8191"},
	};
	struct disk_txn *txn = txn_space();

	(void)state;
	blocks_txn(txn, 130);
	break_each(txn, 2 * UNIT_SIZE, pokes, COUNT(pokes), judge_txn);
	break_reserved(txn, 2 * UNIT_SIZE, (struct byte_range){36, 28}, judge_txn);
}

static errint_t judge_record(void *block, struct reason *why)
{
	struct limits lim = blocks_limits(16);

	return validate_record(block, &lim, why);
}

static void break_record(const struct disk_record *r, const struct poke *pokes, size_t n)
{
	struct reason why = {""};

	if (judge_record((void *)(uintptr_t)r, &why))
		fail_msg("type %u: %s", r->type, why.text);
	break_each(r, sizeof(*r), pokes, n, judge_record);
	const struct poke common[] = {
		{0, 1, 0, BAD, "type at 0: 0 is not in 1..6"},
		{0, 1, 7, BAD, "type at 0: 7 is not in 1..6"},
		{0, 1, 255, BAD, "type at 0"},
		{1, 1, 1, BAD, "reserved byte at 1: 1 is not 0"},
		{2, 2, 1, BAD, "x16 at 2: 1 is not 0"},
		{2, 2, 0x8000, BAD, "x16 at 2: 32768 is not 0"},
	};
	break_each(r, sizeof(*r), common, COUNT(common), judge_record);
}

static void test_map(void **state)
{
	static const struct poke pokes[] = {
		{8, 8, CLUSTERS - 1, 0, NULL},
		{8, 8, CLUSTERS, BAD, "a at 8: 1099511627776 is not in 0..1099511627775"},
		{8, 8, UINT64_MAX, BAD, "a at 8"},
		{4, 4, UINT32_MAX, 0, NULL},
		{4, 4, 0, 0, NULL},
		{16, 5, 1, BAD, "b at 16, unit at 0: 1 is not a multiple of 16"},
		{16, 5, 16, BAD, "b at 16, unit at 0: unit 16 is among the first 512"},
		{21, 2, 1, BAD, "b at 16, w0 at 0: bits 40..55"},
		{23, 1, 4, BAD, "b at 16, type at 7: 4 is not 0 hole, 1 zero, 2 raw or 3 zstd"},
		{23, 1, 0x12, BAD, "b at 16, flags at 7: 0x1 is not 0"},
		{24, 4, 0, BAD, "b at 16, birth at 8: 0 is not in 1..10"},
		/* What was written after the freeze of a snapshot whose superblock was lost. */
		{24, 4, BLOCKS_EPOCH + 1, 0, NULL},
		{24, 4, BLOCKS_EPOCH + 2, BAD, "b at 16, birth at 8: 11 is not in 1..10"},
		{28, 4, 0x00010001, BAD, "b at 16, aux at 12: sub-blocks 0x0001 are both"},
	};
	struct disk_record r = {.type = REC_MAP, .x32 = le32_make(7), .a = le64_make(9)};
	struct limits lim = blocks_limits(16);
	struct reason why;

	(void)state;
	r.b = desc_to_disk(desc_raw_make(REGION_UNITS + 16, 9, 1, 2));
	break_record(&r, pokes, COUNT(pokes));
	r.b = desc_to_disk(desc_hole());
	assert_int_equal(validate_record(&r, &lim, &why), 0);
	r.b = desc_to_disk(desc_raw_make(REGION_UNITS + 16, UINT32_MAX, 1, 2));
	lim.epoch = UINT32_MAX;
	assert_int_equal(validate_record(&r, &lim, &why), 0);
}

static void test_range(void **state)
{
	static const struct poke pokes[] = {
		{4, 4, 0, BAD, "x32 at 4: 0 is not in 1..4096"},
		{4, 4, RANGE_MAX, 0, NULL},
		{4, 4, RANGE_MAX + 1, BAD, "x32 at 4: 4097 is not in 1..4096"},
		{4, 4, UINT32_MAX, BAD, "x32 at 4"},
		{8, 8, CLUSTERS - 5, 0, NULL},
		{8, 8, CLUSTERS - 4, BAD, "a at 8: 5 clusters from 1099511627772 on go beyond"},
		{8, 8, UINT64_MAX, BAD, "a at 8"},
		{23, 1, 2, BAD, "b at 16, type at 7: 2 is neither 0 hole nor 1 zero"},
		{23, 1, 0, BAD, "b at 16, birth at 8: 9 is not 0, as for a hole"},
		{16, 1, 1, BAD, "b at 16, w0 at 0"},
		{24, 4, 0, BAD, "b at 16, birth at 8: 0 is not in 1..10"},
		{28, 4, 1, BAD, "b at 16, aux at 12"},
	};
	struct disk_record r = {.type = REC_RANGE, .x32 = le32_make(5)};
	struct reason why;

	(void)state;
	r.b = desc_to_disk(desc_zero_make(9));
	break_record(&r, pokes, COUNT(pokes));
	r.b = desc_to_disk(desc_hole());
	assert_int_equal(judge_record(&r, &why), 0);
}

static void test_free_record(void **state)
{
	static const struct poke data[] = {
		{4, 4, 0, BAD, "x32 at 4: 0 is not in 1..4294967295"},
		{8, 8, CLUSTERS - 1, 0, NULL},
		{8, 8, CLUSTERS, BAD, "index in a at 8: 1099511627776 is not in 0..1099511627775"},
		{15, 1, 1, BAD, "level in a at 15: 1 is not in 0..0"},
		{15, 1, 255, BAD, "level in a at 15"},
		{16, 5, 0, BAD, "b at 16, aux at 12: valid 0x0001 is not 0"},
		{23, 1, 1, BAD, "b at 16, w0 at 0"},
		{23, 1, 5, BAD, "b at 16, type at 7: 5"},
		{24, 4, BLOCKS_EPOCH, 0, NULL},
		{24, 4, BLOCKS_EPOCH + 1, BAD, "b at 16, birth at 8: 10 is not in 1..9"},
	};
	static const struct poke node[] = {
		{8, 8, CLUSTERS / 256 - 1, 0, NULL},
		{8, 8, CLUSTERS / 256, BAD, "index in a at 8: 4294967296 is not in 0..4294967295"},
		{8, 8, 4ull << 56, 0, NULL},
		{8, 8, 4ull << 56 | 1, BAD, "index in a at 8: 1 is not in 0..0"},
		{8, 8, 2ull << 56 | 65535, 0, NULL},
		{8, 8, 2ull << 56 | 65536, BAD, "index in a at 8"},
		{15, 1, 5, BAD, "level in a at 15: 5 is not in 0..4"},
		{16, 5, 0, BAD, "b at 16, unit at 0: unit 0 is among"},
	};
	struct disk_record r = {.type = REC_FREE, .x32 = le32_make(5), .a = le64_make(77)};
	struct reason why;

	(void)state;
	r.b = desc_to_disk(desc_raw_make(REGION_UNITS + 16, 3, 1, 0));
	break_record(&r, data, COUNT(data));
	r.b = desc_to_disk(desc_node_make(REGION_UNITS + 16, 3, 1));
	break_record(&r, node, COUNT(node));
	r.b = desc_to_disk(desc_zstd_make(2 * REGION_SIZE / 32 + 2048, 16, 3, 1));
	assert_int_equal(judge_record(&r, &why), 0);
	r.b = desc_to_disk(desc_raw_make(0, 3, 0, 1));
	assert_refused(judge_record(&r, &why), &why, "b at 16, type at 7: 2 without storage");
	r.b = desc_to_disk(desc_zero_make(3));
	assert_refused(judge_record(&r, &why), &why, "type at 7: 1 without storage");
	r.b = desc_to_disk(desc_hole());
	assert_refused(judge_record(&r, &why), &why, "type at 7: 0 without storage");
}

static void test_snapshot_records(void **state)
{
	static const struct poke cursor[] = {
		{4, 4, 0, BAD, "x32 at 4: 0 is not in 1..4294967295"},
		{8, 8, 0, BAD, "a at 8: 0 is not in 1..1099511627776"},
		{8, 8, CLUSTERS, 0, NULL},
		{8, 8, CLUSTERS + 1, BAD, "a at 8"},
		{16, 1, 1, BAD, "b at 16: byte 16 holds 0x01"},
		{31, 1, 128, BAD, "b at 16: byte 31 holds 0x80"},
	};
	static const struct poke id_only[] = {
		{4, 4, 0, BAD, "x32 at 4: 0 is not in 1..4294967295"},
		{4, 4, UINT32_MAX, 0, NULL},
		{8, 8, 1, BAD, "a at 8: 1 is not 0"},
		{16, 1, 1, BAD, "b at 16: byte 16 holds 0x01"},
		{31, 1, 128, BAD, "b at 16: byte 31"},
	};
	struct disk_record r = {.type = REC_CURSOR, .x32 = le32_make(5), .a = le64_make(256)};

	(void)state;
	break_record(&r, cursor, COUNT(cursor));
	r.a = le64_make(0);
	r.type = REC_ZOMBIE;
	break_record(&r, id_only, COUNT(id_only));
	r.type = REC_DISSOLVE;
	break_record(&r, id_only, COUNT(id_only));
}

/* No byte of a transaction is without meaning: one MAP record in the first block. */
static void test_every_byte(void **state)
{
	static const struct byte_range any[] = {
		{4, 4},				    /* crc, made right again */
		{24, 8},			    /* sb_gen */
		{REC(0) + 4, 9},		    /* x32, and a below 2^40 */
		{REC(0) + 28, 1}, {REC(0) + 31, 1}, /* bits whose counterparts are clear */
	};
	struct disk_txn *txn = txn_space();
	struct disk_record r = {.type = REC_MAP, .a = le64_make(5)};

	(void)state;
	blocks_txn(txn, 1);
	r.b = desc_to_disk(desc_raw_make(REGION_UNITS + 0x4040, BLOCKS_EPOCH, 0x00f0, 0x0f00));
	memcpy(space + REC(0), &r, sizeof(r));
	blocks_seal_txn(txn);
	break_every_byte(txn, UNIT_SIZE, any, COUNT(any), judge_txn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	    cmocka_unit_test(test_not_this_one),
		cmocka_unit_test(test_bit_flips),   cmocka_unit_test(test_header_fields),
		cmocka_unit_test(test_map),	    cmocka_unit_test(test_range),
		cmocka_unit_test(test_free_record), cmocka_unit_test(test_snapshot_records),
		cmocka_unit_test(test_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
