/* SPDX-License-Identifier: MIT */
/*
 * Finding space.  Data goes where its class has room, next fit, so that streams stay sequential;
 * nodes go to the lowest free unit, so that their space stays dense.  A class that has no room
 * takes an unused region; a file without unused regions gets longer.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/alloc_priv.h"
#include "image/limbo.h"

/* What a search looks for. */
struct wanted {
	enum region_class class_;
	unsigned min, max; /* units: accept a run of at least min, take at most max */
	unsigned step;	   /* alignment and granularity, units */
	bool first_fit;
};

struct found {
	uint64_t unit;
	unsigned units;
};

static bool region_serves(uint64_t region, const struct region *r, enum region_class class_)
{
	if (!r->in_use)
		return false;
	if (r->class_ == class_)
		return true;
	/* Nodes live in the MIXED region 0; blobs reuse what bulk writing left in the others. */
	return r->class_ == CLASS_MIXED &&
	       (class_ == CLASS_META ? !region : class_ == CLASS_BLOB && region);
}

static bool piece_free(struct image *im, uint64_t region, const struct region *r, unsigned u,
		       unsigned step)
{
	if (step == 1 ? !unit_clear(r, u) : !bits_all_clear(r->bits->map, u, step))
		return false;
	return !r->busy || !busy_count(im, region * REGION_UNITS + u);
}

/* The first run in [from, end) that suits. */
static bool find_run(struct image *im, uint64_t region, const struct region *r,
		     const struct wanted *w, unsigned from, unsigned end, struct found *f)
{
	unsigned run = 0;

	for (unsigned u = from; u + w->step <= end; u += w->step) {
		if (!piece_free(im, region, r, u, w->step)) {
			if (run >= w->min)
				break;
			run = 0;
			continue;
		}
		if (!run)
			f->unit = region * REGION_UNITS + u;
		run += w->step;
		if (run + w->step > w->max)
			break;
	}
	f->units = run;
	return run >= w->min;
}

static bool find_in_region(struct image *im, uint64_t region, struct region *r,
			   const struct wanted *w, struct found *f)
{
	unsigned start = reserved_units(&im->geo, region, r->class_);
	unsigned end = region_end(im, region);
	unsigned from = w->first_fit || im->alloc.first_fit ? r->low : r->hint;

	start = (start + w->step - 1) / w->step * w->step;
	if (from < start)
		from = start;
	if (find_run(im, region, r, w, from, end, f))
		goto found;
	if (from > start && find_run(im, region, r, w, start, end, f))
		goto found;
	r->longest = w->min - 1;
	return false;
found:
	if (w->first_fit && w->min == 1)
		r->low = f->unit % REGION_UNITS + f->units;
	r->hint = f->unit % REGION_UNITS + f->units;
	return true;
}

/* An unused region that may have @class_, brought into memory. */
static errint_t take_region(struct image *im, enum region_class class_, uint64_t *region,
			    struct need *need)
{
	struct alloc *a = &im->alloc;

	for (uint64_t i = a->search[CLASS_NONE]; i < a->nregions; i++) {
		struct region *r = region_get(im, i);
		bool table = i && i % GROUP_REGIONS == 0;

		if ((r && r->in_use) || region_end(im, i) < REGION_UNITS)
			continue;
		if (class_ == CLASS_BLOB && table)
			continue; /* R1 */
		if (class_ != CLASS_BLOB)
			a->search[CLASS_NONE] = i;
		*region = i;
		return region_start(im, i, class_);
	}
	need->kind = NEED_SPACE;
	return -EAGAIN;
}

static errint_t search(struct image *im, const struct wanted *w, struct found *f, struct need *need)
{
	struct alloc *a = &im->alloc;
	uint64_t start = w->first_fit || a->first_fit ? 0 : a->search[w->class_];

	for (uint64_t i = 0; i < a->nregions && !(a->exhausted >> w->class_ & 1); i++) {
		uint64_t region = (start + i) % a->nregions;
		struct region *r = region_get(im, region);

		if (!r) { /* nor the rest of its group; then from region 0 on */
			uint64_t rest = GROUP_REGIONS - 1 - region % GROUP_REGIONS;
			uint64_t last = a->nregions - 1 - region;

			i += rest < last ? rest : last;
			continue;
		}
		if (!region_serves(region, r, w->class_) || r->free_units < w->min ||
		    r->longest < w->min)
			continue;
		if (!r->bits) {
			need->kind = NEED_REGION;
			need->region = region;
			return -EAGAIN;
		}
		if (find_in_region(im, region, r, w, f)) {
			a->search[w->class_] = region;
			return 0;
		}
	}
	if (w->min == w->step)
		a->exhausted |= 1u << w->class_;

	uint64_t region;
	errint_t err = take_region(im, w->class_, &region, need);
	if (err)
		return err;
	a->search[w->class_] = region;
	a->exhausted &= ~(1u << w->class_);
	bool ok = find_in_region(im, region, region_get(im, region), w, f);
	assert(ok);
	return ok ? 0 : -ENOSPC;
}

