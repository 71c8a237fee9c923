/* SPDX-License-Identifier: MIT */
/* The text and JSON forms of blocks. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "image/dump.h"
#include "image/validate.h"
#include "tests/lib/blocks.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static const struct geometry geo = {16, 9};

/* What is printed between capture() and captured(). */
struct capture {
	FILE *out;
	char *text;
	size_t len;
};

static FILE *capture(struct capture *c)
{
	*c = (struct capture){0};
	c->out = open_memstream(&c->text, &c->len);
	assert_non_null(c->out);
	return c->out;
}

static void captured(struct capture *c, const char *expected)
{
	assert_int_equal(fclose(c->out), 0);
	assert_string_equal(c->text, expected);
	free(c->text);
}

static void test_desc(void **state)
{
	static const struct {
		struct desc d;
		const char *text;
	} cases[] = {
		{{0, 0, 0}, "hole"},
		{{(uint64_t)DESC_ZERO << 56, 3, 0}, "zero birth 3"},
		{{(uint64_t)DESC_RAW << 56 | 512, 1, 0xffff},
		 "raw unit 512 birth 1 valid ffff zero 0000"},
		{{(uint64_t)DESC_RAW << 56, UINT32_MAX, 0x80010000},
		 "raw unit 0 birth 4294967295 valid 0000 zero 8001"},
		{{(uint64_t)DESC_ZSTD << 56 | 12ull << 44 | 65536, 1, 0xabc},
		 "zstd byte 2097152 stored 384 birth 1 crc 00000abc"},
		{{(uint64_t)DESC_ZSTD << 56 | 0xffffffffffffffull, UINT32_MAX, UINT32_MAX},
		 "zstd byte 562949953421280 stored 131040 birth 4294967295 crc ffffffff"},
		{{(uint64_t)DESC_NODE << 56 | 600, 2, 0xdeadbeef},
		 "node unit 600 birth 2 crc deadbeef"},
		{{(uint64_t)DESC_SNAPTAB << 56 | 2ull << 40 | 700, 3, 1},
		 "snaptab unit 700 units 2 birth 3 crc 00000001"},
		{{UINT64_MAX, UINT32_MAX, UINT32_MAX},
		 "type 15 w0 ffffffffffffffff birth 4294967295 aux ffffffff"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char buf[DUMP_DESC_MAX];
		assert_ptr_equal(dump_desc(&geo, cases[i].d, buf), buf);
		assert_string_equal(buf, cases[i].text);
	}
}

static void test_uuid_and_features(void **state)
{
	char uuid[37], buf[128], small[8];

	(void)state;
	dump_uuid(blocks_uuid, uuid);
	assert_string_equal(uuid, "10111213-1415-1617-1819-1a1b1c1d1e1f");
	assert_string_equal(dump_incompat(0, buf, sizeof(buf)), "none");
	assert_string_equal(dump_incompat(1, buf, sizeof(buf)), "zstd");
	assert_string_equal(dump_incompat(0x83, buf, sizeof(buf)), "zstd, backing, bit 7");
	assert_string_equal(dump_incompat(1ull << 63, buf, sizeof(buf)), "bit 63");
	assert_string_equal(dump_incompat(UINT64_MAX, small, sizeof(small)), "zstd, b");
	assert_string_equal(dump_incompat(3, small, 1), "");
}

static void test_ident(void **state)
{
	struct disk_ident ident;
	struct capture c;

	(void)state;
	blocks_ident(&ident, 17);
	memcpy(ident.creator, "bad\x1b[31m\xff\xc2\x85", 11);
	ident.crc = le32_make(0x1234);
	dump_ident(capture(&c), &ident);
	captured(&c, "format: 1\n"
		     "crc: 00001234\n"
		     "uuid: 10111213-1415-1617-1819-1a1b1c1d1e1f\n"
		     "unit_shift: 12\n"
		     "cluster_shift: 17\n"
		     "region_shift: 27\n"
		     "super_offset[0]: 65536\n"
		     "super_offset[1]: 131072\n"
		     "super_offset[2]: 196608\n"
		     "super_offset[3]: 262144\n"
		     "creator: bad?[31m?\?\?1.0\n");
}

static void test_super(void **state)
{
	struct disk_super sb;
	struct capture c;

	(void)state;
	blocks_super(&sb);
	sb.crc = le32_make(0xfeed);
	dump_super(capture(&c), &sb);
	captured(&c, "crc: 0000feed\n"
		     "flags: none\n"
		     "uuid: 10111213-1415-1617-1819-1a1b1c1d1e1f\n"
		     "generation: 77\n"
		     "incompat: zstd, backing\n"
		     "ro_compat: branches\n"
		     "compat: none\n"
		     "size: 10737418240\n"
		     "sector_shift: 9\n"
		     "levels: 3\n"
		     "epoch: 9\n"
		     "head_parent: 4\n"
		     "root: node unit 98320 birth 9 crc deadbeef\n"
		     "snaptab: snaptab unit 98321 units 2 birth 9 crc feedface\n"
		     "nsnapshots: 20\n"
		     "next_snapshot: 30\n"
		     "journal_offset: 2097152\n"
		     "journal_length: 4194304\n"
		     "journal_pos: 20975616\n"
		     "journal_seq: 1000\n"
		     "journal_chain: 12345678\n"
		     "phys_regions: 300\n"
		     "used_units: 123456\n"
		     "root[0]: slot 1 crc 0000abcd\n"
		     "session: 55555555-5555-5555-5555-555555555555\n"
		     "backing.kind: raw\n"
		     "backing.size: 4294967296\n"
		     "backing.id: 77777777-7777-7777-7777-777777777777\n"
		     "backing.stamp: 1700000000123456789\n"
		     "backing.limit: 0\n"
		     "backing.path: ../base/debian-12.raw\n"
		     "compression: zstd level 3\n");
}

static void test_snapshot(void **state)
{
	struct disk_snapshot *rec = aligned_alloc(UNIT_SIZE, UNIT_SIZE);
	struct capture c;

	(void)state;
	assert_non_null(rec);
	blocks_snapshots(rec, 4);
	dump_snapshot(capture(&c), &rec[1]);
	captured(&c, "id: 11\n"
		     "name: nightly-\xc3\xa4-1\n"
		     "parent: 10\n"
		     "epoch: 2\n"
		     "flags: zombie\n"
		     "cursor: 512\n"
		     "size: 1073741824\n"
		     "levels: 3\n"
		     "root: node unit 98321 birth 2 crc 00000001\n"
		     "ctime_ns: 1700000000000000001\n"
		     "uuid: 01010101-0101-0101-0101-010101010101\n");
	free(rec);
}

static void test_alloc_entry(void **state)
{
	struct disk_alloc_block b;
	struct capture c;

	(void)state;
	blocks_group(&b);
	FILE *out = capture(&c);
	for (unsigned i = 0; i < 5; i++)
		dump_alloc_entry(out, i, &b.entry[i]);
	captured(
		&c,
		"region 0: mixed, 1000 units free, longest run 2^7, 999 dead sectors, slots a5, crc 04080c10\n"
		"region 1: data, 16000 units free, longest run 2^7, 0 dead sectors, slots 01, crc 01020304\n"
		"region 2: blob, 20000 units free, longest run 2^7, 4000 dead sectors, slots ff, crc 02040608\n"
		"region 3: meta, 30000 units free, longest run 2^7, 0 dead sectors, slots 00, crc 0306090c\n"
		"region 4: never used\n");
}

static void test_txn(void **state)
{
	_Alignas(UNIT_SIZE) static uint8_t space[UNIT_SIZE];
	void *txn = space;
	struct capture c;

	(void)state;
	blocks_txn(txn, 7);
	((struct disk_txn *)txn)->crc = le32_make(5);
	dump_txn(capture(&c), &geo, txn);
	captured(
		&c,
		"sequence: 1000\n"
		"crc: 00000005\n"
		"prev_crc: 12345678\n"
		"sb_gen: 77\n"
		"nblocks: 1\n"
		"nrecords: 7\n"
		"record 0: map cluster 5000 replaces 00000001 by raw unit 32832 birth 9 valid 00ff zero ff00\n"
		"record 1: range clusters 5001 + 4096 become zero birth 9\n"
		"record 2: free level 1 index 200 of snapshot 3: node unit 98320 birth 3 crc 00004711\n"
		"record 3: cursor snapshot 4 next cluster 5003\n"
		"record 4: zombie snapshot 5\n"
		"record 5: dissolve snapshot 6\n"
		"record 6: free level 0 index 5006 of snapshot 7: raw unit 32832 birth 2 valid ffff zero 0000\n");
	/* Counts that a validated transaction cannot have: the header, no records. */
	((struct disk_txn *)txn)->nrecords = le32_make(UINT32_MAX);
	dump_txn(capture(&c), &geo, txn);
	captured(&c, "sequence: 1000\ncrc: 00000005\nprev_crc: 12345678\nsb_gen: 77\nnblocks: 1\n"
		     "nrecords: 4294967295\n");
}

static void test_node(void **state)
{
	struct disk_node node;
	struct capture c;

	(void)state;
	memset(&node, 0, sizeof(node));
	node.entry[3] = desc_to_disk(desc_zero_make(1));
	node.entry[255] = desc_to_disk(desc_raw_make(512, 2, 1, 2));
	dump_node(capture(&c), &geo, 0, 77, &node);
	captured(&c, "level: 0\n"
		     "index: 77\n"
		     "entry 3: zero birth 1\n"
		     "entry 255: raw unit 512 birth 2 valid 0001 zero 0002\n");
}

static void assert_json(json_t *json, const char *expected)
{
	assert_non_null(json);
	char *text = json_dumps(json, JSON_COMPACT);
	assert_string_equal(text, expected);
	free(text);
	json_decref(json);
}

static void test_ident_json(void **state)
{
	struct disk_ident ident;

	(void)state;
	blocks_ident(&ident, 16);
	ident.crc = le32_make(0xff);
	assert_json(
		dump_ident_json(&ident),
		"{\"format\":1,\"crc\":\"000000ff\","
		"\"uuid\":\"10111213-1415-1617-1819-1a1b1c1d1e1f\",\"unit_shift\":12,"
		"\"cluster_shift\":16,\"region_shift\":27,"
		"\"super_offset\":[65536,131072,196608,262144],\"creator\":\"ublk-img 0.1.0\"}");
}

static void test_super_json(void **state)
{
	struct disk_super sb;

	(void)state;
	blocks_super(&sb);
	sb.crc = le32_make(1);
	assert_json(
		dump_super_json(&sb),
		"{\"crc\":\"00000001\",\"flags\":0,\"uuid\":\"10111213-1415-1617-1819-1a1b1c1d1e1f\","
		"\"generation\":77,\"incompat\":3,\"ro_compat\":1,\"compat\":0,\"size\":10737418240,"
		"\"sector_shift\":9,\"levels\":3,\"epoch\":9,\"head_parent\":4,"
		"\"root\":\"node unit 98320 birth 9 crc deadbeef\","
		"\"snaptab\":\"snaptab unit 98321 units 2 birth 9 crc feedface\",\"nsnapshots\":20,"
		"\"next_snapshot\":30,\"journal_offset\":2097152,\"journal_length\":4194304,"
		"\"journal_pos\":20975616,\"journal_seq\":1000,\"journal_chain\":\"12345678\","
		"\"phys_regions\":300,\"used_units\":123456,"
		"\"alloc_root\":[{\"block\":0,\"slot\":1,\"crc\":\"0000abcd\"}],"
		"\"session\":\"55555555-5555-5555-5555-555555555555\","
		"\"backing\":{\"kind\":1,\"size\":4294967296,"
		"\"id\":\"77777777-7777-7777-7777-777777777777\","
		"\"stamp\":1700000000123456789,\"limit\":0,\"path\":\"../base/debian-12.raw\"}}");
}

/* Numbers and text that JSON has no form for. */
static void test_json_extremes(void **state)
{
	struct disk_super sb;
	struct disk_ident ident;

	(void)state;
	blocks_super(&sb);
	sb.compat = le64_make(UINT64_MAX);
	sb.ro_compat = le64_make(INT64_MAX);
	memcpy(sb.backing.path, "\xff\x01z", 3);
	json_t *json = dump_super_json(&sb);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "compat")),
			    "18446744073709551615");
	assert_int_equal(json_integer_value(json_object_get(json, "ro_compat")), INT64_MAX);
	json_t *backing = json_object_get(json, "backing");
	assert_string_equal(json_string_value(json_object_get(backing, "path")),
			    "?"
			    "?zbase/debian-12.raw");
	json_decref(json);
	blocks_ident(&ident, 16);
	memset(ident.creator, 0xff, sizeof(ident.creator));
	json = dump_ident_json(&ident);
	assert_non_null(json);
	assert_int_equal(json_string_length(json_object_get(json, "creator")), 64);
	json_decref(json);
}

