/* SPDX-License-Identifier: MIT */
/*
 * Owns: what the trees refer to (I2, I4, I6, I10).
 *
 * Each tree is walked against the one it descends from.  What was born up to the epoch of that
 * snapshot, the floor, has to be exactly what the snapshot has at the same position (I4); it is the
 * snapshot's, and neither looked at nor counted again.  The rest is the tree's own, and nobody
 * else's: it is added to the references, where a second owner is noticed.  By induction from the
 * oldest snapshots on, every extent in use is added once.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/check_parts.h"
#include "image/core.h"
#include "image/snapshot.h"

/* --- which trees there are ----------------------------------------------------------------------
 */

/* A tree, and the snapshot that it descends from. */
struct descent {
	uint32_t snapshot;
	struct tree tree;
	uint64_t first; /* cluster: where it begins; what is before has been deleted */
	const struct disk_snapshot *parent;
};

static const struct disk_snapshot *find_record(const struct disk_snapshot *rec, uint32_t n,
					       uint32_t id)
{
	for (uint32_t i = 0; id && i < n; i++)
		if (le32_get(rec[i].id) == id)
			return &rec[i];
	return NULL;
}

/* The part of @d in [first, end) clusters, which descends from @parent there. */
static void add_part(struct check *c, const struct descent *d, const struct disk_snapshot *parent,
		     uint64_t first, uint64_t end)
{
	const struct geometry *g = &c->lim.geo;
	uint64_t limit = end < d->tree.nclusters ? end : d->tree.nclusters;
	struct check_part *p = &c->part[c->nparts];

	if (first >= end)
		return;
	*p = (struct check_part){.snapshot = d->snapshot,
				 .tree = d->tree,
				 .first = first,
				 .end = end,
				 .before = c->bytes};
	if (parent) {
		p->base = tree_snapshot(g, parent);
		p->floor = le32_get(parent->epoch);
	}
	if (limit > first)
		c->bytes += (limit - first) << g->cluster_shift;
	c->nparts++;
}

/* As parent_at() of the format has it. */
static void add_descent(struct check *c, const struct disk_snapshot *rec, uint32_t n,
			const struct descent *d)
{
	const struct disk_snapshot *p = d->parent;
	uint64_t deleted = p ? le64_get(p->cursor) : 0;

	if (deleted)
		add_part(c, d, find_record(rec, n, le32_get(p->parent)), d->first, deleted);
	add_part(c, d, p, d->first > deleted ? d->first : deleted, UINT64_MAX);
}

errint_t check_find_parts(struct check *c)
{
	uint32_t n;
	const struct disk_snapshot *rec = snapshot_records(c->im, &n);

	/* What descends from a snapshot that is being deleted has two parts.  There is one such
	 * snapshot at the most (validate.h), and one child of it, unless the head is a second. */
	c->part = calloc(n + 3ul, sizeof(*c->part));
	if (!c->part)
		return log_err(-ENOMEM, "%s: cannot check the image", c->st->name);
	for (uint32_t i = 0; i < n; i++) {
		const struct disk_snapshot *r = &rec[i];

		add_descent(c, rec, n,
			    &(struct descent){.snapshot = le32_get(r->id),
					      .tree = tree_snapshot(&c->lim.geo, r),
					      .first = le64_get(r->cursor),
					      .parent = find_record(rec, n, le32_get(r->parent))});
	}
	pthread_mutex_lock(&c->im->lock);
	uint32_t head_parent = c->im->head_parent;
	pthread_mutex_unlock(&c->im->lock);
	add_descent(c, rec, n,
		    &(struct descent){.tree = tree_head(c->im),
				      .parent = find_record(rec, n, head_parent)});
	return 0;
}

struct tree_visitor check_part_visitor(const struct check_part *p)
{
	return (struct tree_visitor){.first = p->first,
				     .end = p->end,
				     .base = p->floor ? &p->base : NULL,
				     .floor = p->floor};
}

/* --- what one of them refers to -----------------------------------------------------------------
 */

struct tree_pass {
	struct check *c;
	const struct check_part *part;
	struct refs_cursor cursor[WALK_MAX_THREADS];
};

static void bad_desc(const struct tree_pass *p, const struct tree_node *n, unsigned i,
		     const char *why)
{
	char whose[CHECK_WHOSE_MAX];

	atomic_store(&p->c->incomplete, true);
	check_corrupt(p->c, "entry %u of node %" PRIu64 " of level %u%s: %s", i, n->index, n->level,
		      check_whose(p->part->snapshot, whose), why);
}