static errint_t reserve(struct image *im, const struct wanted *w, struct found *f,
			struct need *need)
{
	errint_t err = search(im, w, f, need);

	if (err)
		return err;
	return alloc_hold(im,
			  (struct extent){f->unit << UNIT_SHIFT, (uint64_t)f->units << UNIT_SHIFT});
}

errint_t alloc_reserve_clusters(struct image *im, unsigned want, uint64_t *unit, unsigned *got,
				struct need *need)
{
	unsigned cu = cluster_units(&im->geo);
	struct wanted w = {.class_ = CLASS_DATA, .min = cu, .max = want * cu, .step = cu};
	struct found f;

	if (im->alloc.meta_short)
		return -ENOSPC;
	errint_t err = reserve(im, &w, &f, need);
	if (err)
		return err;
	*unit = f.unit;
	*got = f.units / cu;
	return 0;
}

errint_t alloc_reserve_meta(struct image *im, unsigned n, uint64_t *unit, struct need *need)
{
	struct wanted w = {.class_ = CLASS_META, .min = n, .max = n, .step = 1, .first_fit = true};
	struct found f;
	errint_t err = reserve(im, &w, &f, need);

	*unit = f.unit;
	return err;
}

/* [m:blob_append]: a unit in use whose last sectors nobody owns, for a batch to continue in. */
static bool find_live_unit(struct image *im, uint64_t *unit)
{
	for (uint64_t i = 1; i < im->alloc.nregions; i++) {
		struct region *r = region_get(im, i);

		if (!r || !r->bits || r->class_ != CLASS_BLOB)
			continue;
		for (unsigned u = REGION_HEADER_UNITS; u + 1 < REGION_UNITS; u++) {
			if (r->bits->map[u] && !(r->bits->map[u] & 0x80) && !r->bits->map[u + 1]) {
				*unit = i * REGION_UNITS + u;
				return true;
			}
		}
	}
	return false;
}

errint_t alloc_reserve_batch(struct image *im, unsigned n, uint64_t *unit, struct need *need)
{
	struct wanted w = {.class_ = CLASS_BLOB, .min = n, .max = n, .step = 1};
	struct found f;

	assert(n && n <= REGION_UNITS / 2);
	if (im->alloc.meta_short)
		return -ENOSPC;
	if (RULE_BROKEN(im, blob_append) && n == 1 && find_live_unit(im, unit))
		return alloc_hold(im, (struct extent){*unit << UNIT_SHIFT, UNIT_SIZE});
	errint_t err = reserve(im, &w, &f, need);

	*unit = f.unit;
	return err;
}

/* --- more space ----------------------------------------------------------------------------- */

/* One at a time: a late truncate of a slower thread would cut off what was written meanwhile. */
static errint_t grow(struct image *im)
{
	struct alloc *a = &im->alloc;

	pthread_mutex_lock(&im->lock);
	if (a->growing) {
		while (a->growing)
			image_wait(im);
		pthread_mutex_unlock(&im->lock);
		return 0;
	}
	a->growing = true;
	uint64_t regions = a->nregions;
	pthread_mutex_unlock(&im->lock);

	errint_t err = regions < im->max_regions && !im->st->fixed
			       ? store_truncate(im->st, (regions + 1) << REGION_SHIFT)
			       : -ENOSPC;
	if (!err)
		err = alloc_back_header(im, regions);

	SCOPED_LOCK(&im->lock);
	if (!err)
		err = alloc_set_regions(im, regions + 1);
	a->growing = false;
	image_wake(im);
	return err;
}

errint_t alloc_set_regions(struct image *im, uint64_t regions)
{
	struct alloc *a = &im->alloc;
	uint64_t groups = (regions + GROUP_REGIONS - 1) / GROUP_REGIONS;

	if (regions <= a->nregions)
		return 0; /* somebody else was quicker */
	if (groups > a->ngroups) {
		struct alloc_group *p = realloc(a->group, groups * sizeof(*p));

		if (!p)
			return -ENOMEM;
		memset(p + a->ngroups, 0, (groups - a->ngroups) * sizeof(*p));
		a->group = p;
		a->ngroups = groups;
	}
	a->nregions = regions;
	a->end = regions * REGION_UNITS;
	return 0;
}

