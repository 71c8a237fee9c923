/* SPDX-License-Identifier: MIT */
/*
 * Repacking: a cluster is read and stored again while others go on writing to it.
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

static bool is_stored(struct desc d)
{
	return desc_type(d) == DESC_ZSTD || (desc_type(d) == DESC_RAW && desc_unit(d));
}

/* Lock held. */
static bool is_wanted(struct image *im, const struct repack *r)
{
	struct desc d = r->before;
	enum desc_type type = desc_type(d);
	uint16_t all = type == DESC_RAW ? desc_valid(d) | desc_zero(d) : 0;

	/* Of what is shared with a snapshot nothing would be freed. */
	if (is_stored(d) && !map_owned(im, r->vcluster, d))
		return false;
	switch (r->what) {
	case REPACK_RAW:
		return type == DESC_RAW && desc_unit(d);
	case REPACK_MAPPED:
		return type != DESC_HOLE;
	case REPACK_MISSING:
		return type == DESC_HOLE || (type == DESC_RAW && all != 0xffff);
	}
	return false;
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
	return r->touched ? -ESTALE : is_wanted(im, r) ? 0 : -ENOENT;
}

errint_t repack_begin(struct image *im, uint64_t vcluster, enum repack_what what, struct repack *r)
{
	struct need need = {0};
	errint_t err;

	if (im->read_only || (what == REPACK_RAW && im->codec == CODEC_NONE))
		return -ENOENT;
	*r = (struct repack){.vcluster = vcluster, .what = what};
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
	/* By now it may be shared with a snapshot. */
	if (!desc_equal(leaf->entry[r->vcluster & (NODE_ENTRIES - 1)], r->before) ||
	    !is_wanted(im, r))
		return -ESTALE;
	if (desc_equal(after, r->before))
		return 0;
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
	pthread_mutex_lock(&im->lock);
	/* A hole that is to read as zeros is about to show something else. */
	bool explicit = r->what == REPACK_MISSING;
	struct desc d = explicit ? desc_zero_make(im->epoch) : desc_empty(im, r->vcluster);
	pthread_mutex_unlock(&im->lock);
	return publish(im, r, d);
}

errint_t repack_hole(struct image *im, const struct repack *r)
{
	return publish(im, r, desc_hole());
}

errint_t repack_place(struct image *im, uint64_t *file_off)
{
	struct need need = {0};
	uint64_t unit;
	unsigned got;
	errint_t err;

	do {
		pthread_mutex_lock(&im->lock);
		err = im->failed;
		if (!err && im->alloc.meta_short)
			err = -ENOSPC;
		if (!err)
			err = alloc_reserve_clusters(im, 1, &unit, &got, &need);
		im->stats.clusters_allocated += !err;
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	if (!err)
		*file_off = unit << UNIT_SHIFT;
	return err;
}

void repack_give_back(struct image *im, uint64_t file_off)
{
	SCOPED_LOCK(&im->lock);
	alloc_release(im, (struct extent){file_off, cluster_size(&im->geo)});
	image_wake(im);
}

errint_t repack_raw(struct image *im, const struct repack *r, uint64_t file_off)
{
	errint_t err = publish(im, r, desc_raw_make(file_off >> UNIT_SHIFT, 1, 0xffff, 0));

	/* After a fail-stop nobody knows whose it is. */
	if (err && err != -EIO)
		repack_give_back(im, file_off);
	return err;
}
