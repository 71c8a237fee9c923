/* SPDX-License-Identifier: MIT */
/* Journal transactions and their records (section 6). */
#include "config.h"

#include "image/validate.h"

#include <inttypes.h>
#include <string.h>

#include "common/checked.h"
#include "image/checksum.h"
#include "image/reason.h"

#define REC(member)    FIELD(struct disk_record, member)
#define MAX_CLUSTERS   (1ull << NODE_SHIFT * MAX_LEVELS)
#define POSITION_BITS  56
#define POSITION_LEVEL 15 /* byte of the record that holds the level */

static errint_t check_snapshot_id(const struct disk_record *r, struct reason *why)
{
	return reason_range(why, REC(x32), le32_get(r->x32), 1, UINT32_MAX);
}

/* Records without a descriptor. */
static errint_t check_no_desc(const struct disk_record *r, struct reason *why)
{
	return reason_zeros(why, REC(b), &r->b, sizeof(r->b));
}

/* A descriptor of a leaf.  A snapshot whose superblock was lost has raised the epoch by one for
 * what was written after its freeze (section 6, apply). */
static errint_t check_leaf_desc(const struct disk_record *r, const struct limits *lim,
				struct reason *why)
{
	uint32_t birth = lim->epoch < UINT32_MAX ? lim->epoch + 1 : UINT32_MAX;
	errint_t err = validate_desc(desc_from_disk(&r->b), lim, 0, birth, why);

	return reason_where(why, err, "b at %zu, ", offsetof(struct disk_record, b));
}

static errint_t check_map(const struct disk_record *r, const struct limits *lim, struct reason *why)
{
	errint_t err = reason_range(why, REC(a), le64_get(r->a), 0, MAX_CLUSTERS - 1);

	return err ? err : check_leaf_desc(r, lim, why);
}

static errint_t check_range(const struct disk_record *r, const struct limits *lim,
			    struct reason *why)
{
	uint64_t first = le64_get(r->a), end;
	unsigned type = desc_type(desc_from_disk(&r->b));
	errint_t err = reason_range(why, REC(x32), le32_get(r->x32), 1, RANGE_MAX);

	if (err)
		return err;
	if (!checked_add(first, le32_get(r->x32), &end) || end > MAX_CLUSTERS)
		return reason_bad(why,
				  "a at %zu: %" PRIu32 " clusters from %" PRIu64
				  " on go beyond the last possible one",
				  offsetof(struct disk_record, a), le32_get(r->x32), first);
	if (type != DESC_HOLE && type != DESC_ZERO)
		return reason_bad(why, "b at %zu, type at 7: %u is neither 0 hole nor 1 zero",
				  offsetof(struct disk_record, b), type);
	return check_leaf_desc(r, lim, why);
}

static errint_t check_free(const struct disk_record *r, const struct limits *lim,
			   struct reason *why)
{
	struct desc d = desc_from_disk(&r->b);
	unsigned level = (unsigned)(le64_get(r->a) >> POSITION_BITS);
	uint64_t index = le64_get(r->a) & ((1ull << POSITION_BITS) - 1);
	bool node = desc_type(d) == DESC_NODE;
	errint_t err = check_snapshot_id(r, why);

	if (err)
		return err;
	if ((err = reason_range(why, "level in a", POSITION_LEVEL, level, 0,
				node ? MAX_LEVELS - 1 : 0)))
		return err;
	/* Nodes of level 0 cover 256 positions of data. */
	unsigned above = node ? MAX_LEVELS - 1 - level : MAX_LEVELS;
	if ((err = reason_range(why, "index in a", offsetof(struct disk_record, a), index, 0,
				(1ull << NODE_SHIFT * above) - 1)))
		return err;
	err = validate_desc(d, lim, node, lim->epoch, why);
	if (!err && !desc_extent(&lim->geo, d).len)
		err = reason_bad(why, "type at 7: %u without storage, nothing to free",
				 (unsigned)desc_type(d));
	return reason_where(why, err, "b at %zu, ", offsetof(struct disk_record, b));
}

static errint_t check_cursor(const struct disk_record *r, struct reason *why)
{
	errint_t err;

	if ((err = check_snapshot_id(r, why)) ||
	    (err = reason_range(why, REC(a), le64_get(r->a), 1, MAX_CLUSTERS)))
		return err;
	return check_no_desc(r, why);
}

