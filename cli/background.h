/* SPDX-License-Identifier: MIT */
/*
 * A command that goes on in the background: the calling process ends, with the right exit status,
 * when what was started answers or has failed.
 */
#ifndef CLI_BACKGROUND_H
#define CLI_BACKGROUND_H

#include <stdbool.h>

#include "common/errint.h"

struct background {
	int ready; /* in the child: the pipe that the parent waits at; -1 in the foreground */
};

/*
 * Make a child that goes on, in a session of its own, with the caller's standard error for as long
 * as it takes to start.  Before there are threads.  Returns with *child true in the child.  In the
 * parent it returns when the child has called background_ready() or ended: 0, or an error, about
 * which the child has logged everything unless it was killed.  @what is being started, for
 * messages.
 */
MUST_CHECK errint_t background_start(struct background *b, const char *what, bool *child);

/* In the child: it has started.  Its messages go to @log from now on, or nowhere if that is -1.  In
 * the foreground, nothing. */
void background_ready(struct background *b, int log);

#endif
