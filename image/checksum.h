/* SPDX-License-Identifier: MIT */
/*
 * The checksums of the format (docs/format.md section 2): CRC-32C, seeded so that an intact block
 * in the wrong image or the wrong place fails.  Pure functions, any thread.
 */
#ifndef IMAGE_CHECKSUM_H
#define IMAGE_CHECKSUM_H

#include "image/format.h"

/* crc32c(0, uuid): the seed of superblocks and transactions. */
uint32_t checksum_uuid(const uint8_t uuid[16]);

/* S(kind, level, index), from checksum_uuid(). */
uint32_t checksum_seed(uint32_t uuid_seed, enum seed_kind kind, unsigned level, uint64_t index);

/* Blocks whose CRC stands in their parent. */
uint32_t checksum_node(uint32_t uuid_seed, unsigned level, uint64_t index,
		       const struct disk_node *node);
uint32_t checksum_blob(uint32_t uuid_seed, uint64_t vcluster, const void *stored, size_t len);
uint32_t checksum_snaptab(uint32_t uuid_seed, const void *table, size_t len);
uint32_t checksum_alloc(uint32_t uuid_seed, enum alloc_level level, uint64_t index,
			const void *block);

/* Of a region tracked by sectors: over the 8 CRCs of its active bitmap blocks, little-endian
 * (section 5). */
uint32_t checksum_combine(const uint32_t crc[BITMAP_BLOCKS]);

/* Blocks that carry their own CRC: computed as if the crc field were zero; nothing is changed. */
uint32_t checksum_ident(const struct disk_ident *ident);
uint32_t checksum_super(uint32_t uuid_seed, const struct disk_super *sb);
/* @txn points to @nblocks contiguous blocks. */
uint32_t checksum_txn(uint32_t uuid_seed, const struct disk_txn *txn, unsigned nblocks);

/* x32 of a MAP record: of the 16 bytes of the descriptor that it replaces. */
uint32_t checksum_desc(const struct disk_desc *d);

#endif
