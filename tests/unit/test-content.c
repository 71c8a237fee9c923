/* SPDX-License-Identifier: MIT */
/* What a superblock says about its disk as a whole: written, read, and refused when it is wrong. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/core.h"
#include "image/tlv.h"
#include "tests/lib/blocks.h"
#include "tests/lib/breaking.h"
#include "tests/lib/mem_store.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define BAD	     -EBADMSG

static errint_t judge_super(void *block, struct reason *why)
{
	struct disk_ident ident;

	blocks_ident(&ident, 16);
	blocks_seal_super(block);
	return validate_super(block, &ident, why);
}

static struct content sample(enum content_state state, uint64_t size)
{
	struct content c = {
		.state = state,
		.image = {1, 2, 3},
		.base = {.uuid = {4}, .size = 8192, .name = "monday"},
		.target = {.uuid = {5}, .size = size, .name = "t\xc3\xa4glich"},
	};

	return c;
}

static bool same_content(const struct content *a, const struct content *b)
{
	bool two = a->state != CONTENT_AT;

	return a->state == b->state && point_same(&a->target, &b->target) &&
	       a->target.size == b->target.size && !strcmp(a->target.name, b->target.name) &&
	       (!two || (point_same(&a->base, &b->base) && a->base.size == b->base.size &&
			 !strcmp(a->base.name, b->base.name) && !memcmp(a->image, b->image, 16)));
}

static void tlv_list(void **state)
{
	static const uint8_t a[5] = "abcde", b[8] = "12345678", big[TLV_BYTES - 8 - 16 - 16];
	struct disk_super sb = {.magic = le64_make(0)}, empty = sb;
	size_t len;

	(void)state;
	assert_null(tlv_find(&sb, 7, &len));
	assert_true(tlv_add(&sb, 7, a, sizeof(a)));
	assert_true(tlv_add(&sb, 8, b, sizeof(b)));
	assert_ptr_equal(tlv_find(&sb, 7, &len), sb.tlv + 8);
	assert_int_equal(len, 5);
	assert_ptr_equal(tlv_find(&sb, 8, &len), sb.tlv + 24);
	assert_memory_equal(tlv_find(&sb, 8, &len), b, 8);
	/* Exactly full, and not one more. */
	assert_true(tlv_add(&sb, 9, big, sizeof(big)));
	assert_false(tlv_add(&sb, 10, a, 0));
	tlv_remove(&sb, 7);
	assert_null(tlv_find(&sb, 7, &len));
	assert_memory_equal(tlv_find(&sb, 8, &len), b, 8);
	assert_int_equal(le32_get(((struct disk_tlv *)sb.tlv)->type), 8);
	tlv_remove(&sb, 9);
	tlv_remove(&sb, 99);
	tlv_remove(&sb, 8);
	assert_memory_equal(&sb, &empty, sizeof(sb));
}

static void round_trip(void **state)
{
	(void)state;
	for (enum content_state s = CONTENT_AT; s <= CONTENT_APPLYING; s++) {
		struct disk_super sb, before;
		struct content c, got;
		struct reason why;

		blocks_super_fresh(&sb);
		before = sb;
		c = sample(s, le64_get(sb.size));
		assert_true(content_store(&c, &sb));
		assert_int_equal(judge_super(&sb, &why), 0);
		content_load(&sb, &got);
		assert_true(same_content(&c, &got));
		/* One takes the place of the other. */
		assert_true(content_store(&c, &sb));
		c.state = s == CONTENT_AT ? CONTENT_APPLYING : CONTENT_AT;
		assert_true(content_store(&c, &sb));
		assert_int_equal(judge_super(&sb, &why), 0);
		content_load(&sb, &got);
		assert_true(same_content(&c, &got));
		c.state = CONTENT_UNKNOWN;
		assert_true(content_store(&c, &sb));
		assert_memory_equal(sb.tlv, before.tlv, TLV_BYTES);
		content_load(&sb, &got);
		assert_int_equal(got.state, CONTENT_UNKNOWN);
	}
}

/* D1: a writer that does not know the entry keeps it, in superblocks of later generations. */
static void foreign_writer(void **state)
{
	struct disk_super sb;
	struct content c, got;
	struct reason why;

	(void)state;
	blocks_super_fresh(&sb);
	c = sample(CONTENT_AT, le64_get(sb.size));
	assert_true(content_store(&c, &sb));
	sb.generation = le64_make(le64_get(sb.generation) + 1);
	sb.size = le64_make(le64_get(sb.size) - 4096);
	assert_int_equal(judge_super(&sb, &why), 0);
	content_load(&sb, &got);
	assert_int_equal(got.state, CONTENT_UNKNOWN);
}

