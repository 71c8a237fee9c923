/* SPDX-License-Identifier: MIT */
/* What plan_read.c and plan_write.c share. */
#ifndef IMAGE_PLAN_PRIV_H
#define IMAGE_PLAN_PRIV_H

#include "codecs/codec.h"
#include "image/core.h"

/* -EINVAL unless [off, off + len) lies within the disk.  im->lock held. */
MUST_CHECK errint_t plan_check_range(struct image *im, uint64_t off, uint64_t len);

/* Append @len bytes from @skip on of cluster @v, mapped by @d, where @limit bytes of the backing
 * show.  False, with nothing or part of them appended, when the plan has no room for more. im->lock
 * held. */
bool plan_add_cluster(struct image *im, struct read_plan *p, uint64_t limit, uint64_t v,
		      struct desc d, uint32_t skip, uint32_t len);

#endif
