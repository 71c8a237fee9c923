/* SPDX-License-Identifier: MIT */
/* The snapshot table, and snapshot names as users give them. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "image/checksum.h"
#include "tests/lib/blocks.h"
#include "tests/lib/breaking.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define BAD	     -EBADMSG
#define N	     17u /* records: one in the second unit */

/* Epochs of the records are 1..N. */
static struct limits table_limits(void)
{
	struct limits lim = blocks_limits(16);

	lim.epoch = N + 1;
	lim.head_parent = N + 9; /* the last one */
	lim.next_snapshot = N + 10;
	return lim;
}

static errint_t judge_table(void *block, struct reason *why)
{
	struct limits lim = table_limits();
	size_t len = blocks_snapshots_len(N);

	return validate_snapshots(block, N, len, checksum_snaptab(lim.uuid_seed, block, len), &lim,
				  why);
}

static struct disk_snapshot *good_table(uint32_t n)
{
	struct disk_snapshot *rec = aligned_alloc(UNIT_SIZE, blocks_snapshots_len(n));

	assert_non_null(rec);
	blocks_snapshots(rec, n);
	return rec;
}

static void test_accepted(void **state)
{
	CLEANUP(free) struct disk_snapshot *rec = good_table(N);
	struct reason why = {""};

	(void)state;
	if (judge_table(rec, &why))
		fail_msg("%s", why.text);
	struct limits lim = table_limits();
	size_t len = blocks_snapshots_len(N);
	assert_refused(validate_snapshots(rec, N, len, 1, &lim, &why), &why,
		       "crc of the snapshot table");
	lim.uuid_seed++;
	uint32_t crc = checksum_snaptab(lim.uuid_seed - 1, rec, len);
	assert_refused(validate_snapshots(rec, N, len, crc, &lim, &why), &why, "crc of the");
}

/* The most that fit, with every hash bucket that finds duplicates busy. */
static void test_full_table(void **state)
{
	CLEANUP(free) struct disk_snapshot *rec = good_table(MAX_SNAPSHOTS);
	struct limits lim = table_limits();
	size_t len = blocks_snapshots_len(MAX_SNAPSHOTS);
	struct reason why = {""};

	(void)state;
	lim.epoch = MAX_SNAPSHOTS + 1;
	lim.next_snapshot = MAX_SNAPSHOTS + 10;
	uint32_t crc = checksum_snaptab(lim.uuid_seed, rec, len);
	if (validate_snapshots(rec, MAX_SNAPSHOTS, len, crc, &lim, &why))
		fail_msg("%s", why.text);
	/* The first and the last name alike. */
	memcpy(rec[MAX_SNAPSHOTS - 1].name, rec[0].name, sizeof(rec->name));
	rec[MAX_SNAPSHOTS - 1].name_len = rec[0].name_len;
	crc = checksum_snaptab(lim.uuid_seed, rec, len);
	assert_refused(validate_snapshots(rec, MAX_SNAPSHOTS, len, crc, &lim, &why), &why,
		       "record 4095 at 1048320, name at 96: the same as that of record 0");
}

#define REC(i) ((i) * sizeof(struct disk_snapshot))

