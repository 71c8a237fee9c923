/* SPDX-License-Identifier: MIT */
/*
 * The map: a 256-way tree of nodes from cluster number to descriptor (docs/format.md section 4),
 * and the nodes of the head that are in memory.
 *
 * Invariants: the parent of a loaded node is loaded; the parent of a dirty node is dirty; where a
 * child is loaded, it, not the parent's entry, is current; clean nodes without loaded children and
 * pins may be evicted at any time that im->lock is free, once their checkpoint is on disk.
 *
 * Unless told otherwise im->lock is held.
 */
#ifndef IMAGE_MAP_H
#define IMAGE_MAP_H

#include <stdbool.h>

#include "common/errint.h"
#include "image/desc.h"

struct image;
struct need;

struct node {
	struct node *parent;
	struct node **child;	    /* level > 0: NODE_ENTRIES */
	struct node *older, *newer; /* by use */
	uint64_t index;		    /* position at its level */
	uint64_t unit;		    /* where it stands on disk; 0: nowhere yet */
	uint32_t birth;		    /* of that place */
	uint32_t crc;
	uint16_t slot;	 /* in its parent */
	uint16_t nchild; /* loaded */
	uint8_t level;
	bool dirty;
	uint32_t pins;	 /* plans that will change it */
	uint64_t frozen; /* the freeze that gave it its place; see map.written */
	struct desc entry[NODE_ENTRIES];
};

struct map {
	struct desc root_desc; /* as on disk, while no root is loaded */
	struct node *root;
	uint8_t levels;
	struct node *oldest, *newest;
	unsigned nodes, dirty;
	unsigned pinned;    /* pinned and not dirty yet */
	unsigned max_nodes; /* evict clean ones above this */
	uint64_t freezes;   /* so far */
	uint64_t written;   /* what this and earlier ones froze can be read from disk again */
};

/* A node that is to be read. */
struct node_ref {
	unsigned level;
	uint64_t index;
	struct desc desc;
};

void map_close(struct image *im);

/* The descriptor of cluster @v.  -EAGAIN with @need when a node is not in memory. */
MUST_CHECK errint_t map_lookup(struct image *im, uint64_t v, struct desc *d, struct need *need);

/* The leaf that holds @v.  With @make, nodes are made where the tree has holes; without, *leaf is
 * NULL there. */
MUST_CHECK errint_t map_leaf(struct image *im, uint64_t v, bool make, struct node **leaf,
			     struct need *need);

/* Set the entry of cluster @v in its leaf, and mark the path dirty. */
void map_set(struct image *im, struct node *leaf, uint64_t v, struct desc d);

/* Would a change of @leaf cost the head a unit: is its place kept by a snapshot, or has it none?
 * Other nodes only move (A3). */
bool map_leaf_costs(struct image *im, const struct node *leaf);

/* A plan is going to change @leaf: it stays in memory, and counts towards what will be dirty. */
void map_pin(struct image *im, struct node *leaf);
void map_unpin(struct image *im, struct node *leaf);

/* Bring a node into memory.  Lock not held; may block. */
MUST_CHECK errint_t map_load(struct image *im, const struct node_ref *ref);

/* May the entry @d of cluster @v (or of a node that begins there) be overwritten or freed: is it
 * owned by the head? */
bool map_owned(struct image *im, uint64_t v, struct desc d);

/* Add a level on top until the tree has room for @clusters.  -ENOMEM. */
MUST_CHECK errint_t map_grow(struct image *im, uint64_t clusters);

/* The region of a dirty node's old unit that is not in memory, which map_freeze() needs; false:
 * there is none. */
bool map_freeze_needs(struct image *im, uint64_t *region);

/*
 * Give every dirty node a new unit, serialise it into @buf, free its old unit; the pieces of the
 * old ones stay held and are listed in @old (room for map.dirty entries).  map.root_desc is then
 * the new root.
 */
struct ckpt_buf;
struct extent;
void map_freeze(struct image *im, struct ckpt_buf *buf, struct extent *old, unsigned *nold);

/* Let the head be the tree @root of @levels.  Nothing is dirty or pinned. */
void map_replace(struct image *im, struct desc root, unsigned levels);

/* The descriptor as on disk of the head's node at (@level, @index), HOLE if it has none; *dirty: it
 * is newer in memory.  -EAGAIN with @need when a node above it is not in memory. */
MUST_CHECK errint_t map_node(struct image *im, unsigned level, uint64_t index, struct desc *self,
			     bool *dirty, struct need *need);

/* --- for walk.c and check.c; these take the lock themselves --------------------------------- */

/* If the head's node at (@level, @index) is in memory: copy its entries; *@self is its descriptor
 * as on disk (HOLE if it was never written). */
bool map_copy_loaded(struct image *im, unsigned level, uint64_t index,
		     struct desc out[NODE_ENTRIES], struct desc *self);
/* The head's root as on disk. */
struct desc map_root(struct image *im, unsigned *levels, uint64_t *nclusters);

#endif
