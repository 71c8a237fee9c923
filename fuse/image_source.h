/* SPDX-License-Identifier: MIT */
/* What a view tells of an open image by itself. */
#ifndef FUSE_IMAGE_SOURCE_H
#define FUSE_IMAGE_SOURCE_H

#include "fuse/view.h"

/* The argument of image_source_ops; both outlive the view. */
struct image_source {
	struct image *image;
	const char *path; /* the image, as its user named it */
};

extern const struct view_source_ops image_source_ops;

#endif