static void test_fields(void **state)
{
	static const struct poke pokes[] = {
		{0, 4, 0, BAD, "record 0 at 0, id at 0: 0 is not in 1..26"},
		{0, 4, 11, BAD, "record 1 at 256, id at 0: the same as that of record 0"},
		{REC(3) + 4, 4, 9, BAD, "record 3 at 768, parent at 4: no record has id 9"},
		{REC(3) + 4, 4, UINT32_MAX, BAD, "record 3 at 768, parent at 4"},
		{REC(3) + 4, 4, 13, BAD,
		 "record 3 at 768, epoch at 8: 4 is not above 4, that of its parent 13"},
		{REC(3) + 4, 4, 14, BAD, "record 3 at 768, epoch at 8: 4 is not above 5"},
		{REC(3) + 4, 4, 0, 0, NULL},
		{REC(3) + 4, 4, 10, 0, NULL},
		{REC(3) + 8, 4, 0, BAD, "record 3 at 768, epoch at 8: 0 is not in 1..17"},
		{REC(3) + 8, 4, 18, BAD, "record 3 at 768, epoch at 8: 18 is not in 1..17"},
		{REC(3) + 8, 4, 5, BAD,
		 "record 4 at 1024, epoch at 8: the same as that of record 3"},
		{REC(1) + 12, 4, 3, BAD, "record 1 at 256, flags at 12: 0x3 has bits outside 0x1"},
		{REC(1) + 12, 4, 0x80000001, BAD, "record 1 at 256, flags at 12"},
		{REC(1) + 12, 4, 0, BAD,
		 "cursor at 16: 512 is not 0 although the snapshot is not being"},
		{REC(2) + 12, 4, 1, 0, NULL},
		{REC(1) + 16, 8, 1ull << 24, 0, NULL},
		{REC(1) + 16, 8, (1ull << 24) + 1, BAD,
		 "record 1 at 256, cursor at 16: 16777217 is not in 0..16777216"},
		{REC(1) + 16, 8, UINT64_MAX, BAD, "record 1 at 256, cursor at 16"},
		{24, 8, 511, BAD, "record 0 at 0, size at 24: 511 is not a multiple of 512"},
		{24, 8, 1ull << 40, 0, NULL},
		{24, 8, (1ull << 40) + 512, BAD, "record 0 at 0, size at 24"},
		{24, 8, UINT64_MAX, BAD, "record 0 at 0, size at 24"},
		{32, 1, 0, BAD, "record 0 at 0, levels at 32: 0 is not in 1..5"},
		{32, 1, 6, BAD, "record 0 at 0, levels at 32: 6 is not in 1..5"},
		{32, 1, 255, BAD, "record 0 at 0, levels at 32"},
		{32, 1, 1, BAD, "record 0 at 0, size at 24: 1073741824 is more than the 16777216"},
		{40, 8, 1, BAD, "record 0 at 0, root at 40, w0 at 0: 0x1 is not 0, as for a hole"},
		{REC(1) + 40, 5, 3, BAD, "record 1 at 256, root at 40, unit at 0: unit 3 is among"},
		{REC(1) + 45, 2, 3, BAD, "record 1 at 256, root at 40, w0 at 0: bits 40..55 hold"},
		{REC(1) + 47, 1, 5, BAD, "record 1 at 256, root at 40, type at 7: 5 is not 0"},
		{REC(1) + 47, 1, 0x14, BAD, "record 1 at 256, root at 40, flags at 7"},
		{REC(1) + 48, 4, 0, BAD,
		 "record 1 at 256, root at 40, birth at 8: 0 is not in 1..2"},
		{REC(1) + 48, 4, 3, BAD,
		 "record 1 at 256, root at 40, birth at 8: 3 is not in 1..2"},
		{56, 8, UINT64_MAX, 0, NULL},
		{64, 8, 0, 0, NULL},
		{224, 8, 1073741824, 0, NULL},
		{224, 8, 1073742336, BAD, "record 0 at 0, backing_limit at 224: 1073742336 is not"},
		{224, 8, 100, BAD, "record 0 at 0, backing_limit at 224: 100 is not a multiple"},
	};
	CLEANUP(free) struct disk_snapshot *rec = good_table(N);
	size_t len = blocks_snapshots_len(N);

	(void)state;
	break_each(rec, len, pokes, COUNT(pokes), judge_table);
	break_reserved(rec, len, (struct byte_range){33, 7}, judge_table);
	break_reserved(rec, len, (struct byte_range){82, 14}, judge_table);
	break_reserved(rec, len, (struct byte_range){232, 24}, judge_table);
	break_reserved(rec, len, (struct byte_range){REC(N), len - REC(N)}, judge_table);
}

