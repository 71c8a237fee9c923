/* SPDX-License-Identifier: MIT */
/*
 * The check of images with snapshots: what trees share is followed and counted once, what one of
 * them has alone is found sound, and each way of breaking that is reported.
 */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/bitmap.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sample.h"
#include "tests/lib/surgery_snapshot.h"

/* --- images -------------------------------------------------------------------------------------
 */

/* Clusters of the sample that are overwritten, and those far away that only some trees have. */
#define CHANGED	  2000u
#define NCHANGED  40u
#define HEAD_ONLY 100000u
#define FAR_AWAY  (20u << 20) /* of a disk of more than 1 TiB */

/* Open the sample, so that it has a journal; then it is closed again. */
static void begin(struct live *l)
{
	struct surgery s;

	memset(l, 0, sizeof(*l));
	l->st = sample_image(&s);
	l->buf = aligned_alloc(4096, CLUSTER);
	l->opts.journal_length = 1 * MIB;
	assert_non_null(l->buf);
	live_open(l);
	live_close(l);
}

static uint32_t take(struct live *l)
{
	struct surgery s;

	surgery_begin(&s, l->st);
	return surgery_take_snapshot(&s);
}

/* Every kind of change to what a snapshot has, and something new. */
static void change(struct live *l, unsigned salt)
{
	live_open(l);
	for (unsigned i = 0; i < NCHANGED; i++) /* copied, as a part is overwritten */
		live_put(l, (CHANGED + 3 * i) * (uint64_t)CLUSTER, 4096, (uint8_t)salt);
	live_put(l, salt * (uint64_t)CLUSTER, 4096, 1); /* compressed before */
	assert_int_equal(engine_discard(l->t, (20 + salt) * (uint64_t)CLUSTER, 4 * CLUSTER), 0);
	assert_int_equal(engine_discard(l->t, (3000 + 1000ull * salt) * CLUSTER, 300 * CLUSTER), 0);
	for (unsigned i = 0; i < 20; i++)
		live_put(l, (HEAD_ONLY + 10 * salt + i) * (uint64_t)CLUSTER, 8192, (uint8_t)salt);
	live_close(l);
}

/* Two snapshots in a row, with changes before, between and after. */
static void two_snapshots(struct live *l)
{
	begin(l);
	take(l);
	change(l, 1);
	take(l);
	change(l, 2);
}

static void end(struct live *l)
{
	live_free(l);
}

/* --- sound images -------------------------------------------------------------------------------
 */

static void snapshot_of_unchanged_disk(void **state)
{
	struct outcome before, after;
	uint64_t reads[3];
	struct live l;

	(void)state;
	begin(&l);
	reads[0] = mem_store_calls(l.st, MEM_READ);
	run_check(l.st, (struct check_opts){.threads = 1}, &before);
	reads[1] = mem_store_calls(l.st, MEM_READ);
	take(&l);
	take(&l);
	take(&l);
	expect(l.st, 0, 0, NULL);
	reads[1] -= reads[0];
	reads[0] = mem_store_calls(l.st, MEM_READ);
	run_check(l.st, (struct check_opts){.threads = 1}, &after);
	reads[0] = mem_store_calls(l.st, MEM_READ) - reads[0];

	/* All is shared: it is counted, and read, once.  The table is read twice. */
	assert_int_equal(after.res.snapshots, 3);
	assert_int_equal(after.res.nodes, before.res.nodes);
	assert_int_equal(after.res.raw_clusters, before.res.raw_clusters);
	assert_int_equal(after.res.blobs, before.res.blobs);
	assert_int_equal(after.res.data_bytes, before.res.data_bytes);
	assert_int_equal(after.res.used_units, before.res.used_units + 1);
	assert_in_range(reads[0], reads[1], reads[1] + 2);
	end(&l);
}

