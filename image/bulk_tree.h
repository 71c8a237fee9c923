/* SPDX-License-Identifier: MIT */
/*
 * The map of an image that is written in one stream (bulk.h): a write-back cache of nodes that grow
 * as clusters are mapped.  A node that falls out of the cache gets its place in the file; when it
 * is needed again it is read back and later rewritten in place, which is safe only because nothing
 * of the image is promised before bulk_finish().
 *
 * Not thread-safe: bulk.c's lock protects everything here.
 */
#ifndef IMAGE_BULK_TREE_H
#define IMAGE_BULK_TREE_H

#include <sys/queue.h>

#include "image/bulk_space.h"

#define BULK_TREE_BUCKETS 4096u
/* Nodes in memory: 16 MiB, enough for 64 GiB of disk without a write before the end. */
#define BULK_TREE_NODES 4096u

struct bulk_node {
	TAILQ_ENTRY(bulk_node) lru;
	LIST_ENTRY(bulk_node) hash;
	uint64_t index; /* position at its level */
	uint64_t unit;	/* its place in the file; 0: none yet */
	uint8_t level;
	struct disk_node disk;
};

TAILQ_HEAD(bulk_node_list, bulk_node);
LIST_HEAD(bulk_node_bucket, bulk_node);

struct bulk_tree {
	struct store *st;
	struct bulk_space *space;
	uint32_t uuid_seed;
	uint8_t levels;	    /* grows with what is mapped */
	uint64_t end;	    /* vcluster behind the last one mapped */
	unsigned max_nodes; /* BULK_TREE_NODES, fewer in tests */
	struct desc root;
	struct bulk_node_bucket bucket[BULK_TREE_BUCKETS];
	struct bulk_node_list lru; /* the most recently used first */
	unsigned nnodes;
};

void bulk_tree_init(struct bulk_tree *t, struct store *st, struct bulk_space *space,
		    uint32_t uuid_seed);
void bulk_tree_destroy(struct bulk_tree *t);

/* Make the tree at least @levels high. */
MUST_CHECK errint_t bulk_tree_grow(struct bulk_tree *t, unsigned levels);

/* Map @vcluster, which was a hole, to @d. */
MUST_CHECK errint_t bulk_tree_map(struct bulk_tree *t, uint64_t vcluster, struct desc d);

/* Write all nodes; t->root then describes the tree. */
MUST_CHECK errint_t bulk_tree_finish(struct bulk_tree *t);

#endif
