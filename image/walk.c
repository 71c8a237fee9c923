/* SPDX-License-Identifier: MIT */
/* Owns: what a tree maps, as extents in order and as totals.  The walk itself is walk_tree.c's. */
#include "config.h"

#include "image/walk.h"

#include <assert.h>
#include <string.h>

#include "image/snapshot_view.h"
#include "image/walk_tree.h"

/* --- extents ------------------------------------------------------------------------------------
 */

struct extents {
	struct geometry geo;
	uint64_t limit; /* bytes of the backing that show */
	uint64_t end;	/* of the range asked for, bytes */
	map_extent_fn fn;
	void *arg;
	uint64_t at;		/* everything before has been added */
	struct map_extent last; /* not yet handed out; len 0: none */
};

/* Does @e continue what @last says? */
static bool continues(const struct map_extent *last, const struct map_extent *e)
{
	if (last->kind != e->kind || last->birth != e->birth || last->off + last->len != e->off)
		return false;
	switch (e->kind) {
	case MAP_HOLE:
	case MAP_ZERO:
	case MAP_BACKING:
		return true;
	case MAP_RAW:
		return last->file_off + last->len == e->file_off;
	case MAP_ZSTD:
		break;
	}
	return false;
}

static errint_t flush_extent(struct extents *x)
{
	struct map_extent e = x->last;

	x->last.len = 0;
	return e.len ? x->fn(x->arg, &e) : 0;
}

/* Add @e, the next one, which may begin before the range or end behind it. */
static errint_t add_extent(struct extents *x, struct map_extent e)
{
	uint64_t end = e.off + e.len;

	if (end > x->end)
		end = x->end;
	if (end <= x->at)
		return 0;
	assert(e.off <= x->at);
	if (e.kind == MAP_RAW)
		e.file_off += x->at - e.off;
	e.off = x->at;
	e.len = end - x->at;
	x->at = end;
	if (x->last.len && continues(&x->last, &e)) {
		x->last.len += e.len;
		return 0;
	}
	errint_t err = flush_extent(x);
	x->last = e;
	return err;
}

/* [@off, @off + @len), of which nothing is here. */
static errint_t add_missing(struct extents *x, uint64_t off, uint64_t len)
{
	struct map_extent e = {.off = off, .len = len, .kind = MAP_BACKING};
	errint_t err = 0;

	if (off >= x->limit)
		e.len = 0;
	else if (len > x->limit - off)
		e.len = x->limit - off;
	if (e.len)
		err = add_extent(x, e);
	e = (struct map_extent){.off = off + e.len, .len = len - e.len, .kind = MAP_HOLE};
	return err || !e.len ? err : add_extent(x, e);
}

/* A cluster stored as it is, by its sub-blocks. */
static errint_t add_raw(struct extents *x, struct desc d, uint64_t off)
{
	unsigned shift = subblock_shift(&x->geo);
	uint64_t file_off = desc_unit(d) << UNIT_SHIFT;

	if (desc_valid(d) == 0xffff)
		return add_extent(x, (struct map_extent){.off = off,
							 .len = cluster_size(&x->geo),
							 .kind = MAP_RAW,
							 .file_off = file_off,
							 .birth = d.birth});
	for (unsigned i = 0; i < SUBBLOCKS; i++) {
		uint64_t skip = (uint64_t)i << shift;
		struct map_extent e = {.off = off + skip, .len = 1ull << shift, .kind = MAP_HOLE};
		bool missing = false;

		if (desc_valid(d) >> i & 1) {
			e.kind = MAP_RAW;
			e.file_off = file_off + skip;
			e.birth = d.birth;
		} else if (desc_zero(d) >> i & 1) {
			e.kind = MAP_ZERO;
			e.birth = d.birth;
		} else {
			missing = true;
		}
		errint_t err = missing ? add_missing(x, e.off, e.len) : add_extent(x, e);
		if (err)
			return err;
	}
	return 0;
}

