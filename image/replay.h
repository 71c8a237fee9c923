/* SPDX-License-Identifier: MIT */
#ifndef IMAGE_REPLAY_H
#define IMAGE_REPLAY_H

#include <stdint.h>

#include "common/errint.h"
#include "image/txn.h"

struct disk_record;
struct image;

/*
 * Apply the journal to the newest checkpoint (docs/format.md section 7, open, steps 4 and 5).
 * *next_seq: the sequence after the last one applied.  Opening only; messages are logged.
 */
MUST_CHECK errint_t replay_journal(struct image *im, uint64_t *next_seq);

/* Which record it is, for messages: of a transaction, or of a slot of the volatile journal. */
struct replay_place {
	enum apply_from from;
	uint64_t number;
	unsigned record;
};

/* Apply one record, which validate_record() has passed.  Opening only; messages are logged. */
MUST_CHECK errint_t replay_record(struct image *im, const struct replay_place *at,
				  const struct disk_record *r);

#endif
