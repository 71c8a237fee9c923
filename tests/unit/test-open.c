/* SPDX-License-Identifier: MIT */
/*
 * What opening an image refuses, what it shows with a warning, and what the first superblock of a
 * writer says (docs/format.md section 7).
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/log.h"
#include "image/super.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/surgery_snapshot.h"

/* Warnings and errors since it was emptied. */
static char message[4096];

static void remember(void *arg, enum log_level level, const char *text)
{
	(void)arg;
	if (level == LOG_LEVEL_ERROR || level == LOG_LEVEL_WARN)
		snprintf(message + strlen(message), sizeof(message) - strlen(message), "%s\n",
			 text);
}

static int setup(void **state)
{
	(void)state;
	message[0] = '\0';
	log_set_sink(remember, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_set_sink(NULL, NULL);
	return 0;
}

static void expect_said(const char *text)
{
	if (!strstr(message, text))
		fail_msg("\"%s\" does not say \"%s\"", message, text);
	message[0] = '\0';
}

/* The pair of slots that @l's newest superblock is in. */
static unsigned newest_pair(struct live *l)
{
	struct surgery s;

	surgery_begin(&s, l->st);
	return s.slot & ~1u;
}

static void destroy(struct live *l, unsigned slot)
{
	mem_store_flip(l->st, super_slot_offset(slot) + 700);
}

/* Read-only it is shown with a warning, and a writer is refused without having changed anything. */
static void expect_only_readable(struct live *l, uint8_t shows, const char *warning,
				 const char *refusal)
{
	uint64_t writes = mem_store_calls(l->st, MEM_WRITE);

	assert_int_equal(live_try_open(l), -EBADMSG);
	expect_said(refusal);
	l->opts.force = true;
	assert_int_equal(live_try_open(l), -EBADMSG);
	l->opts.force = false;
	assert_int_equal(mem_store_calls(l->st, MEM_WRITE), writes);
	message[0] = '\0';
	l->opts.read_only = true;
	live_open(l);
	expect_said(warning);
	live_expect(l, 0, CLUSTER, 1);
	live_expect(l, CLUSTER, CLUSTER, shows);
	live_close(l);
	l->opts.read_only = false;
}

/* ---- the newest superblock is lost (R4) -------------------------------------------------- */

/* A clean image that was opened again, written to, and left @clean or not. */
static void reopened(struct live *l, bool clean)
{
	live_new(l, 4 * GIB, GIB);
	live_open(l);
	live_put(l, 0, CLUSTER, 1);
	live_close(l);
	live_open(l);
	live_put(l, CLUSTER, CLUSTER, 2);
	assert_int_equal(engine_flush(l->t), 0);
	if (clean)
		live_close(l);
	else
		live_crash(l);
}

/* Both copies gone: an older superblock that is CLEAN must not pass for the newest. */
static void newest_destroyed(void **state)
{
	(void)state;
	for (unsigned clean = 0; clean < 2; clean++) {
		struct live l;

		reopened(&l, clean);
		unsigned pair = newest_pair(&l);
		destroy(&l, pair);
		destroy(&l, pair + 1);
		/* Of a closed image, the one before holds the journal. */
		expect_only_readable(&l, clean ? 2 : 0, "may have been lost",
				     "newer data may have been lost");
		live_free(&l);
	}
}

/* The slots look as they did when the image was closed before, but the journal knows better. */
static void slots_set_back(void **state)
{
	const size_t len = SUPER_SLOTS * SUPER_STRIDE;
	void *before = store_buffer(len);
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 1);
	live_close(&l);
	assert_int_equal(store_read(l.st, before, len, SUPER_OFFSET), 0);
	live_open(&l);
	live_put(&l, CLUSTER, CLUSTER, 3);
	assert_int_equal(engine_flush(l.t), 0);
	live_crash(&l);
	assert_int_equal(store_write(l.st, before, len, SUPER_OFFSET), 0);
	expect_only_readable(&l, 0, "was lost; showing generation",
			     "was durable and is lost; open the image read-only");
	live_free(&l);
	free(before);
}

/* One copy is enough, and a writer makes the other before anything else. */
static void one_copy_left(void **state)
{
	(void)state;
	for (unsigned lost = 0; lost < 2; lost++) {
		struct live l;

		reopened(&l, false);
		unsigned pair = newest_pair(&l);
		destroy(&l, pair + lost);
		/* The superblock of this opening is not written: its sync fails. */
		mem_store_fail(l.st, MEM_SYNC, 2, -EIO);
		assert_int_equal(live_try_open(&l), -EIO);
		mem_store_fail(l.st, MEM_SYNC, 0, 0);
		assert_int_equal(newest_pair(&l), pair);
		destroy(&l, pair + !lost);
		live_open(&l);
		live_expect(&l, CLUSTER, CLUSTER, 2);
		live_close(&l);
		live_check(&l);
		live_free(&l);
	}
}

static void slot_unreadable(void **state)
{
	(void)state;
	for (unsigned slot = 0; slot < SUPER_SLOTS; slot++) {
		struct live l;

		reopened(&l, true);
		mem_store_fail(l.st, MEM_READ, 2 + slot, -EIO); /* IDENT is the first */
		live_open(&l);
		live_expect(&l, CLUSTER, CLUSTER, 2);
		live_close(&l);
		live_check(&l);
		live_free(&l);
	}
}

/* ---- what stands behind the end of the journal (step 5) ------------------------------------- */

