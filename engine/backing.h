/* SPDX-License-Identifier: MIT */
/*
 * The backing of an image, opened: a raw file or device, the live disk of another image, or a
 * snapshot of it (image/backing.h has the reference to it).
 *
 * A backing is opened for reading, under the image lock for sharing, and only if it is what it was
 * when the reference was made.  Its format is told, never guessed.  As a reference may come from
 * somebody else, it is followed only to files at or below the image's own directory, unless its
 * user allows all (docs/format.md, rule H5).
 */
#ifndef ENGINE_BACKING_H
#define ENGINE_BACKING_H

#include <sys/stat.h>

#include "engine/engine.h"
#include "image/backing.h"
#include "image/store.h"

#define BACKING_DEPTH 16u /* images on top of each other, at most */

/* The files that are being opened one because of the other. */
struct backing_chain {
	const struct backing_chain *up; /* NULL: the user's own */
	struct stat st;
};

struct backing;

struct backing_how {
	bool allow; /* any path */
	const struct backing_chain *chain;
	const struct image_wait_ops *wait;
	const struct vj_state *state; /* of engine_opts */
};

/*
 * Opens what @ref names, as seen from the image at @image.  -EPERM: not allowed; -ENOENT and others
 * of open(); -ESTALE: it is not what it was; -ELOOP: a cycle, or too deep; -ENOTSUP; those of
 * opening an image.  Messages are logged, with what can be done.
 */
MUST_CHECK errint_t backing_open(const struct backing_ref *ref, const char *image,
				 const struct backing_how *how, struct backing **out);

/*
 * Opens @path, which a user has named and which is a reference yet to be made: of ref->kind, and
 * @snapshot of it if that is not NULL.  Fills in the rest of @ref, but for the path and the limit.
 */
MUST_CHECK errint_t backing_open_new(const char *path, const char *snapshot,
				     const struct backing_how *how, struct backing_ref *ref,
				     struct backing **out);

/* The one of @ref, a raw one, in @st, which stays the caller's: by what it holds, since it has no
 * time of last change.  For tests. */
MUST_CHECK errint_t backing_of_store(struct store *st, const struct backing_ref *ref,
				     struct backing **out);

/* No reader is left.  NULL is allowed. */
void backing_close(struct backing *b);

/* What it is now. */
MUST_CHECK errint_t backing_identify(struct backing *b, struct backing_ref *ref);

/* As the user knows it. */
const char *backing_name(const struct backing *b);
uint64_t backing_size(const struct backing *b);

/* What an io_uring can read from directly; NULL: it is an image. */
struct store *backing_raw(const struct backing *b);

/* The first run of possible data at or after @off: what is before it reads as zeros.  *start ==
 * *end
 * == UINT64_MAX: there is none.  *end may be more than there is. */
MUST_CHECK errint_t backing_next_data(struct backing *b, uint64_t off, uint64_t *start,
				      uint64_t *end);

/* One thread's way of reading. */
struct backing_reader;
MUST_CHECK errint_t backing_reader_new(struct backing *b, struct backing_reader **out);
void backing_reader_free(struct backing_reader *r); /* NULL is allowed */

/* Reads [@off, @off + @len), multiples of 512, into @buf, aligned to 512.  What is beyond its end
 * reads as zeros.  May block; waits for nothing but I/O. */
MUST_CHECK errint_t backing_read(struct backing_reader *r, void *buf, size_t len, uint64_t off);

/*
 * Writing to it, for a commit: between backing_write_begin(), which keeps everybody else off, and
 * backing_write_end(), after which all of it is durable.  Others go on reading meanwhile.  -EROFS:
 * a snapshot; -EBUSY and others of opening.  One thread.
 */
MUST_CHECK errint_t backing_write_begin(struct backing *b);
MUST_CHECK errint_t backing_grow(struct backing *b, uint64_t size);
MUST_CHECK errint_t backing_write(struct backing *b, const void *buf, size_t len, uint64_t off);
MUST_CHECK errint_t backing_zero(struct backing *b, uint64_t off, uint64_t len);
MUST_CHECK errint_t backing_sync(struct backing *b);
MUST_CHECK errint_t backing_write_end(struct backing *b);

#endif
