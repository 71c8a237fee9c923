/* SPDX-License-Identifier: MIT */
/*
 * A store in memory, for tests of what is above the store: fast, used from any number of threads,
 * and it fails when told to.  It outlives the images opened on it and forgets nothing but on
 * truncate and punch: for power losses there is sim_disk.h.
 */
#ifndef TESTS_LIB_MEM_STORE_H
#define TESTS_LIB_MEM_STORE_H

#include "image/store.h"

/* An empty store that can grow to @max bytes (-ENOSPC beyond).  Never NULL.  A write that is not
 * aligned to st->align, 512 unless the test changes it, ends the program. */
struct store *mem_store_new(uint64_t max);

enum mem_op { MEM_READ, MEM_WRITE, MEM_SYNC, MEM_PUNCH, MEM_OPS };

/* Let the @nth call of @op from now on (1: the next one; DSYNC writes are MEM_WRITE) fail with
 * @err, once, without effect.  0: none.  No other call may be running. */
void mem_store_fail(struct store *st, enum mem_op op, unsigned nth, errint_t err);

/* Let some reads and writes begin late, so that other threads get between a decision and what was
 * decided.  Before the threads start. */
void mem_store_dawdle(struct store *st);

/* Calls of @op so far. */
uint64_t mem_store_calls(struct store *st, enum mem_op op);

/* Flip one bit of the byte at @off. */
void mem_store_flip(struct store *st, uint64_t off);

#endif
