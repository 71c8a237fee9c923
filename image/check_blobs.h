/* SPDX-License-Identifier: MIT */
/*
 * The places of the blobs of one region, to find out whether any two overlap in bytes (I5).  For
 * check_refs.c only; the caller serialises.
 *
 * Every blob owns sectors that no other one owns: the caller adds it only then.  So there are at
 * most as many as sectors, and memory is bounded: a list, until a map by sectors is smaller.
 */
#ifndef IMAGE_CHECK_BLOBS_H
#define IMAGE_CHECK_BLOBS_H

#include "common/errint.h"
#include "image/desc.h"

/* Memory for a region full of blobs of the usual size, in bytes. */
#define BLOB_PLACES_TYPICAL (16u << 10)

struct blob_map;
struct blob_places {
	/* First granule in the region << 32 | end; NULL once there is a map. */
	uint64_t *list;
	uint32_t n, cap;
	struct blob_map *map;
};

/* Add the blob at @e, or a run of them without room for another in between.  -ENOMEM. */
MUST_CHECK errint_t blob_places_add(struct blob_places *p, const struct geometry *g,
				    struct extent e);

/*
 * Call @overlap with the file offset of every blob that begins before another one has ended, for
 * the region at byte @base.  (Nodes and raw clusters own whole units: a blob that began inside one
 * would own a sector of it, by P2.)  -ENOMEM.
 */
MUST_CHECK errint_t blob_places_compare(struct blob_places *p, const struct geometry *g,
					uint64_t base, void (*overlap)(void *arg, uint64_t off),
					void *arg);

void blob_places_free(struct blob_places *p);

#endif