/* Blocks that no validator has seen are printed without harm. */
static void test_any_bytes(void **state)
{
	_Alignas(UNIT_SIZE) static uint8_t bytes[2 * UNIT_SIZE];
	static const uint8_t fills[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	void *block = bytes;
	FILE *out = fopen("/dev/null", "w");

	(void)state;
	assert_non_null(out);
	for (size_t i = 0; i < COUNT(fills); i++) {
		memset(bytes, fills[i], sizeof(bytes));
		dump_ident(out, block);
		dump_super(out, block);
		dump_snapshot(out, block);
		dump_alloc_entry(out, UINT64_MAX, block);
		dump_node(out, &geo, 4, UINT64_MAX, block);
		dump_txn(out, &geo, block);
		json_t *json = dump_ident_json(block);
		assert_non_null(json);
		json_decref(json);
		json = dump_super_json(block);
		assert_non_null(json);
		json_decref(json);
	}
	fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_desc),	      cmocka_unit_test(test_uuid_and_features),
		cmocka_unit_test(test_ident),	      cmocka_unit_test(test_super),
		cmocka_unit_test(test_snapshot),      cmocka_unit_test(test_alloc_entry),
		cmocka_unit_test(test_txn),	      cmocka_unit_test(test_node),
		cmocka_unit_test(test_ident_json),    cmocka_unit_test(test_super_json),
		cmocka_unit_test(test_json_extremes), cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