static void journal_cut_short(void **state)
{
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 1);
	assert_int_equal(engine_flush(l.t), 0);
	uint64_t off = l.im->journal.offset + l.im->journal.head;
	for (uint8_t i = 1; i < 3; i++) {
		live_put(&l, i * CLUSTER, CLUSTER, i);
		assert_int_equal(engine_flush(l.t), 0);
	}
	live_crash(&l);
	mem_store_flip(l.st, off + 100);
	expect_only_readable(&l, 0, "missing from what is shown",
			     "intact, but not all before it; open the image read-only");
	/* A reader does without the rest of the ring; a writer does not. */
	l.opts.read_only = true;
	uint64_t reads = mem_store_calls(l.st, MEM_READ);
	assert_int_equal(image_open(l.st, &l.opts, &l.im), 0);
	unsigned n = (unsigned)(mem_store_calls(l.st, MEM_READ) - reads);
	assert_int_equal(image_close(l.im), 0);
	message[0] = '\0';
	mem_store_fail(l.st, MEM_READ, n, -EIO);
	live_open(&l);
	assert_string_equal(message, "");
	live_expect(&l, CLUSTER, CLUSTER, 0);
	live_close(&l);
	l.opts.read_only = false;
	mem_store_fail(l.st, MEM_READ, n, -EIO);
	assert_int_equal(live_try_open(&l), -EIO);
	live_free(&l);
}

/* ---- what a writer begins with (step 7) ------------------------------------------------------ */

static struct disk_super newest(struct live *l)
{
	struct surgery s;

	surgery_begin(&s, l->st);
	return s.sb;
}

static void session_is_new(void **state)
{
	const uint8_t none[16] = {0};
	struct disk_super sb[3];
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	sb[0] = newest(&l);
	assert_memory_equal(sb[0].session, none, sizeof(none));
	live_open(&l);
	sb[0] = newest(&l);
	assert_memory_not_equal(sb[0].session, none, sizeof(none));
	live_put(&l, 0, CLUSTER, 1);
	assert_int_equal(image_checkpoint(l.im), 0);
	sb[1] = newest(&l);
	assert_memory_equal(sb[1].session, sb[0].session, sizeof(none));
	live_crash(&l);
	l.opts.read_only = true;
	live_open(&l);
	live_close(&l);
	l.opts.read_only = false;
	sb[1] = newest(&l);
	assert_memory_equal(sb[1].session, sb[0].session, sizeof(none));
	live_open(&l);
	sb[2] = newest(&l);
	assert_memory_not_equal(sb[2].session, sb[0].session, sizeof(none));
	live_close(&l);
	live_free(&l);
}

/* 1000 above the sequence that the replay did not find. */
static void sequences_have_a_gap(void **state)
{
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	live_open(&l);
	assert_int_equal(le64_get(newest(&l).journal_seq), 1001);
	for (unsigned i = 0; i < 3; i++) {
		live_put(&l, i * CLUSTER, CLUSTER, 1);
		assert_int_equal(engine_flush(l.t), 0);
	}
	live_crash(&l);
	live_open(&l);
	assert_int_equal(le64_get(newest(&l).journal_seq), 1001 + 3 + 1000);
	live_close(&l);
	live_open(&l);
	assert_int_equal(le64_get(newest(&l).journal_seq), 1001 + 3 + 2000);
	live_close(&l);
	live_free(&l);
}

/* ---- tables against the superblock ---------------------------------------------------------- */

/* Ids are below the next one, and the parent of the disk exists. */
static void snapshot_ids(void **state)
{
	struct disk_snapshot *rec;
	struct surgery s;
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 1);
	live_close(&l);
	surgery_begin(&s, l.st);
	assert_int_equal(surgery_take_snapshot(&s), 1);
	rec = surgery_records(&s);
	rec[0].id = le32_make(2);
	s.sb.head_parent = le32_make(0);
	surgery_set_records(&s, rec, 1);
	surgery_super(&s);
	assert_int_equal(live_try_open(&l), -EBADMSG);
	expect_said("record 0 at 0, id at 0: 2 is not in 1..1");

	s.sb.next_snapshot = le32_make(3);
	s.sb.head_parent = le32_make(1);
	surgery_super(&s);
	assert_int_equal(live_try_open(&l), -EBADMSG);
	expect_said("the parent of the disk: no record has id 1");

	s.sb.head_parent = le32_make(2);
	surgery_super(&s);
	live_open(&l);
	live_expect(&l, 0, CLUSTER, 1);
	live_close(&l);
	free(rec);
	live_free(&l);
}

/* The CRC of an alloc root block may happen to be 0; then its slot bit says that it is there. */
static void root_block_presence(void **state)
{
	struct surgery s;
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, GIB);
	live_open(&l);
	live_close(&l);
	surgery_begin(&s, l.st);
	assert_true(super_has_root_block(&s.sb, 0));
	assert_false(super_has_root_block(&s.sb, 1));
	s.sb.root_crc[0] = le32_make(0);
	s.sb.root_slots = le64_make(1);
	surgery_super(&s);
	assert_int_equal(live_try_open(&l), -EBADMSG);
	expect_said("alloc root block at offset 528384 is damaged");
	s.sb.root_slots = le64_make(0);
	surgery_super(&s);
	assert_int_equal(live_try_open(&l), -EBADMSG);
	expect_said("region 0 is not in use as MIXED");
	live_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(newest_destroyed, setup, teardown),
		cmocka_unit_test_setup_teardown(slots_set_back, setup, teardown),
		cmocka_unit_test_setup_teardown(one_copy_left, setup, teardown),
		cmocka_unit_test_setup_teardown(slot_unreadable, setup, teardown),
		cmocka_unit_test_setup_teardown(journal_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(session_is_new, setup, teardown),
		cmocka_unit_test_setup_teardown(sequences_have_a_gap, setup, teardown),
		cmocka_unit_test_setup_teardown(snapshot_ids, setup, teardown),
		cmocka_unit_test_setup_teardown(root_block_presence, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
