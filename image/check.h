/* SPDX-License-Identifier: MIT */
/*
 * Is this image exactly what its format promises (docs/format.md section 12)?  There is no repair:
 * none is needed after a crash, and damage is not guessed at.
 */
#ifndef IMAGE_CHECK_H
#define IMAGE_CHECK_H

#include "image/image.h"

struct check_result {
	uint64_t corruptions; /* anything that is wrong, leaks excepted */
	uint64_t leaks;	      /* units marked used that nothing references */
	/* Of the head and of all snapshots; what they share counts once. */
	uint64_t nodes, raw_clusters, blobs, blob_bytes;
	uint64_t data_bytes; /* mapped bytes */
	uint64_t used_units, total_units;
	uint32_t snapshots;
};

struct check_opts {
	bool data;	      /* also read every blob, verify its CRC, decompress it */
	unsigned threads;     /* for data; 0: processors */
	uint64_t memory;      /* bytes for maps of space, about; 0: 256 MiB.  Less means that
				 large images are passed over more than once */
	uint64_t max_reports; /* problems reported through @report at the most; 0: 100 */
	/* One line per problem, without newline.  May be NULL. */
	void (*report)(void *arg, const char *problem);
	/* Called now and then with bytes of work done and to do.  May be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};

/*
 * Checks @im, which nobody writes to meanwhile.  Returns 0 with the findings in @res, or an error
 * when the image could not be read at all (message logged).
 */
MUST_CHECK errint_t check_image(struct image *im, const struct check_opts *opts,
				struct check_result *res);

#endif
