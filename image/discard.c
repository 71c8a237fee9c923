/* SPDX-License-Identifier: MIT */
/*
 * Discard and write-zeroes (docs/format.md section 8): whole clusters are unmapped, a leaf's worth
 * at a time; sub-blocks of an owned raw cluster are punched in place, without metadata; what is
 * left is reported to the caller, who overwrites it with zeros if it must.
 */
#include "config.h"

#include <string.h>

#include "image/core.h"
#include "image/discard.h"
#include "image/limbo.h"
#include "image/plan_priv.h"

/* --- whole clusters -------------------------------------------------------------------------- */

static bool all_are(const struct node *leaf, uint64_t v, unsigned count, struct desc d)
{
	for (unsigned i = 0; i < count; i++)
		if (desc_type(leaf->entry[(v + i) & (NODE_ENTRIES - 1)]) != desc_type(d))
			return false;
	return true;
}

static errint_t need_gate(struct image *im, struct need *need)
{
	return im->gate_closed ? need_event(im, need) : 0;
}

/*
 * One try at [@v, @v + @count), within one leaf.  @size: the disk's when the caller chose the
 * clusters, and -ESTALE when it has another one now; 0: whether or not the gate is closed, and
 * nothing is to be left of them.  *done: clusters that this took care of, all but where the backing
 * ends to show.  Lock held.
 */
static errint_t try_unmap(struct image *im, uint64_t v, unsigned count, uint64_t size,
			  unsigned *done, struct need *need)
{
	struct desc d = size ? desc_empty(im, v) : desc_hole();
	uint64_t shown = clusters_for(&im->geo, im->backing.limit);
	struct node *leaf;
	errint_t err = im->failed ? im->failed : size ? need_gate(im, need) : 0;

	if (desc_type(d) == DESC_ZERO && count > shown - v)
		count = (unsigned)(shown - v);
	*done = count;
	if (!err && size && size != im->size)
		return -ESTALE;
	if (!err && excl_held(im, v, count))
		err = need_event(im, need);
	if (!err)
		err = txn_prepare(im, v, count, desc_type(d) != DESC_HOLE, &leaf, need);
	if (err || !leaf || all_are(leaf, v, count, d))
		return err;
	/* What the reserve for nodes is too short for (A3) frees nothing either. */
	if (im->alloc.meta_short && map_leaf_costs(im, leaf))
		return -ENOSPC;
	err = txn_reserve(im, 1, count, need);
	if (err)
		return err;
	repack_touch(im, v, count);
	return txn_log_range(im, leaf, v, count, d);
}

static errint_t unmap(struct image *im, uint64_t v, uint64_t count, uint64_t size)
{
	while (count) {
		unsigned n = NODE_ENTRIES - (v & (NODE_ENTRIES - 1));
		struct need need = {0};
		errint_t err;

		if (n > count)
			n = (unsigned)count;
		do {
			pthread_mutex_lock(&im->lock);
			err = try_unmap(im, v, n, size, &n, &need);
			pthread_mutex_unlock(&im->lock);
		} while (image_again(im, &err, &need));
		if (err)
			return err;
		v += n;
		count -= n;
	}
	return 0;
}

errint_t discard_clusters(struct image *im, uint64_t v, uint64_t count)
{
	return unmap(im, v, count, 0);
}

/* --- parts of a cluster ---------------------------------------------------------------------- */

struct part {
	uint64_t vcluster;
	uint32_t from, to; /* bytes within the cluster */
	uint64_t size;	   /* of the disk when they were chosen */
	struct extent punch;
	uint64_t guard;
	bool nothing; /* reads as zeros already */
};

static void rest_add(struct zero_rest *rest, uint64_t off, uint64_t len)
{
	if (!len)
		return;
	assert(rest->n < 2);
	rest->r[rest->n].off = off;
	rest->r[rest->n].len = len;
	rest->n++;
}

/*
 * Do the sub-blocks [first, end) read as zeros once their bytes are gone?  What is not stored shows
 * the backing.  Lock held.
 */
static bool is_punchable(const struct image *im, uint64_t v, struct desc d, unsigned first,
			 unsigned end)
{
	uint16_t wanted = (uint16_t)((1u << end) - (1u << first));

	return v << im->geo.cluster_shift >= im->backing.limit ||
	       !(wanted & (uint16_t) ~(desc_valid(d) | desc_zero(d)));
}

