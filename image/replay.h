/* SPDX-License-Identifier: MIT */
#ifndef IMAGE_REPLAY_H
#define IMAGE_REPLAY_H

#include <stdint.h>

#include "common/errint.h"

struct image;

/*
 * Apply the journal to the newest checkpoint (docs/format.md section 7, open, steps 4 and 5).
 * *next_seq: the sequence after the last one applied.  Opening only; messages are logged.
 */
MUST_CHECK errint_t replay_journal(struct image *im, uint64_t *next_seq);

#endif
