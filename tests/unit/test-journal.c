/* SPDX-License-Identifier: MIT */
/* The journal's ring, what is reserved in it, what a replay refuses, and what waits for it. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/alloc_priv.h"
#include "image/checksum.h"
#include "image/limbo.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"

#define RING (64u << 10) /* 16 blocks */

static void new_ring(struct live *l)
{
	live_new(l, GIB, GIB);
	l->opts.journal_length = RING;
	live_open(l);
}

/* ---- the ring --------------------------------------------------------------------------- */

#define CLUSTERS 400u

struct lap {
	struct live l;
	struct rng rng;
	uint8_t now[CLUSTERS];	      /* first byte */
	bool possible[CLUSTERS][256]; /* since the last flush */
	uint64_t head, replayed;
};

static void change_some(struct lap *a)
{
	/* Up to three blocks of records, next to each other or not. */
	unsigned n = 1 + (unsigned)rng_below(&a->rng, rng_chance(&a->rng, 20) ? 150 : 5);

	while (n--) {
		unsigned v = (unsigned)rng_below(&a->rng, CLUSTERS);

		if (rng_chance(&a->rng, 40)) {
			a->possible[v][a->now[v] = 0] = true;
			assert_int_equal(engine_discard(a->l.t, v * (uint64_t)CLUSTER, CLUSTER), 0);
		} else {
			a->now[v] = (uint8_t)(1 + rng_below(&a->rng, 255));
			a->possible[v][a->now[v]] = true;
			live_put(&a->l, v * (uint64_t)CLUSTER, 512, a->now[v]);
		}
	}
}

static void only_now_is_possible(struct lap *a)
{
	memset(a->possible, 0, sizeof(a->possible));
	for (unsigned v = 0; v < CLUSTERS; v++)
		a->possible[v][a->now[v]] = true;
}

/* What was flushed is there, or something newer. */
static void crash_and_compare(struct lap *a)
{
	struct image_info info;

	a->head += a->l.im->journal.head;
	live_crash(&a->l);
	live_check(&a->l);
	live_open(&a->l);
	a->head -= a->l.im->journal.head;
	image_get_info(a->l.im, &info);
	a->replayed += info.replayed;
	for (unsigned v = 0; v < CLUSTERS; v++) {
		assert_int_equal(engine_read(a->l.t, a->l.buf, v * (uint64_t)CLUSTER, 512), 0);
		assert_true(a->possible[v][a->l.buf[0]]);
		a->now[v] = a->l.buf[0];
	}
	only_now_is_possible(a);
}

static void laps(void **state)
{
	static struct lap a;

	(void)state;
	memset(&a, 0, sizeof(a));
	a.rng.state = 3;
	only_now_is_possible(&a);
	new_ring(&a.l);
	for (unsigned i = 0; i < 250; i++) {
		change_some(&a);
		if (rng_chance(&a.rng, 80)) {
			assert_int_equal(engine_flush(a.l.t), 0);
			only_now_is_possible(&a);
		}
		if (rng_chance(&a.rng, 10))
			crash_and_compare(&a);
	}
	crash_and_compare(&a);
	assert_true(a.replayed > 40);
	assert_true(a.l.im->journal.head > 8 * RING); /* around several times */
	live_close(&a.l);
	live_check(&a.l);
	live_free(&a.l);
}

/* ---- reservations ----------------------------------------------------------------------- */

/* T3: whatever has been reserved can be logged and committed without asking, in the worst way. */
static void reserved_fits(void **state)
{
	struct need need = {0};
	unsigned n = 0;
	struct node *leaf;
	struct live l;

	(void)state;
	new_ring(&l);
	pthread_mutex_lock(&l.im->lock);
	while (!txn_reserve(l.im, 1, 0, &need))
		n++;
	/* Nothing is logged and nothing dirty: others have to use or give back what they hold. */
	assert_int_equal(need.kind, NEED_EVENT);
	assert_int_equal(n, RING / 4096 - 2);
	uint64_t events = l.im->events;
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(txn_prepare(l.im, i, 1, true, &leaf, &need), 0);
		assert_int_equal(txn_log_map(l.im, leaf, i, desc_zero_make(1)), 0);
		pthread_mutex_unlock(&l.im->lock);
		assert_int_equal(txn_commit(l.im), 0); /* a block each */
		pthread_mutex_lock(&l.im->lock);
	}
	assert_int_equal(l.im->txns.reserved, 0);
	assert_true(l.im->events > events);
	assert_int_equal(journal_free(l.im), 2 * 4096);
	assert_int_equal(txn_reserve(l.im, 1, 0, &need), -EAGAIN);
	assert_int_equal(need.kind, NEED_CHECKPOINT);
	pthread_mutex_unlock(&l.im->lock);
	assert_int_equal(image_satisfy(l.im, &need), 0);
	pthread_mutex_lock(&l.im->lock);
	assert_int_equal(txn_reserve(l.im, 5, 0, &need), 0);
	txn_unreserve(l.im, 5);
	pthread_mutex_unlock(&l.im->lock);
	live_crash(&l);
	live_check(&l);
	live_free(&l);
}

