/* SPDX-License-Identifier: MIT */
/*
 * The space of an image that is written in one stream (bulk.h): free units from the front, the few
 * gaps that alignment leaves, and the bitmaps and alloc entries that tell of it all.
 *
 * Not thread-safe: bulk.c's lock protects everything here.
 */
#ifndef IMAGE_BULK_SPACE_H
#define IMAGE_BULK_SPACE_H

#include "image/desc.h"
#include "image/store.h"

/* Regions that may still have gaps to fill; older ones are written out. */
#define BULK_OPEN_REGIONS 3u
#define BULK_GAPS	  64u

/* Free units, all in one open region. */
struct bulk_run {
	uint64_t unit;
	uint32_t len; /* units */
};

struct bulk_region {
	uint64_t region;
	bool shared;   /* holds something else than raw clusters: class MIXED */
	uint8_t *bits; /* 32 KiB, a byte for each unit; NULL: this slot is free */
};

struct bulk_space {
	struct store *st;
	struct geometry geo;
	uint32_t uuid_seed;
	uint64_t next;	   /* first unit never given out, in the newest region */
	uint64_t end_used; /* unit behind the last one taken */
	struct bulk_region open[BULK_OPEN_REGIONS]; /* the newest first */
	struct bulk_run gap[BULK_GAPS];
	unsigned ngaps;
	struct disk_alloc_entry *entry; /* one for each region below nregions */
	uint64_t nregions;		/* the newest region + 1 */
	uint64_t entries;		/* allocated */
};

enum bulk_use { BULK_BLOB, BULK_RAW, BULK_NODE };

/* What the superblock tells of space. */
struct bulk_space_totals {
	uint64_t used_units;
	uint64_t length; /* of the file, bytes */
	uint32_t root_crc[ALLOC_ROOT_BLOCKS];
};

MUST_CHECK errint_t bulk_space_init(struct bulk_space *s, struct store *st,
				    const struct geometry *geo, uint32_t uuid_seed);
void bulk_space_destroy(struct bulk_space *s);

/*
 * Find a run of at least @min free units (at most a region's) that begins at a multiple of @align.
 * The run stays free: take its beginning before the next call.  -ENOSPC at the format's limit.
 */
MUST_CHECK errint_t bulk_space_find(struct bulk_space *s, uint32_t min, uint32_t align,
				    struct bulk_run *run);

/* Use the first @units units of a run that bulk_space_find() returned last.  BULK_RAW, BULK_NODE:
 * they are marked in the bitmap; BULK_BLOB: the caller marks what each blob owns. */
void bulk_space_take(struct bulk_space *s, const struct bulk_run *run, uint32_t units,
		     enum bulk_use use);

/* Mark the sectors that a blob owns. */
void bulk_space_own(struct bulk_space *s, struct extent blob);

/* Write all bitmaps, group tables and alloc root blocks. */
MUST_CHECK errint_t bulk_space_finish(struct bulk_space *s, struct bulk_space_totals *totals);

#endif
