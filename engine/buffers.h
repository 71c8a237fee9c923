/* SPDX-License-Identifier: MIT */
/*
 * Memory that blobs are read into by queues, shared by those of one engine: a bounded number of
 * buffers of one size, kept for the next one.  Not for other directories.
 */
#ifndef ENGINE_BUFFERS_H
#define ENGINE_BUFFERS_H

#include <stddef.h>
#include <stdint.h>

#include "common/errint.h"

struct buffers;

/* Buffers of @size bytes, UNIT_SIZE-aligned, of at most @max_bytes together, but one at least.
 * Memory is taken when it is first needed.  -ENOMEM, message logged. */
MUST_CHECK errint_t buffers_new(size_t size, size_t max_bytes, struct buffers **out);
void buffers_free(struct buffers *b); /* NULL is allowed; every buffer is back */

/* These from any thread.  NULL: all are in use, or there is no memory; do without. */
uint8_t *buffers_get(struct buffers *b);
void buffers_put(struct buffers *b, uint8_t *buffer);
/* Give all memory back that is not in use just now. */
void buffers_shrink(struct buffers *b);

#endif