/* ZOMBIE and DISSOLVE hold nothing but the id. */
static errint_t check_id_only(const struct disk_record *r, struct reason *why)
{
	errint_t err;

	if ((err = check_snapshot_id(r, why)) ||
	    (err = reason_expect(why, REC(a), le64_get(r->a), 0)))
		return err;
	return check_no_desc(r, why);
}

errint_t validate_record(const struct disk_record *r, const struct limits *lim, struct reason *why)
{
	errint_t err;

	if ((err = reason_range(why, REC(type), r->type, REC_MAP, REC_DISSOLVE)) ||
	    (err = reason_expect(why, "reserved byte", offsetof(struct disk_record, zero), r->zero,
				 0)) ||
	    (err = reason_expect(why, REC(x16), le16_get(r->x16), 0)))
		return err;
	switch ((enum record_type)r->type) {
	case REC_MAP:
		return check_map(r, lim, why);
	case REC_RANGE:
		return check_range(r, lim, why);
	case REC_FREE:
		return check_free(r, lim, why);
	case REC_CURSOR:
		return check_cursor(r, why);
	case REC_ZOMBIE:
	case REC_DISSOLVE:
		break;
	}
	return check_id_only(r, why);
}

unsigned txn_blocks(unsigned nrecords)
{
	assert(nrecords <= TXN_MAX_RECORDS);
	if (nrecords <= TXN_FIRST_RECORDS)
		return 1;
	return 1 + (nrecords - TXN_FIRST_RECORDS + TXN_BLOCK_RECORDS - 1) / TXN_BLOCK_RECORDS;
}

/* The records follow each other without regard to blocks: 64 bytes, then 32 each. */
const struct disk_record *txn_record(const struct disk_txn *txn, unsigned i)
{
	const void *first = txn->rec;

	assert(i < TXN_MAX_RECORDS);
	return (const struct disk_record *)first + i;
}

/* Whether an intact transaction with this place in the chain stands here. */
static bool is_expected(const struct disk_txn *txn, size_t len, uint64_t sequence,
			uint32_t prev_crc, const struct limits *lim)
{
	uint32_t nblocks;

	if (len < UNIT_SIZE || le32_get(txn->magic) != JOURNAL_MAGIC)
		return false;
	nblocks = le32_get(txn->nblocks);
	if (nblocks < 1 || nblocks > TXN_MAX_BLOCKS || nblocks > len / UNIT_SIZE)
		return false;
	return le64_get(txn->sequence) == sequence && le32_get(txn->prev_crc) == prev_crc &&
	       le32_get(txn->crc) == checksum_txn(lim->uuid_seed, txn, nblocks);
}

errint_t validate_txn(const struct disk_txn *txn, size_t len, uint64_t sequence, uint32_t prev_crc,
		      const struct limits *lim, struct reason *why)
{
	uint32_t n, nblocks;
	errint_t err;

	if (!is_expected(txn, len, sequence, prev_crc, lim))
		return -ENODATA;
	n = le32_get(txn->nrecords);
	nblocks = le32_get(txn->nblocks);
	if ((err = reason_range(why, FIELD(struct disk_txn, nrecords), n, 1,
				(uint64_t)nblocks * TXN_BLOCK_RECORDS - 2)) ||
	    (err = reason_expect(why, FIELD(struct disk_txn, nblocks), nblocks, txn_blocks(n))) ||
	    (err = reason_zeros(why, "reserved bytes", offsetof(struct disk_txn, zero), txn->zero,
				sizeof(txn->zero))))
		return err;
	size_t used = offsetof(struct disk_txn, rec) + n * sizeof(struct disk_record);
	for (uint32_t i = 0; i < n; i++) {
		err = validate_record(txn_record(txn, i), lim, why);
		if (err)
			return reason_where(why, err, "record %" PRIu32 " at %zu, ", i,
					    offsetof(struct disk_txn, rec) +
						    i * sizeof(struct disk_record));
	}
	return reason_zeros(why, "bytes after the last record", used, (const uint8_t *)txn + used,
			    (size_t)nblocks * UNIT_SIZE - used);
}
