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

/*
 * Before many records are applied: read the leaves that they change all at once instead of one
 * after the other.  @get returns record @i of @n, or NULL.  Opening only.  An error of reading is
 * met again by the replay.
 */
MUST_CHECK errint_t replay_prepare(struct image *im, uint64_t n, const void *arg,
				   const struct disk_record *(*get)(const void *arg, uint64_t i));

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
