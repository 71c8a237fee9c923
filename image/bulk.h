/* SPDX-License-Identifier: MIT */
/*
 * Writing a whole new image in one stream, as `convert` does (docs/format.md, rule R3b).
 *
 * A bulk image is laid out from the front without holes: blobs, raw clusters and nodes share MIXED
 * regions in the order in which they arrive.  Nothing is journaled and nothing is durable before
 * bulk_finish(); the caller writes to a temporary name and renames it afterwards.
 *
 *	bulk_begin -> { bulk_place_*, store_write, bulk_map_* }* -> bulk_finish
 *
 * What was placed must be written and mapped before bulk_finish(): placing marks it used.
 * bulk_place_*() and bulk_map_*() may be called from several
 * threads at once.  Memory stays bounded whatever the size of the disk: most of all when clusters
 * arrive roughly in ascending order.
 */
#ifndef IMAGE_BULK_H
#define IMAGE_BULK_H

#include "image/image.h"

struct bulk;

/* Blobs of one batch at the most. */
#define BULK_MAX_BLOBS 256u

/* Starts an image in the empty store @st, which the caller keeps and later closes.  -EINVAL for
 * parameters outside the format's limits, message logged; -ENOMEM. */
MUST_CHECK errint_t bulk_begin(struct store *st, const struct image_params *params,
			       struct bulk **out);

/* Changes the virtual size, in bytes, as for a pipe whose end has come: -EINVAL as bulk_begin(). No
 * cluster beyond it may be mapped.  Not while other threads use @b. */
MUST_CHECK errint_t bulk_set_size(struct bulk *b, uint64_t size);

/* One compressed cluster on its way into the image. */
struct bulk_blob {
	uint64_t vcluster;
	uint32_t len;	 /* in: bytes of the frame */
	uint32_t stored; /* out: bytes to store, zeros after the frame, a multiple of the granule */
	uint32_t at;	 /* out: position in the batch, bytes */
	uint32_t frame;	 /* the caller's own, not looked at */
	uint32_t crc;	 /* in, before bulk_map_blobs(): checksum_blob() of the stored bytes */
};

/* A place for a batch: whole units, which nothing else shares. */
struct bulk_place {
	unsigned n;	   /* members that fit: at least 1, the rest is to be placed again */
	uint64_t file_off; /* bytes, a multiple of UNIT_SIZE */
	uint32_t len;	   /* bytes, a multiple of UNIT_SIZE */
};

/*
 * Lays blobs out by the packing rule (section 4.1) as one batch of whole units and gives it a place
 * in the file.  The first place->n of the @n blobs (at most BULK_MAX_BLOBS) got one; the caller
 * writes all place->len bytes, zeros between and after the blobs, and calls bulk_map_blobs().
 */
MUST_CHECK errint_t bulk_place_blobs(struct bulk *b, struct bulk_blob *blob, unsigned n,
				     struct bulk_place *place);
MUST_CHECK errint_t bulk_map_blobs(struct bulk *b, const struct bulk_blob *blob, unsigned n,
				   uint64_t file_off);

/* Gives the first place->n of @n clusters a place where they are stored as they are, one after the
 * other, every one complete. */
MUST_CHECK errint_t bulk_place_raw(struct bulk *b, unsigned n, struct bulk_place *place);
/* Maps @n consecutive clusters from @vcluster on to a place that bulk_place_raw() gave. */
MUST_CHECK errint_t bulk_map_raw(struct bulk *b, uint64_t vcluster, unsigned n, uint64_t file_off);

/* Maps @n consecutive clusters from @vcluster on to zeros: those are not holes. */
MUST_CHECK errint_t bulk_map_zero(struct bulk *b, uint64_t vcluster, uint64_t n);

/* Writes nodes, bitmaps and superblock, cuts the file at its last used unit, makes everything
 * durable and frees @b, also on failure. */
MUST_CHECK errint_t bulk_finish(struct bulk *b);

/* Gives up: frees @b, writes nothing more.  NULL is allowed. */
void bulk_abandon(struct bulk *b);

static inline void cleanup_bulk(struct bulk **b)
{
	bulk_abandon(*b);
}

/* checksum_uuid() of the new image: the seed of its blobs' checksums. */
uint32_t bulk_uuid_seed(const struct bulk *b);

#endif
