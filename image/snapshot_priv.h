/* SPDX-License-Identifier: MIT */
/* What the files snapshot*.c share.  im->lock is held unless told otherwise. */
#ifndef IMAGE_SNAPSHOT_PRIV_H
#define IMAGE_SNAPSHOT_PRIV_H

#include "image/core.h"

/* The record with @id, or NULL. */
struct disk_snapshot *snapshot_by_id(struct image *im, uint32_t id);
/* The one that users know by @name, or NULL. */
struct disk_snapshot *snapshot_by_name(struct image *im, const char *name);
struct snapshot_state *snapshot_state(struct image *im, const struct disk_snapshot *r);

/* Its children among snapshots and head. */
unsigned snapshot_children(struct image *im, uint32_t id);

/* Room in memory for @more records. */
MUST_CHECK errint_t snapshot_room(struct image *im, unsigned more);

/* Add @r, for which there is room. */
void snapshot_add(struct image *im, const struct disk_snapshot *r);

/* Something about the records changed. */
void snapshot_changed(struct image *im);

static inline bool snapshot_is_zombie(const struct disk_snapshot *r)
{
	return le32_get(r->flags) & SNAP_ZOMBIE;
}

/* --- trees ---------------------------------------------------------------------------------------
 */

/* The tree of a snapshot, or that of the head as it is now. */
struct snap_tree {
	bool head;
	struct desc root; /* of a snapshot */
	unsigned levels;
	uint64_t nclusters;
};

struct snap_tree snap_tree_of(struct image *im, const struct disk_snapshot *r); /* NULL: head */

/* Descriptor of the tree's node at (@level, @index), or HOLE; *dirty: it has changed since. -EAGAIN
 * with @need. */
MUST_CHECK errint_t snap_node(struct image *im, const struct snap_tree *t, unsigned level,
			      uint64_t index, struct desc *self, bool *dirty, struct need *need);

/* Entries of the leaf at @index; NULL: a hole.  They stay while the lock is held. */
MUST_CHECK errint_t snap_leaf(struct image *im, const struct snap_tree *t, uint64_t index,
			      const struct desc **entries, struct need *need);

#endif
