/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a check share: check.c (order of work, the trees), check_fixed.c (blocks at
 * fixed places), check_refs.c (who uses which space), check_data.c (contents of blobs).  For them
 * only.
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

/* A range of regions with, for each piece of it, whether it is marked used and who refers to it. */
struct refs;

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
};
void refs_release(struct refs_cursor *cur);

/* Add one reference, which lies in one region and is sound in itself; outside of the regions at
 * hand nothing happens.  Reports what is wrong with it.  Any thread, each with its own cursor. */
void refs_add(struct refs_cursor *cur, const struct ref *ref);

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

/* Read and verify every blob of the head. */
MUST_CHECK errint_t check_data(struct check *c);

#endif