static void trees_that_differ(void **state)
{
	struct outcome o;
	struct live l;

	(void)state;
	begin(&l);
	run_check(l.st, (struct check_opts){.threads = 1}, &o);
	uint64_t raw = o.res.raw_clusters, blobs = o.res.blobs;
	take(&l);
	change(&l, 1);
	expect(l.st, 0, 0, NULL);
	run_check(l.st, (struct check_opts){.data = true, .threads = 2}, &o);
	assert_int_equal(o.res.corruptions + o.res.leaks, 0);
	/* Each change has made a cluster, and the snapshot has kept what was there. */
	assert_int_equal(o.res.blobs, blobs);
	assert_int_equal(o.res.raw_clusters, raw + NCHANGED + 1 + 20);
	take(&l);
	change(&l, 2);
	expect(l.st, 0, 0, NULL);
	end(&l);
}

/* A journal that opening replays: nodes are newer in memory than those that snapshots share. */
static void changes_in_the_journal(void **state)
{
	struct live l;

	(void)state;
	begin(&l);
	take(&l);
	live_open(&l);
	live_put(&l, CHANGED * (uint64_t)CLUSTER, 4096, 7);
	live_put(&l, HEAD_ONLY * (uint64_t)CLUSTER, 4096, 7);
	assert_int_equal(engine_discard(l.t, 3000ull * CLUSTER, 300 * CLUSTER), 0);
	assert_int_equal(engine_flush(l.t), 0);
	live_crash(&l);
	expect(l.st, 0, 0, NULL);
	end(&l);
}

static void branches(void **state)
{
	struct surgery s;
	struct live l;

	(void)state;
	two_snapshots(&l);
	surgery_begin(&s, l.st);
	surgery_roll_back(&s, 1);
	expect(l.st, 0, 0, NULL);
	change(&l, 3);
	expect(l.st, 0, 0, NULL);
	take(&l);
	surgery_begin(&s, l.st);
	surgery_roll_back(&s, 2);
	change(&l, 4);
	expect(l.st, 0, 0, NULL);

	surgery_begin(&s, l.st);
	s.sb.ro_compat = le64_make(0);
	surgery_super(&s);
	expect(l.st, 2, 0, "does not have the feature BRANCHES");
	end(&l);
}

static void resize(struct live *l, uint64_t size)
{
	live_open(l);
	assert_int_equal(image_resize(l->im, size, true), 0);
	live_close(l);
}

/* The disk was smaller, or larger, when the snapshot was taken. */
static void trees_of_several_sizes(void **state)
{
	CLEANUP(free) struct disk_node *n = store_buffer(UNIT_SIZE);
	struct outcome o;
	struct surgery s;
	struct live l;
	struct desc d;

	(void)state;
	two_snapshots(&l);
	resize(&l, 2ull << 40); /* four levels */
	expect(l.st, 0, 0, NULL);
	live_open(&l);
	live_put(&l, FAR_AWAY * (uint64_t)CLUSTER, CLUSTER, 1);
	live_close(&l);
	expect(l.st, 0, 0, NULL);
	/* The snapshot has nothing there. */
	surgery_begin(&s, l.st);
	d = surgery_desc(&s, FAR_AWAY);
	d.birth--;
	surgery_set_desc(&s, FAR_AWAY, d);
	expect(l.st, 1, 0, "born in epoch 2, but the snapshot of epoch 2 does not have it so");
	d.birth++;
	surgery_set_desc(&s, FAR_AWAY, d);
	take(&l);
	change(&l, 3);
	expect(l.st, 0, 0, NULL);

	/* A tree of less levels than its parent's. */
	surgery_begin(&s, l.st);
	surgery_roll_back(&s, 3);
	d = surgery_node(&s, 3, 0, n);
	s.sb.root = n->entry[0];
	s.sb.levels = 3;
	s.sb.size = le64_make(SAMPLE_DISK);
	surgery_super(&s);
	expect(l.st, 0, 0, NULL);
	mem_store_flip(l.st, desc_unit(d) << UNIT_SHIFT);
	expect(l.st, 1, 0, "node 0 of level 3");
	mem_store_flip(l.st, desc_unit(d) << UNIT_SHIFT);
	change(&l, 4);
	expect(l.st, 0, 0, NULL);

	take(&l);
	resize(&l, (CHANGED + 30) * (uint64_t)CLUSTER);
	expect(l.st, 0, 0, NULL);
	take(&l);
	surgery_begin(&s, l.st);
	s.sb.size = le64_make(CHANGED * (uint64_t)CLUSTER);
	surgery_super(&s);
	run_check(l.st, (struct check_opts){.threads = 1}, &o);
	assert_int_equal(o.res.corruptions, 30);
	assert_non_null(strstr(o.text, "is beyond the last of 2000"));
	end(&l);
}

