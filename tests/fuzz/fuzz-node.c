/* SPDX-License-Identifier: MIT */
/*
 * A node.  Input: mode, level, index (8 bytes), clusters of the disk (8), the node.  Mode bits 1..2
 * choose the cluster size, bit 3 rules compressed extents out.
 */
#include "config.h"

#include <stdlib.h>

#include "common/cleanup.h"
#include "image/checksum.h"
#include "image/dump.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/blocks.h"

#define NO_ZSTD 8u

/* What code beyond the cache relies on, for every descriptor that got there. */
static void require_sound(const struct disk_node *node, const struct limits *lim)
{
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		struct desc d = desc_from_disk(&node->entry[i]);
		struct extent e = desc_extent(&lim->geo, d);
		if (!e.len)
			continue;
		fuzz_require(e.off >= REGION0_START, "an extent among the fixed blocks");
		fuzz_require(e.off + e.len <= lim->phys_regions * REGION_SIZE,
			     "an extent beyond the file");
		fuzz_require(e.off / REGION_SIZE == (e.off + e.len - 1) / REGION_SIZE,
			     "an extent in two regions");
		fuzz_require(d.birth <= lim->epoch, "a birth in the future");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t mode = fuzz_u8(&in);
	unsigned level = fuzz_u8(&in) % MAX_LEVELS;
	uint64_t index = fuzz_u64(&in) & ((1ull << NODE_SHIFT * (MAX_LEVELS - 1 - level)) - 1);
	uint64_t nclusters = fuzz_u64(&in);
	struct limits lim = blocks_limits(CLUSTER_SHIFT_MIN + (mode >> 1 & 3) % 3);
	CLEANUP(free) struct disk_node *node = fuzz_block(sizeof(*node));
	struct reason why = {""};

	lim.zstd = !(mode & NO_ZSTD);
	fuzz_take(&in, node, sizeof(*node));
	uint32_t crc = mode & FUZZ_FIX_CRC ? checksum_node(lim.uuid_seed, level, index, node) : 0;
	struct desc self = desc_node_make(REGION_UNITS - 1, BLOCKS_EPOCH, crc);
	errint_t err = validate_node(node, self, level, index, nclusters, &lim, &why);
	fuzz_verdict(err, &why, 0);
	if (!err)
		require_sound(node, &lim);
	dump_node(fuzz_null(), &lim.geo, level, index, node);
	return 0;
}
