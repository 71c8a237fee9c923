/* SPDX-License-Identifier: MIT */
/*
 * What was written in pieces is compressed later.  Not for other directories.
 *
 * A cluster that is written whole is compressed as it arrives (write.c).  One that is written in
 * parts goes to the file as it is, at once.  Here its number is noted, and when nobody has written
 * to it for a while, or the image is about to be closed, it is read, compressed and stored again.
 */
#ifndef ENGINE_REPACK_H
#define ENGINE_REPACK_H

#include "engine/engine.h"

struct repacker;

MUST_CHECK errint_t repacker_new(struct repacker **out);
void repacker_free(struct repacker *r); /* NULL is allowed */

/* Clusters [first, first + count) were written in parts.  Any thread; never waits.  When too many
 * are noted already some are forgotten, and stay as they are until they are written again. */
void repacker_note(struct repacker *r, uint64_t first, uint64_t count);

/* A moment has passed: what is noted from now on is younger. */
void repacker_tick(struct repacker *r);

/*
 * Repacks what was noted at least @age ticks ago, until nothing is left or @ms milliseconds have
 * passed (0: no limit).  One thread at a time.  *more: something of that age is left.
 */
MUST_CHECK errint_t repacker_run(struct repacker *r, struct engine_thread *t, unsigned age,
				 unsigned ms, bool *more);

struct repacker_stats {
	uint64_t clusters;  /* that were stored again */
	uint64_t forgotten; /* not noted for lack of room */
};
void repacker_get_stats(struct repacker *r, struct repacker_stats *stats);

/*
 * Store the @n clusters, those of them that the image has not, or not all of, so that it has: *done
 * of them; *missed were written to by others meanwhile.  May block.
 */
struct engine_thread;
MUST_CHECK errint_t repack_copy_up(struct engine_thread *t, const uint64_t *cluster, unsigned n,
				   unsigned *done, unsigned *missed);

#endif
