/* SPDX-License-Identifier: MIT */
/*
 * Deltas: what a disk has at one moment and had not at an earlier one.
 *
 * A delta is an image (docs/format.md section 3.3), or a raw file of the size of the disk with
 * content where that changed, and beside it, in FILE.extents, a document that says what it is and
 * where that is (docs/json.md).
 */
#ifndef CLI_DELTA_H
#define CLI_DELTA_H

#include "cli/changes.h"
#include "image/content.h"
#include "image/desc.h"

struct delta {
	struct content content; /* CONTENT_DELTA */
	struct geometry geo;	/* of the image that it was made of */
	struct changes changes;
};

/* From which moment to which, of what. */
struct delta_range {
	const char *image;	   /* an image, device, or name, attached or not */
	const char *since, *until; /* snapshots; until NULL: the disk as it is */
};

/* What keeps the two moments from changing: the image, open. */
struct snapshot_target;

/*
 * Finds out what differs.  @t, which was closed, is open afterwards, also on failure, until the
 * content has been read.  A disk that is attached may be written to, so that @until has to be
 * named.  Message logged.
 */
MUST_CHECK errint_t delta_find(const struct delta_range *r, struct snapshot_target *t,
			       struct delta *d);

/* Whether the moments of @d are still called as @r says: -ESTALE, message logged.  Then what was
 * opened by these names since delta_find() is what they mean. */
MUST_CHECK errint_t delta_confirm(const struct delta_range *r, struct snapshot_target *t,
				  const struct delta *d);

/* Is there a FILE.extents beside @path? */
bool delta_is_raw(const char *path);

/* -EINVAL, message logged, if @path is a raw delta. */
MUST_CHECK errint_t delta_refuse_raw(const char *path);

/*
 * A raw file that is on its way from the base of @d to its target says so in an extended attribute,
 * where its file system has those: durable when delta_mark() returns, removed by delta_unmark().
 * -EINVAL, message logged, when it is on the way from one to another already.
 */
MUST_CHECK errint_t delta_mark(const char *path, const struct delta *d);
MUST_CHECK errint_t delta_unmark(const char *path);
/* -EINVAL, message logged, when @fd, the file @path, is on such a way. */
MUST_CHECK errint_t delta_refuse_marked(int fd, const char *path);

/* Creates FILE.extents for the raw delta that is about to appear at @path, where neither may exist.
 * Messages are logged.  delta_remove_extents() removes it. */
MUST_CHECK errint_t delta_write_extents(const char *path, const struct delta *d);
void delta_remove_extents(const char *path);

/* Reads what the delta at @path is, of whichever kind; *raw tells.  -EINVAL if it is none. */
MUST_CHECK errint_t delta_read(const char *path, struct delta *d, bool *raw);

static inline void cleanup_delta(struct delta *d)
{
	changes_free(&d->changes);
}

#endif
