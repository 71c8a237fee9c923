/* SPDX-License-Identifier: MIT */
/*
 * What differs between two points: both trees are walked together, and a subtree that both have in
 * one place, unchanged, is left out.
 */
#include "config.h"

#include "image/snapshot_view.h"

struct diff {
	struct image *im;
	const struct snapshot_view *from, *to;
	struct snap_tree a, b;
	uint64_t at, end; /* clusters */
	uint64_t size;	  /* bytes of the later point */
	unsigned n;	  /* of the leaf just compared */
	struct diff_extent found[NODE_ENTRIES];
	struct diff_extent last; /* not yet handed out; len 0: none */
	diff_fn fn;
	void *arg;
};

/* Bytes of the backing that show at a point; NULL: now. */
static uint64_t shown(const struct image *im, const struct snapshot_view *v)
{
	return v ? le64_get(v->rec.backing_limit) : im->backing.limit;
}

/* Does the backing show, or not, in [first, end) at both points?  A disk that was made smaller and
 * larger again has lost sight of it. */
static bool shows_alike(const struct diff *f, uint64_t first, uint64_t end)
{
	unsigned shift = f->im->geo.cluster_shift;
	uint64_t a = shown(f->im, f->from), b = shown(f->im, f->to);
	uint64_t low = a < b ? a : b, high = a < b ? b : a;

	return low == high || end << shift <= low || first << shift >= high;
}

static void note(struct diff *f, uint64_t v, bool zeroed)
{
	uint64_t size = cluster_size(&f->im->geo), off = v * size;
	struct diff_extent *last = f->n ? &f->found[f->n - 1] : NULL;

	if (off >= f->size)
		return;
	if (size > f->size - off)
		size = f->size - off;
	if (last && last->zeroed == zeroed && last->off + last->len == off)
		last->len += size;
	else
		f->found[f->n++] = (struct diff_extent){off, size, zeroed};
}

static errint_t compare_leaves(struct diff *f, uint64_t index, struct need *need)
{
	static const struct desc holes[NODE_ENTRIES];
	const struct desc *a, *b;
	errint_t err = snap_leaf(f->im, &f->a, index, &a, need);

	if (!err)
		err = snap_leaf(f->im, &f->b, index, &b, need);
	if (err)
		return err;
	a = a ? a : holes;
	b = b ? b : holes;
	/* It begins within a leaf, or with one. */
	for (unsigned i = f->at & (NODE_ENTRIES - 1); i < NODE_ENTRIES; i++) {
		uint64_t v = index << NODE_SHIFT | i;
		bool was = backing_reads_zeros(f->im, shown(f->im, f->from), v, a[i]);
		bool is = backing_reads_zeros(f->im, shown(f->im, f->to), v, b[i]);

		if (!(was && is) && !(desc_equal(a[i], b[i]) && shows_alike(f, v, v + 1)))
			note(f, v, is);
	}
	return 0;
}

/* Do both have the same below (@level, @index)? */
static errint_t same_below(struct diff *f, unsigned level, uint64_t index, bool *same,
			   struct need *need)
{
	struct desc a, b;
	bool dirty_a, dirty_b;

	*same = false;
	/* A tree of fewer levels hangs below the first place of each further one. */
	if (!index && (level >= f->a.levels || level >= f->b.levels))
		return 0;
	errint_t err = snap_node(f->im, &f->a, level, index, &a, &dirty_a, need);
	if (!err)
		err = snap_node(f->im, &f->b, level, index, &b, &dirty_b, need);
	*same = !err && !dirty_a && !dirty_b && desc_equal(a, b) &&
		shows_alike(f, index << NODE_SHIFT * (level + 1),
			    (index + 1) << NODE_SHIFT * (level + 1));
	return err;
}

/* The next leaf that both do not share, or the end.  Lock held. */
static errint_t advance(struct diff *f, struct need *need)
{
	/* The head may have grown, or been rolled back. */
	f->a = snap_tree_of(f->im, f->from ? &f->from->rec : NULL);
	f->b = snap_tree_of(f->im, f->to ? &f->to->rec : NULL);
	f->n = 0;
	while (f->at < f->end && !f->n) {
		unsigned level = f->a.levels > f->b.levels ? f->a.levels : f->b.levels;
		uint64_t index = 0;
		bool same = false;
		errint_t err = 0;

		while (!same && level--) {
			index = f->at >> NODE_SHIFT * (level + 1);
			err = same_below(f, level, index, &same, need);
			if (err)
				return err;
			if (!same && !level) {
				err = compare_leaves(f, index, need);
				break;
			}
		}
		if (err)
			return err;
		f->at = (index + 1) << NODE_SHIFT * (level + 1);
	}
	return 0;
}

static errint_t hand_out(struct diff *f)
{
	errint_t err = f->last.len ? f->fn(f->arg, &f->last) : 0;

	f->last.len = 0;
	return err;
}

static errint_t report(struct diff *f)
{
	errint_t err = 0;

	for (unsigned i = 0; i < f->n && !err; i++) {
		const struct diff_extent *e = &f->found[i];

		if (f->last.len && f->last.zeroed == e->zeroed &&
		    f->last.off + f->last.len == e->off) {
			f->last.len += e->len;
			continue;
		}
		err = hand_out(f);
		f->last = *e;
	}
	return err;
}

errint_t snapshot_diff_at(struct image *im, const struct snapshot_view *from,
			  const struct snapshot_view *to, uint64_t off, diff_fn fn, void *arg)
{
	struct diff f = {.im = im, .from = from, .to = to, .fn = fn, .arg = arg};
	errint_t err = 0;

	f.size = to ? snapshot_view_size(to) : image_size(im);
	f.at = clusters_for(&im->geo, off);
	f.end = clusters_for(&im->geo, f.size);
	while (!err && f.at < f.end) {
		struct need need = {0};

		do {
			pthread_mutex_lock(&im->lock);
			err = advance(&f, &need);
			pthread_mutex_unlock(&im->lock);
		} while (image_again(im, &err, &need));
		if (!err)
			err = report(&f);
	}
	return err ? err : hand_out(&f);
}

errint_t snapshot_diff(struct image *im, const struct snapshot_view *from,
		       const struct snapshot_view *to, diff_fn fn, void *arg)
{
	return snapshot_diff_at(im, from, to, 0, fn, arg);
}
