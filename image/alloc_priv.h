/* SPDX-License-Identifier: MIT */
/* What alloc.c (bits and holds), alloc_search.c and alloc_disk.c share. */
#ifndef IMAGE_ALLOC_PRIV_H
#define IMAGE_ALLOC_PRIV_H

#include "common/bitmap.h"
#include "image/core.h"

static inline bool class_by_sector(uint8_t class_)
{
	return class_ == CLASS_BLOB || class_ == CLASS_MIXED;
}

static inline size_t bits_bytes(uint8_t class_)
{
	return class_by_sector(class_) ? BITMAP_BLOCKS * (size_t)UNIT_SIZE : UNIT_SIZE;
}

/* Units of @r that are always marked used (R2). */
static inline unsigned reserved_units(const struct geometry *g, uint64_t region, uint8_t class_)
{
	if (!region)
		return REGION0_START >> UNIT_SHIFT;
	if (class_ == CLASS_DATA && cluster_units(g) > REGION_HEADER_UNITS)
		return cluster_units(g);
	return REGION_HEADER_UNITS;
}

/* Units of @region that may be allocated. */
static inline unsigned region_end(const struct image *im, uint64_t region)
{
	uint64_t left = im->alloc.end - region * REGION_UNITS;

	return left < REGION_UNITS ? (unsigned)left : REGION_UNITS;
}

/* The region, or NULL when its group was never used. */
static inline struct region *region_get(struct image *im, uint64_t region)
{
	assert(region / GROUP_REGIONS < im->alloc.ngroups);
	struct alloc_group *g = &im->alloc.group[region / GROUP_REGIONS];

	return g->region ? &g->region[region % GROUP_REGIONS] : NULL;
}

/* No bit beyond the reserved ones is set. */
static inline bool region_empty(struct image *im, uint64_t region, const struct region *r)
{
	return !r->in_use ||
	       r->free_units == REGION_UNITS - reserved_units(&im->geo, region, r->class_);
}

/* Is unit @u (within the region) free of bits? */
static inline bool unit_clear(const struct region *r, unsigned u)
{
	return class_by_sector(r->class_) ? !r->bits->map[u] : !bit_test(r->bits->map, u);
}

/* Bring @region, which holds nothing, into memory with @class_.  -ENOMEM. */
errint_t region_start(struct image *im, uint64_t region, enum region_class class_);

/* Holds on the piece that begins at absolute unit @unit. */
uint32_t busy_count(struct image *im, uint64_t unit);
errint_t busy_add(struct image *im, uint64_t unit);
/* Space in the table for @n more pieces. */
errint_t busy_reserve(struct image *im, unsigned n);

/* Space on the host for the alloc blocks in the header of @region, which a checkpoint writes and
 * must not fail to (A3).  Lock not held; may block.  -ENOSPC. */
errint_t alloc_back_header(struct image *im, uint64_t region);

/* Where block @i of a region's bitmap stands in @slot. */
uint64_t bitmap_block_offset(uint64_t region, unsigned i, unsigned slot);

void region_touch(struct image *im, uint64_t region, struct region *r, unsigned block);

#endif
