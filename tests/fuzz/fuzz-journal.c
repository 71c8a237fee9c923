/* SPDX-License-Identifier: MIT */
/*
 * A journal transaction.  Input: mode, the transaction, as much of it as there is.  Mode bit 1: its
 * own sequence and chain are those expected; bit 2: whole units (else the last one may be cut).
 */
#include "config.h"

#include <stdlib.h>

#include "common/cleanup.h"
#include "image/checksum.h"
#include "image/dump.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/blocks.h"

#define OWN_PLACE   2u
#define WHOLE_UNITS 4u

static void require_sound(const struct disk_txn *txn, const struct limits *lim)
{
	uint32_t n = le32_get(txn->nrecords);

	fuzz_require(n >= 1 && txn_blocks(n) == le32_get(txn->nblocks), "counts");
	for (uint32_t i = 0; i < n; i++) {
		struct reason why;
		fuzz_require(!validate_record(txn_record(txn, i), lim, &why), "a record");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t mode = fuzz_u8(&in);
	size_t len = in.size;
	struct limits lim = blocks_limits(16);
	struct reason why = {""};

	if (mode & WHOLE_UNITS || len < UNIT_SIZE)
		len = (len + UNIT_SIZE - 1) / UNIT_SIZE * UNIT_SIZE;
	if (!len || len > (size_t)TXN_MAX_BLOCKS * UNIT_SIZE)
		return 0;
	CLEANUP(free) struct disk_txn *txn = fuzz_block(len);
	fuzz_take(&in, txn, len);
	if (mode & FUZZ_FIX_CRC && le32_get(txn->nblocks) <= len / UNIT_SIZE)
		blocks_seal_txn(txn);
	uint64_t sequence = mode & OWN_PLACE ? le64_get(txn->sequence) : BLOCKS_SEQUENCE;
	uint32_t prev = mode & OWN_PLACE ? le32_get(txn->prev_crc) : BLOCKS_PREV_CRC;
	errint_t err = validate_txn(txn, len, sequence, prev, &lim, &why);
	fuzz_verdict(err, &why, -ENODATA);
	if (!err) {
		require_sound(txn, &lim);
		dump_txn(fuzz_null(), &lim.geo, txn);
	}
	return 0;
}
