/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a check share: check.c (order of work), check_fixed.c (blocks at fixed places),
 * check_trees.c (what the trees refer to), check_refs.c (who uses which space), check_data.c
 * (contents of blobs).  For them only.
 */
#ifndef IMAGE_CHECK_PARTS_H
#define IMAGE_CHECK_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "image/check.h"
#include "image/validate.h"
#include "image/walk_tree.h"

/* Memory for maps of space when the caller does not say. */
#define CHECK_MEMORY (256ull << 20)

/* Counters that one thread of a walk adds to. */
struct check_counts {
	uint64_t nodes, raw_clusters, blobs, blob_bytes, data_bytes;
	uint64_t apart[11]; /* from the next thread's, on other cache lines */
};

/*
 * What belongs to one tree and not to the one it descends from (docs/format.md section 9): what was
 * born after @floor.  A tree whose parent is being deleted has two parts, one on each side of the
 * cursor.
 */
struct check_part {
	uint32_t snapshot; /* id; 0: the head */
	struct tree tree;
	struct tree base; /* the parent's, with a floor */
	uint32_t floor;	  /* epoch of the parent; 0: none */
	/* Clusters: those in [first, end), and the nodes whose last cluster is one of them. */
	uint64_t first, end;
	uint64_t before; /* bytes of disk in the parts before it, for progress */
};

static inline bool check_part_has(const struct check_part *p, uint64_t vcluster)
{
	return vcluster >= p->first && vcluster < p->end;
}

/* Is leaf entry @d, of cluster @vcluster, this part's to account for? */
static inline bool check_part_owns(const struct check_part *p, uint64_t vcluster, struct desc d)
{
	return d.birth > p->floor && check_part_has(p, vcluster);
}

/* "" for the head, else " of snapshot N". */
#define CHECK_WHOSE_MAX 32
const char *check_whose(uint32_t snapshot, char buf[CHECK_WHOSE_MAX]);

struct check {
	/* Constant during the check. */
	struct image *im;
	struct store *st;
	const struct check_opts *opts;
	struct limits lim;
	struct image_info info;
	uint64_t length;   /* of the file, bytes */
	uint64_t nregions; /* that the file covers */
	unsigned threads;
	struct disk_super *super; /* the newest one on disk; NULL: none is valid */
	struct check_part *part;  /* of the snapshots, then of the head */
	unsigned nparts;
	uint64_t bytes; /* of disk, in all parts */

	/* The pass over the trees that runs: only the first one looks at more than places. */
	bool first_pass;
	struct check_counts counts[WALK_MAX_THREADS];
	uint64_t used_units;   /* of the regions passed so far */
	uint64_t end_used;     /* unit behind the last one marked used */
	_Atomic uint64_t done; /* for progress, bytes */
	/* Part of a tree or a bitmap could not be read: what it refers to looks like a leak. */
	atomic_bool incomplete;

	pthread_mutex_t lock; /* protects what follows; taken inside all other locks */
	struct check_result *res;
	uint64_t reports;
};

/* Count and report something that is wrong.  Any thread. */
void check_corrupt(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for @units units marked used that nothing refers to. */
void check_leak(struct check *c, uint64_t units, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Report without counting. */
void check_note(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Call @fn for 0 .. @n - 1, by c->threads threads, which are numbered from 0, and return the first
 * error. */
MUST_CHECK errint_t check_parallel(struct check *c, uint64_t n, void *arg,
				   errint_t (*fn)(void *arg, unsigned worker, uint64_t i));

/* --- check_fixed.c ------------------------------------------------------------------------------
 */

/* IDENT, superblocks, alloc root, group tables, zero window, file length.  Sets c->super. */
MUST_CHECK errint_t check_fixed(struct check *c);

/* --- check_trees.c ------------------------------------------------------------------------------
 */

/* Sets c->part. */
MUST_CHECK errint_t check_find_parts(struct check *c);

struct refs;
/* Add to @refs all that the trees refer to. */
MUST_CHECK errint_t check_trees(struct check *c, struct refs *refs);

/* For a walk over @p, but for what is to be called. */
struct tree_visitor check_part_visitor(const struct check_part *p);

/* --- check_refs.c -------------------------------------------------------------------------------
 */

enum ref_kind { REF_RAW, REF_BLOB, REF_NODE, REF_SNAPTAB, REF_JOURNAL };

/* Something that occupies space, and whom to name for it. */
struct ref {
	enum ref_kind kind;
	unsigned level; /* NODE */
	uint64_t index; /* NODE: position at its level; RAW, BLOB: cluster */
	struct extent e;
};

/*
 * The maps for regions from @first on, as many as fit into the memory; *end is the region behind.
 * Their bitmaps are compared with their counts.
 */
MUST_CHECK errint_t refs_open(struct check *c, uint64_t first, struct refs **out, uint64_t *end);
void refs_free(struct refs *r);

/* One thread's way of adding references: it keeps the lock of the region it used last. */
struct refs_cursor {
	struct refs *refs;
	struct refs_region *held;
	uint32_t snapshot; /* whose references these are; 0: the head's, or nobody's */
};
void refs_release(struct refs_cursor *cur);

/* Add one reference, which lies in one region and is sound in itself; outside of the regions at
 * hand nothing happens.  Reports what is wrong with it.  False: something else uses some of that.
 * Any thread, each with its own cursor. */
bool refs_add(struct refs_cursor *cur, const struct ref *ref);

/* The same for the @n clusters from @vcluster on, whose descriptors are at @entry: all RAW, or all
 * ZSTD, one behind the other in one region (refs_run_length()). */
void refs_add_run(struct refs_cursor *cur, uint64_t vcluster, const struct desc *entry, unsigned n);

/* How many of the @n >= 1 descriptors at @entry, the first of which has storage, make such a run.
 */
unsigned refs_run_length(const struct geometry *g, const struct desc *entry, unsigned n);

/* All references are in: report leaks and overlapping blobs. */
MUST_CHECK errint_t refs_compare(struct refs *r);

/* --- check_data.c -------------------------------------------------------------------------------
 */

/* Read and verify every blob. */
MUST_CHECK errint_t check_data(struct check *c);

#endif
