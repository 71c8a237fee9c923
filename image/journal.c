/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/checksum.h"
#include "image/core.h"

uint64_t journal_free(const struct image *im)
{
	return im->journal.length - (im->journal.head - im->journal.start);
}

uint64_t journal_default_length(uint64_t size)
{
	uint64_t len = size / 1024 & ~(uint64_t)(UNIT_SIZE - 1);

	return len < JOURNAL_MIN	   ? JOURNAL_MIN
	       : len > JOURNAL_DEFAULT_MAX ? JOURNAL_DEFAULT_MAX
					   : len;
}

errint_t journal_open(struct image *im)
{
	struct journal *j = &im->journal;

	j->offset = le64_get(im->super.journal_offset);
	j->length = le64_get(im->super.journal_length);
	j->start = j->head = le64_get(im->super.journal_pos);
	j->chain = le32_get(im->super.journal_chain);
	j->buf = store_buffer(TXN_MAX_BLOCKS * (size_t)UNIT_SIZE);
	return j->buf ? 0 : -ENOMEM;
}

void journal_close(struct image *im)
{
	free(im->journal.buf);
}

/* --- writing --------------------------------------------------------------------------------- */

static void encode(struct image *im, uint64_t seq, uint64_t sb_gen, const struct disk_record *rec,
		   unsigned n)
{
	struct disk_txn *t = im->journal.buf;
	unsigned blocks = txn_blocks(n);

	memset(t, 0, blocks * (size_t)UNIT_SIZE);
	t->magic = le32_make(JOURNAL_MAGIC);
	t->sequence = le64_make(seq);
	t->nblocks = le32_make(blocks);
	t->nrecords = le32_make(n);
	t->sb_gen = le64_make(sb_gen);
	t->prev_crc = le32_make(im->journal.chain);
	memcpy(t->rec, rec, n * sizeof(*rec));
	im->journal.chain = checksum_txn(im->uuid_seed, t, blocks);
	t->crc = le32_make(im->journal.chain);
}

/* One write, or two where the ring wraps. */
static errint_t ring_write(struct image *im, uint64_t pos, const void *buf, size_t len)
{
	struct journal *j = &im->journal;
	uint64_t at = pos % j->length;
	size_t first = len;
	errint_t err = 0;

	if (at + len > j->length)
		first = (size_t)(j->length - at);
	for (size_t done = 0; !err && done < len; done = first, first = len, at = 0) {
		const uint8_t *p = (const uint8_t *)buf + done;

		if (RULE_BROKEN(im, journal_no_dsync))
			err = store_write(im->st, p, first - done, j->offset + at);
		else
			err = store_write_dsync(im->st, p, first - done, j->offset + at);
	}
	return err;
}

errint_t journal_write(struct image *im, uint64_t pos, uint64_t seq, uint64_t sb_gen,
		       const struct disk_record *rec, unsigned n)
{
	size_t len = txn_blocks(n) * (size_t)UNIT_SIZE;

	assert(n && n <= TXN_MAX_RECORDS && len <= im->journal.length);
	encode(im, seq, sb_gen, rec, n);
	log_debug(LOG_JOURNAL, "transaction %llu: %u records at %llu", (unsigned long long)seq, n,
		  (unsigned long long)pos);
	return ring_write(im, pos, im->journal.buf, len);
}

errint_t journal_make(struct image *im, uint64_t length)
{
	unsigned units = (unsigned)(length >> UNIT_SHIFT);
	size_t chunk = length < (1u << 20) ? (size_t)length : 1u << 20;
	CLEANUP(free) void *zeros = store_buffer(chunk);
	struct need need = {0};
	uint64_t unit;
	errint_t err;

	if (!zeros)
		return -ENOMEM;
	do {
		pthread_mutex_lock(&im->lock);
		err = alloc_reserve_meta(im, units, &unit, &need);
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	if (err)
		return err;

	uint64_t off = unit << UNIT_SHIFT;
	for (uint64_t at = 0; !err && at < length; at += chunk) {
		size_t n = length - at < chunk ? (size_t)(length - at) : chunk;

		err = store_write(im->st, zeros, n, off + at);
	}
	if (!err)
		err = store_datasync(im->st);

	SCOPED_LOCK(&im->lock);
	for (unsigned i = 0; !err && i < units; i++)
		err = alloc_set(im, desc_node_make(unit + i, 0, 0));
	if (err)
		return err;
	im->journal.offset = off;
	im->journal.length = length;
	return 0;
}

/* --- reading --------------------------------------------------------------------------------- */

static errint_t ring_read(struct image *im, uint64_t pos, void *buf, size_t len)
{
	struct journal *j = &im->journal;
	uint64_t at = pos % j->length;
	size_t first = at + len > j->length ? (size_t)(j->length - at) : len;
	errint_t err = store_read(im->st, buf, first, j->offset + at);

	if (!err && first < len)
		err = store_read(im->st, (uint8_t *)buf + first, len - first, j->offset);
	return err;
}

errint_t journal_read(struct image *im, uint64_t pos, uint64_t max, size_t *len)
{
	struct disk_txn *t = im->journal.buf;

	*len = 0;
	if (max < UNIT_SIZE)
		return 0;
	errint_t err = ring_read(im, pos, t, UNIT_SIZE);
	if (err)
		return err;
	*len = UNIT_SIZE;
	uint32_t blocks = le32_get(t->nblocks);
	if (le32_get(t->magic) != JOURNAL_MAGIC || blocks < 2 || blocks > TXN_MAX_BLOCKS ||
	    blocks > max >> UNIT_SHIFT)
		return 0;
	err = ring_read(im, pos + UNIT_SIZE, (uint8_t *)t + UNIT_SIZE,
			(blocks - 1) * (size_t)UNIT_SIZE);
	*len = blocks * (size_t)UNIT_SIZE;
	return err;
}

bool journal_newer(struct image *im, size_t len, uint64_t seq)
{
	const struct disk_txn *t = im->journal.buf;
	struct limits lim;
	struct reason why;

	if (len < UNIT_SIZE || le32_get(t->magic) != JOURNAL_MAGIC || le64_get(t->sequence) <= seq)
		return false;
	image_limits(im, &lim);
	return validate_txn(t, len, le64_get(t->sequence), le32_get(t->prev_crc), &lim, &why) !=
	       -ENODATA;
}

errint_t journal_scan(struct image *im, uint64_t end, uint64_t seq, uint64_t *newer)
{
	struct journal *j = &im->journal;
	size_t chunk = 1u << 20;
	CLEANUP(free) uint8_t *buf = store_buffer(chunk);

	*newer = 0;
	if (!buf)
		return -ENOMEM;
	/* From the end of what was replayed, once around. */
	for (uint64_t pos = end; pos < j->start + j->length; pos += chunk) {
		uint64_t left = j->start + j->length - pos;
		size_t n = left < chunk ? (size_t)left : chunk;
		errint_t err = ring_read(im, pos, buf, n);

		for (size_t i = 0; !err && i < n; i += UNIT_SIZE) {
			const struct disk_txn *t = (const struct disk_txn *)(buf + i);
			size_t len;

			if (le32_get(t->magic) != JOURNAL_MAGIC || le64_get(t->sequence) <= seq)
				continue;
			err = journal_read(im, pos + i, j->length, &len);
			if (!err && journal_newer(im, len, seq)) {
				*newer = le64_get(j->buf->sequence);
				return 0;
			}
		}
		if (err)
			return err;
	}
	return 0;
}
