/* SPDX-License-Identifier: MIT */
/*
 * An image with something of everything, and what a check of it must find.  The functions assert
 * through cmocka.
 */
#ifndef TESTS_LIB_SAMPLE_H
#define TESTS_LIB_SAMPLE_H

#include "image/check.h"
#include "tests/lib/surgery.h"

#define MIB	     (1ull << 20)
#define GIB	     (1ull << 30)
#define SAMPLE_STORE (2 * GIB)
#define SAMPLE_DISK  (20 * GIB) /* three levels with clusters of 64 KiB */

/* Where the clusters of the image are. */
#define BLOBS	  200u /* clusters 0 .. BLOBS - 1 are compressed, with real data */
#define RAW_FIRST 1000u
#define RAW_COUNT 5000u
#define FAR	  200000u /* one more raw cluster, by itself */

/* Such an image in memory, with clusters of 1 << @shift bytes; with more than 64 KiB RAW_COUNT and
 * FAR are less. */
struct store *sample_image_shift(uint8_t shift);

/* Blobs, nodes and clusters in region 0, nothing but clusters in region 1, and the rest. */
struct store *sample_image(struct surgery *s);

struct outcome {
	struct check_result res;
	unsigned lines;
	char text[2000]; /* what was reported, line by line, as far as there is room */
};

/* Check the image as @opts say, but for the reports. */
void run_check(struct store *st, struct check_opts opts, struct outcome *o);

/* Whatever the memory and the threads, the findings are these, and the reports contain @says. */
void expect(struct store *st, uint64_t corruptions, uint64_t leaks, const char *says);

/* The image cannot even be opened. */
void expect_refused(struct store *st);

#endif
