/* SPDX-License-Identifier: MIT */
/*
 * Placing compressed clusters: the layout by the packing rule (docs/format.md section 4.1) and the
 * reservation of fresh units for a batch.  The engine gathers the batch, writes its bytes and
 * waits.
 */
#ifndef IMAGE_PACK_H
#define IMAGE_PACK_H

#include "image/image.h"

#define PACK_MAX_BLOBS 64u
#define PACK_MAX_BYTES (2u << 20)

struct pack_blob {
	uint32_t len;	 /* in: bytes of the frame */
	uint32_t at;	 /* out: position in the batch, bytes; a multiple of the granule */
	uint32_t stored; /* out: bytes to store: frame and zeros, a multiple of the granule */
};

/*
 * Lay @n blobs out one after the other from byte 0 of a batch that will begin on a unit (P1, P2).
 * Returns the batch's length in bytes, a multiple of UNIT_SIZE.  Pure.
 */
uint32_t pack_layout(const struct geometry *g, struct pack_blob *blob, unsigned n);
/* The same with @last instead of P2's bound for the byte of a unit at which a blob may still start:
 * test builds break the rule with it.  Pure. */
uint32_t pack_layout_until(const struct geometry *g, struct pack_blob *blob, unsigned n,
			   uint32_t last);
/* pack_layout() for a batch of @im. */
uint32_t pack_layout_for(struct image *im, struct pack_blob *blob, unsigned n);

struct pack_batch {
	uint64_t file_off;
	uint32_t len;
	unsigned members; /* that have neither published nor dropped out */
};

/* Reserve fresh units for a batch of @len bytes with @members blobs.  May block.  -ENOSPC. */
MUST_CHECK errint_t pack_reserve(struct image *im, uint32_t len, unsigned members,
				 struct pack_batch *b);

/* One member has published (settle_blob) or dropped out; after the last the hold on the units ends.
 */
void pack_member_done(struct image *im, struct pack_batch *b);

#endif
