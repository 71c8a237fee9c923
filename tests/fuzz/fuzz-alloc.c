/* SPDX-License-Identifier: MIT */
/*
 * Alloc blocks and bitmaps.  Input: mode, index or region (8 bytes), then by mode bits 1..2:
 *	0 a group table, 1 an alloc root block: the block
 *	2, 3 a bitmap: its alloc entry (16), a byte that fills it, the bytes at its start
 * Mode bit 3: the counts of the entry are made right; bits 4..5 choose the cluster size.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "image/checksum.h"
#include "image/dump.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/blocks.h"

#define FIX_COUNTS 8u

static void look_at_block(struct fuzz_input *in, uint8_t mode, uint64_t index,
			  const struct limits *lim)
{
	enum alloc_level level = mode & 2 ? ALLOC_ROOT : ALLOC_GROUP;
	CLEANUP(free) struct disk_alloc_block *b = fuzz_block(sizeof(*b));
	struct reason why = {""};

	index %= level == ALLOC_ROOT ? ALLOC_ROOT_BLOCKS : MAX_GROUPS;
	fuzz_take(in, b, sizeof(*b));
	uint32_t crc = mode & FUZZ_FIX_CRC ? checksum_alloc(lim->uuid_seed, level, index, b) : 0;
	fuzz_verdict(validate_alloc_block(b, level, index, crc, lim, &why), &why, 0);
	for (unsigned i = 0; i < ALLOC_ENTRIES; i++)
		dump_alloc_entry(fuzz_null(), i, &b->entry[i]);
}

static void look_at_bitmap(struct fuzz_input *in, uint8_t mode, uint64_t region,
			   const struct limits *lim)
{
	CLEANUP(free) uint8_t *bits = fuzz_block(REGION_SECTORS / 8);
	struct disk_alloc_entry e;
	struct reason why = {""};

	fuzz_take(in, &e, sizeof(e));
	uint8_t fill = fuzz_u8(in);
	size_t given = in->size < REGION_SECTORS / 8 ? in->size : REGION_SECTORS / 8;
	memset(bits, fill, REGION_SECTORS / 8);
	fuzz_take(in, bits, given);
	region %= MAX_REGIONS;
	/* A bitmap is only looked at by way of a valid entry. */
	struct disk_alloc_entry as_given = e;
	if (e.class_ >= CLASS_DATA && e.class_ <= CLASS_MIXED)
		blocks_seal_bitmap(bits, region, lim, &e);
	if (!(mode & FIX_COUNTS)) {
		e.free_units = as_given.free_units;
		e.dead_sectors = as_given.dead_sectors;
	}
	if (!(mode & FUZZ_FIX_CRC))
		e.crc = as_given.crc;
	errint_t err = validate_alloc_entry(&e, region, &why);
	fuzz_verdict(err, &why, 0);
	dump_alloc_entry(fuzz_null(), region, &e);
	if (!err && e.in_use)
		fuzz_verdict(validate_bitmap(bits, region, &e, lim, &why), &why, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t mode = fuzz_u8(&in);
	uint64_t index = fuzz_u64(&in);
	struct limits lim = blocks_limits(CLUSTER_SHIFT_MIN + (mode >> 4 & 3) % 3);

	if (mode & 4)
		look_at_bitmap(&in, mode, index, &lim);
	else
		look_at_block(&in, mode, index, &lim);
	return 0;
}
