/* SPDX-License-Identifier: MIT */
/*
 * What is known of the disk in an image as a whole: that it is as a certain snapshot was, that the
 * file holds only what differs between two, or that it is on its way from one to the other
 * (docs/format.md section 3.3).
 */
#ifndef IMAGE_CONTENT_H
#define IMAGE_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/format.h"

struct image;

/* A state that a disk once had. */
struct content_point {
	uint8_t uuid[16];	      /* of the snapshot, or drawn for this purpose */
	uint64_t size;		      /* of the disk, bytes */
	char name[SNAP_NAME_MAX + 1]; /* of the snapshot; "": it was none */
};

enum content_state {
	CONTENT_UNKNOWN,
	CONTENT_AT,	  /* the disk is as it was at @target */
	CONTENT_DELTA,	  /* the file holds what @target has and @base has not */
	CONTENT_APPLYING, /* the disk is somewhere between @base and @target */
};

struct content {
	enum content_state state;
	uint8_t image[16]; /* DELTA, APPLYING: uuid of the image whose snapshots they are */
	struct content_point base, target;
};

static inline bool point_same(const struct content_point *a, const struct content_point *b)
{
	return !__builtin_memcmp(a->uuid, b->uuid, sizeof(a->uuid));
}

/* "'monday'", or "the disk" for what was no snapshot.  For messages: what a terminal should not see
 * is replaced.  Returns @buf. */
#define POINT_TEXT_MAX (SNAP_NAME_MAX + 3)
const char *point_text(const struct content_point *p, char buf[POINT_TEXT_MAX]);

/* What @im is known to hold.  Any thread. */
void image_get_content(struct image *im, struct content *c);

/*
 * The disk has become what @c says, or is about to be: durable on return, together with all that
 * was written before.  @im was opened with keeps_content.  May block, any thread.  -ENOSPC: the
 * superblock has no room for it; -EIO after a fail-stop.  Message logged.
 */
MUST_CHECK errint_t image_set_content(struct image *im, const struct content *c);

/* --- for image/ ------------------------------------------------------------------------------ */

/* What a validated superblock says.  A CONTENT_AT that somebody has written since is none (D1). */
void content_load(const struct disk_super *sb, struct content *c);

/* Makes @sb, whose generation is the final one, say @c and nothing else about it.  False when there
 * is no room: then it says nothing. */
bool content_store(const struct content *c, struct disk_super *sb);

#endif
