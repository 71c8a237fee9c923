/* SPDX-License-Identifier: MIT */
/* What a user names as the backing of an image: FILE or FILE@NAME. */
#ifndef CLI_BACKING_CHOICE_H
#define CLI_BACKING_CHOICE_H

#include "engine/backing.h"

extern const char *const backing_format_words[]; /* "auto", "raw", "ublk-img" */
enum backing_format { BACKING_FORMAT_AUTO, BACKING_FORMAT_RAW, BACKING_FORMAT_UBLK_IMG };

/*
 * Opens @text for reading as a backing to be of the image at @image, which may not exist yet, and
 * fills in @ref, but for the limit.  With AUTO a file that begins like an image is one: looked at
 * now, and never again.  Messages are logged.
 */
MUST_CHECK errint_t backing_choose(const char *text, enum backing_format format, const char *image,
				   struct backing_ref *ref, struct backing **out);

/* Is @ref opened only for who allows it (docs/format.md, rule H5)? */
bool backing_needs_allowing(const struct backing_ref *ref);

static inline void cleanup_backing(struct backing **b)
{
	backing_close(*b);
}

#endif