errint_t alloc_more(struct image *im, struct need *need)
{
	errint_t err = grow(im);

	if (err != -ENOSPC)
		return err;
	/* While an image is opened nothing is in limbo, and without a journal there is no
	 * checkpoint. */
	if (!im->journal.length)
		return -ENOSPC;
	switch (need->rounds++) {
	case 0: /* what was freed may only be waiting for its transaction, or for its readers */
		return need->guarded ? txn_commit(im) : limbo_drain(im);
	case 1: /* regions that became empty change their class at a checkpoint */
		return image_checkpoint(im);
	default:
		return -ENOSPC;
	}
}

/* --- the reserve for nodes (A3) --------------------------------------------------------------- */

/* Free units of @r below @limit that nobody holds, or fewer. */
static unsigned free_below(struct image *im, uint64_t region, const struct region *r,
			   unsigned limit)
{
	unsigned n = 0;

	for (unsigned u = reserved_units(&im->geo, region, r->class_); u < limit; u++)
		n += unit_clear(r, u);
	return n > r->busy ? n - r->busy : 0;
}

/* The unit below which @r has @n free ones more than below @from; at most @end. */
static unsigned limit_for(const struct region *r, unsigned from, unsigned end, unsigned n)
{
	while (from < end && n)
		n -= unit_clear(r, from++);
	return from;
}

/* One step towards @n free backed units: 0 when they are there; -EAGAIN with a need, or with space
 * to be allocated on the host in *back. */
static errint_t reserve_step(struct image *im, unsigned n, struct need *need, struct extent *back,
			     struct region **backed)
{
	for (uint64_t i = 0; i < im->alloc.nregions && n; i++) {
		struct region *r = region_get(im, i);

		if (!r || !region_serves(i, r, CLASS_META) || !r->free_units)
			continue;
		if (!r->bits) {
			need->kind = NEED_REGION;
			need->region = i;
			return -EAGAIN;
		}
		unsigned from = reserved_units(&im->geo, i, r->class_), end = region_end(im, i);

		from = from < r->backed ? r->backed : from;
		unsigned have = free_below(im, i, r, from);

		if (have < n && from < end) {
			unsigned to = limit_for(r, from, end, n - have + r->busy);

			*back = (struct extent){(i * REGION_UNITS + from) << UNIT_SHIFT,
						(uint64_t)(to - from) << UNIT_SHIFT};
			*backed = r;
			r->backed = to;
			return -EAGAIN;
		}
		n -= have < n ? have : n;
	}
	if (!n)
		return 0;
	uint64_t region;
	errint_t err = take_region(im, CLASS_META, &region, need);
	return err ? err : -EAGAIN;
}

errint_t alloc_meta_reserve(struct image *im, unsigned n)
{
	struct need need = {0};

	for (;;) {
		struct extent back = {0, 0};
		struct region *r = NULL;

		need.kind = NEED_NOTHING;
		pthread_mutex_lock(&im->lock);
		errint_t err = reserve_step(im, n, &need, &back, &r);
		pthread_mutex_unlock(&im->lock);
		if (err != -EAGAIN)
			return err;
		if (back.len)
			err = store_allocate(im->st, back.off, back.len);
		else if (need.kind == NEED_SPACE)
			err = grow(im); /* nothing that limbo holds is nodes' space */
		else if (need.kind != NEED_NOTHING)
			err = image_satisfy(im, &need);
		else
			err = 0;
		if (err) {
			SCOPED_LOCK(&im->lock);
			if (r)
				r->backed = back.off >> UNIT_SHIFT & (REGION_UNITS - 1);
			return err;
		}
	}
}

errint_t alloc_reserve_run(struct image *im, unsigned n, uint64_t *unit)
{
	struct need need = {0};
	errint_t err;

	for (;;) {
		pthread_mutex_lock(&im->lock);
		err = alloc_reserve_meta(im, n, unit, &need);
		pthread_mutex_unlock(&im->lock);
		if (err != -EAGAIN)
			break;
		err = need.kind == NEED_SPACE ? grow(im) : image_satisfy(im, &need);
		if (err)
			return err;
	}
	if (err)
		return err;
	struct extent e = {*unit << UNIT_SHIFT, (uint64_t)n << UNIT_SHIFT};
	err = store_allocate(im->st, e.off, e.len);
	if (err) {
		SCOPED_LOCK(&im->lock);
		alloc_release(im, e);
	}
	return err;
}
