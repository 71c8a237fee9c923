/* SPDX-License-Identifier: MIT */
/* Which of four superblocks is the newest (rule R4). */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/super.h"
#include "tests/lib/blocks.h"
#include "tests/lib/mem_store.h"

struct slots {
	struct store *st;
	struct disk_ident *ident;
	struct disk_super *sb; /* of generation 0; others differ in that only */
};

static struct slots *slots_new(void)
{
	struct slots *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->st = mem_store_new(64 << 20);
	s->ident = store_buffer(UNIT_SIZE);
	s->sb = store_buffer(UNIT_SIZE);
	assert_non_null(s->ident);
	assert_non_null(s->sb);
	blocks_ident(s->ident, 16);
	blocks_super_fresh(s->sb);
	return s;
}

static void slots_free(struct slots *s)
{
	store_close(s->st);
	free(s->ident);
	free(s->sb);
	free(s);
}

static void write_slot(struct slots *s, unsigned slot, uint64_t generation)
{
	s->sb->generation = le64_make(generation);
	blocks_seal_super(s->sb);
	assert_int_equal(store_write(s->st, s->sb, UNIT_SIZE, super_slot_offset(slot)), 0);
}

/* As generations @g - 1 and @g left them. */
static void write_two(struct slots *s, uint64_t g)
{
	for (unsigned i = 0; i < 4; i++)
		write_slot(s, (unsigned)(2 * ((g - i / 2) & 1) + i % 2), g - i / 2);
}

static void tear(struct slots *s, unsigned slot)
{
	mem_store_flip(s->st, super_slot_offset(slot) + 3000);
}

static struct super_choice choose(struct slots *s, uint64_t generation)
{
	struct disk_super *sb = calloc(1, sizeof(*sb));
	struct super_choice c;

	assert_int_equal(super_choose(s->st, s->ident, sb, &c), 0);
	assert_int_equal(le64_get(sb->generation), generation);
	assert_int_equal(c.slot / 2, generation & 1);
	free(sb);
	return c;
}

/* It is in force, and nothing newer can have been lost. */
static void expect(struct slots *s, uint64_t generation)
{
	assert_true(choose(s, generation).newest);
}

/* It is the newest that is left. */
static void expect_doubt(struct slots *s, uint64_t generation)
{
	assert_false(choose(s, generation).newest);
}

static void expect_none(struct slots *s, errint_t err)
{
	struct disk_super *sb = calloc(1, sizeof(*sb));

	struct super_choice c;

	assert_int_equal(super_choose(s->st, s->ident, sb, &c), err);
	free(sb);
}

static void newest_wins(void **state)
{
	struct slots *s = slots_new();

	(void)state;
	expect_none(s, -EBADMSG);
	write_slot(s, 2, 1); /* between the two writes of the first one */
	expect(s, 1);
	write_two(s, 8);
	expect(s, 8);
	write_two(s, 9);
	expect(s, 9);
	/* Between the two writes of the next one. */
	write_slot(s, 0, 10);
	expect(s, 10);
	slots_free(s);
}

static void torn_copies(void **state)
{
	(void)state;
	for (unsigned torn = 0; torn < 16; torn++) {
		struct slots *s = slots_new();

		write_two(s, 8);
		for (unsigned i = 0; i < 4; i++)
			if (torn >> i & 1)
				tear(s, i);
		if (torn == 15)
			expect_none(s, -EBADMSG);
		else if ((torn & 3) == 3)
			expect_doubt(s, 7);
		else if ((torn & 12) == 12)
			expect_doubt(s, 8); /* it may have been 9 */
		else
			expect(s, 8);
		slots_free(s);
	}
}

/* Two copies, both sound, of different contents: neither is believed. */
static void copies_differ(void **state)
{
	struct slots *s = slots_new();

	(void)state;
	write_two(s, 8);
	s->sb->next_snapshot = le32_make(17);
	write_slot(s, 1, 8);
	expect_doubt(s, 7);
	/* Of different generations they may. */
	write_slot(s, 1, 6);
	expect(s, 8);
	slots_free(s);
}

static void erase(struct slots *s, unsigned slot)
{
	void *zeros = store_buffer(UNIT_SIZE);

	assert_int_equal(store_write(s->st, zeros, UNIT_SIZE, super_slot_offset(slot)), 0);
	free(zeros);
}

/* What a power cut can leave is no loss; what it cannot leave may be one (R4). */
static void newer_one_lost(void **state)
{
	struct slots *s = slots_new();

	(void)state;
	/* Made, and never opened for writing. */
	write_slot(s, 2, 1);
	write_slot(s, 3, 1);
	expect(s, 1);
	/* The first write of the first opening was torn. */
	write_slot(s, 0, 2);
	tear(s, 0);
	expect(s, 1);
	/* The second slot is written only when the first is durable. */
	write_slot(s, 1, 2);
	tear(s, 1);
	expect_doubt(s, 1);
	erase(s, 0);
	expect_doubt(s, 1);

	/* The first write of a generation was torn, or its second. */
	write_two(s, 8);
	write_slot(s, 2, 9);
	tear(s, 2);
	expect(s, 8);
	write_two(s, 9);
	tear(s, 3);
	expect(s, 9);
	/* Zeros where there was a generation, and one that is too old. */
	write_two(s, 8);
	erase(s, 2);
	expect(s, 8);
	erase(s, 3);
	expect_doubt(s, 8);
	write_slot(s, 2, 5);
	write_slot(s, 3, 5);
	expect_doubt(s, 8);
	slots_free(s);
}

