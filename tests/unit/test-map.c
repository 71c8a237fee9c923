/* SPDX-License-Identifier: MIT */
/* The tree of a live image: nodes come and go, it grows, and becomes empty. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/plan_priv.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"

/* ---- what always holds ------------------------------------------------------------------ */

struct census {
	unsigned nodes, dirty, pinned;
};

static void count_node(const struct node *n, struct census *c)
{
	unsigned loaded = 0;

	c->nodes++;
	c->dirty += n->dirty;
	c->pinned += n->pins && !n->dirty;
	for (unsigned i = 0; n->level && i < NODE_ENTRIES; i++) {
		const struct node *k = n->child[i];

		if (!k)
			continue;
		loaded++;
		assert_ptr_equal(k->parent, n);
		assert_int_equal(k->slot, i);
		assert_int_equal(k->level, n->level - 1);
		assert_int_equal(k->index, n->index << NODE_SHIFT | i);
		assert_true(n->dirty || !k->dirty);
		if (!k->dirty)
			assert_true(desc_equal(n->entry[i],
					       k->unit ? desc_node_make(k->unit, k->birth, k->crc)
						       : desc_hole()));
		count_node(k, c);
	}
	assert_int_equal(loaded, n->nchild);
}

static void take_census(struct image *im)
{
	struct census c = {0};
	unsigned listed = 0;

	SCOPED_LOCK(&im->lock);
	if (im->map.root) {
		assert_int_equal(im->map.root->level, im->map.levels - 1);
		count_node(im->map.root, &c);
	}
	for (const struct node *n = im->map.oldest; n; n = n->newer)
		listed++;
	assert_int_equal(listed, c.nodes);
	assert_int_equal(im->map.nodes, c.nodes);
	assert_int_equal(im->map.dirty, c.dirty);
	assert_int_equal(im->map.pinned, c.pinned);
}

/* ---- loading and evicting --------------------------------------------------------------- */

#define LEAVES 150u

static void nodes_come_and_go(void **state)
{
	uint8_t model[LEAVES] = {0};
	struct rng rng = {7};
	struct image_stats stats;
	uint64_t evictions = 0, loads = 0;
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, 1024 * GIB);
	l.opts.cache_nodes = 8;
	l.opts.dirty_cap = 10;
	l.opts.journal_length = 64 << 10;
	live_open(&l);
	for (unsigned i = 0; i < 1500; i++) {
		unsigned n = (unsigned)rng_below(&rng, LEAVES);
		uint64_t off = n * LEAF * 37 + n * 4096;

		if (rng_chance(&rng, 40)) {
			model[n] = (uint8_t)rng_next(&rng);
			live_put(&l, off, 4096, model[n]);
		} else if (rng_chance(&rng, 20)) {
			model[n] = 0;
			assert_int_equal(engine_discard(l.t, off & ~(CLUSTER - 1ull), CLUSTER), 0);
		} else {
			live_expect(&l, off, 4096, model[n]);
		}
		take_census(l.im);
		if (i % 100 == 0)
			assert_int_equal(image_checkpoint(l.im), 0);
		if (i % 100 == 0)
			assert_in_range(l.im->map.nodes, 1, 8 + 5);
		if (i % 300 == 299) {
			image_get_stats(l.im, &stats);
			evictions += stats.node_evictions;
			loads += stats.node_loads;
			live_close(&l);
			live_check(&l);
			live_open(&l);
		}
	}
	assert_true(evictions > 200);
	assert_true(loads > 200);
	live_close(&l);
	live_free(&l);
}

/* What a plan will change stays, clean or not, and counts towards the nodes that will be dirty. */
static void pinned_leaf(void **state)
{
	struct image_writer *w;
	struct write_plan *p = calloc(2, sizeof(*p));
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, 1024 * GIB);
	l.opts.cache_nodes = 1;
	live_open(&l);
	assert_int_equal(image_writer_new(l.im, &w), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(plan_write(l.im, w, i * CLUSTER, 4096, 0, IMAGE_MAY_BLOCK, &p[i]),
				 0);
	assert_int_equal(l.im->map.pinned, 0); /* it is dirty: the clusters were allocated */
	assert_int_equal(image_checkpoint(l.im), 0);
	assert_int_equal(l.im->map.pinned, 1);
	for (unsigned i = 1; i < 20; i++)
		live_put(&l, i * 300 * LEAF, 4096, 1);
	assert_int_equal(image_checkpoint(l.im), 0);
	for (unsigned i = 1; i < 20; i++)
		live_expect(&l, i * 300 * LEAF, 4096, 1);
	assert_int_equal(l.im->map.pinned, 1);
	take_census(l.im);
	memset(l.buf, 3, 4096);
	assert_int_equal(store_write(l.st, l.buf, 4096, p[0].seg[0].file_off), 0);
	assert_int_equal(settle_write(l.im, &p[0]), 0);
	assert_int_equal(l.im->map.pinned, 0);
	assert_int_equal(image_checkpoint(l.im), 0);
	assert_int_equal(l.im->map.pinned, 1);
	plan_write_cancel(l.im, &p[1]);
	assert_int_equal(l.im->map.pinned, 0);
	live_expect(&l, 0, 4096, 3);
	live_expect(&l, CLUSTER, 4096, 0);
	take_census(l.im);
	image_writer_free(w);
	live_close(&l);
	live_check(&l);
	live_free(&l);
	free(p);
}