/* --- wrong ones ---------------------------------------------------------------------------------
 */

/* An image of two_snapshots() as it is on disk, and the tree that is looked at in the place of the
 * head's. */
struct view {
	struct live l;
	struct surgery s;
	struct disk_snapshot *rec;
	struct disk_snapshot *shown;
};

enum { FIRST, SECOND, HEAD };

static void show(struct view *w, unsigned which)
{
	if (w->shown)
		surgery_swap_tree(&w->s, w->shown);
	w->shown = which == HEAD ? NULL : &w->rec[which];
	if (w->shown)
		surgery_swap_tree(&w->s, w->shown);
}

static void view_begin(struct view *w)
{
	memset(w, 0, sizeof(*w));
	two_snapshots(&w->l);
	surgery_begin(&w->s, w->l.st);
	w->rec = surgery_records(&w->s);
}

/* Make what was changed the image's. */
static void store_changes(struct view *w)
{
	show(w, HEAD);
	surgery_set_records(&w->s, w->rec, 2);
}

static void view_end(struct view *w)
{
	free(w->rec);
	end(&w->l);
}

static void expect_view(struct view *w, uint64_t corruptions, uint64_t leaks, const char *says)
{
	store_changes(w);
	expect(w->l.st, corruptions, leaks, says);
	view_end(w);
}

static void leaked_by_a_snapshot(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, FIRST);
	surgery_set_desc(&w.s, CHANGED, desc_hole());
	expect_view(&w, 0, 16, "16 units of region 0 (mixed) marked used");
}

/* The head believes that it owns what the snapshot has. */
static void owned_by_two(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, SECOND);
	struct desc d = surgery_desc(&w.s, CHANGED);
	show(&w, HEAD);
	assert_true(d.birth < surgery_desc(&w.s, CHANGED).birth);
	d.birth = le32_get(w.s.sb.epoch);
	surgery_set_desc(&w.s, CHANGED, d);
	expect_view(&w, 1, 16, "used by something else as well");
}

/* A cluster of the first snapshot is given away as if it were free. */
static void used_by_two(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, FIRST);
	struct desc d = surgery_desc(&w.s, CHANGED + 3);
	show(&w, HEAD);
	d.birth = le32_get(w.s.sb.epoch);
	surgery_set_desc(&w.s, HEAD_ONLY, d);
	expect_view(&w, 1, 0, "used by something else as well");
}

static void unmark(struct surgery *s, struct extent e)
{
	CLEANUP(free) uint8_t *bits = malloc(REGION_UNITS);
	uint64_t region = e.off >> REGION_SHIFT, first, last;

	if (!e.len)
		return;
	if (surgery_bits(s, region, bits) > UNIT_SIZE) {
		blob_owned_sectors(e, &first, &last);
		bits_clear(bits, first % REGION_SECTORS, last - first);
	} else {
		first = e.off >> UNIT_SHIFT;
		bits_clear(bits, first % REGION_UNITS, e.len >> UNIT_SHIFT);
	}
	surgery_set_bits(s, region, bits);
}

static void snapshots_node_freed(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, FIRST);
	unmark(&w.s, desc_extent(&w.s.geo, surgery_node(&w.s, 0, CHANGED / 256, NULL)));
	expect_view(&w, 1, 0, "node 7 of level 0 of snapshot 1: 8 of its 8 sectors");
}

