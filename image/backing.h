/* SPDX-License-Identifier: MIT */
/*
 * The backing of an image: where what it does not have itself is read from (docs/format.md sections
 * 3.2 and 4).
 *
 * image/ knows the reference, who the backing is and how much of it shows, and plans SEG_BACKING
 * for what comes from there.  Opening and reading it is engine/backing.c's.
 */
#ifndef IMAGE_BACKING_H
#define IMAGE_BACKING_H

#include "image/image.h"

struct backing_ref {
	uint8_t kind;	   /* enum backing_kind; NONE: the image stands alone */
	bool has_snapshot; /* of a ublk-img image: a snapshot of it, else its live disk */
	bool committing;   /* a commit has begun and not come to its end: what the backing holds
			      may have changed since its stamp */
	uint8_t id[16];	   /* uuid of the backing image */
	uint8_t snapshot[16];
	uint64_t size;	/* bytes: of the file, or of the disk */
	uint64_t stamp; /* what changes when somebody writes to it; 0: nothing does */
	uint64_t limit; /* bytes of it that the head shows, a multiple of 512; zeros follow */
	char path[BACKING_PATH_MAX + 1];
};

/* The reference of a superblock that is validated. */
void backing_from_super(const struct disk_super *sb, struct backing_ref *ref);
/* Put @ref into @sb, whose other fields are complete but for the checksum.  False when the list of
 * further facts has no room for it. */
MUST_CHECK bool backing_to_super(const struct backing_ref *ref, struct disk_super *sb);

/* What shows of a backing of @size bytes on a disk of @disk bytes. */
uint64_t backing_limit(uint64_t size, uint64_t disk);

void image_get_backing(struct image *im, struct backing_ref *ref);

/*
 * Exchange the reference, durably on return.  What reads from the backing has to read the same from
 * then on as before, or be nothing: this is the caller's to see to.  -EROFS, or a checkpoint's
 * errors.  Not while the caller holds a plan.
 */
MUST_CHECK errint_t image_set_backing(struct image *im, const struct backing_ref *ref);

/* image_set_backing() of @ref, which has the mark of a commit: before the backing is changed. */
MUST_CHECK errint_t image_commit_mark(struct image *im, const struct backing_ref *ref);

/* Tests only: is the backing not to be synced (rules.h)? */
bool image_breaks_commit_sync(const struct image *im);

/*
 * Keep snapshots from being taken and the size from being changed, until image_backing_work_end():
 * a commit, or a copying up, is under way.  -EBUSY with the reason logged, when there are snapshots
 * or another such work runs; @what is the user's word for it.
 */
MUST_CHECK errint_t image_backing_work_begin(struct image *im, const char *what);
void image_backing_work_end(struct image *im);

#endif
