/* SPDX-License-Identifier: MIT */
/*
 * Standard error: messages and at most one status line (the progress bar) below them.  Any thread.
 */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>

/* Makes this module the sink of log.h.  main() calls it first. */
void terminal_begin(void);

/* With quiet set there are no automatic progress bars. */
void terminal_set_quiet(bool quiet);

/* True when a status line can be redrawn: standard error is a terminal, and not quiet. */
bool terminal_interactive(void);

/* Columns of the terminal, 80 when unknown. */
unsigned terminal_width(void);

/* Show @line as the status line, in place of the one before; NULL removes it. */
void terminal_status(const char *line);

/* A line of standard error that is no message: no prefix, and above the status line. */
void terminal_line(const char *line);

#endif
