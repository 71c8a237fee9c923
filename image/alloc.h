/* SPDX-License-Identifier: MIT */
/* clang-format off */
/*
 * Space: which bytes of the file are in use (docs/format.md section 5).
 *
 * Two things are known of every piece of a region: its committed bits, which change only when a
 * record is applied, and how many hold it busy: a reservation, a batch, a freed extent in limbo, an
 * old node.  A piece may be allocated when its bits are 0 and nobody holds it.  Pieces are clusters
 * in a DATA region and units elsewhere.
 *
 * Life of an extent:
 *
 *	free --alloc_reserve_*()--> reserved --alloc_set()--> in use --alloc_clear()--> limbo
 *	  ^                            |                                                   |
 *	  +------alloc_release()-------+<---------------------alloc_release()--------------+
 *
 * Unless told otherwise im->lock is held.
 */
/* clang-format on */
#ifndef IMAGE_ALLOC_H
#define IMAGE_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/desc.h"

struct image;
struct need;

/* Bitmap of one region in memory, and the CRCs of its blocks as last written. */
struct region_bits {
	uint32_t block_crc[BITMAP_BLOCKS];
	uint8_t map[]; /* 4 KiB by units, 32 KiB by sectors */
};

struct region {
	struct region_bits *bits; /* NULL: as on disk */
	uint32_t crc;
	uint32_t free_units;
	uint32_t dead_sectors;
	uint32_t busy;	  /* pieces that somebody holds */
	uint32_t hint;	  /* next fit: unit at which to search on */
	uint32_t low;	  /* first fit: no unit below is free */
	uint32_t backed;  /* nodes only: units below have space on the host */
	uint32_t longest; /* no free run is longer, in units; raised by every free */
	uint8_t slots, in_use, class_;
	bool headed;   /* its header has space on the host */
	uint8_t dirty; /* blocks that differ from disk */
};

struct alloc_group {
	struct region *region; /* GROUP_REGIONS, NULL: never used */
	uint32_t crc;
	uint8_t slot, in_use;
	bool dirty;
};

struct busy_entry {
	uint64_t unit; /* first unit of the piece */
	uint32_t count;
};

struct alloc {
	struct alloc_group *group;
	uint64_t ngroups;  /* entries in group[] */
	uint64_t nregions; /* regions that the file's length covers */
	uint64_t end;	   /* units before it may be allocated: a device ends where it likes */
	uint64_t used_units;
	uint64_t trims; /* calls of alloc_trim() */
	uint32_t root_crc[ALLOC_ROOT_BLOCKS];
	uint64_t root_slots;
	uint64_t root_dirty;

	struct busy_entry *busy; /* open-addressing table */
	unsigned busy_cap, busy_n;

	uint64_t search[5]; /* by class: region at which to search on */
	unsigned exhausted; /* by class: no region has space; cleared by every free */
	bool meta_short;    /* the reserve for nodes is not complete: no data may be allocated (A3);
			       a checkpoint decides it */
	bool first_fit;	    /* for everything, not only nodes: a test wants space to be reused */
	bool growing;	    /* somebody makes the file longer */
};

/* Reads the alloc root and all group tables.  Opening only, may block. */
MUST_CHECK errint_t alloc_open(struct image *im);
void alloc_close(struct image *im);

/* --- asked by everybody ------------------------------------------------------------------- */

static inline uint64_t region_of(uint64_t off)
{
	return off >> REGION_SHIFT;
}

uint64_t alloc_regions(struct image *im);

/* The file's length now covers @regions; fewer than before is ignored.  -ENOMEM. */
MUST_CHECK errint_t alloc_set_regions(struct image *im, uint64_t regions);

/* Is the region of @d's extent in memory?  True for a descriptor without storage. */
bool alloc_loaded(struct image *im, struct desc d, uint64_t *region);

/* Bring a region's bitmap into memory.  Lock not held; may block. */
MUST_CHECK errint_t alloc_load(struct image *im, uint64_t region);

/* The region's bitmap as it is now (@bits: ALLOC_BITS_ROOM bytes, unit-aligned, the map at their
 * beginning), its entry, and how it is tracked.  Lock not held; may block. */
#define ALLOC_BITS_ROOM (2u * BITMAP_BLOCKS * UNIT_SIZE)
MUST_CHECK errint_t alloc_copy_bits(struct image *im, uint64_t region, uint8_t *bits,
				    struct disk_alloc_entry *entry, bool *by_sector);

/* --- bits ------------------------------------------------------------------------------- */

/*
 * Mark the extent of @d used; the reservation of a cluster or of nodes is consumed, a batch keeps
 * its hold.  -EBADMSG when any bit is set already or the region has another class: corruption,
 * which stops the image at run time and refuses it at replay.
 */
MUST_CHECK errint_t alloc_set(struct image *im, struct desc d);

/* Mark the extent of @d free.  Its pieces are busy once more until alloc_release() (@hold), or free
 * at once (replay, where nothing is allocated before the recovery checkpoint). */
MUST_CHECK errint_t alloc_clear(struct image *im, struct desc d, bool hold);

/* Give up one hold on every piece that @e touches. */
void alloc_release(struct image *im, struct extent e);
/* One hold more. */
MUST_CHECK errint_t alloc_hold(struct image *im, struct extent e);

/* May the bytes of @e that nobody owns any more be punched?  Narrows @e to whole pieces whose bits
 * are 0 and whose only hold is the caller's; len 0 when there is none. */
struct extent alloc_punchable(struct image *im, struct extent e);

/* --- search ------------------------------------------------------------------------------ */

/* Reserve up to @want consecutive clusters.  -EAGAIN with @need, -ENOSPC. */
MUST_CHECK errint_t alloc_reserve_clusters(struct image *im, unsigned want, uint64_t *unit,
					   unsigned *got, struct need *need);
/* Reserve @n consecutive units for nodes, the snapshot table or the journal. */
MUST_CHECK errint_t alloc_reserve_meta(struct image *im, unsigned n, uint64_t *unit,
				       struct need *need);
/* The same for a run that a checkpoint needs (A3), on space that the host has really allocated.
 * Lock not held; may block, but for no commit and no guard.  -ENOSPC. */
MUST_CHECK errint_t alloc_reserve_run(struct image *im, unsigned n, uint64_t *unit);
/* Reserve @n consecutive units for a batch of blobs. */
MUST_CHECK errint_t alloc_reserve_batch(struct image *im, unsigned n, uint64_t *unit,
					struct need *need);

/* Make the file longer by a region, or release limbo, for NEED_SPACE.  Lock not held; may block.
 * -ENOSPC when there is nothing left to try. */
MUST_CHECK errint_t alloc_more(struct image *im, struct need *need);

/* Make sure that alloc_reserve_meta(1) can succeed @n times without blocking, on space that the
 * host has really allocated (A3).  Lock not held; may block.  -ENOSPC. */
MUST_CHECK errint_t alloc_meta_reserve(struct image *im, unsigned n);

/* --- checkpoint ---------------------------------------------------------------------------- */

struct ckpt_buf;

/* Blocks that alloc_freeze() writes at the most, when the freeze moves @nodes nodes before it. */
unsigned alloc_freeze_blocks(struct image *im, unsigned nodes);
/* Serialise all dirty blocks into @buf, switch slots, return empty regions to class 0. */
void alloc_freeze(struct image *im, struct ckpt_buf *buf);
/* Forget bitmaps that are clean and idle, when there are many. */
void alloc_trim(struct image *im);

#endif
