/* SPDX-License-Identifier: MIT */
/*
 * Valid blocks of every type, for tests that then break them, and the making of their checksums.
 * All belong to one imaginary image.
 */
#ifndef TESTS_LIB_BLOCKS_H
#define TESTS_LIB_BLOCKS_H

#include "image/validate.h"

#define BLOCKS_REGIONS 300u /* more than a group */
#define BLOCKS_EPOCH   9u
#define BLOCKS_LEVELS  3u
#define BLOCKS_CREATOR "ublk-img 0.1.0"

extern const uint8_t blocks_uuid[16];

/* With compressed extents and backing allowed. */
struct limits blocks_limits(unsigned cluster_shift);

/* The crc field made right for what the block holds. */
void blocks_seal_ident(struct disk_ident *ident);
void blocks_seal_super(struct disk_super *sb);
void blocks_seal_txn(struct disk_txn *txn);

void blocks_ident(struct disk_ident *ident, unsigned cluster_shift);

/* An image with everything: snapshots, a journal, a backing image, compression. */
void blocks_super(struct disk_super *sb);
/* As `create` leaves one: no journal, no snapshots, one region. */
void blocks_super_fresh(struct disk_super *sb);

/* A leaf with every type of descriptor, and an inner node; both belong to a tree of
 * BLOCKS_LEVELS levels and all 256 positions are within the disk. */
void blocks_leaf(struct disk_node *node, const struct geometry *geo);
void blocks_inner(struct disk_node *node);

/*
 * A table of @n >= 4 records: a chain of parents, one branch, one zombie in deletion (record 1),
 * with room for whole units.
 */
size_t blocks_snapshots_len(uint32_t n);
void blocks_snapshots(struct disk_snapshot *rec, uint32_t n);

/* The group table of group 0, with one region of each class and free ones, and an alloc root block
 * 0 for the two groups of BLOCKS_REGIONS. */
void blocks_group(struct disk_alloc_block *b);
void blocks_root(struct disk_alloc_block *b);

/* The bitmap of a region of @class_ with something in it, and the entry that says so.  @bits: 32
 * KiB. */
void blocks_bitmap(uint8_t *bits, uint64_t region, enum region_class class_,
		   const struct limits *lim, struct disk_alloc_entry *e);
/* The entry's crc, and counts, from the bits. */
void blocks_seal_bitmap(const uint8_t *bits, uint64_t region, const struct limits *lim,
			struct disk_alloc_entry *e);

/* A transaction of @nrecords records of all types in turn, in txn_blocks(@nrecords) blocks. */
#define BLOCKS_SEQUENCE 1000u
#define BLOCKS_PREV_CRC 0x12345678u
void blocks_txn(struct disk_txn *txn, unsigned nrecords);

#endif
