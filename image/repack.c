/* SPDX-License-Identifier: MIT */
/*
 * Repacking: a raw cluster is read, compressed and stored again while others go on writing to it.
 *
 * Writes to a raw cluster happen in place, which the map does not show.  So whoever repacks is
 * listed before reading: from then on each plan that may change the cluster's bytes says so
 * (repack_touch()), and those planned before are waited for.  What was not touched by the time of
 * publishing is, byte for byte, what was read (rule W8).
 */
#include "config.h"

#include "image/core.h"
#include "image/plan_priv.h"

void repack_touch(struct image *im, uint64_t first, uint64_t count)
{
	for (struct repack *r = im->repacks; r; r = r->next)
		if (r->vcluster - first < count)
			r->touched = true;
}

static void list_remove(struct image *im, struct repack *r)
{
	struct repack **at = &im->repacks;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
}

/* Lock held, dropped while waiting; no guard is held. */
static void wait_for_writers(struct image *im)
{
	uint64_t barrier = guard_barrier(im);

	while (!guard_drained(im, barrier))
		image_wait(im);
}

/* Is there something to be repacked?  Lock held. */
static errint_t try_begin(struct image *im, struct repack *r, struct need *need)
{
	errint_t err = im->failed;

	if (!err && r->vcluster > (im->size - 1) >> im->geo.cluster_shift)
		err = -ENOENT;
	if (!err)
		err = map_lookup(im, r->vcluster, &r->before, need);
	if (err)
		return err;
	if (r->touched)
		return -ESTALE;
	return desc_type(r->before) == DESC_RAW && desc_unit(r->before) &&
			       map_owned(im, r->vcluster, r->before)
		       ? 0
		       : -ENOENT;
}

errint_t repack_begin(struct image *im, uint64_t vcluster, struct repack *r)
{
	struct need need = {0};
	errint_t err;

	if (im->read_only || im->codec == CODEC_NONE)
		return -ENOENT;
	*r = (struct repack){.vcluster = vcluster};
	pthread_mutex_lock(&im->lock);
	r->next = im->repacks;
	im->repacks = r;
	wait_for_writers(im);
	/* A writer that was here before us may still hold the cluster, and change it. */
	r->touched |= excl_held(im, vcluster, 1);
	pthread_mutex_unlock(&im->lock);
	do {
		pthread_mutex_lock(&im->lock);
		err = try_begin(im, r, &need);
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	if (err)
		repack_end(im, r);
	return err;
}

void repack_end(struct image *im, struct repack *r)
{
	SCOPED_LOCK(&im->lock);
	list_remove(im, r);
}

/* Lock held. */
static errint_t try_publish(struct image *im, const struct repack *r, struct desc after,
			    struct need *need)
{
	struct node *leaf;
	errint_t err = im->failed;

	if (!err && r->touched && !RULE_BROKEN(im, repack_touched))
		err = -ESTALE;
	/* An administrative operation is under way: what it wants is not known here. */
	if (!err && im->gate_closed)
		err = -ESTALE;
	if (!err)
		err = txn_prepare(im, r->vcluster, 1, true, &leaf, need);
	if (err)
		return err;
	/* Shared with a snapshot by now, its space would not be freed. */
	if (!desc_equal(leaf->entry[r->vcluster & (NODE_ENTRIES - 1)], r->before) ||
	    !map_owned(im, r->vcluster, r->before))
		return -ESTALE;
	err = txn_reserve(im, 1, 0, need);
	return err ? err : txn_log_map(im, leaf, r->vcluster, after);
}

static errint_t publish(struct image *im, const struct repack *r, struct desc after)
{
	struct need need = {0};
	errint_t err;

	do {
		pthread_mutex_lock(&im->lock);
		if (after.birth)
			after.birth = im->epoch;
		err = try_publish(im, r, after, &need);
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	return err;
}

errint_t repack_blob(struct image *im, const struct repack *r, uint64_t file_off, uint32_t stored,
		     uint32_t crc)
{
	unsigned shift = granule_shift(&im->geo);

	assert(file_off % (1u << shift) == 0 && stored % (1u << shift) == 0);
	return publish(im, r, desc_zstd_make(file_off >> shift, stored >> shift, 1, crc));
}

errint_t repack_zero(struct image *im, const struct repack *r)
{
	bool backing = im->incompat & INCOMPAT_BACKING;

	return publish(im, r, backing ? desc_zero_make(1) : desc_hole());
}
