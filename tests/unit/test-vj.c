/* SPDX-License-Identifier: MIT */
/*
 * The volatile journal (docs/format.md section 10): what it brings back after the death of a
 * process, and when it is emptied.  The process dies in tests/crash as well, at every step; here
 * its death is image_abandon().
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/log.h"
#include "image/snapshot.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/vj_bench.h"

/* --- what it is for -----------------------------------------------------------------------------
 */

static void acknowledged_writes_come_back(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;
	struct image_info before, after;

	vj_bench_start(b);
	live_put(l, 0, 4096, 1);
	live_put(l, 4096, 4096, 2); /* coalesced with the one before (J6) */
	live_put(l, 3 * LEAF, CLUSTER, 3);
	live_put(l, 5 * CLUSTER + 512, 512, 4);
	assert_true(vj_bench_unretired(b) > 4);
	image_get_info(l->im, &before);
	assert_true(before.recoverable);
	live_crash(l);

	vj_bench_recover(b);
	image_get_info(l->im, &after);
	assert_true(after.recoverable);
	assert_true(after.recovered >= 5);
	assert_int_equal(vj_bench_unretired(b), 0);
	live_expect(l, 0, 4096, 1);
	live_expect(l, 4096, 4096, 2);
	live_expect(l, 8192, 4096, 0);
	live_expect(l, 3 * LEAF, CLUSTER, 3);
	live_expect(l, 5 * CLUSTER + 512, 512, 4);
	live_expect(l, 5 * CLUSTER, 512, 0);
	live_close(l);
	assert_false(vj_bench_exists(b));
	live_check(l);
}

static void without_it_they_are_lost(void **state)
{
	struct vj_bench *b = *state;

	vj_bench_start(b);
	live_put(&b->l, 0, 4096, 1);
	live_crash(&b->l);
	live_open(&b->l);
	live_expect(&b->l, 0, 4096, 0);
	live_close(&b->l);
}

static void discards_and_zeros_come_back(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;

	vj_bench_start(b);
	for (unsigned i = 0; i < 8; i++)
		live_put(l, i * CLUSTER, CLUSTER, 9);
	assert_int_equal(engine_flush(l->t), 0);
	assert_int_equal(vj_bench_unretired(b), 0);
	assert_int_equal(engine_discard(l->t, 0, 2 * CLUSTER), 0);
	assert_int_equal(engine_write_zeroes(l->t, 3 * CLUSTER + 512, 2 * CLUSTER), 0);
	live_put(l, 0, 512, 5); /* where a discard was */
	live_crash(l);

	vj_bench_recover(b);
	live_expect(l, 0, 512, 5);
	live_expect(l, 512, CLUSTER - 512, 0);
	live_expect(l, CLUSTER, CLUSTER, 0);
	live_expect(l, 2 * CLUSTER, CLUSTER, 9);
	live_expect(l, 3 * CLUSTER, 512, 9);
	live_expect(l, 3 * CLUSTER + 512, CLUSTER - 512, 0);
	live_expect(l, 4 * CLUSTER, CLUSTER, 0);
	live_expect(l, 5 * CLUSTER, 512, 0);
	live_expect(l, 5 * CLUSTER + 512, CLUSTER - 512, 9);
	live_close(l);
	live_check(l);
}

/* The walker's groups, the zombie, the snapshot itself. */
static void deletions_go_on(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;
	struct snapshot_info s;
	bool more = true;

	vj_bench_start(b);
	for (unsigned i = 0; i < 20; i++)
		live_put(l, i * (LEAF / 2), CLUSTER, 1);
	assert_int_equal(snapshot_create(l->im, "a", NULL), 0);
	for (unsigned i = 0; i < 20; i++)
		live_put(l, i * (LEAF / 2), 4096, 2);
	assert_int_equal(snapshot_delete(l->im, "a"), 0);
	assert_int_equal(snapshot_reclaim(l->im, 3, &more), 0);
	assert_true(more);
	assert_true(vj_bench_unretired(b) > 3);
	live_crash(l);

	vj_bench_recover(b);
	assert_int_equal(snapshot_find(l->im, "a", &s), -ENOENT);
	assert_int_equal(snapshot_reclaim(l->im, 2, &more), 0);
	live_crash(l);
	vj_bench_recover(b);
	while (more)
		assert_int_equal(snapshot_reclaim(l->im, 10, &more), 0);
	for (unsigned i = 0; i < 20; i++) {
		live_expect(l, i * (LEAF / 2), 4096, 2);
		live_expect(l, i * (LEAF / 2) + 4096, 4096, 1);
	}
	live_close(l);
	live_check(l);
}

/* As often as it takes, and what is written between. */
static void recovery_is_repeated(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;

	vj_bench_start(b);
	for (unsigned i = 1; i < 30; i++) {
		live_put(l, i * CLUSTER, 4096, (uint8_t)i);
		if (i % 3 == 0)
			assert_int_equal(engine_flush(l->t), 0);
		if (i % 7 == 0)
			assert_int_equal(image_checkpoint(l->im), 0);
		live_crash(l);
		vj_bench_recover(b);
		if (i % 2)
			live_crash(l), vj_bench_recover(b);
	}
	for (unsigned i = 1; i < 30; i++)
		live_expect(l, i * CLUSTER, 4096, (uint8_t)i);
	live_close(l);
	live_check(l);
}

/* Killed when the superblock of the recovery is durable and the slots are not retired: the slots
 * that were replayed are still there. */