/* ---- growing and shrinking -------------------------------------------------------------- */

static void resize(struct live *l, uint64_t size, unsigned levels)
{
	assert_int_equal(image_resize(l->im, size, true), 0);
	assert_int_equal(image_size(l->im), size);
	assert_int_equal(l->im->map.levels, levels);
	take_census(l->im);
}

static void levels_on_top(void **state)
{
	static const struct {
		uint64_t size;
		unsigned levels, cap;
	} step[] = {{16 * MIB, 1, 10},		 {16 * MIB + 512, 2, 10},     {4 * GIB, 2, 258},
		    {4 * GIB + CLUSTER, 3, 261}, {1024 * GIB + 512, 4, 4096}, {1ull << 48, 4, 4096},
		    {1ull << 56, 5, 4096}};
	const unsigned n = sizeof(step) / sizeof(*step);
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, 8 * MIB);
	live_open(&l);
	live_put(&l, 0, 4096, 1);
	for (unsigned i = 0; i < n; i++) {
		uint64_t last = (step[i].size - 1) & ~511ull;

		/* Loaded and dirty, loaded and clean, not loaded. */
		if (i % 3 == 1)
			assert_int_equal(image_checkpoint(l.im), 0);
		resize(&l, step[i].size, step[i].levels);
		assert_int_equal(l.im->dirty_cap, step[i].cap);
		live_expect(&l, last, 512, 0);
		live_put(&l, last, 512, (uint8_t)(i + 2));
		if (i % 3 == 2) {
			assert_int_equal(engine_flush(l.t), 0);
			live_crash(&l);
			live_open(&l);
		}
	}
	for (unsigned i = 0; i < n; i++)
		live_expect(&l, (step[i].size - 1) & ~511ull, 512, (uint8_t)(i + 2));
	live_expect(&l, 0, 4096, 1);
	assert_int_equal(image_resize(l.im, (1ull << 56) + 512, false), -EINVAL);
	assert_int_equal(image_resize(l.im, 0, true), -EINVAL);
	assert_int_equal(image_resize(l.im, 4 * MIB, false), -EINVAL);
	assert_int_equal(image_resize(l.im, 4 * MIB + 1, true), -EINVAL);
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

static void cut_off_is_gone(void **state)
{
	uint64_t used;
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, 8 * GIB);
	live_open(&l);
	live_put(&l, 0, CLUSTER, 9);
	assert_int_equal(image_checkpoint(l.im), 0);
	used = l.im->alloc.used_units;
	for (unsigned i = 1; i < 40; i++)
		live_put(&l, i * LEAF * 7, CLUSTER, 8);
	resize(&l, CLUSTER, 3);
	live_close(&l);
	live_check(&l);
	live_open(&l);
	assert_int_equal(l.im->alloc.used_units, used);
	resize(&l, 8 * GIB, 3);
	for (unsigned i = 1; i < 40; i++)
		live_expect(&l, i * LEAF * 7, CLUSTER, 0);
	live_expect(&l, 0, CLUSTER, 9);
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

/* An empty tree takes no node, and comes back. */
static void empty_again(void **state)
{
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, 8 * GIB);
	live_open(&l);
	uint64_t used = l.im->alloc.used_units;
	live_put(&l, 0, CLUSTER, 1);
	live_put(&l, 5 * GIB, CLUSTER, 1);
	assert_int_equal(image_checkpoint(l.im), 0);
	assert_int_equal(desc_type(l.im->map.root_desc), DESC_NODE);
	assert_int_equal(engine_discard(l.t, 0, 8 * GIB), 0);
	engine_thread_free(l.t); /* and its window */
	assert_int_equal(image_checkpoint(l.im), 0);
	assert_int_equal(desc_type(l.im->map.root_desc), DESC_HOLE);
	assert_int_equal(l.im->alloc.used_units, used + REGION_HEADER_UNITS);
	/* The region returns to class 0 when nothing of it is in limbo any more (A4). */
	assert_int_equal(image_checkpoint(l.im), 0);
	assert_int_equal(l.im->alloc.used_units, used);
	assert_int_equal(engine_thread_new(l.e, &l.t), 0);
	live_close(&l);
	live_check(&l);
	live_open(&l);
	assert_int_equal(l.im->alloc.used_units, used);
	live_put(&l, 5 * GIB, CLUSTER, 2);
	live_expect(&l, 5 * GIB, CLUSTER, 2);
	live_close(&l);
	live_check(&l);
	live_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_come_and_go), cmocka_unit_test(pinned_leaf),
		cmocka_unit_test(levels_on_top),     cmocka_unit_test(cut_off_is_gone),
		cmocka_unit_test(empty_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
