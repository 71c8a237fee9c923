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
#define BLOB_PLACES_TYPICAL (48u << 10)

struct blob_places {
	/* First granule in the region << 12 | granules; NULL once there is a map. */
	uint64_t *list;
	uint32_t n, cap;
	/* By sector: where a blob begins (low nibble) and where one ends (high) in its interior, in
	 * granules; 0: nowhere. */
	uint8_t *map;
};

/* Add the blob at @e.  -ENOMEM. */
MUST_CHECK errint_t blob_places_add(struct blob_places *p, const struct geometry *g,
				    struct extent e);

/*
 * Call @overlap with the file offset of every blob that begins before another one has ended, or
 * inside a sector that @seen, the sectors in use of the region at byte @base, shows to be something
 * else's. -ENOMEM.
 */
MUST_CHECK errint_t blob_places_compare(struct blob_places *p, const struct geometry *g,
					uint64_t base, const uint8_t *seen,
					void (*overlap)(void *arg, uint64_t off), void *arg);

void blob_places_free(struct blob_places *p);

#endif
