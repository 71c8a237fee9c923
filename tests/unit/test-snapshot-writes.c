/* SPDX-License-Identifier: MIT */
/*
 * Writing over what a snapshot has: each kind of change, to each kind of cluster, leaves the
 * snapshot's storage alone and gives the head storage of its own, which the next change uses in
 * place.
 */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "image/plan.h"
#include "tests/lib/live.h"
#include "tests/lib/sample.h"
#include "tests/lib/surgery_snapshot.h"

/* --- clusters, and what is done to them ---------------------------------------------------------
 */

enum kind { BLOB, RAW, PART, EMPTY, KINDS };

/* One cluster of each kind for each change. */
static uint64_t cluster_of(enum kind kind, unsigned change)
{
	static const uint64_t first[KINDS] = {10, RAW_FIRST, 7000, 300000};

	return first[kind] + 3 * change;
}

/* PART: two sub-blocks of it are stored. */
#define PART_OFF 8192u
#define PART_LEN 8192u

static const struct change {
	const char *name;
	enum { WRITE, DISCARD, ZEROES } op;
	uint32_t off, len; /* bytes within the cluster */
} changes[] = {
	{"write within a sub-block", WRITE, 9216, 512},
	{"write of a sub-block", WRITE, 8192, 4096},
	{"write of a sub-block that may not be stored", WRITE, 20480, 4096},
	{"write across sub-blocks", WRITE, 3584, 17408},
	{"write of a cluster", WRITE, 0, CLUSTER},
	{"discard", DISCARD, 0, CLUSTER},
	{"discard of a part", DISCARD, 8192, 16384},
	{"zeroes", ZEROES, 0, CLUSTER},
	{"zeroes in a part", ZEROES, 7680, 9728},
};
#define CHANGES (sizeof(changes) / sizeof(*changes))

static errint_t make_change(struct live *l, uint64_t v, const struct change *c)
{
	uint64_t off = v * CLUSTER + c->off;

	switch (c->op) {
	case WRITE:
		return live_try_put(l, off, c->len, 'n');
	case DISCARD:
		return engine_discard(l->t, off, c->len);
	case ZEROES:
		return engine_write_zeroes(l->t, off, c->len);
	}
	return -EINVAL;
}

/* What cluster @buf must hold after the change.  A discard need not do anything. */
static void expect_changed(const uint8_t *was, const uint8_t *is, const struct change *c)
{
	for (uint32_t i = 0; i < CLUSTER; i++) {
		bool inside = i >= c->off && i - c->off < c->len;
		uint8_t with = !inside ? was[i] : c->op == WRITE ? 'n' : 0;

		if (is[i] != with && !(inside && c->op == DISCARD && is[i] == was[i]))
			fail_msg("%s: byte %" PRIu32 " is %02x, not %02x", c->name, i, is[i], with);
	}
}

/* --- an image with a snapshot -------------------------------------------------------------------
 */

static void begin(struct live *l)
{
	struct surgery s;

	memset(l, 0, sizeof(*l));
	l->st = sample_image(&s);
	l->buf = aligned_alloc(4096, CLUSTER);
	l->opts.journal_length = 1 * MIB;
	assert_non_null(l->buf);
	live_open(l);
	for (unsigned i = 0; i < CHANGES; i++) {
		live_put(l, cluster_of(PART, i) * CLUSTER + PART_OFF, PART_LEN, 'p');
		live_put(l, cluster_of(RAW, i) * CLUSTER, CLUSTER, 'r');
	}
	live_close(l);
	surgery_begin(&s, l->st);
	surgery_take_snapshot(&s);
}

static void read_cluster(struct live *l, uint64_t v, uint8_t *buf)
{
	assert_int_equal(engine_read(l->t, buf, v * CLUSTER, CLUSTER), 0);
}

static struct desc lookup(struct live *l, uint64_t v)
{
	struct need need = {0};
	struct desc d;
	errint_t err;

	do {
		pthread_mutex_lock(&l->im->lock);
		err = map_lookup(l->im, v, &d, &need);
		pthread_mutex_unlock(&l->im->lock);
	} while (image_again(l->im, &err, &need));
	assert_int_equal(err, 0);
	return d;
}

/* The stored bytes of @d: whole units around them. */
static void read_stored(struct live *l, struct desc d, uint8_t *buf)
{
	struct extent e = desc_extent(image_geometry(l->im), d);
	uint64_t from = e.off & ~(uint64_t)(UNIT_SIZE - 1);

	memset(buf, 0, 2 * CLUSTER);
	if (e.len)
		assert_int_equal(store_read(l->st, buf, CLUSTER + UNIT_SIZE, from), 0);
}

/* --- tests --------------------------------------------------------------------------------------
 */