static void test_name_fields(void **state)
{
	/* The first name is "nightly-ä-0", 12 bytes with ä in bytes 8 and 9. */
	static const struct poke pokes[] = {
		{80, 2, 0, BAD, "record 0 at 0, name_len at 80: 0 is not in 1..127"},
		{80, 2, 128, BAD, "record 0 at 0, name_len at 80: 128 is not in 1..127"},
		{80, 2, 65535, BAD, "record 0 at 0, name_len at 80"},
		{80, 2, 11, BAD, "record 0 at 0, padding of name at 107: byte 107 holds 0x30"},
		{80, 2, 13, BAD, "record 0 at 0, name at 96: contains a NUL"},
		{96, 1, 0, BAD, "record 0 at 0, name at 96: contains a NUL"},
		{96, 1, '/', BAD, "record 0 at 0, name at 96: contains a '/'"},
		{96, 1, 0xff, BAD, "record 0 at 0, name at 96: is not UTF-8"},
		{105, 1, 'x', BAD, "record 0 at 0, name at 96: is not UTF-8"},
		{223, 1, 1, BAD, "record 0 at 0, padding of name at 108: byte 223 holds 0x01"},
		{REC(1) + 107, 1, '0', BAD,
		 "record 1 at 256, name at 96: the same as that of record 0"},
	};
	CLEANUP(free) struct disk_snapshot *rec = good_table(N);
	size_t len = blocks_snapshots_len(N);
	struct reason why;

	(void)state;
	break_each(rec, len, pokes, COUNT(pokes), judge_table);
	memset(rec[0].name, 0, sizeof(rec[0].name));
	rec[0].name[0] = rec[0].name[1] = '.';
	for (uint16_t n = 1; n <= 2; n++) {
		rec[0].name_len = le16_make(n);
		rec[0].name[1] = n == 2 ? '.' : '\0';
		assert_refused(judge_table(rec, &why), &why, "name at 96: is \".\" or \"..\"");
	}
	memset(rec[0].name, 'x', SNAP_NAME_MAX);
	rec[0].name_len = le16_make(SNAP_NAME_MAX);
	assert_int_equal(judge_table(rec, &why), 0);
}

/* One deletion at a time, of something with one child at the most. */
static void test_deletion(void **state)
{
	CLEANUP(free) struct disk_snapshot *rec = good_table(N);
	struct reason why;

	(void)state;
	rec[5].flags = le32_make(SNAP_ZOMBIE);
	assert_int_equal(judge_table(rec, &why), 0);
	rec[5].cursor = le64_make(256);
	assert_refused(judge_table(rec, &why), &why,
		       "record 5 at 1280, cursor at 16: 256 is not 0 although that of record 1");
	blocks_snapshots(rec, N);
	rec[7].parent = rec[1].id;
	assert_refused(
		judge_table(rec, &why), &why,
		"record 1 at 256, cursor at 16: not 0 although it has 2 children, the disk counted");
	rec[1].cursor = le64_make(0);
	assert_int_equal(judge_table(rec, &why), 0);

	/* The disk is a child too. */
	struct limits lim = table_limits();
	size_t len = blocks_snapshots_len(N);

	lim.head_parent = le32_get(rec[1].id);
	assert_int_equal(validate_snapshots(rec, N, len, checksum_snaptab(lim.uuid_seed, rec, len),
					    &lim, &why),
			 0);
	blocks_snapshots(rec, N);
	assert_refused(validate_snapshots(rec, N, len, checksum_snaptab(lim.uuid_seed, rec, len),
					  &lim, &why),
		       &why, "not 0 although it has 2 children, the disk counted");
	rec[2].parent = rec[0].id;
	assert_int_equal(validate_snapshots(rec, N, len, checksum_snaptab(lim.uuid_seed, rec, len),
					    &lim, &why),
			 0);
}

/* Its parent exists, and ids are below the next one. */
static void test_head(void **state)
{
	CLEANUP(free) struct disk_snapshot *rec = good_table(N);
	struct limits lim = table_limits();
	size_t len = blocks_snapshots_len(N);
	uint32_t crc = checksum_snaptab(lim.uuid_seed, rec, len);
	struct reason why;

	(void)state;
	lim.head_parent = N + 10;
	assert_refused(validate_snapshots(rec, N, len, crc, &lim, &why), &why,
		       "the parent of the disk: no record has id 27");
	lim.head_parent = 0;
	assert_int_equal(validate_snapshots(rec, N, len, crc, &lim, &why), 0);
	lim.next_snapshot--;
	assert_refused(validate_snapshots(rec, N, len, crc, &lim, &why), &why,
		       "record 16 at 4096, id at 0: 26 is not in 1..25");
}

