/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "image/checksum.h"

#include <assert.h>

#include "common/crc32c.h"

uint32_t checksum_uuid(const uint8_t uuid[16])
{
	return crc32c(0, uuid, 16);
}

uint32_t checksum_seed(uint32_t uuid_seed, enum seed_kind kind, unsigned level, uint64_t index)
{
	assert(level < 16 && index >> 56 == 0);
	le64 place = le64_make((uint64_t)kind << 60 | (uint64_t)level << 56 | index);
	return crc32c(uuid_seed, &place, sizeof(place));
}

uint32_t checksum_node(uint32_t uuid_seed, unsigned level, uint64_t index,
		       const struct disk_node *node)
{
	return crc32c(checksum_seed(uuid_seed, SEED_NODE, level, index), node, sizeof(*node));
}

uint32_t checksum_blob(uint32_t uuid_seed, uint64_t vcluster, const void *stored, size_t len)
{
	return crc32c(checksum_seed(uuid_seed, SEED_BLOB, 0, vcluster), stored, len);
}

uint32_t checksum_snaptab(uint32_t uuid_seed, const void *table, size_t len)
{
	assert(len % UNIT_SIZE == 0);
	return crc32c(checksum_seed(uuid_seed, SEED_SNAPTAB, 0, 0), table, len);
}

uint32_t checksum_alloc(uint32_t uuid_seed, enum alloc_level level, uint64_t index,
			const void *block)
{
	return crc32c(checksum_seed(uuid_seed, SEED_ALLOC, level, index), block, UNIT_SIZE);
}

uint32_t checksum_combine(const uint32_t crc[BITMAP_BLOCKS])
{
	le32 disk[BITMAP_BLOCKS];

	for (unsigned i = 0; i < BITMAP_BLOCKS; i++)
		disk[i] = le32_make(crc[i]);
	return crc32c(0, disk, sizeof(disk));
}

/* A block of @len bytes whose own CRC stands in the 4 bytes at @field. */
static uint32_t with_zero_field(uint32_t seed, const void *block, size_t len, size_t field)
{
	static const uint8_t zero[4];
	const uint8_t *bytes = block;
	uint32_t crc = crc32c(seed, bytes, field);

	crc = crc32c(crc, zero, sizeof(zero));
	return crc32c(crc, bytes + field + sizeof(zero), len - field - sizeof(zero));
}

uint32_t checksum_ident(const struct disk_ident *ident)
{
	return with_zero_field(0, ident, sizeof(*ident), offsetof(struct disk_ident, crc));
}

uint32_t checksum_super(uint32_t uuid_seed, const struct disk_super *sb)
{
	return with_zero_field(uuid_seed, sb, sizeof(*sb), offsetof(struct disk_super, crc));
}

uint32_t checksum_txn(uint32_t uuid_seed, const struct disk_txn *txn, unsigned nblocks)
{
	assert(nblocks >= 1 && nblocks <= TXN_MAX_BLOCKS);
	return with_zero_field(uuid_seed, txn, (size_t)nblocks * UNIT_SIZE,
			       offsetof(struct disk_txn, crc));
}

uint32_t checksum_desc(const struct disk_desc *d)
{
	return crc32c(0, d, sizeof(*d));
}
