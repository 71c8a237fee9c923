/* SPDX-License-Identifier: MIT */
/*
 * Visiting everything that a tree maps, fast and in bounded memory: nodes are read in file order,
 * many at a time, and never enter the node cache.
 */
#ifndef IMAGE_WALK_H
#define IMAGE_WALK_H

#include "image/image.h"

/* One run of the virtual disk that is mapped alike. */
enum map_kind {
	MAP_HOLE, /* nothing: reads as zeros */
	MAP_ZERO,
	MAP_RAW,
	MAP_ZSTD,
	MAP_BACKING, /* nothing here: reads from the backing */
};
#define MAP_KINDS 5u
struct map_extent {
	uint64_t off, len; /* virtual bytes */
	enum map_kind kind;
	uint64_t file_off; /* RAW, ZSTD: byte offset in the image file */
	uint32_t stored; /* ZSTD: stored bytes; each ZSTD extent is one cluster (the last may be cut
			    by the disk's end) */
	uint32_t birth;
};

/* Called in ascending order; a nonzero return ends the walk and is handed through. */
typedef errint_t (*map_extent_fn)(void *arg, const struct map_extent *e);

/*
 * Visits [off, off + len) of the head, without gaps, neighbouring extents merged where kind, birth
 * and position allow. Consistent as of some moment during the call for each leaf.
 */
MUST_CHECK errint_t walk_extents(struct image *im, uint64_t off, uint64_t len, map_extent_fn fn,
				 void *arg);

/* The same of a snapshot that is open. */
struct snapshot_view;
MUST_CHECK errint_t walk_snapshot_extents(const struct snapshot_view *s, uint64_t off, uint64_t len,
					  map_extent_fn fn, void *arg);

/* The first @max clusters of the head at or after @first that are anything but holes: *n of them.
 * Fewer: no more follow. */
MUST_CHECK errint_t walk_mapped(struct image *im, uint64_t first, uint64_t *list, unsigned max,
				unsigned *n);

/* What walk_totals() counts. */
struct map_totals {
	uint64_t clusters[MAP_KINDS]; /* by enum map_kind (HOLE: of the virtual size) */
	uint64_t raw_bytes;	      /* in RAW clusters, sub-blocks that are stored */
	uint64_t zstd_stored;	      /* bytes of compressed extents as stored */
	uint64_t mapped_bytes;	      /* virtual bytes that are stored: raw_bytes + clusters[ZSTD] *
					 cluster size */
	uint64_t nodes;
};
MUST_CHECK errint_t walk_totals(struct image *im, struct map_totals *out);
MUST_CHECK errint_t walk_snapshot_totals(const struct snapshot_view *s, struct map_totals *out);

#endif
