/* SPDX-License-Identifier: MIT */
/* The same function in several threads. */
#ifndef CLI_WORKERS_H
#define CLI_WORKERS_H

#include "common/errint.h"

typedef errint_t (*worker_fn)(void *arg);

/* @asked, or when that is 0, one for each processor that this process may use, 16 at the most. */
unsigned workers_count(unsigned asked);

/* Runs @fn in @n threads, of which the caller's is one, and waits for all.  Returns the error of
 * one that failed; fewer threads than asked for do as well.  @fn itself makes the others stop. */
MUST_CHECK errint_t workers_run(unsigned n, worker_fn fn, void *arg);

#endif
