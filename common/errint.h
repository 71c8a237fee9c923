/* SPDX-License-Identifier: MIT */
/*
 * The one convention for functions that can fail: errint_t is 0 or a negative errno value.  A plain
 * int never means an error.
 */
#ifndef COMMON_ERRINT_H
#define COMMON_ERRINT_H

#include <errno.h>

typedef int errint_t;

/* Goes in front of every prototype that returns errint_t. */
#define MUST_CHECK __attribute__((warn_unused_result))

#endif
