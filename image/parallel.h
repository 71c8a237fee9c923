/* SPDX-License-Identifier: MIT */
/* A loop shared by threads. */
#ifndef IMAGE_PARALLEL_H
#define IMAGE_PARALLEL_H

#include <stdint.h>

#include "common/errint.h"

#define PARALLEL_MAX 64u /* threads */

/*
 * Call @fn for 0 .. @n - 1, each once and in any order, from up to @threads threads, the caller's
 * among them, which are numbered from 0.  After an error no more calls begin, and it is returned.
 */
MUST_CHECK errint_t parallel_for(unsigned threads, uint64_t n, void *arg,
				 errint_t (*fn)(void *arg, unsigned worker, uint64_t i));

#endif
