/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share.  Each target is one file with LLVMFuzzerTestOneInput(), as libFuzzer
 * calls it; replay.c runs a target over a corpus in the normal test run.
 *
 * An input begins with a byte of mode bits.  Bit 0 of all of them: make the checksums right first,
 * because no mutation would get past them.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdio.h>

#include "image/validate.h"

#define FUZZ_FIX_CRC 1u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of an input. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* The next @len bytes of the input, with zeros where it has ended. */
void fuzz_take(struct fuzz_input *in, void *out, size_t len);
uint8_t fuzz_u8(struct fuzz_input *in);
uint64_t fuzz_u64(struct fuzz_input *in);

/* A validator's answer is one of those that it documents, with a reason when it is a refusal;
 * aborts otherwise. @also is one more code that is allowed, without a reason. */
void fuzz_verdict(errint_t err, const struct reason *why, errint_t also);

/* Aborts with @what when @good is false, in every build. */
void fuzz_require(bool good, const char *what);

/* Open on /dev/null. */
FILE *fuzz_null(void);

/* Room for @len bytes at the start of a unit, exactly that long so that reading on is noticed. */
void *fuzz_block(size_t len);

#endif