/* A transaction has an end, too. */
static void transaction_is_full(void **state)
{
	struct need need = {0};
	struct node *leaf;
	struct live l;

	(void)state;
	live_new(&l, GIB, GIB);
	live_open(&l);
	pthread_mutex_lock(&l.im->lock);
	assert_int_equal(txn_reserve(l.im, 1, 0, &need), 0);
	assert_int_equal(txn_prepare(l.im, 0, 1, true, &leaf, &need), 0);
	assert_int_equal(txn_log_map(l.im, leaf, 0, desc_zero_make(1)), 0);
	/* The journal of this disk has no room for so many transactions. */
	l.im->journal.length = 1ull << 40;
	assert_int_equal(txn_reserve(l.im, TXN_FULL_RECORDS, 0, &need), -EAGAIN);
	assert_int_equal(need.kind, NEED_COMMIT);
	assert_int_equal(txn_reserve(l.im, TXN_FULL_RECORDS - 1, 0, &need), 0);
	l.im->txns.open.n = 0;
	assert_int_equal(txn_reserve(l.im, 2, 0, &need), -EAGAIN);
	assert_int_equal(need.kind, NEED_EVENT);
	pthread_mutex_unlock(&l.im->lock);
	live_crash(&l);
	live_free(&l);
}

/* J6: filling a cluster bit by bit is one record. */
static void coalescing(void **state)
{
	struct image_stats stats;
	struct image_info info;
	struct live l;

	(void)state;
	new_ring(&l);
	for (unsigned i = 0; i < 16; i++)
		live_put(&l, i * 4096, 4096, (uint8_t)(i + 1));
	image_get_stats(l.im, &stats);
	assert_int_equal(l.im->txns.open.n, 1); /* the allocation has the same extent as the bits */
	assert_int_equal(engine_flush(l.t), 0);
	live_crash(&l);
	live_open(&l);
	image_get_info(l.im, &info);
	assert_int_equal(info.replayed, 1);
	for (unsigned i = 0; i < 16; i++)
		live_expect(&l, i * 4096, 4096, (uint8_t)(i + 1));
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

/* ---- replay ----------------------------------------------------------------------------- */

/* An image that stopped after @n transactions of one block; *off is where the last one stands. */
static void with_transactions(struct live *l, unsigned n, uint64_t *off)
{
	new_ring(l);
	for (unsigned i = 0; i < n; i++) {
		*off = l->im->journal.offset + l->im->journal.head % RING;
		live_put(l, i * (uint64_t)CLUSTER, CLUSTER, (uint8_t)(i + 1));
		assert_int_equal(engine_flush(l->t), 0);
	}
	live_crash(l);
}

static void expect_refused(struct live *l)
{
	assert_int_equal(live_try_open(l), -EBADMSG);
}

/* Damage before the end is damage; at the end it is what a crash leaves. */
static void holes_in_the_journal(void **state)
{
	uint64_t off;
	struct live l;

	(void)state;
	with_transactions(&l, 5, &off);
	mem_store_flip(l.st, off + 100);
	live_open(&l);
	assert_int_equal(l.im->replayed, 4);
	live_expect(&l, 3 * CLUSTER, CLUSTER, 4);
	live_expect(&l, 4 * CLUSTER, CLUSTER, 0);
	live_close(&l);
	live_check(&l);
	live_free(&l);

	with_transactions(&l, 5, &off);
	mem_store_flip(l.st, off - 2 * 4096 + 100);
	expect_refused(&l);
	l.opts.read_only = true;
	live_open(&l);
	assert_int_equal(l.im->replayed, 2);
	live_expect(&l, 1 * CLUSTER, CLUSTER, 2);
	live_expect(&l, 2 * CLUSTER, CLUSTER, 0);
	live_close(&l);
	live_free(&l);
}

enum forgery {
	FORGE_NOTHING,
	FORGE_CRC,     /* of the replaced entry */
	FORGE_CLUSTER, /* beyond the disk */
	FORGE_FILE,    /* an extent beyond the file */
	FORGE_IN_USE,  /* an extent of another cluster */
	FORGE_CLASS,   /* a cluster where blobs would be: the region of the journal */
	FORGE_BIRTH,
	FORGE_OLD_RANGE, /* beyond the disk */
	FORGE_TYPE,
	FORGE_SUPERBLOCK, /* one newer than any */
	FORGERIES
};

static void forge(struct disk_txn *t, enum forgery how)
{
	struct disk_record *r = &t->rec[0];
	struct desc d = desc_from_disk(&r->b);

	assert_int_equal(r->type, REC_MAP);
	switch (how) {
	case FORGE_CRC:
		r->x32 = le32_make(le32_get(r->x32) ^ 1);
		break;
	case FORGE_CLUSTER:
		r->a = le64_make(GIB / CLUSTER);
		break;
	case FORGE_FILE:
		d.w0 += 3 * REGION_UNITS;
		break;
	case FORGE_IN_USE:
		d.w0 -= 16;
		break;
	case FORGE_CLASS:
		d.w0 = (uint64_t)DESC_RAW << 56 | 512;
		break;
	case FORGE_BIRTH:
		d.birth = 3;
		break;
	case FORGE_OLD_RANGE:
		r->type = REC_RANGE;
		r->a = le64_make(GIB / CLUSTER - 1);
		r->x32 = le32_make(2);
		d = desc_hole();
		break;
	case FORGE_TYPE:
		r->type = 9;
		break;
	case FORGE_SUPERBLOCK:
		t->sb_gen = le64_make(le64_get(t->sb_gen) + 1);
		break;
	case FORGE_NOTHING:
	case FORGERIES:
		break;
	}
	r->b = desc_to_disk(d);
}

/* Sound as a block, impossible as a step: not a byte is written. */
static void forgeries(void **state)
{
	(void)state;
	for (enum forgery how = 0; how < FORGERIES; how++) {
		struct disk_txn *t = store_buffer(UNIT_SIZE);
		uint64_t off, writes;
		struct live l;

		with_transactions(&l, 3, &off);
		assert_int_equal(store_read(l.st, t, UNIT_SIZE, off), 0);
		forge(t, how);
		struct disk_ident *ident = store_buffer(UNIT_SIZE);
		assert_int_equal(store_read(l.st, ident, UNIT_SIZE, 0), 0);
		t->crc = le32_make(checksum_txn(checksum_uuid(ident->uuid), t, 1));
		assert_int_equal(store_write(l.st, t, UNIT_SIZE, off), 0);
		writes = mem_store_calls(l.st, MEM_WRITE);
		if (how == FORGE_NOTHING) {
			live_open(&l);
			live_close(&l);
			live_check(&l);
		} else {
			print_message("forgery %d\n", how);
			expect_refused(&l);
			assert_int_equal(mem_store_calls(l.st, MEM_WRITE), writes);
		}
		if (how == FORGE_SUPERBLOCK) {
			l.opts.read_only = true;
			live_open(&l);
			live_expect(&l, 2 * CLUSTER, CLUSTER, 3);
			live_close(&l);
		}
		live_free(&l);
		free(t);
		free(ident);
	}
}

/* ---- limbo ------------------------------------------------------------------------------ */

static uint32_t holds(struct live *l, uint64_t unit)
{
	SCOPED_LOCK(&l->im->lock);
	return busy_count(l->im, unit);
}

static bool mapped(struct live *l, uint64_t unit)
{
	SCOPED_LOCK(&l->im->lock);
	return !unit_clear(region_get(l->im, unit / REGION_UNITS), unit % REGION_UNITS);
}

/* Unmapped, durable, no reader left: in this order, and not before. */
static void nothing_is_free_too_early(void **state)
{
	struct read_plan *p = calloc(1, sizeof(*p)), *later = calloc(1, sizeof(*later));
	uint64_t unit, punches;
	struct live l;

	(void)state;
	new_ring(&l);
	live_put(&l, 0, CLUSTER, 5);
	assert_int_equal(engine_flush(l.t), 0);
	assert_int_equal(plan_read(l.im, 0, CLUSTER, IMAGE_NOWAIT, p), 0);
	unit = p->seg[0].file_off >> 12;
	assert_true(mapped(&l, unit));
	assert_int_equal(holds(&l, unit), 0);
	punches = mem_store_calls(l.st, MEM_PUNCH);

	assert_int_equal(engine_discard(l.t, 0, CLUSTER), 0);
	assert_false(mapped(&l, unit));
	limbo_step(l.im);
	assert_int_equal(holds(&l, unit), 1); /* not durable */
	assert_int_equal(plan_read(l.im, 0, CLUSTER, IMAGE_NOWAIT, later), 0);
	assert_int_equal(later->seg[0].kind, SEG_ZERO);
	assert_int_equal(engine_flush(l.t), 0);
	limbo_step(l.im);
	assert_int_equal(holds(&l, unit), 1); /* read by p */
	assert_int_equal(store_read(l.st, l.buf, CLUSTER, unit << 12), 0);
	assert_int_equal(l.buf[CLUSTER - 1], 5);
	plan_read_done(l.im, p);
	plan_read_done(l.im, later);
	assert_int_equal(mem_store_calls(l.st, MEM_PUNCH), punches);
	limbo_step(l.im);
	assert_int_equal(holds(&l, unit), 0);
	assert_int_equal(mem_store_calls(l.st, MEM_PUNCH), punches + 1);
	live_close(&l);
	live_check(&l);
	live_free(&l);
	free(p);
	free(later);
}

/* A host that cannot punch keeps the space, and the image may use it again. */
static void punching_fails(void **state)
{
	uint64_t unit;
	struct live l;

	(void)state;
	new_ring(&l);
	live_put(&l, 0, CLUSTER, 5);
	assert_int_equal(engine_flush(l.t), 0);
	unit = desc_unit(l.im->map.root->child[0]->entry[0]);
	mem_store_fail(l.st, MEM_PUNCH, 1, -EIO);
	assert_int_equal(engine_discard(l.t, 0, CLUSTER), 0);
	assert_int_equal(engine_flush(l.t), 0);
	assert_int_equal(holds(&l, unit), 0);
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

/* ---- upkeep ----------------------------------------------------------------------------- */

static void expect_upkeep(struct live *l, unsigned commits, unsigned checkpoints)
{
	struct image_stats before, after;

	image_get_stats(l->im, &before);
	assert_int_equal(image_maintain(l->im), 0);
	image_get_stats(l->im, &after);
	assert_int_equal(after.commits - before.commits, commits);
	assert_int_equal(after.checkpoints - before.checkpoints, checkpoints);
}

static void upkeep(void **state)
{
	struct live l;

	(void)state;
	new_ring(&l);
	expect_upkeep(&l, 0, 0);
	live_put(&l, 0, 4096, 1);
	expect_upkeep(&l, 0, 0); /* young */
	l.im->txns.last_commit_ms -= 5000;
	expect_upkeep(&l, 1, 0);
	l.im->txns.last_commit_ms -= 5000;
	expect_upkeep(&l, 0, 0); /* nothing logged */
	l.im->txns.last_ckpt_ms -= 30000;
	expect_upkeep(&l, 0, 1);
	l.im->txns.last_ckpt_ms -= 30000;
	expect_upkeep(&l, 0, 0); /* nothing dirty */
	l.im->txns.last_ckpt_ms += 30000;

	/* The journal is half full. */
	while (journal_free(l.im) >= RING / 2) {
		expect_upkeep(&l, 0, 0);
		live_put(&l, l.im->journal.head / 4096 * CLUSTER, 4096, 1);
		assert_int_equal(engine_flush(l.t), 0);
	}
	expect_upkeep(&l, 0, 1);
	/* Three quarters of the nodes that may be dirty are. */
	l.im->dirty_cap = 20;
	for (unsigned i = 0; l.im->map.dirty < 15; i++) {
		expect_upkeep(&l, 0, 0);
		live_put(&l, GIB - (i + 1) * LEAF, 4096, 1);
	}
	expect_upkeep(&l, 1, 1);
	/* After a fail-stop there is nothing to keep up. */
	mem_store_fail(l.st, MEM_SYNC, 1, -EIO);
	live_put(&l, 0, CLUSTER, 1);
	assert_int_equal(engine_flush(l.t), -EIO);
	assert_int_equal(image_maintain(l.im), -EIO);
	assert_int_equal(live_try_put(&l, 0, CLUSTER, 1), -EIO);
	assert_int_equal(live_try_close(&l), -EIO);
	live_check(&l);
	live_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(laps),
		cmocka_unit_test(reserved_fits),
		cmocka_unit_test(transaction_is_full),
		cmocka_unit_test(coalescing),
		cmocka_unit_test(holes_in_the_journal),
		cmocka_unit_test(forgeries),
		cmocka_unit_test(nothing_is_free_too_early),
		cmocka_unit_test(punching_fails),
		cmocka_unit_test(upkeep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
