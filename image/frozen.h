/* SPDX-License-Identifier: MIT */
/*
 * Nodes of snapshots in memory.  They never change, so unlike those of the head (map.h) they need
 * no parents and no dirty list: a node is found by the descriptor that names it.  All readers of
 * snapshots share them, and those who delete and compare.
 */
#ifndef IMAGE_FROZEN_H
#define IMAGE_FROZEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/desc.h"

struct image;
struct node_ref;
struct frozen_node;

#define FROZEN_BUCKETS 256u

struct frozen {
	struct frozen_node *bucket[FROZEN_BUCKETS];
	struct frozen_node *oldest, *newest; /* by use */
	unsigned n, max;
};

/* The entries of the node @self at (@level, @index), or NULL: it is not in memory.  They stay while
 * the lock is held.  im->lock held. */
const struct desc *frozen_find(struct image *im, struct desc self, unsigned level, uint64_t index);

/*
 * Read and validate a node of a snapshot whose disk has @nclusters, which nobody frees meanwhile:
 * somebody has it open, or is the one who deletes it.  -EBADMSG, -ENOMEM, errors of reading;
 * message logged.  Lock not held; may block.
 */
MUST_CHECK errint_t frozen_load(struct image *im, const struct node_ref *ref, uint64_t nclusters);

/* The place of node @self is being freed.  im->lock held. */
void frozen_forget(struct image *im, struct desc self);

void frozen_close(struct image *im);

#endif
