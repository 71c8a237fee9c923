/* SPDX-License-Identifier: MIT */
/*
 * Worker threads, for what a queue's thread must not do: decompress, compress, wait.
 *
 * Work is of two kinds, with threads of their own, since one may wait for the other:
 *
 *   POOL_DATA   holds a guard and only moves bytes: it waits for I/O on the file and for nobody's
 *               lock, guard or space, so it always comes to its end.
 *   POOL_BLOCK  holds no guard when it begins; may wait for space, for commits, and so for guards
 *               whose holders are in POOL_DATA.
 *
 * Threads are made when there is more work than idle ones, up to the limit.
 */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include "engine/engine.h"

enum pool_kind { POOL_DATA, POOL_BLOCK, POOL_KINDS };

/* Embedded in what has to be done. */
struct work {
	struct work *next;
	/* In a worker thread with its own working memory; the work may be gone on return. */
	void (*run)(struct work *w, struct engine_thread *t);
};

struct pool;

struct pool_opts {
	unsigned threads[POOL_KINDS]; /* at most; 0: by the number of processors */
	/* Called in each thread before its first work; NULL: nothing. */
	void (*start)(void *arg);
	void *arg;
};

/* Workers for @e; @opts may be NULL.  The first thread of each kind is made at once, so that work
 * never lacks one.  Messages are logged. */
MUST_CHECK errint_t pool_new(struct engine *e, const struct pool_opts *opts, struct pool **out);
/* Ends the threads when all work is done. */
void pool_free(struct pool *p); /* NULL is allowed */

/* From any thread; never blocks. */
void pool_run(struct pool *p, enum pool_kind kind, struct work *w);

#endif
