/* SPDX-License-Identifier: MIT */
/*
 * A file that appears under its name complete or not at all.  It is written under a temporary name
 * in the same directory, which is removed on failure and when a signal ends the process; a finished
 * file takes its name by one rename.
 */
#ifndef CLI_NEW_FILE_H
#define CLI_NEW_FILE_H

#include <limits.h>
#include <stdbool.h>

#include "image/store.h"

struct new_file {
	const char *path;	/* the name to be; the caller's */
	char temp[PATH_MAX];	/* the name meanwhile */
	bool replace;		/* something stands at @path and is to go */
	struct store *replaced; /* ... held open, for its lock */
	bool active;		/* @temp may exist */
};

/*
 * Prepares to write @path.  When something exists there: without @force, -EEXIST; with it, it must
 * be a regular file that nobody holds the image lock of (else -EBUSY, message logged), and is
 * locked until the end.  The caller then creates nf->temp, with O_EXCL, in any way it likes.  One
 * at a time in a process.
 */
MUST_CHECK errint_t new_file_begin(struct new_file *nf, const char *path, bool force);

/* Creates nf->temp as a store, whose messages call it by its name to be; @nf outlives it.  @flags:
 * of store_file_open(). */
MUST_CHECK errint_t new_file_store(const struct new_file *nf, unsigned flags, struct store **st);

/* nf->temp, complete, durable and closed by the caller or about to be, becomes the file at its
 * path.  On failure it is removed. */
MUST_CHECK errint_t new_file_finish(struct new_file *nf);

/* Removes nf->temp, if it has not been finished. */
void new_file_abandon(struct new_file *nf);

#endif
