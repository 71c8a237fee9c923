/* SPDX-License-Identifier: MIT */
/* An image and the file that it is in, opened and closed together. */
#ifndef CLI_IMAGE_FILE_H
#define CLI_IMAGE_FILE_H

#include "image/image.h"

struct image_file {
	struct store *store;
	struct image *image;
};

/* How to open one. */
struct image_file_opts {
	bool write;  /* for changing it */
	bool stream; /* for reading all of it in small pieces, with the page cache's help */
	/* image_open_opts */
	bool accept_delta, accept_applying, keeps_content;
};

/* Messages are logged. */
MUST_CHECK errint_t image_file_open_as(const char *path, const struct image_file_opts *o,
				       struct image_file *f);

/* Takes a snapshot of the image at @path, which nobody has open.  Messages are logged. */
MUST_CHECK errint_t image_file_snapshot(const char *path, const struct image_file_opts *o,
					const char *name, uint32_t *id);

/* Opens the image at @path; with @write, for changing it.  Messages are logged. */
MUST_CHECK errint_t image_file_open(const char *path, bool write, struct image_file *f);

/* Opens the image at @path for reading all of it in small pieces, with the page cache's help. */
MUST_CHECK errint_t image_file_open_stream(const char *path, struct image_file *f);

/* Whether a backing is opened wherever it is: of all images that this process opens. */
void image_file_allow_backing(bool allow);
bool image_file_allows_backing(void);

/* image_open_opts.state for commands, to the end of the process; NULL: there is no runtime
 * directory.  Main thread. */
const struct vj_state *image_file_state(void);

/* An engine on an image, which opens its backing.  Messages are logged. */
struct engine;
MUST_CHECK errint_t image_file_engine(struct image *im, struct engine **out);

/* Closes what is open of @f, which may be all zeros.  After a success nothing more can be lost. */
MUST_CHECK errint_t image_file_close(struct image_file *f);

/* For CLEANUP(): gives an image up that was not closed, as after a failure. */
static inline void cleanup_image_file(struct image_file *f)
{
	image_abandon(f->image);
	store_close(f->store);
}

#endif