static errint_t add_cluster(struct extents *x, struct desc d, uint64_t off)
{
	struct map_extent e = {.off = off, .len = cluster_size(&x->geo), .birth = d.birth};

	switch (desc_type(d)) {
	case DESC_RAW:
		return add_raw(x, d, off);
	case DESC_ZSTD: {
		struct extent at = desc_extent(&x->geo, d);

		e.kind = MAP_ZSTD;
		e.file_off = at.off;
		e.stored = (uint32_t)at.len;
		return add_extent(x, e);
	}
	case DESC_ZERO:
		e.kind = MAP_ZERO;
		return add_extent(x, e);
	case DESC_HOLE:
	case DESC_NODE:
	case DESC_SNAPTAB:
		break;
	}
	assert(desc_type(d) == DESC_HOLE);
	return add_missing(x, e.off, e.len);
}

/* Everything up to @off that no leaf covered. */
static errint_t add_gap(struct extents *x, uint64_t off)
{
	if (off <= x->at)
		return 0;
	return add_missing(x, x->at, off - x->at);
}

static errint_t extents_node(void *arg, unsigned worker, const struct tree_node *n)
{
	struct extents *x = arg;
	uint64_t first = tree_node_first(n->level, n->index) << x->geo.cluster_shift;
	errint_t err;

	(void)worker;
	if (n->level)
		return 0;
	err = add_gap(x, first);
	for (unsigned i = 0; i < NODE_ENTRIES && !err; i++)
		err = add_cluster(x, n->entry[i], first + ((uint64_t)i << x->geo.cluster_shift));
	return err;
}

/* Of the tree @t, of a disk of @size bytes. */
static errint_t extents_of(struct image *im, const struct tree *t, uint64_t limit, uint64_t size,
			   uint64_t off, uint64_t len, map_extent_fn fn, void *arg)
{
	struct extents x = {
		.geo = *image_geometry(im), .limit = limit, .fn = fn, .arg = arg, .at = off};

	if (off >= size || !len)
		return 0;
	x.end = len < size - off ? off + len : size;
	struct tree_visitor v = {.arg = &x,
				 .node = extents_node,
				 .first = off >> x.geo.cluster_shift,
				 .end = clusters_for(&x.geo, x.end),
				 .threads = 1};
	errint_t err = tree_walk(im, t, &v);
	if (!err)
		err = add_gap(&x, x.end);
	return err ? err : flush_extent(&x);
}

/* Bytes of the backing that the head shows. */
static uint64_t head_limit(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	return im->backing.limit;
}

errint_t walk_extents(struct image *im, uint64_t off, uint64_t len, map_extent_fn fn, void *arg)
{
	struct tree t = tree_head(im);

	return extents_of(im, &t, head_limit(im), image_size(im), off, len, fn, arg);
}

errint_t walk_snapshot_extents(const struct snapshot_view *s, uint64_t off, uint64_t len,
			       map_extent_fn fn, void *arg)
{
	struct tree t = tree_snapshot(&s->im->geo, &s->rec);

	return extents_of(s->im, &t, le64_get(s->rec.backing_limit), snapshot_view_size(s), off,
			  len, fn, arg);
}

/* --- clusters that are mapped -------------------------------------------------------------------
 */

struct mapped {
	uint64_t first;
	uint64_t *list;
	unsigned n, max;
};

/* Ends a walk without being an error. */
enum { LIST_FULL = 1 };

static errint_t mapped_node(void *arg, unsigned worker, const struct tree_node *n)
{
	struct mapped *m = arg;

	(void)worker;
	for (unsigned i = 0; i < NODE_ENTRIES && !n->level; i++) {
		uint64_t v = tree_node_first(0, n->index) + i;

		if (v < m->first || desc_type(n->entry[i]) == DESC_HOLE)
			continue;
		m->list[m->n++] = v;
		if (m->n == m->max)
			return LIST_FULL;
	}
	return 0;
}

errint_t walk_mapped(struct image *im, uint64_t first, uint64_t *list, unsigned max, unsigned *n)
{
	struct mapped m = {.first = first, .list = list, .max = max};
	struct tree t = tree_head(im);
	struct tree_visitor v = {
		.arg = &m, .node = mapped_node, .first = first, .end = t.nclusters, .threads = 1};
	errint_t err = first < t.nclusters ? tree_walk(im, &t, &v) : 0;

	*n = m.n;
	return err == LIST_FULL ? 0 : err;
}

