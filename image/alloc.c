/* SPDX-License-Identifier: MIT */
/*
 * Bits and holds.  Invariants:
 *
 * - free_units, dead_sectors and used_units always follow the bits in memory;
 * - a piece with a hold is in the busy table with a count above zero, and counted once in its
 * region;
 * - a region with holds is loaded and stays loaded.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/alloc_priv.h"

/* --- holds: an open-addressing table from unit to count -------------------------------------- */

static unsigned busy_slot(const struct alloc *a, uint64_t unit)
{
	return (unsigned)(unit * 0x9e3779b97f4a7c15ull >> 32) & (a->busy_cap - 1);
}

static struct busy_entry *busy_find(const struct alloc *a, uint64_t unit)
{
	if (!a->busy_cap)
		return NULL;
	for (unsigned i = busy_slot(a, unit);; i = (i + 1) & (a->busy_cap - 1)) {
		if (!a->busy[i].count)
			return NULL;
		if (a->busy[i].unit == unit)
			return &a->busy[i];
	}
}

static void busy_insert(struct alloc *a, struct busy_entry e)
{
	unsigned i = busy_slot(a, e.unit);

	while (a->busy[i].count)
		i = (i + 1) & (a->busy_cap - 1);
	a->busy[i] = e;
	a->busy_n++;
}

errint_t busy_reserve(struct image *im, unsigned n)
{
	struct alloc *a = &im->alloc;
	unsigned cap = a->busy_cap ? a->busy_cap : 256;
	struct busy_entry *old = a->busy;
	unsigned old_cap = a->busy_cap;

	while ((a->busy_n + n) * 2 > cap)
		cap *= 2;
	if (cap == a->busy_cap)
		return 0;
	struct busy_entry *p = calloc(cap, sizeof(*p));
	if (!p)
		return -ENOMEM;
	a->busy = p;
	a->busy_cap = cap;
	a->busy_n = 0;
	for (unsigned i = 0; i < old_cap; i++)
		if (old[i].count)
			busy_insert(a, old[i]);
	free(old);
	return 0;
}

uint32_t busy_count(struct image *im, uint64_t unit)
{
	const struct busy_entry *e = busy_find(&im->alloc, unit);

	return e ? e->count : 0;
}

errint_t busy_add(struct image *im, uint64_t unit)
{
	struct busy_entry *e = busy_find(&im->alloc, unit);

	if (e) {
		e->count++;
		return 0;
	}
	errint_t err = busy_reserve(im, 1);
	if (err)
		return err;
	busy_insert(&im->alloc, (struct busy_entry){unit, 1});
	region_get(im, unit / REGION_UNITS)->busy++;
	return 0;
}

/* Linear probing without tombstones: close the gap that a removal leaves. */
static void busy_remove(struct alloc *a, struct busy_entry *e)
{
	unsigned hole = (unsigned)(e - a->busy);
	unsigned mask = a->busy_cap - 1;

	for (unsigned i = (hole + 1) & mask; a->busy[i].count; i = (i + 1) & mask) {
		unsigned home = busy_slot(a, a->busy[i].unit);

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			a->busy[hole] = a->busy[i];
			hole = i;
		}
	}
	a->busy[hole].count = 0;
	a->busy_n--;
}

static void busy_sub(struct image *im, uint64_t unit, uint32_t n)
{
	struct busy_entry *e = busy_find(&im->alloc, unit);

	assert(e && e->count >= n);
	e->count -= n;
	if (!e->count) {
		e->count = 1; /* busy_remove() expects the entry to be there */
		busy_remove(&im->alloc, e);
		struct region *r = region_get(im, unit / REGION_UNITS);

		assert(r->busy > 0);
		r->busy--;
		im->alloc.exhausted = 0;
		r->longest = REGION_UNITS;
		if (unit % REGION_UNITS < r->low)
			r->low = unit % REGION_UNITS;
		/* The next checkpoint may return an empty region to class 0. */
		if (!r->busy && region_empty(im, unit / REGION_UNITS, r))
			region_touch(im, unit / REGION_UNITS, r, 0);
	}
}

/* --- pieces --------------------------------------------------------------------------------- */

/* The pieces that @e touches: every *step units from *first to *end. */
static void pieces(struct image *im, struct extent e, uint64_t *first, uint64_t *end,
		   unsigned *step)
{
	struct region *r = region_get(im, region_of(e.off));

	*first = e.off >> UNIT_SHIFT;
	*end = (e.off + e.len + UNIT_SIZE - 1) >> UNIT_SHIFT;
	*step = r->class_ == CLASS_DATA ? cluster_units(&im->geo) : 1;
	assert(*first % *step == 0);
}