/* Entries of a node in memory were not read by the walk: look at them here. */
static bool memory_entry_ok(const struct tree_pass *p, const struct tree_node *n, unsigned i)
{
	const struct limits *lim = &p->c->lim;
	struct reason why;

	if (!n->in_memory || !validate_desc(n->entry[i], lim, n->level, lim->epoch, &why))
		return true;
	if (p->c->first_pass)
		bad_desc(p, n, i, why.text);
	return false;
}

/* Count the run of @n clusters at @entry. */
static void count_run(struct check_counts *c, const struct geometry *g, const struct desc *entry,
		      unsigned n)
{
	uint64_t sum = 0;

	if (desc_type(entry[0]) == DESC_ZSTD) {
		for (unsigned i = 0; i < n; i++)
			sum += desc_granules(entry[i]);
		c->blobs += n;
		c->blob_bytes += sum << granule_shift(g);
		c->data_bytes += (uint64_t)n << g->cluster_shift;
		return;
	}
	for (unsigned i = 0; i < n; i++)
		sum += desc_valid(entry[i]) == 0xffff
			       ? SUBBLOCKS
			       : (unsigned)__builtin_popcount(desc_valid(entry[i]));
	c->raw_clusters += n;
	c->data_bytes += sum << subblock_shift(g);
}

/*
 * An entry that has to be the parent's, and is not.  What it refers to is only known to be the
 * parent's when the parent refers to it in the same place; true: it has to be added.
 */
static bool add_foreign(const struct tree_pass *p, const struct tree_node *leaf, unsigned i)
{
	const struct geometry *g = &p->c->lim.geo;
	uint64_t v = leaf->index << NODE_SHIFT | i;
	char whose[CHECK_WHOSE_MAX];

	if (p->c->first_pass)
		check_corrupt(p->c,
			      "cluster %" PRIu64 " (disk offset 0x%" PRIx64
			      ")%s: born in epoch %" PRIu32 ", but the snapshot of epoch %" PRIu32
			      " does not have it so",
			      v, v << g->cluster_shift, check_whose(p->part->snapshot, whose),
			      leaf->entry[i].birth, p->part->floor);
	return !desc_same_extent(g, leaf->entry[i], leaf->base[i]);
}

/* Is what entry @i of @leaf refers to to be added for this tree? */
static bool adds_entry(const struct tree_pass *p, const struct tree_node *leaf, unsigned i)
{
	struct desc d = leaf->entry[i];

	if (!check_part_has(p->part, leaf->index << NODE_SHIFT | i))
		return false;
	if (d.birth > p->part->floor)
		return true;
	/* Without a base that is known, nobody can tell. */
	return leaf->base && !desc_equal(d, leaf->base[i]) && add_foreign(p, leaf, i);
}

/* How many entries from @i on are one run of clusters, all of them this tree's. */
static unsigned own_run(const struct tree_pass *p, const struct tree_node *leaf, unsigned i)
{
	const struct desc *entry = &leaf->entry[i];
	unsigned n = refs_run_length(&p->c->lim.geo, entry, NODE_ENTRIES - i), own = 1;

	if (!p->part->floor && !p->part->first)
		return n;
	while (own < n &&
	       check_part_owns(p->part, (leaf->index << NODE_SHIFT | i) + own, entry[own]))
		own++;
	return own;
}

/* Add what entry @i of @leaf refers to, and what follows it as one run with it.  Returns the number
 * of entries that are done then. */
static unsigned add_entries(const struct tree_pass *p, struct refs_cursor *cur,
			    struct check_counts *counts, const struct tree_node *leaf, unsigned i)
{
	const struct geometry *g = &p->c->lim.geo;
	const struct desc *entry = &leaf->entry[i];
	unsigned run = 1;

	if ((p->part->floor || p->part->first) && !adds_entry(p, leaf, i))
		return 1;
	if (!desc_extent(g, *entry).len || !memory_entry_ok(p, leaf, i))
		return 1;
	if (!leaf->in_memory)
		run = own_run(p, leaf, i);
	count_run(counts, g, entry, run);
	refs_add_run(cur, leaf->index << NODE_SHIFT | i, entry, run);
	return run;
}

static void add_leaf(const struct tree_pass *p, struct refs_cursor *cur,
		     struct check_counts *counts, const struct tree_node *leaf)
{
	const struct desc *entry = leaf->entry, *end = entry + NODE_ENTRIES;

	while (entry < end) {
		/* Holes first: they are what most leaves of a sparse disk consist of. */
		if (!entry->w0)
			entry++;
		else
			entry += add_entries(p, cur, counts, leaf, (unsigned)(entry - leaf->entry));
	}
}

static void show_progress(struct check *c)
{
	uint64_t bytes = (uint64_t)NODE_ENTRIES << c->lim.geo.cluster_shift, done;

	if (!c->opts->progress || c->opts->data || !c->first_pass)
		return;
	done = atomic_fetch_add(&c->done, bytes) + bytes;
	/* Leaves come by the thousand. */
	if (done / bytes % 256)
		return;
	SCOPED_LOCK(&c->lock);
	c->opts->progress(c->opts->arg, done < c->bytes ? done : c->bytes, c->bytes);
}

