/* SPDX-License-Identifier: MIT */
/*
 * A progress bar on standard error.  It appears when the work has lasted a second, and is redrawn a
 * few times each second at most, so that it may be updated as often as is convenient.
 *
 * On a terminal it is one line that is redrawn, and messages appear above it.  Elsewhere
 * (PROGRESS_ALWAYS) each update is a line of its own, once a second.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* PROGRESS_AUTO: when standard error is a terminal and --quiet was not given. */
enum progress_mode { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER };

struct progress;

/*
 * Begin work of @total bytes (0: unknown, as from a pipe), called @what ("convert").  @what is
 * kept, not copied.  Never fails: NULL (nothing to show, or out of memory) is a valid progress.
 */
struct progress *progress_begin(enum progress_mode mode, const char *what, uint64_t total);

/* @done bytes of the work are done, all told.  Any thread; a value below an earlier one is ignored,
 * so threads need not agree on an order. */
void progress_update(struct progress *p, uint64_t done);

/* @more bytes of the work are done.  Any thread. */
void progress_add(struct progress *p, uint64_t more);

/* The total has become known, or has changed.  Any thread. */
void progress_set_total(struct progress *p, uint64_t total);

/* Remove the bar and free @p.  No other thread may be using it. */
void progress_end(struct progress *p);

/* Tests: take the time, in nanoseconds, from @now instead of the system; NULL restores that. */
void progress_set_clock(uint64_t (*now)(void));

static inline void cleanup_progress(struct progress **p)
{
	progress_end(*p);
}

#endif
