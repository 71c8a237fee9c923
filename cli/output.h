/* SPDX-License-Identifier: MIT */
/* Standard output: results.  A result that could not be written is a failure. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "common/errint.h"

/* Once, before anything is written. */
void output_begin(void);

/* An error if something written before could not be: long lists stop when nobody can read them.
 * The message is logged, once; there is none for a pipe whose reader went away (`| head`). */
MUST_CHECK errint_t output_check(void);

/* Flushes and closes standard output; as output_check().  Once, at the end. */
MUST_CHECK errint_t output_close(void);

#endif
