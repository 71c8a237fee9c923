/* SPDX-License-Identifier: MIT */
/*
 * The volatile journal inside image/: vj.c has the file, vj_recover.c what opening does with one.
 *
 *	       vj_publish              transaction durable
 *	(free) ----------> published -----------------------> (free)
 *	                   [tail, head)       vj_retire
 *
 * Stores to the mapping are seen by whoever maps the file after us, in the order in which they were
 * made, whenever we are killed.
 */
#ifndef IMAGE_VJ_PRIV_H
#define IMAGE_VJ_PRIV_H

#include <stddef.h>

#include "image/format.h"
#include "image/store.h"
#include "image/vj.h"

struct reason;

struct vj {
	/* Constant. */
	int dir; /* own descriptor */
	char name[40];
	uint64_t slots; /* a power of two */
	size_t len;	/* of the mapping */
	struct disk_vj *map;
	struct disk_vj_slot *slot;
	/* im->lock: */
	uint64_t head, tail; /* as in the mapping */
	bool live;	     /* records are published */
};

/* Whose it has to be. */
struct vj_owner {
	const char *image; /* name, for messages */
	const uint8_t *uuid;
	const uint8_t *session;
	struct store_identity file;
	uint32_t device;
};

/* The name of its file. */
void vj_name(const uint8_t uuid[16], char name[40]);

/* A new empty one with 1 << @shift slots; one that is left of an earlier session of the same file
 * is removed.  Errors as image_vj_start(). */
MUST_CHECK errint_t vj_create(int dir, const struct vj_owner *o, unsigned shift, struct vj **out);

/* The one that is there, when it is @o's and not poisoned.  Errors as image_open_opts.recover. */
MUST_CHECK errint_t vj_attach(int dir, const struct vj_owner *o, struct vj **out);

/* Unmap and free; the file stays.  NULL is allowed. */
void vj_detach(struct vj *vj);
/* Remove the file as well, and free. */
void vj_remove(struct vj *vj);

/* Slots that are free.  im->lock held, as for the following. */
static inline uint64_t vj_room(const struct vj *vj)
{
	return vj->slots - (vj->head - vj->tail);
}

/* V2: publish @n records of transaction @seq as one group; there is room. */
void vj_publish(struct image *im, uint64_t seq, const struct disk_record *rec, unsigned n);

/* V4: everything before position @upto is durable in the image. */
void vj_retire(struct vj *vj, uint64_t upto);

/* A superblock of @generation is durable. */
void vj_set_generation(struct vj *vj, uint64_t generation);

/* V6.  Lock not needed. */
void vj_poison(struct vj *vj);

/* The slot at @pos within [tail, head). */
const struct disk_vj_slot *vj_slot(const struct vj *vj, uint64_t pos);

/* What is wrong with the header, or with the slot that has to be that of @pos: pure functions.
 * validate_vj() returns -ENOTSUP for another version; the slot's record is validated apart. */
MUST_CHECK errint_t validate_vj(const struct disk_vj *h, struct reason *why);
MUST_CHECK errint_t validate_vj_slot(const struct disk_vj_slot *s, uint64_t pos,
				     struct reason *why);
uint32_t checksum_vj(const struct disk_vj *h);
uint32_t checksum_vj_slot(const struct disk_vj_slot *s);

/* --- opening an image, vj_recover.c --------------------------------------------------------------
 */

struct image_open_opts;

/* Step 1: take the image lock, waiting for what a dead process has in flight. */
MUST_CHECK errint_t recover_lock(struct image *im, const struct vj_recover *r);
/* Steps 2 and 4; the superblock has been read.  im->vj is set, not live. */
MUST_CHECK errint_t recover_attach(struct image *im, const struct vj_recover *r);
/* A sync failed before that. */
void recover_poison(struct image *im, const struct vj_recover *r);
/* Step 5; *next_seq as of replay_journal() before and after. */
MUST_CHECK errint_t recover_replay(struct image *im, uint64_t *next_seq);
/* End of step 6: the checkpoint is durable. */
MUST_CHECK errint_t recover_done(struct image *im);

/* Does a device of this image await recovery?  The superblock has been read. */
MUST_CHECK errint_t recover_pending(struct image *im, const struct image_open_opts *opts);

#endif
