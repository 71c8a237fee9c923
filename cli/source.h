/* SPDX-License-Identifier: MIT */
/*
 * What a user means by IMAGE or IMAGE@NAME: an image, or a snapshot of it, opened here or served by
 * a bridge.
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include <stdbool.h>

#include "bridge/client.h"
#include "cli/image_file.h"
#include "image/content.h"
#include "image/snapshot.h"
#include "image/walk.h"

struct source {
	const char *text;     /* as the user named it */
	char *image;	      /* allocated: the image, device or name in it */
	char *named;	      /* the same as it was named at first, if that is @text */
	const char *snapshot; /* within text; NULL: the live disk */

	bool accept_delta; /* it may be one (delta.h) */

	/* Opened here: */
	struct image_file file;
	struct snapshot_view *view; /* of the snapshot */
	/* Served by a bridge: */
	int root; /* of the bridge's view (attached_view.h); -1: not */
};

#define SOURCE_NONE                                                                                \
	{                                                                                          \
		.root = -1                                                                         \
	}

/*
 * Finds out what @text means.  It is IMAGE@NAME if no file has that name, but one has what stands
 * before an '@', or something is attached by that name; the first such '@' counts.  @s is then
 * ended by CLEANUP(source).  -ENOMEM.
 */
MUST_CHECK errint_t source_parse(const char *text, struct source *s);

/* The same where it is known what is meant: @snapshot of @image, or (NULL) the live disk. @snapshot
 * has to outlive @s. */
MUST_CHECK errint_t source_set(const char *image, const char *snapshot, struct source *s);

/* Opens it for reading, after source_parse().  An attached image has to be named with a snapshot,
 * unless it is read-only.  Messages logged. */
MUST_CHECK errint_t source_open(struct source *s);

/* The same, and lets also the live disk of an attached image be looked at, which changes. */
MUST_CHECK errint_t source_open_live(struct source *s);

/* Of one that is open: the size of the disk, and walk_extents(). */
MUST_CHECK errint_t source_size(struct source *s, uint64_t *size);
MUST_CHECK errint_t source_walk(struct source *s, uint64_t off, uint64_t len, map_extent_fn fn,
				void *arg);
/* Which state of the disk that is.  *known false: nobody has given it a name. */
MUST_CHECK errint_t source_point(struct source *s, struct content_point *p, bool *known);
/* A file of the view of one that a bridge serves. */
MUST_CHECK errint_t source_file(struct source *s, const char *file, int *fd);

MUST_CHECK errint_t source_close(struct source *s);
void cleanup_source(struct source *s);

#endif
