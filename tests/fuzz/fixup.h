/* SPDX-License-Identifier: MIT */
/*
 * Makes an image consistent again after a fuzzer changed something in it, so that the change is
 * seen by the code behind the checksums.
 */
#ifndef TESTS_FUZZ_FIXUP_H
#define TESTS_FUZZ_FIXUP_H

#include "image/store.h"

/*
 * Every checksum of the image in @st (from sparse_new()) is made that of the bytes it covers:
 * IDENT, superblocks, the trees of the newest one, blobs, snapshot table, bitmaps, group tables,
 * alloc root, journal chain.  @counts: free and dead counts, too.  What is not there stays as it
 * is.
 */
void fixup_image(struct store *st, bool counts);

#endif
