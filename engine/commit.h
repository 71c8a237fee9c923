/* SPDX-License-Identifier: MIT */
/*
 * Commit and rebase: what an image has is moved into its backing, or what it shows of its backing
 * into itself.  Both may run while others read and write the disk; they take one cluster after the
 * other as repacking does (image/plan.h).
 *
 * All functions block, log their failures, and refuse an image with snapshots, which would come to
 * show something else (-EBUSY).
 */
#ifndef ENGINE_COMMIT_H
#define ENGINE_COMMIT_H

#include "engine/backing.h"

struct work_opts {
	/* Called now and then with bytes of the disk done and to do.  May be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	/* Asked now and then: is it to end early?  A commit then ends as well as if all had been
	 * written meanwhile, a rebase fails with -ECANCELED.  May be NULL. */
	bool (*stop)(void *arg);
	void *arg;
};

struct work_result {
	uint64_t bytes; /* of the disk that were moved */
	uint64_t left;	/* of the disk that the image still has: written meanwhile */
};

/*
 * Moves what the image has into its backing, which becomes as large as the disk if it is smaller.
 * The disk reads the same at any time, also after a crash at any point: as long as the image has
 * the mark that a commit is under way, what its backing has become is not looked at.  Then the
 * commit is to be begun again.
 */
MUST_CHECK errint_t engine_commit(struct engine *e, const struct work_opts *opts,
				  struct work_result *res);

/*
 * Gives the image another backing, @to as @ref describes it, or none (NULL), without changing what
 * the disk reads: what would change is copied into the image before.  With @to nobody may use the
 * disk meanwhile, and the engine, which reads from the old one, is of no use afterwards.
 */
MUST_CHECK errint_t engine_rebase(struct engine *e, struct backing *to,
				  const struct backing_ref *ref, const struct work_opts *opts,
				  struct work_result *res);

#endif
