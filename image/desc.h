/* SPDX-License-Identifier: MIT */
/*
 * Descriptors in memory, and the geometry that gives them meaning (docs/format.md section 4).
 *
 * A descriptor that left validate.c is sound: code here and above asserts, it does not re-check.
 */
#ifndef IMAGE_DESC_H
#define IMAGE_DESC_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "image/format.h"

struct geometry {
	uint8_t cluster_shift; /* C: 16, 17 or 18 */
	uint8_t sector_shift;  /* logical sector: 9 or 12 */
};

static inline uint64_t cluster_size(const struct geometry *g)
{
	return 1ull << g->cluster_shift;
}

static inline unsigned cluster_units(const struct geometry *g)
{
	return 1u << (g->cluster_shift - UNIT_SHIFT);
}

static inline unsigned subblock_shift(const struct geometry *g)
{
	return g->cluster_shift - 4u;
}

static inline unsigned granule_shift(const struct geometry *g)
{
	return g->cluster_shift - 11u;
}

/* Clusters that hold @bytes of disk. */
static inline uint64_t clusters_for(const struct geometry *g, uint64_t bytes)
{
	return (bytes >> g->cluster_shift) + !!(bytes & (cluster_size(g) - 1));
}

/* Levels of a tree that has room for @clusters, at least 1. */
static inline unsigned levels_for(uint64_t clusters)
{
	unsigned l = 1;

	while (l < MAX_LEVELS && clusters > 1ull << (NODE_SHIFT * l))
		l++;
	return l;
}

struct desc {
	uint64_t w0;
	uint32_t birth;
	uint32_t aux;
};
_Static_assert(sizeof(struct desc) == 16, "descriptor in memory");

#define DESC_UNIT_BITS	  40
#define DESC_GRANULE_BITS 44

static inline struct desc desc_from_disk(const struct disk_desc *d)
{
	return (struct desc){le64_get(d->w0), le32_get(d->birth), le32_get(d->aux)};
}

static inline struct disk_desc desc_to_disk(struct desc d)
{
	return (struct disk_desc){le64_make(d.w0), le32_make(d.birth), le32_make(d.aux)};
}

static inline enum desc_type desc_type(struct desc d)
{
	return (enum desc_type)(d.w0 >> 56 & 0xf);
}

static inline bool desc_equal(struct desc a, struct desc b)
{
	return a.w0 == b.w0 && a.birth == b.birth && a.aux == b.aux;
}

/* RAW, NODE, SNAPTAB: first unit. */
static inline uint64_t desc_unit(struct desc d)
{
	return d.w0 & ((1ull << DESC_UNIT_BITS) - 1);
}

static inline unsigned desc_snaptab_units(struct desc d)
{
	return d.w0 >> DESC_UNIT_BITS & 0xffff;
}

/* ZSTD: position and stored length in granules. */
static inline uint64_t desc_granule(struct desc d)
{
	return d.w0 & ((1ull << DESC_GRANULE_BITS) - 1);
}

static inline unsigned desc_granules(struct desc d)
{
	return d.w0 >> DESC_GRANULE_BITS & 0xfff;
}

/* RAW: sub-blocks that are stored / that are zero. */
static inline uint16_t desc_valid(struct desc d)
{
	return (uint16_t)d.aux;
}

static inline uint16_t desc_zero(struct desc d)
{
	return (uint16_t)(d.aux >> 16);
}

static inline struct desc desc_hole(void)
{
	return (struct desc){0, 0, 0};
}

static inline struct desc desc_zero_make(uint32_t birth)
{
	return (struct desc){(uint64_t)DESC_ZERO << 56, birth, 0};
}

static inline struct desc desc_raw_make(uint64_t unit, uint32_t birth, uint16_t valid,
					uint16_t zero)
{
	assert(!(valid & zero));
	return (struct desc){(uint64_t)DESC_RAW << 56 | unit, birth, valid | (uint32_t)zero << 16};
}

static inline struct desc desc_zstd_make(uint64_t granule, unsigned granules, uint32_t birth,
					 uint32_t crc)
{
	assert(granules >= 1 && granules <= BLOB_MAX_GRANULES);
	return (struct desc){(uint64_t)DESC_ZSTD << 56 | (uint64_t)granules << DESC_GRANULE_BITS |
				     granule,
			     birth, crc};
}

static inline struct desc desc_node_make(uint64_t unit, uint32_t birth, uint32_t crc)
{
	return (struct desc){(uint64_t)DESC_NODE << 56 | unit, birth, crc};
}

static inline struct desc desc_snaptab_make(uint64_t unit, unsigned units, uint32_t birth,
					    uint32_t crc)
{
	return (struct desc){(uint64_t)DESC_SNAPTAB << 56 | (uint64_t)units << DESC_UNIT_BITS |
				     unit,
			     birth, crc};
}

/* A run of bytes of the image file.  len == 0: no storage. */
struct extent {
	uint64_t off;
	uint64_t len;
};

/* The bytes that @d stands for. */
static inline struct extent desc_extent(const struct geometry *g, struct desc d)
{
	switch (desc_type(d)) {
	case DESC_RAW:
		if (!desc_unit(d))
			break;
		return (struct extent){desc_unit(d) << UNIT_SHIFT, cluster_size(g)};
	case DESC_ZSTD:
		return (struct extent){desc_granule(d) << granule_shift(g),
				       (uint64_t)desc_granules(d) << granule_shift(g)};
	case DESC_NODE:
		return (struct extent){desc_unit(d) << UNIT_SHIFT, UNIT_SIZE};
	case DESC_SNAPTAB:
		return (struct extent){desc_unit(d) << UNIT_SHIFT, (uint64_t)desc_snaptab_units(d)
									   << UNIT_SHIFT};
	case DESC_HOLE:
	case DESC_ZERO:
		break;
	}
	return (struct extent){0, 0};
}

static inline bool extent_equal(struct extent a, struct extent b)
{
	return a.len == b.len && (!a.len || a.off == b.off);
}

/* Same storage (P1: births and bits do not matter). */
static inline bool desc_same_extent(const struct geometry *g, struct desc a, struct desc b)
{
	return extent_equal(desc_extent(g, a), desc_extent(g, b));
}

/* The sectors that a blob at bytes [e.off, e.off + e.len) owns (section 4.1): those whose first
 * byte it contains.  In absolute sectors; *end is exclusive. */
static inline void blob_owned_sectors(struct extent e, uint64_t *first, uint64_t *end)
{
	*first = (e.off + SECTOR_SIZE - 1) >> SECTOR_SHIFT;
	*end = (e.off + e.len + SECTOR_SIZE - 1) >> SECTOR_SHIFT;
}

#endif