static void change_one(struct live *l, enum kind kind, unsigned change)
{
	CLEANUP(free) uint8_t *was = store_buffer(CLUSTER), *is = store_buffer(CLUSTER);
	CLEANUP(free) uint8_t *stored = store_buffer(2 * CLUSTER);
	CLEANUP(free) uint8_t *now = store_buffer(2 * CLUSTER);
	const struct change *c = &changes[change];
	uint64_t v = cluster_of(kind, change);
	struct desc before = lookup(l, v);

	read_cluster(l, v, was);
	read_stored(l, before, stored);
	assert_int_equal(make_change(l, v, c), 0);
	read_cluster(l, v, is);
	expect_changed(was, is, c);
	struct desc after = lookup(l, v);
	/* Limbo, if the old extent were there by mistake, would end now. */
	assert_int_equal(image_checkpoint(l->im), 0);
	assert_int_equal(image_maintain(l->im), 0);
	read_stored(l, before, now);
	assert_memory_equal(stored, now, 2 * CLUSTER);
	if (desc_equal(before, after)) {
		/* Nothing to be done, or no need to. */
		assert_true(kind == EMPTY || c->op == DISCARD);
		return;
	}
	assert_int_equal(after.birth, desc_type(after) == DESC_HOLE ? 0 : 2);
	if (desc_extent(image_geometry(l->im), after).len)
		assert_false(desc_same_extent(image_geometry(l->im), before, after));

	/* Now it is the head's own. */
	assert_int_equal(live_try_put(l, v * CLUSTER + 512, 512, 'm'), 0);
	struct desc again = lookup(l, v);
	if (desc_type(after) == DESC_RAW && desc_unit(after))
		assert_int_equal(desc_unit(after), desc_unit(again));
}

static void everything_is_copied(void **state)
{
	uint8_t *was[KINDS][CHANGES];
	CLEANUP(free) uint8_t *is = store_buffer(CLUSTER);
	struct surgery s;
	struct live l;

	(void)state;
	begin(&l);
	live_open(&l);
	for (unsigned k = 0; k < KINDS; k++) {
		for (unsigned i = 0; i < CHANGES; i++) {
			was[k][i] = store_buffer(CLUSTER);
			read_cluster(&l, cluster_of((enum kind)k, i), was[k][i]);
		}
	}
	for (unsigned k = 0; k < KINDS; k++)
		for (unsigned i = 0; i < CHANGES; i++)
			change_one(&l, (enum kind)k, i);
	live_close(&l);
	live_check(&l);

	/* Show the snapshot: all is as it was. */
	surgery_begin(&s, l.st);
	CLEANUP(free) struct disk_snapshot *rec = surgery_records(&s);
	surgery_swap_tree(&s, rec);
	surgery_super(&s);
	l.opts.read_only = true;
	live_open(&l);
	for (unsigned k = 0; k < KINDS; k++) {
		for (unsigned i = 0; i < CHANGES; i++) {
			read_cluster(&l, cluster_of((enum kind)k, i), is);
			assert_memory_equal(is, was[k][i], CLUSTER);
			free(was[k][i]);
		}
	}
	live_close(&l);
	live_free(&l);
}

/* What a plan for a shared cluster is: a copy, which takes a worker. */
static void shared_clusters_are_planned_as_copies(void **state)
{
	struct image_writer *w;
	struct write_plan p;
	struct live l;

	(void)state;
	begin(&l);
	live_open(&l);
	assert_int_equal(image_writer_new(l.im, &w), 0);
	for (enum kind k = BLOB; k <= PART; k++) {
		uint64_t v = cluster_of(k, 0);
		struct desc before = lookup(&l, v);

		assert_int_equal(plan_write(l.im, w, v * CLUSTER + 8192, 4096, 0, IMAGE_NOWAIT, &p),
				 -EAGAIN);
		assert_int_equal(
			plan_write(l.im, w, v * CLUSTER + 8192, 4096, 0, IMAGE_MAY_BLOCK, &p), 0);
		assert_int_equal(p.how, WRITE_CLUSTER);
		assert_int_equal(p.span_len, CLUSTER);
		assert_int_equal(plan_write_target(l.im, w, &p), 0);
		assert_int_not_equal(p.target, desc_extent(image_geometry(l.im), before).off);
		plan_write_cancel(l.im, &p);
		assert_true(desc_equal(before, lookup(&l, v)));
	}
	image_writer_free(w);
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

/* A crash between the record and the checkpoint: replay frees nothing of the snapshot's either. */
static void replay_leaves_snapshots_alone(void **state)
{
	struct live l;

	(void)state;
	begin(&l);
	live_open(&l);
	for (unsigned k = 0; k < KINDS; k++)
		for (unsigned i = 0; i < CHANGES; i++)
			assert_int_equal(make_change(&l, cluster_of((enum kind)k, i), &changes[i]),
					 0);
	assert_int_equal(engine_flush(l.t), 0);
	live_crash(&l);
	live_check(&l);
	live_open(&l);
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_copied),
		cmocka_unit_test(shared_clusters_are_planned_as_copies),
		cmocka_unit_test(replay_leaves_snapshots_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