static void replayed_slots_are_skipped(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;
	struct vj_file f;

	vj_bench_start(b);
	live_put(l, 0, CLUSTER, 1);
	live_put(l, LEAF, CLUSTER, 2);
	live_crash(l);
	vj_bench_load(b, &f);
	vj_bench_recover(b);
	live_put(l, 0, 4096, 3); /* in place */
	live_crash(l);
	/* The tail as it was. */
	struct vj_file now;
	vj_bench_load(b, &now);
	now.h.tail = f.h.tail;
	vj_bench_save(b, &now);
	vj_bench_recover(b);
	struct image_info i;
	image_get_info(l->im, &i);
	assert_int_equal(i.recovered, 0);
	live_expect(l, 0, 4096, 3);
	live_expect(l, LEAF, CLUSTER, 2);
	live_close(l);
	live_check(l);
}

/* --- retiring -----------------------------------------------------------------------------------
 */

static void what_is_durable_is_retired(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;

	vj_bench_start(b);
	assert_int_equal(vj_bench_unretired(b), 0);
	live_put(l, 0, 4096, 1);
	assert_true(vj_bench_unretired(b) > 0);
	assert_int_equal(engine_flush(l->t), 0);
	assert_int_equal(vj_bench_unretired(b), 0);

	live_put(l, CLUSTER, 4096, 1);
	uint64_t before = vj_bench_info(b).generation;
	assert_int_equal(image_checkpoint(l->im), 0);
	assert_int_equal(vj_bench_unretired(b), 0);
	assert_int_equal(vj_bench_info(b).generation, before + 1);

	uint64_t head = l->im->vj->head;
	live_put(l, CLUSTER, 4096, 2); /* in place: nothing to publish */
	assert_int_equal(l->im->vj->head, head);
	live_close(l);
	assert_false(vj_bench_exists(b));
}

/* V3: it is never lost that there is room; whoever has none waits for a commit. */
static void when_it_is_full_a_commit_is_made(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;
	struct image_stats s;

	vj_bench_start(b);
	for (unsigned i = 0; i < 2000; i++)
		live_put(l, i * (uint64_t)CLUSTER, 4096, (uint8_t)i);
	/* One cluster, sub-block after sub-block, is one record in the transaction (J6). */
	image_get_stats(l->im, &s);
	assert_true(s.commits >= 2000 * 2 / 512);
	assert_true(s.commits <= 2000 * 2 / 512 + 4);
	live_crash(l);
	vj_bench_recover(b);
	for (unsigned i = 0; i < 2000; i++)
		live_expect(l, i * (uint64_t)CLUSTER, 4096, (uint8_t)i);
	live_close(l);
	live_check(l);
}

static void three_quarters_are_enough_for_upkeep(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;

	vj_bench_start(b);
	for (unsigned i = 0; vj_bench_unretired(b) <= 512 / 4 * 3; i++) {
		assert_int_equal(image_maintain(l->im), 0);
		live_put(l, i * (uint64_t)CLUSTER, 4096, 1);
	}
	assert_int_equal(image_maintain(l->im), 0);
	assert_int_equal(vj_bench_unretired(b), 0);
	live_close(l);
}

/* --- beginning ----------------------------------------------------------------------------------
 */

/* What was written before is covered as well. */
static void a_late_start_covers_everything(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;

	live_open(l);
	live_put(l, 0, 4096, 1);
	live_put(l, LEAF, 4096, 2);
	assert_int_equal(image_vj_start(l->im, b->dir, VJ_DEVICE), 0);
	live_put(l, 2 * LEAF, 4096, 3);
	live_crash(l);
	vj_bench_recover(b);
	live_expect(l, 0, 4096, 1);
	live_expect(l, LEAF, 4096, 2);
	live_expect(l, 2 * LEAF, 4096, 3);
	live_close(l);
}

/* V1: no space is an error at the start, and the image goes on without. */
static void no_space_is_told_at_once(void **state)
{
	struct vj_bench *b = *state;
	struct rlimit old, small;

	live_open(&b->l);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){8192, old.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	errint_t err = image_vj_start(b->l.im, b->dir, VJ_DEVICE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(err, -EFBIG);
	vj_bench_expect_said("cannot allocate");
	assert_false(vj_bench_exists(b));
	live_put(&b->l, 0, 4096, 1);
	live_close(&b->l);
}

static void the_file_is_private(void **state)
{
	struct vj_bench *b = *state;
	struct stat s;

	vj_bench_start(b);
	assert_int_equal(fstatat(b->dir, VJ_NAME, &s, 0), 0);
	assert_int_equal(s.st_mode & 07777, 0600);
	assert_int_equal(s.st_size, VJ_FILE_LEN);
	assert_true(s.st_blocks * 512 >= (blkcnt_t)VJ_FILE_LEN);
	live_close(&b->l);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, vj_bench_setup, vj_bench_teardown)
	const struct CMUnitTest tests[] = {
		T(acknowledged_writes_come_back),
		T(without_it_they_are_lost),
		T(discards_and_zeros_come_back),
		T(deletions_go_on),
		T(recovery_is_repeated),
		T(replayed_slots_are_skipped),
		T(what_is_durable_is_retired),
		T(when_it_is_full_a_commit_is_made),
		T(three_quarters_are_enough_for_upkeep),
		T(a_late_start_covers_everything),
		T(no_space_is_told_at_once),
		T(the_file_is_private),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
