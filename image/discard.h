/* SPDX-License-Identifier: MIT */
#ifndef IMAGE_DISCARD_H
#define IMAGE_DISCARD_H

#include <stdint.h>

#include "common/errint.h"

struct image;

/* Unmap whole clusters [@v, @v + @count), whether or not the gate is closed.  Lock not held; may
 * block. */
MUST_CHECK errint_t discard_clusters(struct image *im, uint64_t v, uint64_t count);

#endif