errint_t alloc_hold(struct image *im, struct extent e)
{
	uint64_t first, end;
	unsigned step;

	pieces(im, e, &first, &end, &step);
	errint_t err = busy_reserve(im, (unsigned)((end - first) / step));
	if (err)
		return err;
	for (uint64_t u = first; u < end; u += step) {
		err = busy_add(im, u);
		assert(!err);
	}
	return 0;
}

void alloc_release(struct image *im, struct extent e)
{
	uint64_t first, end;
	unsigned step;

	pieces(im, e, &first, &end, &step);
	for (uint64_t u = first; u < end; u += step) {
		uint32_t n = 1;

		if (RULE_BROKEN(im, blob_limbo_bool) &&
		    class_by_sector(region_get(im, u / REGION_UNITS)->class_))
			n = busy_count(im, u);
		if (!n && RULE_BROKEN(im, blob_limbo_bool))
			continue;
		busy_sub(im, u, n);
	}
}

struct extent alloc_punchable(struct image *im, struct extent e)
{
	uint64_t first, end;
	unsigned step;
	struct region *r = region_get(im, region_of(e.off));

	pieces(im, e, &first, &end, &step);
	while (first < end && (!unit_clear(r, first % REGION_UNITS) || busy_count(im, first) != 1))
		first += step;
	uint64_t stop = first;
	while (stop < end && unit_clear(r, stop % REGION_UNITS) && busy_count(im, stop) == 1)
		stop += step;
	return (struct extent){first << UNIT_SHIFT, (stop - first) << UNIT_SHIFT};
}

/* --- bits ----------------------------------------------------------------------------------- */

void region_touch(struct image *im, uint64_t region, struct region *r, unsigned block)
{
	r->dirty |= (uint8_t)(1u << block);
	im->alloc.group[region / GROUP_REGIONS].dirty = true;
	im->alloc.root_dirty |= 1ull << (region / GROUP_REGIONS / ALLOC_ENTRIES);
}

static enum region_class class_for(struct desc d)
{
	switch (desc_type(d)) {
	case DESC_RAW:
		return CLASS_DATA;
	case DESC_ZSTD:
		return CLASS_BLOB;
	default:
		return CLASS_META;
	}
}

/* The class of an entirely free region follows from the first extent set in it (A4). */
static errint_t region_suit(struct image *im, uint64_t region, struct desc d)
{
	struct region *r = region_get(im, region);
	enum region_class want = class_for(d);

	if (r && (r->class_ == want || r->class_ == CLASS_MIXED))
		return 0;
	if (r && (!region_empty(im, region, r) || r->busy))
		return -EBADMSG;
	return region_start(im, region, want);
}

static unsigned dead_in(uint8_t mask)
{
	return mask ? 8u - (unsigned)__builtin_popcount(mask) : 0;
}

/* Change the ownership mask of one unit of a region tracked by sectors, and all that is counted. */
static void unit_mask(struct image *im, uint64_t region, struct region *r, unsigned u, uint8_t mask)
{
	uint8_t old = r->bits->map[u];

	r->dead_sectors = r->dead_sectors - dead_in(old) + dead_in(mask);
	if (!old != !mask) {
		r->free_units += old ? 1u : -1u;
		im->alloc.used_units -= old ? 1 : -1ull;
	}
	r->bits->map[u] = mask;
	region_touch(im, region, r, u / (REGION_UNITS / BITMAP_BLOCKS));
}

static void count_units(struct image *im, struct region *r, unsigned n, bool set)
{
	r->free_units += set ? -n : n;
	im->alloc.used_units += set ? (uint64_t)n : -(uint64_t)n;
}

/* The bits of @d: sectors or units, relative to its region. */
static void desc_bits(struct image *im, struct desc d, const struct region *r, size_t *from,
		      size_t *len)
{
	struct extent e = desc_extent(&im->geo, d);
	uint64_t first, end;

	assert(e.len);
	if (!class_by_sector(r->class_)) {
		*from = e.off >> UNIT_SHIFT & (REGION_UNITS - 1);
		*len = e.len >> UNIT_SHIFT;
		return;
	}
	blob_owned_sectors(e, &first, &end); /* of an aligned extent: all of them */
	*from = first & (REGION_SECTORS - 1);
	*len = end - first;
}