static void test_bit_flips(void **state)
{
	CLEANUP(free) struct disk_snapshot *rec = good_table(N);
	struct limits lim = table_limits();
	size_t len = blocks_snapshots_len(N);
	uint32_t crc = checksum_snaptab(lim.uuid_seed, rec, len);
	uint8_t *bytes = (uint8_t *)rec;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < len; i++) {
		bytes[i] ^= (uint8_t)(1u << i % 8);
		assert_refused(validate_snapshots(rec, N, len, crc, &lim, &why), &why,
			       "crc of the");
		bytes[i] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(validate_snapshots(rec, N, len, crc, &lim, &why), 0);
}

static void test_every_byte(void **state)
{
	CLEANUP(free) struct disk_snapshot *rec = good_table(N);
	struct byte_range any[N * 8];
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		/* Every record is a parent, so that its id matters, and the root's unit is high in
		 * its region. */
		rec[i].parent = le32_make(i ? i + 9 : 0);
		rec[i].root =
			desc_to_disk(desc_node_make(3 * REGION_UNITS + 0x4020 + i, i + 1, 0x1234));
		any[n++] =
			(struct byte_range){REC(i) + offsetof(struct disk_snapshot, size) + 2, 3};
		any[n++] = (struct byte_range){REC(i) + offsetof(struct disk_snapshot, root), 2};
		any[n++] =
			(struct byte_range){REC(i) + offsetof(struct disk_snapshot, root) + 12, 4};
		any[n++] =
			(struct byte_range){REC(i) + offsetof(struct disk_snapshot, ctime_ns), 24};
		any[n++] = (struct byte_range){
			REC(i) + offsetof(struct disk_snapshot, backing_limit) + 2, 1};
	}
	any[n++] = (struct byte_range){REC(1) + offsetof(struct disk_snapshot, cursor), 3};
	break_every_byte(rec, blocks_snapshots_len(N), any, n, judge_table);
}

static void accept_name(const char *name, size_t len)
{
	struct reason why = {""};

	if (validate_snapshot_name(name, len, &why))
		fail_msg("\"%s\": %s", name, why.text);
}

static void refuse_name(const char *name, size_t len, const char *says)
{
	struct reason why;

	assert_int_equal(validate_snapshot_name(name, len, &why), -EINVAL);
	if (!strstr(why.text, says))
		fail_msg("\"%s\" does not contain \"%s\"", why.text, says);
}

static void test_names(void **state)
{
	static const char *const good[] = {
		"a",
		"...",
		".hidden",
		"with space",
		"-n",
		"tab\there",
		"\x7f",
		"\xc2\x80",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
		"\xe6\x97\xa5\xe6\x9c\xac",
	};
	static const char *const not_utf8[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc2",
		"\xc2\x41",
		"\xe0\x9f\xbf",
		"\xe0\xa0",
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xf0\x8f\xbf\xbf",
		"\xf0\x90\x80",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xf8\x88\x80\x80\x80",
		"\xfe",
		"\xff",
		"abc\xe6\x97",
	};
	char longest[SNAP_NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		accept_name(good[i], strlen(good[i]));
	for (size_t i = 0; i < COUNT(not_utf8); i++)
		refuse_name(not_utf8[i], strlen(not_utf8[i]), "this one is not UTF-8");
	memset(longest, 'x', sizeof(longest));
	accept_name(longest, SNAP_NAME_MAX);
	refuse_name(longest, SNAP_NAME_MAX + 1, "has 1 to 127 bytes, this one has 128");
	refuse_name(longest, 0, "has 1 to 127 bytes, this one has 0");
	refuse_name("a/b", 3, "contains a '/'");
	refuse_name("a\0b", 3, "contains a NUL");
	refuse_name(".", 1, "is \".\"");
	refuse_name("..", 2, "is \".\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),   cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_fields),	   cmocka_unit_test(test_name_fields),
		cmocka_unit_test(test_deletion),   cmocka_unit_test(test_bit_flips),
		cmocka_unit_test(test_every_byte), cmocka_unit_test(test_names),
		cmocka_unit_test(test_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