static void refused(void **state)
{
	/* The only entry of a fresh superblock: head at 2048, data at 2056. */
	static const struct poke at[] = {
		{2052, 4, 160, BAD, "tlv.len (content) at 2052: 160 is not 168"},
		{2080, 8, 4096, BAD, "content.size at 2080"},
		{2088, 2, 128, BAD, "name_len at 2088: 128 is not in 0..127"},
		{2088, 2, 3, BAD, "padding of name at"},
		{2090, 1, 1, BAD, "reserved bytes at 2090"},
		{2096, 1, '/', BAD, "name at 2096"},
		{2223, 1, 'x', BAD, "padding of name"},
	};
	static const struct poke delta[] = {
		{2052, 4, 328, BAD, "tlv.len (delta) at 2052"},
		{2088, 8, 100, BAD, "size at 2088: 100 is not a multiple of"},
		{2096, 2, 200, BAD, "name_len at 2096"},
		{2248, 8, 4096, BAD, "delta.target.size at 2248"},
	};
	struct disk_super sb;
	struct content c;
	struct reason why;

	(void)state;
	blocks_super_fresh(&sb);
	memset(sb.tlv, 0, sizeof(sb.tlv));
	c = sample(CONTENT_AT, le64_get(sb.size));
	assert_true(content_store(&c, &sb));
	break_each(&sb, sizeof(sb), at, COUNT(at), judge_super);
	c.state = CONTENT_DELTA;
	assert_true(content_store(&c, &sb));
	break_each(&sb, sizeof(sb), delta, COUNT(delta), judge_super);
	/* Two of these. */
	assert_true(tlv_add(&sb, TLV_APPLYING, sb.tlv + 8, sizeof(struct disk_tlv_delta)));
	assert_refused(judge_super(&sb, &why), &why, "a second content entry");
	/* A delta that somebody has written to is none. */
	blocks_super(&sb);
	memset(sb.tlv, 0, sizeof(sb.tlv));
	c.target.size = le64_get(sb.size);
	assert_true(content_store(&c, &sb));
	assert_int_equal(judge_super(&sb, &why), BAD);
}

/* ---- of an image --------------------------------------------------------------------------- */

static errint_t reopen(struct store *st, struct image_open_opts o, struct image **im)
{
	if (*im)
		assert_int_equal(image_close(*im), 0);
	*im = NULL;
	return image_open(st, &o, im);
}

static void of_image(void **state)
{
	struct store *st = mem_store_new(1ull << 30);
	struct content c = sample(CONTENT_AT, 1 << 20), got;
	const struct image_params params = {.size = 1 << 20, .content = &c};
	const struct image_open_opts reads = {.read_only = true}, writes = {.force = false},
				     keeps = {.keeps_content = true, .accept_applying = true};
	struct image *im = NULL;

	(void)state;
	assert_int_equal(image_create(st, &params), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(reopen(st, i == 1 ? keeps : reads, &im), 0);
		image_get_content(im, &got);
		assert_true(same_content(&c, &got));
	}
	/* On the way it is nobody's, and after a crash still. */
	assert_int_equal(reopen(st, keeps, &im), 0);
	c.state = CONTENT_APPLYING;
	assert_int_equal(image_set_content(im, &c), 0);
	image_abandon(im);
	im = NULL;
	assert_int_equal(reopen(st, reads, &im), -EINVAL);
	assert_int_equal(reopen(st, writes, &im), -EINVAL);
	assert_int_equal(reopen(st, keeps, &im), 0);
	image_get_content(im, &got);
	assert_true(same_content(&c, &got));
	assert_int_equal(snapshot_create(im, "no", NULL), -EINVAL);
	c.state = CONTENT_AT;
	assert_int_equal(image_set_content(im, &c), 0);
	/* Whoever may write to it makes it unknown, at once. */
	assert_int_equal(reopen(st, writes, &im), 0);
	image_abandon(im);
	im = NULL;
	assert_int_equal(reopen(st, reads, &im), 0);
	image_get_content(im, &got);
	assert_int_equal(got.state, CONTENT_UNKNOWN);
	assert_int_equal(image_close(im), 0);
	store_close(st);
}

static void of_delta(void **state)
{
	struct store *st = mem_store_new(1ull << 30);
	const struct content c = sample(CONTENT_DELTA, 1 << 20);
	const struct image_params params = {.size = 1 << 20, .content = &c};
	const struct image_open_opts reads = {.read_only = true, .accept_delta = true},
				     writes = {.accept_delta = true},
				     plain = {.read_only = true, .accept_applying = true};
	struct content got;
	struct image *im = NULL;

	(void)state;
	assert_int_equal(image_create(st, &params), 0);
	assert_int_equal(reopen(st, plain, &im), -EINVAL);
	assert_int_equal(reopen(st, writes, &im), -EINVAL);
	assert_int_equal(reopen(st, reads, &im), 0);
	image_get_content(im, &got);
	assert_true(same_content(&c, &got));
	assert_int_equal(image_close(im), 0);
	store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tlv_list),	  cmocka_unit_test(round_trip),
		cmocka_unit_test(foreign_writer), cmocka_unit_test(refused),
		cmocka_unit_test(of_image),	  cmocka_unit_test(of_delta),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