/* --- nodes --------------------------------------------------------------------------------------
 */

/* Is @n itself this tree's to account for? */
static bool adds_node(const struct tree_pass *p, const struct tree_node *n)
{
	return !n->shared && check_part_has(p->part, tree_node_end(n->level, n->index) - 1);
}

/* False when something else uses its place. */
static bool add_node(struct refs_cursor *cur, const struct tree_pass *p, const struct tree_node *n)
{
	struct ref ref = {.kind = REF_NODE,
			  .level = n->level,
			  .index = n->index,
			  .e = desc_extent(&p->c->lim.geo, n->self)};

	return !ref.e.len || !adds_node(p, n) || refs_add(cur, &ref);
}

/*
 * A node that several trees use although one has no right to it is followed once: a few nodes and
 * thousands of snapshots would take forever otherwise.
 */
static bool enter_node(void *arg, unsigned worker, const struct tree_node *n)
{
	struct tree_pass *p = arg;
	struct refs_cursor *cur = &p->cursor[worker];
	bool follow = add_node(cur, p, n) || p->c->nparts == 1;

	if (!follow) {
		refs_release(cur);
		atomic_store(&p->c->incomplete, true);
	}
	return follow; /* pass_node() comes next, and releases */
}

static void node_foreign(const struct tree_pass *p, const struct tree_node *n)
{
	char whose[CHECK_WHOSE_MAX];

	check_corrupt(p->c,
		      "node %" PRIu64 " of level %u at offset 0x%" PRIx64
		      "%s: born in epoch %" PRIu32 ", but the snapshot of epoch %" PRIu32
		      " does not have it",
		      n->index, n->level, desc_unit(n->self) << UNIT_SHIFT,
		      check_whose(p->part->snapshot, whose), n->self.birth, p->part->floor);
}

static errint_t pass_node(void *arg, unsigned worker, const struct tree_node *n)
{
	struct tree_pass *p = arg;
	struct check *c = p->c;
	struct refs_cursor *cur = &p->cursor[worker];
	struct check_counts ignored = {0};
	struct check_counts *counts = c->first_pass ? &c->counts[worker] : &ignored;

	if (adds_node(p, n)) {
		counts->nodes++;
		if (n->self.birth && n->self.birth <= p->part->floor && c->first_pass)
			node_foreign(p, n);
	}
	if (!n->level) {
		add_leaf(p, cur, counts, n);
		show_progress(c);
	} else {
		for (unsigned i = 0; i < NODE_ENTRIES; i++)
			(void)memory_entry_ok(p, n, i);
	}
	refs_release(cur);
	return 0;
}

static errint_t pass_damaged(void *arg, const struct tree_node *n, errint_t err, const char *why)
{
	struct tree_pass *p = arg;
	struct refs_cursor cur = {.refs = p->cursor[0].refs, .snapshot = p->part->snapshot};
	char whose[CHECK_WHOSE_MAX];

	if (err == -ENOMEM)
		return err;
	atomic_store(&p->c->incomplete, true);
	if (p->c->first_pass)
		check_corrupt(p->c, "node %" PRIu64 " of level %u at offset 0x%" PRIx64 "%s: %s",
			      n->index, n->level, desc_unit(n->self) << UNIT_SHIFT,
			      check_whose(p->part->snapshot, whose), why);
	(void)add_node(&cur, p, n);
	refs_release(&cur);
	return 0;
}

static errint_t pass_bad_entry(void *arg, const struct tree_node *n, unsigned i, struct desc d,
			       const char *why)
{
	const struct tree_pass *p = arg;

	(void)d;
	if (p->c->first_pass)
		bad_desc(p, n, i, why);
	return 0;
}

errint_t check_trees(struct check *c, struct refs *refs)
{
	errint_t err = 0;

	for (unsigned i = 0; i < c->nparts && !err; i++) {
		const struct check_part *part = &c->part[i];
		struct tree_pass p = {.c = c, .part = part};
		struct tree_visitor v = check_part_visitor(part);

		for (unsigned k = 0; k < WALK_MAX_THREADS; k++)
			p.cursor[k] =
				(struct refs_cursor){.refs = refs, .snapshot = part->snapshot};
		v.arg = &p;
		v.enter = enter_node;
		v.node = pass_node;
		v.damaged = pass_damaged;
		v.bad_entry = pass_bad_entry;
		v.threads = c->threads;
		if (c->first_pass)
			atomic_store(&c->done, part->before);
		err = tree_walk(c->im, &part->tree, &v);
	}
	return err;
}
