/* SPDX-License-Identifier: MIT */
/*
 * Executes plans on bytes in memory, in the calling thread: the may-block half of the data path, as
 * plain sequential code.  Commands, tests and worker threads use it.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "image/image.h"

struct engine;

struct backing;
struct backing_chain;
struct vj_state;

struct engine_opts {
	/* How to wait for another thread: the image_open_opts.wait that @im was opened with.  NULL:
	 * ordinary threads. */
	const struct image_wait_ops *wait;
	/* Open a backing wherever it is, not only at or below the image's directory. */
	bool allow_backing;
	/* image_open_opts.state for images below @im, opened at any time until the engine goes.
	 * They are not opened for reading either while their device awaits recovery. */
	const struct vj_state *state;
	/* The images on top of @im whose backing it is; NULL: none. */
	const struct backing_chain *chain;
	/* The backing, open, which stays the caller's; NULL: to be opened. */
	struct backing *below;
	/* The bytes of the backing, the caller's, instead of the file that the image names; NULL:
	 * that file.  Tests only. */
	struct store *backing;
};

/*
 * An engine on @im, which stays the caller's.  @opts may be NULL.  All compressed data written to
 * one open image goes through one engine.  When the image asks for a codec or a level that this
 * build does not have, a warning says so, and new data is stored uncompressed.  The backing that
 * the image has is opened, which must be what it was.  -ENOMEM, and the errors of backing_open();
 * messages are logged.
 */
MUST_CHECK errint_t engine_new(struct image *im, const struct engine_opts *opts,
			       struct engine **out);
/* No call may be running. */
void engine_free(struct engine *e);

/* One thread's working memory: buffers, codec contexts, an allocation window. */
struct engine_thread;
MUST_CHECK errint_t engine_thread_new(struct engine *e, struct engine_thread **out);
void engine_thread_free(struct engine_thread *t);
/* Gives back memory that is taken again when it is needed.  For the one who uses @t. */
void engine_thread_shrink(struct engine_thread *t);

/*
 * @off and @len are multiples of 512 within the disk.  @buf may have any alignment, but is fastest
 * at UNIT_SIZE, where uncompressed data moves without a copy; nobody may change it during the call.
 * The calls return when the operation is complete; writes are durable after engine_flush() or with
 * @fua.  Errors are those of plan.h and of the store; -EIO for compressed data that is damaged.
 * Messages are logged.  After an error any part of a write may have happened.
 */
MUST_CHECK errint_t engine_read(struct engine_thread *t, void *buf, uint64_t off, size_t len);
MUST_CHECK errint_t engine_write(struct engine_thread *t, const void *buf, uint64_t off, size_t len,
				 bool fua);
MUST_CHECK errint_t engine_discard(struct engine_thread *t, uint64_t off, uint64_t len);
MUST_CHECK errint_t engine_write_zeroes(struct engine_thread *t, uint64_t off, uint64_t len);
MUST_CHECK errint_t engine_flush(struct engine_thread *t);

/*
 * Changes the size of the disk to @size bytes, durably on return, as image_resize() does and with
 * its errors.  A disk that shrinks (@shrink is set) and grows again shows zeros where it was cut
 * off; nobody else may write beyond @size during the call.
 */
MUST_CHECK errint_t engine_resize(struct engine_thread *t, uint64_t size, bool shrink);

/*
 * image_maintain(); compresses, in an image that compresses, what was written in parts some seconds
 * ago; and gives memory back that has not been of use for a while.  A daemon calls it each second,
 * one thread at a time; it may block.
 */
MUST_CHECK errint_t engine_maintain(struct engine *e);

/* The first run of possible data of the backing at or after @off bytes; what is before it reads as
 * zeros.  *start == UINT64_MAX: none follows.  Nothing that the image has itself is looked at. */
MUST_CHECK errint_t engine_backing_data(struct engine *e, uint64_t off, uint64_t *start,
					uint64_t *end);

/* Compresses everything that was written in parts, before the image is closed.  Same thread as
 * engine_maintain(); others may still read and write.  When it fails only space is lost. */
MUST_CHECK errint_t engine_repack(struct engine *e);

#endif
