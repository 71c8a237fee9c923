/* SPDX-License-Identifier: MIT */
/*
 * The journal: a ring of transactions in the file (docs/format.md section 6).  What a transaction
 * means is not known here; txn.c fills it, replay.c applies it.
 */
#ifndef IMAGE_JOURNAL_H
#define IMAGE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/format.h"

struct image;

/* Positions are bytes since the journal was made; position p stands at ring offset p % length. */
struct journal {
	uint64_t offset, length; /* bytes in the file; length 0: there is none */
	uint64_t start;		 /* nothing before this is needed any more; im->lock */
	uint64_t head;		 /* where the next transaction goes; im->lock */
	/* Only whoever commits (txns.commit_busy) touches these: */
	uint32_t chain;	      /* CRC of the last transaction written */
	struct disk_txn *buf; /* TXN_MAX_BLOCKS units */
};

/* Bytes of the ring that are free.  im->lock held. */
uint64_t journal_free(const struct image *im);

/*
 * Write a transaction of @n records with @seq at position @pos, durably on return.  Only one call
 * at a time; lock not held.
 */
MUST_CHECK errint_t journal_write(struct image *im, uint64_t pos, uint64_t seq, uint64_t sb_gen,
				  const struct disk_record *rec, unsigned n);

/* Reads the transaction at @pos into journal.buf, as far as its header tells and @max bytes allow;
 * *len is what was read.  Opening only. */
MUST_CHECK errint_t journal_read(struct image *im, uint64_t pos, uint64_t max, size_t *len);

/* Does journal.buf, of which @len bytes were read, begin with an intact transaction that is newer
 * than @seq, whatever it follows?  Opening only. */
bool journal_newer(struct image *im, size_t len, uint64_t seq);

/*
 * Look through the ring, except [journal.start, @end), for an intact transaction that is newer than
 * @seq: then the journal was cut short by damage.  *newer is its sequence, 0 when there is none.
 * Opening only.
 */
MUST_CHECK errint_t journal_scan(struct image *im, uint64_t end, uint64_t seq, uint64_t *newer);

/* Reserve and zero a journal of @length bytes, durably; the bits are set, the superblock does not
 * name it yet. */
MUST_CHECK errint_t journal_make(struct image *im, uint64_t length);

/* Length in bytes for a disk of @size bytes. */
uint64_t journal_default_length(uint64_t size);

MUST_CHECK errint_t journal_open(struct image *im);
void journal_close(struct image *im);

#endif
