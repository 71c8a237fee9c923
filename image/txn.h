/* SPDX-License-Identifier: MIT */
/* clang-format off */
/*
 * Transactions: the only way in which the map and the bitmaps change (docs/format.md sections 6, 7).
 *
 *	txn_reserve() -> txn_log_*() -> [commit] -> durable
 *
 * A record is applied to memory and appended to the open transaction in one critical section.  A
 * commit closes the open transaction, syncs the data that it exposes, and writes it to the journal.
 *
 *	          txn_log_*            commit round begins          journal_write returns
 *	  (open) -----------> (open) ----------------------> (closed) -------------------> (durable)
 *	   frees: held           held                         held                          to limbo
 */
/* clang-format on */
#ifndef IMAGE_TXN_H
#define IMAGE_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/desc.h"

struct image;
struct need;
struct node;

/* An extent on its way from unmapped to free. */
struct limbo_item {
	struct extent ext;
	uint64_t barrier; /* guard_barrier() when its transaction was durable, which is after it was
			     unmapped */
	bool punch;	  /* its space is to be given back to the host */
};

struct limbo_list {
	struct limbo_item *item;
	size_t n, cap;
};

struct txn {
	uint64_t seq;
	uint64_t vj_end; /* closed: where its slots of the volatile journal end */
	struct disk_record *rec;
	unsigned n, cap;
	struct limbo_list frees;
};

struct txns {
	struct txn open, closing; /* closing: owned by whoever has commit_busy */
	unsigned reserved;	  /* records that may still be logged without asking */
	uint64_t durable_seq;
	bool commit_busy;
	bool ckpt_busy;
	uint64_t rounds_begun, rounds_done; /* commit rounds */
	struct limbo_list limbo;	    /* durable, but perhaps still being read */
	size_t limbo_head;		    /* items before it are gone */
	bool limbo_busy;
	uint64_t last_commit_ms, last_ckpt_ms;
};

/* Where a record comes from that is applied. */
enum apply_from {
	APPLY_LOG,     /* it is made now: what it frees is held until its transaction is durable */
	APPLY_JOURNAL, /* of the image: what it frees is free */
	APPLY_VJ, /* of the volatile journal: what it frees is held until a checkpoint is durable */
};

/* Thresholds (section 7). */
#define TXN_SOON_RECORDS 8192u	/* 256 KiB: commit when convenient */
#define TXN_FULL_RECORDS 16384u /* no more are reserved */

/*
 * Reserve @n records and space to remember @nfrees freed extents.  -EAGAIN with @need when the
 * transaction or the journal is full or too much is dirty.  im->lock held.
 */
MUST_CHECK errint_t txn_reserve(struct image *im, unsigned n, unsigned nfrees, struct need *need);
void txn_unreserve(struct image *im, unsigned n);

/*
 * Can a MAP of [@v, @v + @count), within one leaf, be logged now?  -EAGAIN with @need when the leaf
 * or a region of what it replaces is not in memory.  @make: whether a missing leaf is made.
 * im->lock held.
 */
MUST_CHECK errint_t txn_prepare(struct image *im, uint64_t v, unsigned count, bool make,
				struct node **leaf, struct need *need);

/* Log MAP @v -> @d, one reserved record.  txn_prepare() succeeded under the same hold of the lock.
 * An error is a fail-stop: memory was found inconsistent. */
MUST_CHECK errint_t txn_log_map(struct image *im, struct node *leaf, uint64_t v, struct desc d);

/* Log RANGE [@v, @v + @count) -> @d (HOLE or ZERO), within one leaf, one reserved record. */
MUST_CHECK errint_t txn_log_range(struct image *im, struct node *leaf, uint64_t v, unsigned count,
				  struct desc d);

/*
 * Log the @n records of a step of a deletion, or a single record about a snapshot, as one group
 * (J2): all in the open transaction.  Reserves room by itself; what they free is in memory.
 * -EAGAIN with @need; another error is a fail-stop, or came before anything changed.
 */
#define TXN_GROUP_MAX 320u
MUST_CHECK errint_t txn_log_group(struct image *im, const struct disk_record *rec, unsigned n,
				  struct need *need);

/* Does what a record from there frees stay held? */
bool txn_holds_freed(struct image *im, enum apply_from from);

/* Apply a MAP at replay: no record.  Returns -EBADMSG for what cannot be, or -ENOMEM. */
MUST_CHECK errint_t txn_replay_map(struct image *im, struct node *leaf, uint64_t v, struct desc d,
				   enum apply_from from);
/* Room to remember what the next record of the volatile journal frees. */
MUST_CHECK errint_t txn_replay_room(struct image *im);
/* A checkpoint of everything replayed is durable: what the volatile journal's records have freed
 * goes into limbo.  Lock held. */
MUST_CHECK errint_t txn_release_replayed(struct image *im);

/* Make everything logged or written before the call durable.  Lock not held; may block. */
MUST_CHECK errint_t txn_commit(struct image *im);

/* The steps of a commit round, for the checkpoint, which closes the transaction in its freeze. */
MUST_CHECK errint_t txn_close_open(struct image *im, uint64_t *pos);  /* lock held */
MUST_CHECK errint_t txn_write_closed(struct image *im, uint64_t pos); /* lock not held */

MUST_CHECK errint_t txn_open(struct image *im, uint64_t seq);
void txn_close(struct image *im);

#endif
