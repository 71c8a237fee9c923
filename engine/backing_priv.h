/* SPDX-License-Identifier: MIT */
/* What the files backing*.c share. */
#ifndef ENGINE_BACKING_PRIV_H
#define ENGINE_BACKING_PRIV_H

#include <pthread.h>

#include "engine/backing.h"
#include "image/snapshot.h"

struct backing {
	/* Constant. */
	char *name; /* where it is */
	struct backing_how how;
	struct backing_ref ref; /* kind, path, and which snapshot */
	struct stat st;
	bool owns_store;

	/* Read-held while one reads an image; write-held while it is exchanged for the same one
	 * opened in another way, and while the list of readers is changed. */
	pthread_rwlock_t use;
	struct backing_reader *readers;
	struct store *store;
	_Atomic uint64_t size;
	/* Of an image; NULL: it could not be opened again. */
	struct image *image;
	struct engine *engine;
	struct snapshot_view *view;

	/* The backing of this image, kept while that is exchanged, and afterwards; NULL: the engine
	 * has it, or there is none. */
	struct backing *below;

	/* A commit's. */
	bool writing;
	struct store *target;	      /* of a raw backing */
	struct engine_thread *writer; /* on engine */
};

struct backing_reader {
	struct backing *b;
	struct backing_reader *next;
	struct engine_thread *thread; /* on b->engine; NULL until first needed */
};

/* The image in b->store, and an engine on it. */
MUST_CHECK errint_t backing_open_image(struct backing *b, bool write);
/* The same given up, without any I/O. */
void backing_close_image(struct backing *b);

#endif