static void snapshots_cluster_freed(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, SECOND);
	unmark(&w.s, desc_extent(&w.s.geo, surgery_desc(&w.s, CHANGED)));
	expect_view(&w, 1, 0, "cluster 2000 (disk offset 0x7d00000) of snapshot 2: 16 of its 16");
}

static void birth_newer_than_node(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, FIRST);
	struct desc d = surgery_desc(&w.s, CHANGED);
	d.birth++;
	surgery_set_desc(&w.s, CHANGED, d);
	expect_view(&w, 1, 0, "entry 208 of node 7 of level 0 of snapshot 1: birth");
}

static void birth_newer_than_tree(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	w.rec[FIRST].root.birth = le32_make(2);
	store_changes(&w);
	expect_refused(w.l.st);
	view_end(&w);
}

/* The head has filled sub-blocks of a cluster that is not its own. */
static void shared_entry_changed(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	struct desc d = surgery_desc(&w.s, CHANGED + 1);
	assert_int_equal(d.birth, 1);
	d.aux = 0x7fff;
	surgery_set_desc(&w.s, CHANGED + 1, d);
	expect_view(&w, 1, 0, "but the snapshot of epoch 2 does not have it so");

	/* In between: neither its parent nor its child has it so. */
	view_begin(&w);
	show(&w, SECOND);
	surgery_set_desc(&w.s, CHANGED + 1, d);
	expect_view(&w, 2, 0, "of snapshot 2: born in epoch 1, but the snapshot of epoch 1 does");
}

/* What is new cannot be as old as that: whoever deletes the snapshot would not free it. */
static void born_too_early(void **state)
{
	CLEANUP(free) struct disk_node *n = store_buffer(UNIT_SIZE);
	struct view w;

	(void)state;
	view_begin(&w);
	struct desc d = surgery_desc(&w.s, HEAD_ONLY + 35);
	assert_int_equal(d.birth, 3);
	d.birth = 1;
	surgery_set_desc(&w.s, HEAD_ONLY + 35, d);
	expect_view(&w, 1, 0, "born in epoch 1, but the snapshot of epoch 2 does not have it so");

	/* A leaf of which the head has discarded a part. */
	view_begin(&w);
	surgery_node(&w.s, 1, 0, n);
	assert_int_equal(le32_get(n->entry[19].birth), 3);
	n->entry[19].birth = le32_make(2);
	surgery_set_node(&w.s, 1, 0, n);
	expect_view(&w, 1, 0, "born in epoch 2, but the snapshot of epoch 2 does not have it");
}

/* A node with two owners is followed once, however many trees have it. */
static void node_of_two_trees(void **state)
{
	CLEANUP(free) struct disk_node *n = store_buffer(UNIT_SIZE);
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, FIRST);
	struct desc d = surgery_node(&w.s, 0, CHANGED / 256, NULL);
	show(&w, HEAD);
	surgery_node(&w.s, 1, 0, n);
	d.birth = 3;
	n->entry[CHANGED / 256] = desc_to_disk(d);
	surgery_set_node(&w.s, 1, 0, n);
	expect_view(&w, 1, 0, "node 7 of level 0: 8 of its 8 sectors");
}

static void damaged_nodes(void **state)
{
	static const struct {
		unsigned tree, level;
		uint64_t index;
		const char *says;
	} flip[] = {
		{FIRST, 0, CHANGED / 256, "of snapshot 1: crc of the node"},
		{SECOND, 0, CHANGED / 256, "of snapshot 2: crc of the node"},
		{HEAD, 0, CHANGED / 256, "crc of the node"},
		/* What is below is not known any more. */
		{FIRST, 1, 0, "of snapshot 1: crc of the node"},
		{SECOND, 2, 0, "of snapshot 2: crc of the node"},
		/* Which all of them share: it is the first one's. */
		{HEAD, 0, RAW_FIRST / 256, "of snapshot 1: crc of the node"},
	};
	struct view w;

	(void)state;
	for (unsigned i = 0; i < sizeof(flip) / sizeof(*flip); i++) {
		view_begin(&w);
		show(&w, flip[i].tree);
		struct desc d = surgery_node(&w.s, flip[i].level, flip[i].index, NULL);
		store_changes(&w);
		mem_store_flip(w.l.st, (desc_unit(d) << UNIT_SHIFT) + 1);
		expect_view(&w, 1, 0, flip[i].says);
	}
}

