/* SPDX-License-Identifier: MIT */
/* The checkpoint (docs/format.md section 7): memory folded into a new, complete tree on disk. */
#ifndef IMAGE_CHECKPOINT_H
#define IMAGE_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"

struct image;

/* Blocks serialised by a freeze, on their way to disk. */
struct ckpt_buf {
	uint8_t *block; /* cap units */
	uint64_t *off;	/* where each goes */
	unsigned n, cap;
};

/* The next block of @b, to be written at @off.  There is room: the freeze counted before it began.
 */
void *ckpt_block(struct ckpt_buf *b, uint64_t off);

/* What an administrative operation changes together with the checkpoint. */
struct ckpt_change {
	/* Change the head in memory before it is serialised: in the freeze, im->lock held, no I/O.
	 */
	void (*freeze)(struct image *im, void *arg);
	/* The same behind the freeze of the map, before that of the snapshot table. */
	void (*frozen)(struct image *im, void *arg);
	unsigned snapshots; /* records that this adds */
	void *arg;
	bool clean; /* set CLEAN: nobody writes after this */
};

/* Lock not held; may block.  @change may be NULL. */
MUST_CHECK errint_t checkpoint(struct image *im, const struct ckpt_change *change);

#endif
