/* SPDX-License-Identifier: MIT */
/*
 * Named fault points: places where a test can make an operation fail.  UBLK_IMG_FAULTS in the
 * environment, which main() hands to fault_set(), holds a comma-separated list of
 * NAME[:COUNT[:ERRNO]] — the point fails at its COUNT-th passage (default 1) with ERRNO (a number,
 * default EIO), or, with "kill", the process is killed there.  Without faults set, a point costs
 * one load and a branch.
 */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#include <stdbool.h>

#include "common/errint.h"

/* Parse and install @spec (NULL or "" clears).  Returns -EINVAL, message logged and nothing
 * changed, on bad syntax, and -ENOMEM.  Call before threads start. */
MUST_CHECK errint_t fault_set(const char *spec);

extern bool fault_active;
errint_t fault_hit(const char *name);

/* 0, or the error that the test asked this point to fail with.  Any thread. */
static inline errint_t fault_point(const char *name)
{
	return __builtin_expect(fault_active, 0) ? fault_hit(name) : 0;
}

#endif