static void damaged_blob_of_a_snapshot(void **state)
{
	struct outcome o;
	struct view w;

	(void)state;
	view_begin(&w);
	show(&w, SECOND);
	/* The head has overwritten a part of it. */
	struct extent e = desc_extent(&w.s.geo, surgery_desc(&w.s, 2));
	show(&w, HEAD);
	assert_int_equal(desc_type(surgery_desc(&w.s, 2)), DESC_RAW);
	mem_store_flip(w.l.st, e.off + e.len / 2);
	run_check(w.l.st, (struct check_opts){.data = true, .threads = 2}, &o);
	assert_int_equal(o.res.corruptions, 1);
	assert_non_null(strstr(o.text, "cluster 2 (disk offset 0x20000) of snapshot 1, comp"));
	view_end(&w);
}

/* --- the table ----------------------------------------------------------------------------------
 */

static void table_not_marked(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	surgery_mark(&w.s, desc_unit(desc_from_disk(&w.s.sb.snaptab)) << UNIT_SHIFT, false);
	expect_view(&w, 1, 0, "the snapshot table: 1 of its 8 sectors");
}

static void damaged_table(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	mem_store_flip(w.l.st, desc_unit(desc_from_disk(&w.s.sb.snaptab)) << UNIT_SHIFT);
	expect_refused(w.l.st);
	view_end(&w);
}

static void id_not_yet_given(void **state)
{
	struct view w;

	(void)state;
	view_begin(&w);
	w.rec[SECOND].id = w.s.sb.head_parent = le32_make(3);
	store_changes(&w);
	expect_refused(w.l.st);
	view_end(&w);
}

/* --- deletion -----------------------------------------------------------------------------------
 */

/* The node at (@level, @index) of a tree, all holes when there is none. */
static struct desc get_node(struct view *w, unsigned which, unsigned level, uint64_t index,
			    struct disk_node *n)
{
	memset(n, 0, sizeof(*n));
	show(w, which);
	return surgery_node(&w->s, level, index, n);
}

/* What a deletion of snapshot @which frees at this node: format, section 9. */
static void delete_node(struct view *w, unsigned which, unsigned level, uint64_t index)
{
	struct disk_node own, child;
	uint32_t parent = which == FIRST ? 0 : le32_get(w->rec[FIRST].epoch);
	struct desc s = get_node(w, which, level, index, &own);
	struct desc d = get_node(w, which + 1, level, index, &child);

	if (desc_type(s) == DESC_HOLE || s.birth <= parent || desc_equal(s, d))
		return;
	for (unsigned i = 0; !level && i < NODE_ENTRIES; i++) {
		struct desc e = desc_from_disk(&own.entry[i]);

		if (e.birth > parent &&
		    !desc_same_extent(&w->s.geo, e, desc_from_disk(&child.entry[i])))
			unmark(&w->s, desc_extent(&w->s.geo, e));
	}
	unmark(&w->s, desc_extent(&w->s.geo, s));
}

/* A deletion that has come as far as cluster @end. */
static void delete_until(struct view *w, unsigned which, uint64_t end)
{
	const uint64_t last = SAMPLE_DISK / CLUSTER / 256 + 1;

	for (uint64_t leaf = 0; leaf < end / 256 && leaf < last; leaf++)
		delete_node(w, which, 0, leaf);
	for (uint64_t i = 0; i < end >> 16 && i < 256; i++)
		delete_node(w, which, 1, i);
	if (end >= 1ull << 24)
		delete_node(w, which, 2, 0);
	w->rec[which].flags = le32_make(SNAP_ZOMBIE);
	w->rec[which].cursor = le64_make(end);
	store_changes(w);
}