static void sector_bits(struct image *im, uint64_t region, struct region *r, size_t from,
			size_t len, bool set)
{
	for (size_t end = from + len; from < end;) {
		unsigned u = (unsigned)(from / UNIT_SECTORS);
		size_t n = UNIT_SECTORS - from % UNIT_SECTORS;

		if (n > end - from)
			n = end - from;
		uint8_t m = (uint8_t)(((1u << n) - 1) << from % UNIT_SECTORS);
		uint8_t old = r->bits->map[u];

		if (RULE_BROKEN(im, blob_unit_free) && !set)
			m = 0xff;
		unit_mask(im, region, r, u, set ? old | m : old & (uint8_t)~m);
		from += n;
	}
}

static void change_bits(struct image *im, uint64_t region, struct region *r, size_t from,
			size_t len, bool set)
{
	if (class_by_sector(r->class_)) {
		sector_bits(im, region, r, from, len, set);
		return;
	}
	if (set)
		bits_set(r->bits->map, from, len);
	else
		bits_clear(r->bits->map, from, len);
	count_units(im, r, (unsigned)len, set);
	region_touch(im, region, r, 0);
}

errint_t alloc_set(struct image *im, struct desc d)
{
	struct extent e = desc_extent(&im->geo, d);
	uint64_t region = region_of(e.off);
	size_t from, len;

	if (!e.len)
		return 0;
	errint_t err = region_suit(im, region, d);
	if (err)
		return err;
	struct region *r = region_get(im, region);
	assert(r->bits);
	desc_bits(im, d, r, &from, &len);
	if (!bits_all_clear(r->bits->map, from, len))
		return -EBADMSG;
	change_bits(im, region, r, from, len, true);
	if (desc_type(d) != DESC_ZSTD && busy_count(im, e.off >> UNIT_SHIFT))
		alloc_release(im, e);
	return 0;
}

errint_t alloc_clear(struct image *im, struct desc d, bool hold)
{
	struct extent e = desc_extent(&im->geo, d);
	uint64_t region = region_of(e.off);
	struct region *r = region_get(im, region);
	size_t from, len;

	assert(e.len);
	/* A tree may say what it likes: a blob among clusters, a node among blobs. */
	if (!r || !r->in_use || (r->class_ != CLASS_MIXED && r->class_ != class_for(d)))
		return -EBADMSG;
	assert(r->bits);
	desc_bits(im, d, r, &from, &len);
	if (!bits_all_set(r->bits->map, from, len) && !RULE_BROKEN(im, blob_unit_free))
		return -EBADMSG;
	if (hold) {
		errint_t err = alloc_hold(im, e);
		if (err)
			return err;
	}
	change_bits(im, region, r, from, len, false);
	if (hold)
		return 0; /* nobody finds anything there before busy_sub() */
	unsigned unit = (unsigned)(e.off >> UNIT_SHIFT & (REGION_UNITS - 1));
	im->alloc.exhausted = 0;
	r->longest = REGION_UNITS;
	if (unit < r->low)
		r->low = unit;
	return 0;
}

errint_t region_start(struct image *im, uint64_t region, enum region_class class_)
{
	struct alloc_group *g = &im->alloc.group[region / GROUP_REGIONS];
	unsigned reserved = reserved_units(&im->geo, region, class_);

	if (!g->region) {
		g->region = calloc(GROUP_REGIONS, sizeof(*g->region));
		if (!g->region)
			return -ENOMEM;
	}
	struct region *r = &g->region[region % GROUP_REGIONS];
	struct region_bits *b = calloc(1, sizeof(*b) + bits_bytes(class_));
	if (!b)
		return -ENOMEM;
	g->in_use = 1;
	if (r->in_use)
		im->alloc.used_units -= REGION_UNITS - r->free_units;
	free(r->bits);
	*r = (struct region){.bits = b,
			     .in_use = 1,
			     .class_ = (uint8_t)class_,
			     .slots = r->slots,
			     .free_units = REGION_UNITS - reserved,
			     .longest = REGION_UNITS,
			     .hint = reserved,
			     .low = reserved};
	if (class_by_sector(r->class_))
		memset(b->map, 0xff, reserved);
	else
		bits_set(b->map, 0, reserved);
	im->alloc.used_units += reserved;
	im->alloc.exhausted = 0;
	/* Every block is new to the disk, whatever stood there for another class. */
	for (unsigned i = 0; i < bits_bytes(class_) / UNIT_SIZE; i++)
		region_touch(im, region, r, i);
	return 0;
}