/* --- totals -------------------------------------------------------------------------------------
 */

struct totals {
	struct geometry geo;
	uint64_t limit; /* bytes of the backing that show */
	/* By thread, each on cache lines of its own. */
	struct {
		struct map_totals t;
	} __attribute__((aligned(128))) part[WALK_MAX_THREADS];
};

/* @shown: clusters of the leaf where the backing shows, if there is nothing here. */
static void count_leaf(struct map_totals *t, const struct geometry *g, const struct desc *entry,
		       uint64_t shown)
{
	uint64_t subblocks = 0, granules = 0;
	unsigned n[MAP_KINDS] = {0};

	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		struct desc d = entry[i];

		switch (desc_type(d)) {
		case DESC_RAW:
			n[desc_unit(d) ? MAP_RAW : MAP_ZERO]++;
			subblocks += (unsigned)__builtin_popcount(desc_valid(d));
			break;
		case DESC_ZSTD:
			n[MAP_ZSTD]++;
			granules += desc_granules(d);
			break;
		case DESC_ZERO:
			n[MAP_ZERO]++;
			break;
		case DESC_HOLE:
			/* What no leaf has is counted by who counts them all. */
			continue;
		case DESC_NODE:
		case DESC_SNAPTAB:
			break;
		}
		n[MAP_BACKING] += i < shown;
	}
	for (unsigned kind = MAP_ZERO; kind < MAP_KINDS; kind++)
		t->clusters[kind] += n[kind];
	t->raw_bytes += subblocks << subblock_shift(g);
	t->zstd_stored += granules << granule_shift(g);
}

static errint_t totals_node(void *arg, unsigned worker, const struct tree_node *n)
{
	struct totals *t = arg;
	struct map_totals *part = &t->part[worker].t;

	part->nodes++;
	if (!n->level) {
		uint64_t first = tree_node_first(0, n->index);
		uint64_t shown = clusters_for(&t->geo, t->limit);

		count_leaf(part, &t->geo, n->entry, first < shown ? shown - first : 0);
	}
	return 0;
}

static errint_t totals_of(struct image *im, const struct tree *tree, uint64_t limit,
			  struct map_totals *out)
{
	struct totals t = {.geo = *image_geometry(im), .limit = limit};
	struct tree_visitor v = {
		.arg = &t, .node = totals_node, .end = UINT64_MAX, .threads = tree_walk_threads()};
	errint_t err = tree_walk(im, tree, &v);

	if (err)
		return err;
	*out = (struct map_totals){0};
	for (unsigned i = 0; i < v.threads; i++) {
		const struct map_totals *part = &t.part[i].t;

		for (unsigned kind = MAP_ZERO; kind < MAP_KINDS; kind++)
			out->clusters[kind] += part->clusters[kind];
		out->raw_bytes += part->raw_bytes;
		out->zstd_stored += part->zstd_stored;
		out->nodes += part->nodes;
	}
	/* Parts count under BACKING what is here; the rest of what shows are holes. */
	out->clusters[MAP_BACKING] = clusters_for(&t.geo, limit) - out->clusters[MAP_BACKING];
	out->clusters[MAP_HOLE] = tree->nclusters - out->clusters[MAP_ZERO] -
				  out->clusters[MAP_RAW] - out->clusters[MAP_ZSTD] -
				  out->clusters[MAP_BACKING];
	out->mapped_bytes = out->raw_bytes + (out->clusters[MAP_ZSTD] << t.geo.cluster_shift);
	return 0;
}

errint_t walk_totals(struct image *im, struct map_totals *out)
{
	struct tree tree = tree_head(im);

	return totals_of(im, &tree, head_limit(im), out);
}

errint_t walk_snapshot_totals(const struct snapshot_view *s, struct map_totals *out)
{
	struct tree tree = tree_snapshot(&s->im->geo, &s->rec);

	return totals_of(s->im, &tree, le64_get(s->rec.backing_limit), out);
}
