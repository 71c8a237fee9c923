/* SPDX-License-Identifier: MIT */
/*
 * The packer: compressed clusters of several threads, written together (docs/format.md section
 * 8.1).  Not for other directories.
 *
 * It works like group commit.  The first thread that comes with frames opens a batch and becomes
 * its leader; others join while it cannot be written yet, because an earlier batch is being
 * written or because threads that were about to come when it was opened are not there.  Then the
 * leader lays the batch out, has units reserved, writes it, and everybody goes on to publish its
 * own blobs.  There is no timer: a thread that is alone waits for nobody.
 */
#ifndef ENGINE_PACKER_H
#define ENGINE_PACKER_H

#include "engine/cache.h"
#include "image/pack.h"

struct packer;
struct batch;

/* Zeros that must follow a frame in memory: packing lengthens it by less than this. */
#define PACK_PAD (SECTOR_SIZE + (1u << (CLUSTER_SHIFT_MAX - 11)))

/* One compressed cluster on its way. */
struct packed {
	const uint8_t *frame; /* in: frame and PACK_PAD zeros */
	uint32_t len;	      /* in: bytes of the frame */
	uint64_t file_off;    /* out */
	uint32_t stored;      /* out: bytes from frame that are stored at file_off */
};

/* @cache: told what space a batch is written to (rule C2 of cache.h); outlives the packer. */
MUST_CHECK errint_t packer_new(struct image *im, struct cache *cache,
			       const struct image_wait_ops *wait, struct packer **out);
void packer_free(struct packer *p); /* NULL is allowed; nothing may be under way */

/*
 * Announce that this thread is about to come with frames.  The ticket goes to packer_store() or
 * packer_nothing(), exactly once and soon: a leader may be waiting for it, so the thread MUST NOT
 * wait for anybody in between.
 */
uint64_t packer_announce(struct packer *p);
void packer_nothing(struct packer *p, uint64_t ticket);

/*
 * Store @n frames, 1 to PACK_MAX_BLOBS, together at most PACK_MAX_BYTES / 2 bytes.  On success they
 * are in the file and each of them, in the caller's own time, MUST be published (settle_blob()) or
 * given up, and then told to packer_done().
 *
 * The caller holds no plan: the leader may have to wait for space, and so for guards.
 */
MUST_CHECK errint_t packer_store(struct packer *p, uint64_t ticket, struct packed *list, unsigned n,
				 struct batch **out);
/* One frame of @b is published or given up; @b may be gone afterwards. */
void packer_done(struct packer *p, struct batch *b);

#endif