/* Lock held.  Leaves p->punch empty where punching is not possible. */
static errint_t try_part(struct image *im, struct part *p, struct need *need)
{
	struct desc d;
	errint_t err = im->failed ? im->failed : need_gate(im, need);

	if (!err && p->size != im->size)
		err = -ESTALE;
	if (!err)
		err = map_lookup(im, p->vcluster, &d, need);
	if (err)
		return err;
	p->nothing = backing_reads_zeros(im, im->backing.limit, p->vcluster, d);
	if (p->nothing || desc_type(d) != DESC_RAW || !map_owned(im, p->vcluster, d))
		return 0;
	/* The largest run of stored sub-blocks that lie wholly inside. */
	unsigned shift = subblock_shift(&im->geo);
	unsigned first = (p->from + (1u << shift) - 1) >> shift, end = p->to >> shift;
	if (first >= end || !is_punchable(im, p->vcluster, d, first, end))
		return 0;
	err = excl_take(im, p->vcluster, need);
	if (err)
		return err;
	p->guard = guard_enter(im);
	p->punch = (struct extent){(desc_unit(d) << UNIT_SHIFT) + ((uint64_t)first << shift),
				   (uint64_t)(end - first) << shift};
	return 0;
}

/* Punch what can be punched of one partly covered cluster; the rest goes to @rest. */
static errint_t zero_part(struct image *im, struct part *p, struct zero_rest *rest)
{
	uint64_t base = p->vcluster << im->geo.cluster_shift;
	uint32_t unit = 1u << subblock_shift(&im->geo);
	struct need need = {0};
	errint_t err;

	do {
		pthread_mutex_lock(&im->lock);
		err = try_part(im, p, &need);
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	if (err || p->nothing)
		return err;
	if (p->punch.len) {
		err = store_punch(im->st, p->punch.off, p->punch.len);
		pthread_mutex_lock(&im->lock);
		guard_leave(im, p->guard);
		excl_drop(im, p->vcluster);
		im->stats.punches++;
		pthread_mutex_unlock(&im->lock);
	}
	if (!p->punch.len || err == -EOPNOTSUPP) {
		rest_add(rest, base + p->from, p->to - p->from);
		return 0;
	}
	uint32_t first = (p->from + unit - 1) & ~(unit - 1), end = p->to & ~(unit - 1);
	rest_add(rest, base + p->from, first - p->from);
	rest_add(rest, base + end, p->to - end);
	return err;
}

/* -ESTALE: the disk's size changed meanwhile, and with it what its last cluster is; again. */
static errint_t try_zero(struct image *im, uint64_t off, uint64_t len, struct zero_rest *rest)
{
	unsigned shift = im->geo.cluster_shift;
	uint64_t mask = cluster_size(&im->geo) - 1, end = off + len, size = image_size(im);
	uint64_t first = (off + mask) >> shift, last = end >> shift;
	errint_t err = 0;

	rest->n = 0;
	/* The last cluster of the disk may be cut by its end: covering what exists of it covers it.
	 */
	if (end == size)
		last = clusters_for(&im->geo, end);
	if (first > last) {
		struct part p = {
			.vcluster = last, .from = off & mask, .to = end & mask, .size = size};

		return zero_part(im, &p, rest);
	}
	if (off & mask) {
		struct part p = {.vcluster = off >> shift,
				 .from = off & mask,
				 .to = (uint32_t)mask + 1,
				 .size = size};

		err = zero_part(im, &p, rest);
	}
	if (!err)
		err = unmap(im, first, last - first, size);
	if (!err && end > last << shift) {
		struct part p = {.vcluster = last, .from = 0, .to = end & mask, .size = size};

		err = zero_part(im, &p, rest);
	}
	for (unsigned i = 0; i < rest->n; i++)
		if (rest->r[i].off + rest->r[i].len > end)
			rest->r[i].len = end - rest->r[i].off;
	return err;
}

static errint_t zero_range(struct image *im, uint64_t off, uint64_t len, struct zero_rest *rest)
{
	errint_t err;

	if (im->read_only)
		return -EROFS;
	do
		err = try_zero(im, off, len, rest);
	while (err == -ESTALE);
	return err;
}

static errint_t check_range(struct image *im, uint64_t off, uint64_t len)
{
	SCOPED_LOCK(&im->lock);
	return plan_check_range(im, off, len);
}

errint_t image_zero(struct image *im, uint64_t off, uint64_t len, struct zero_rest *rest)
{
	errint_t err = check_range(im, off, len);

	rest->n = 0;
	return err ? err : zero_range(im, off, len, rest);
}

errint_t image_discard(struct image *im, uint64_t off, uint64_t len)
{
	struct zero_rest ignored;

	return image_zero(im, off, len, &ignored);
}