/* A copy that is missing is made before anything is built upon the other. */
static void missing_copy(void **state)
{
	struct slots *s = slots_new();

	(void)state;
	for (unsigned missing = 0; missing < 2; missing++) {
		struct super_choice c;

		write_two(s, 8);
		assert_false(choose(s, 8).single);
		tear(s, missing);
		assert_int_equal(super_choose(s->st, s->ident, s->sb, &c), 0);
		assert_true(c.single);
		assert_int_equal(super_complete(s->st, s->sb, &c), 0);
		c = choose(s, 8);
		assert_false(c.single);
		/* Nothing to do now. */
		mem_store_fail(s->st, MEM_WRITE, 1, -EIO);
		assert_int_equal(super_complete(s->st, s->sb, &c), 0);
		mem_store_fail(s->st, MEM_WRITE, 0, 0);
		tear(s, !missing);
		expect(s, 8);
	}
	/* Between the two writes of generation 9. */
	write_two(s, 8);
	write_slot(s, 2, 9);
	assert_true(choose(s, 9).single);
	slots_free(s);
}

/* A generation in the slots of the other parity was not written by us. */
static void wrong_pair(void **state)
{
	struct slots *s = slots_new();

	(void)state;
	write_two(s, 8);
	write_slot(s, 2, 10);
	expect(s, 8);
	write_slot(s, 3, 12);
	expect_doubt(s, 8);
	tear(s, 0);
	tear(s, 1);
	expect_none(s, -EBADMSG);
	/* Nor if it has features that nobody knows. */
	write_two(s, 8);
	s->sb->incompat = le64_make(1ull << 40);
	write_slot(s, 2, 10);
	expect(s, 8);
	slots_free(s);
}

/* Features count in the superblock that is in force. */
static void unknown_feature(void **state)
{
	struct slots *s = slots_new();

	(void)state;
	write_two(s, 8);
	s->sb->incompat = le64_make(1ull << 40);
	write_slot(s, 2, 7);
	write_slot(s, 3, 7);
	expect(s, 8);
	write_slot(s, 3, 9);
	expect_none(s, -ENOTSUP);
	tear(s, 3);
	expect(s, 8);
	slots_free(s);
}

static void written_twice(void **state)
{
	struct slots *s = slots_new();
	uint64_t writes;

	(void)state;
	write_two(s, 8);
	writes = mem_store_calls(s->st, MEM_WRITE);
	s->sb->generation = le64_make(9);
	assert_int_equal(super_write(s->st, s->sb, true), 0);
	assert_int_equal(mem_store_calls(s->st, MEM_WRITE), writes + 2);
	expect(s, 9);
	tear(s, 2);
	expect(s, 9);
	tear(s, 3);
	expect_doubt(s, 8);
	/* The first write fails: nothing of the older pair has changed. */
	write_two(s, 8);
	s->sb->generation = le64_make(9);
	mem_store_fail(s->st, MEM_WRITE, 1, -EIO);
	assert_int_equal(super_write(s->st, s->sb, true), -EIO);
	expect(s, 8);
	/* The second one fails: the first is there. */
	mem_store_fail(s->st, MEM_WRITE, 2, -EIO);
	assert_int_equal(super_write(s->st, s->sb, true), -EIO);
	expect(s, 9);
	slots_free(s);
}

/* A slot that cannot be read is one that is damaged: another has its copy. */
static void unreadable(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= 4; i++) {
		struct slots *s = slots_new();

		write_two(s, 8);
		mem_store_fail(s->st, MEM_READ, i, -EIO);
		expect(s, 8);
		tear(s, 1);
		tear(s, 3);
		mem_store_fail(s->st, MEM_READ, i, -EIO);
		if (i == 1)
			expect_doubt(s, 7);
		else if (i == 3)
			expect_doubt(s, 8);
		else
			expect(s, 8);
		/* No memory is another matter. */
		mem_store_fail(s->st, MEM_READ, i, -ENOMEM);
		expect_none(s, -ENOMEM);
		slots_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(newest_wins),	   cmocka_unit_test(torn_copies),
		cmocka_unit_test(copies_differ),   cmocka_unit_test(wrong_pair),
		cmocka_unit_test(unknown_feature), cmocka_unit_test(written_twice),
		cmocka_unit_test(unreadable),	   cmocka_unit_test(newer_one_lost),
		cmocka_unit_test(missing_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
