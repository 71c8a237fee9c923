/* SPDX-License-Identifier: MIT */
/*
 * An image as a fuzzer sees it: a list of the units that are not zero.
 *
 *	u64 length of the file in bytes
 *	then, as often as the input lasts: u32 unit, u16 n <= 4096, n bytes; then zeros
 *
 * Of two entries for a unit the later one counts.  The store made of it is in memory and takes
 * writes.
 */
#ifndef TESTS_FUZZ_SPARSE_H
#define TESTS_FUZZ_SPARSE_H

#include <stdio.h>

#include "image/store.h"
#include "tests/fuzz/fuzz.h"

/* From this unit on, beyond the longest image, the list says something else. */
#define SPARSE_OUTSIDE (1u << 24)

/* The image in the rest of @in; never NULL. */
struct store *sparse_new(struct fuzz_input *in);

/* The bytes of a unit, to read and to change; NULL where it is a hole. */
uint8_t *sparse_unit(struct store *st, uint64_t unit);

/* The @n units from SPARSE_OUTSIDE on of what sparse_new() would be given. */
void sparse_outside(struct fuzz_input in, uint8_t *out, unsigned n);

/* An entry of the list, unless it is all zeros. */
void sparse_save_unit(FILE *out, uint64_t unit, const uint8_t *bytes);

/* Write what @st (of any kind) holds to @out in the form above. */
void sparse_save(struct store *st, FILE *out);

#endif
