/* SPDX-License-Identifier: MIT */
/*
 * A snapshot table, and names.  Input: mode, number of records - 1 (2 bytes, below 64 unless mode
 * bit 1 is set), epoch (8), the records.  Mode bit 2: the rest of the input is a name that a user
 * gave; bit 3: the image has no backing.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "image/checksum.h"
#include "image/dump.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/blocks.h"

#define MANY	   2u
#define NAME	   4u
#define NO_BACKING 8u

static void look_at_name(struct fuzz_input *in)
{
	struct reason why = {""};
	errint_t err = validate_snapshot_name((const char *)in->data, in->size, &why);

	fuzz_require(!err || err == -EINVAL, "the verdict on a name");
	fuzz_require(!err == !why.text[0], "a reason without refusal or the reverse");
	if (!err)
		fuzz_require(!memchr(in->data, '/', in->size) && !memchr(in->data, 0, in->size),
			     "a name that cannot be a file's");
}

/* Following parents ends (H2). */
static void require_acyclic(const struct disk_snapshot *rec, uint32_t n)
{
	for (uint32_t i = 0; i < n && i < 64; i++) {
		uint32_t id = le32_get(rec[i].parent), steps = 0;
		while (id) {
			uint32_t j = 0;
			while (j < n && le32_get(rec[j].id) != id)
				j++;
			fuzz_require(j < n, "a parent that does not exist");
			fuzz_require(steps++ < n, "a cycle of parents");
			id = le32_get(rec[j].parent);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t mode = fuzz_u8(&in);
	struct limits lim = blocks_limits(16);
	struct reason why = {""};
	le16 count;

	if (mode & NAME) {
		look_at_name(&in);
		return 0;
	}
	fuzz_take(&in, &count, sizeof(count));
	uint32_t n = 1 + le16_get(count) % (mode & MANY ? MAX_SNAPSHOTS : 64);
	lim.epoch = (uint32_t)fuzz_u64(&in);
	lim.backing = !(mode & NO_BACKING);
	if (!lim.epoch) /* a valid superblock's is not 0 */
		lim.epoch = 1;
	size_t len = blocks_snapshots_len(n);
	CLEANUP(free) struct disk_snapshot *rec = fuzz_block(len);
	fuzz_take(&in, rec, len);
	uint32_t crc = mode & FUZZ_FIX_CRC ? checksum_snaptab(lim.uuid_seed, rec, len) : 0;
	errint_t err = validate_snapshots(rec, n, len, crc, &lim, &why);
	fuzz_verdict(err, &why, 0);
	if (!err)
		require_acyclic(rec, n);
	for (uint32_t i = 0; i < n && i < 64; i++)
		dump_snapshot(fuzz_null(), &rec[i]);
	return 0;
}
