/* SPDX-License-Identifier: MIT */
/*
 * Visiting the nodes of one tree, fast and in bounded memory.  For walk.c and check*.c only.
 *
 * Nodes come straight from the store: siblings are sorted by their place in the file and read many
 * at a time, and never enter the node cache.  A node that the cache holds is taken from there,
 * because its copy on disk may be older or not exist at all.
 */
#ifndef IMAGE_WALK_TREE_H
#define IMAGE_WALK_TREE_H

#include "image/image.h"

#define WALK_MAX_THREADS 16u

struct tree {
	struct desc root;   /* as on disk, or HOLE */
	unsigned levels;    /* of the tree: the root's level is one less */
	uint64_t nclusters; /* that the disk has; entries beyond are damage */
	bool head;	    /* nodes may be in memory, newer than on disk */
};

/* The tree of the head as it is now. */
struct tree tree_head(struct image *im);

/* That of a snapshot, whose record is validated. */
struct tree tree_snapshot(const struct geometry *g, const struct disk_snapshot *rec);

struct tree_node {
	unsigned level;
	uint64_t index;		  /* position at its level */
	struct desc self;	  /* its descriptor on disk; HOLE: was never written */
	bool in_memory;		  /* entries are newer than the copy at self */
	bool shared;		  /* with the base: self is what that has in its place */
	const struct desc *entry; /* NODE_ENTRIES of them, validated; NULL in damaged() */
	/* With a base: what it has in their place, holes where it has no such node.  NULL: that is
	 * damaged, so nobody knows. */
	const struct desc *base;
};

/* First cluster below a node, and the first one behind it. */
static inline uint64_t tree_node_first(unsigned level, uint64_t index)
{
	return index << NODE_SHIFT * (level + 1);
}

static inline uint64_t tree_node_end(unsigned level, uint64_t index)
{
	return (index + 1) << NODE_SHIFT * (level + 1);
}

/*
 * What to do at each node.  A nonzero return ends the walk and is handed through.  With one thread
 * nodes come in order, a parent before its children; with more, calls come from several threads at
 * once and in any order, @worker (less than threads) telling which.
 */
struct tree_visitor {
	void *arg;

	/* Called before node(): false leaves the node out, and what is below.  NULL: none. */
	bool (*enter)(void *arg, unsigned worker, const struct tree_node *n);

	errint_t (*node)(void *arg, unsigned worker, const struct tree_node *n);

	/* A node that cannot be read or is not what its parent says: its subtree is skipped when
	 * this returns 0.  NULL: the damage is logged and ends the walk. */
	errint_t (*damaged)(void *arg, const struct tree_node *n, errint_t err, const char *why);

	/* Entry @i, @d, of an intact node is not valid; node() will see a hole in its place.  NULL:
	 * the whole node is damaged(). */
	errint_t (*bad_entry)(void *arg, const struct tree_node *n, unsigned i, struct desc d,
			      const char *why);

	uint64_t first, end; /* clusters: only nodes with some of [first, end) below are visited */
	unsigned threads;    /* 1..WALK_MAX_THREADS, the caller's included */

	/*
	 * The tree of a snapshot that this one descends from; NULL: none.  A node on disk that both
	 * have is not visited, nor is what is below it.  Where damage keeps that from being known,
	 * it is what was born up to epoch @floor.
	 */
	const struct tree *base;
	uint32_t floor;
};

/* -ENOMEM, what the visitor returned, or, where it has no say: -EBADMSG or an error of reading,
 * with the message logged. */
MUST_CHECK errint_t tree_walk(struct image *im, const struct tree *t, const struct tree_visitor *v);

/* Threads that a walk of this machine's images should use. */
unsigned tree_walk_threads(void);

#endif