/* Behind nothing, an unchanged leaf, changed ones, a node of level 1, everything. */
static const uint64_t cursors[] = {0, 256, (CHANGED / 256 + 1) * 256, 5120, 65536, 1 << 24};
#define CURSORS (sizeof(cursors) / sizeof(*cursors))

static void partly_deleted(void **state)
{
	struct view w;

	(void)state;
	for (unsigned which = FIRST; which <= SECOND; which++) {
		for (unsigned i = 0; i < CURSORS; i++) {
			view_begin(&w);
			delete_until(&w, which, cursors[i]);
			expect(w.l.st, 0, 0, NULL);
			/* Writing goes on, and so does taking snapshots. */
			change(&w.l, 2);
			change(&w.l, 3);
			expect(w.l.st, 0, 0, NULL);
			take(&w.l);
			change(&w.l, 4);
			expect(w.l.st, 0, 0, NULL);
			view_end(&w);
		}
	}
}

/* Where the cursor is decides who owns what. */
static void wrong_cursor(void **state)
{
	struct outcome o;
	struct view w;

	(void)state;
	for (unsigned which = FIRST; which <= SECOND; which++) {
		view_begin(&w);
		w.rec[which].flags = le32_make(SNAP_ZOMBIE);
		w.rec[which].cursor = le64_make((CHANGED / 256 + 1) * 256);
		store_changes(&w);
		run_check(w.l.st, (struct check_opts){.threads = 1}, &o);
		assert_int_equal(o.res.corruptions, 0);
		/* 17 clusters of the leaf before the last one, a blob, leaves. */
		assert_in_range(o.res.leaks, 16 * 16, 16 * 60);
		view_end(&w);

		view_begin(&w);
		delete_until(&w, which, (CHANGED / 256 + 1) * 256);
		w.rec[which].cursor = le64_make((CHANGED / 256) * 256);
		store_changes(&w);
		run_check(w.l.st, (struct check_opts){.threads = 1}, &o);
		assert_int_equal(o.res.leaks, 0);
		assert_in_range(o.res.corruptions, 16, 60);
		assert_non_null(strstr(o.text, "are not marked used"));
		view_end(&w);
	}
}

static void partly_deleted_with_two_children(void **state)
{
	struct surgery s;
	struct view w;

	(void)state;
	view_begin(&w);
	store_changes(&w);
	surgery_begin(&s, w.l.st);
	surgery_roll_back(&s, 1);
	CLEANUP(free) struct disk_snapshot *rec = surgery_records(&s);
	rec[FIRST].flags = le32_make(SNAP_ZOMBIE);
	rec[FIRST].cursor = le64_make(256); /* of leaf 0 all is still shared with the head */
	surgery_set_records(&s, rec, 3);
	expect_refused(w.l.st);
	view_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snapshot_of_unchanged_disk),
		cmocka_unit_test(trees_that_differ),
		cmocka_unit_test(changes_in_the_journal),
		cmocka_unit_test(branches),
		cmocka_unit_test(trees_of_several_sizes),
		cmocka_unit_test(leaked_by_a_snapshot),
		cmocka_unit_test(owned_by_two),
		cmocka_unit_test(used_by_two),
		cmocka_unit_test(snapshots_node_freed),
		cmocka_unit_test(snapshots_cluster_freed),
		cmocka_unit_test(birth_newer_than_node),
		cmocka_unit_test(birth_newer_than_tree),
		cmocka_unit_test(shared_entry_changed),
		cmocka_unit_test(born_too_early),
		cmocka_unit_test(node_of_two_trees),
		cmocka_unit_test(damaged_nodes),
		cmocka_unit_test(damaged_blob_of_a_snapshot),
		cmocka_unit_test(table_not_marked),
		cmocka_unit_test(damaged_table),
		cmocka_unit_test(id_not_yet_given),
		cmocka_unit_test(partly_deleted),
		cmocka_unit_test(wrong_cursor),
		cmocka_unit_test(partly_deleted_with_two_children),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
