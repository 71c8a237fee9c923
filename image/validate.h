/* SPDX-License-Identifier: MIT */
/*
 * Everything that is known about the bytes of one block without reading another (docs/format.md
 * sections 2 to 6 and 13).  Pure functions from bytes to a verdict, no I/O, no allocation; they are
 * the fuzz targets.  Validation happens once, when bytes enter memory.
 *
 * Each returns 0, or -EBADMSG with the reason: the field, its offset in the block, what it holds
 * and what would be right ("levels at 73: 9 is not in 1..5").  Unknown features are -ENOTSUP.
 */
#ifndef IMAGE_VALIDATE_H
#define IMAGE_VALIDATE_H

#include "common/errint.h"
#include "image/desc.h"
#include "image/format.h"

struct reason {
	char text[256];
};

/* What is known of an image when one of its blocks is looked at. */
struct limits {
	struct geometry geo;
	uint32_t uuid_seed;    /* checksum_uuid() */
	uint64_t phys_regions; /* regions that exist: no unit or granule lies beyond */
	uint32_t epoch;	       /* no birth is above it */
	bool zstd;	       /* INCOMPAT_ZSTD_BLOBS */
	bool backing;	       /* INCOMPAT_BACKING */
	uint32_t head_parent;
	uint32_t next_snapshot; /* every snapshot's id is below it */
};

MUST_CHECK errint_t validate_ident(const struct disk_ident *ident, struct reason *why);

/* @ident is valid.  Checks magic, CRC, uuid, every field and reserved byte, the TLV list, the
 * backing reference, and the incompatible features (-ENOTSUP, named with the creator's version). */
MUST_CHECK errint_t validate_super(const struct disk_super *sb, const struct disk_ident *ident,
				   struct reason *why);

/* An entry of its list, TLV_CONTENT, TLV_DELTA or TLV_APPLYING, whose @len bytes of data are at
 * offset @at of the block; for validate_super(). */
MUST_CHECK errint_t validate_content(const struct disk_super *sb, uint32_t type,
				     const uint8_t *data, uint32_t len, size_t at,
				     struct reason *why);

/* Does alloc root block @i exist?  One without any group in use is neither written nor read. */
bool super_has_root_block(const struct disk_super *sb, unsigned i);

/*
 * One descriptor.  @level is the level of the node that holds it: 0 allows HOLE, ZERO, RAW, ZSTD;
 * others allow HOLE and NODE.  @max_birth is the birth of that node.
 */
MUST_CHECK errint_t validate_desc(struct desc d, const struct limits *lim, unsigned level,
				  uint32_t max_birth, struct reason *why);

/* A root (HOLE or NODE) or snapshot table (HOLE or SNAPTAB) descriptor of a superblock or snapshot
 * record. */
MUST_CHECK errint_t validate_root(struct desc d, const struct limits *lim, struct reason *why);
MUST_CHECK errint_t validate_snaptab_desc(struct desc d, const struct limits *lim,
					  uint32_t nsnapshots, struct reason *why);

/*
 * The node at position @index of @level, as named by @self (its descriptor in the parent): CRC and
 * all 256 entries.  Entries for clusters at or beyond @nclusters (the clusters of the disk) must be
 * HOLE.
 */
MUST_CHECK errint_t validate_node(const struct disk_node *node, struct desc self, unsigned level,
				  uint64_t index, uint64_t nclusters, const struct limits *lim,
				  struct reason *why);

/*
 * The whole snapshot table of @n records at @rec: each record (name, flags, reserved bytes, root),
 * unique ids, epochs and names, acyclic parents that exist, the head's among them, epochs falling
 * along parents, at most one nonzero cursor, and what has one has at most one child, counting the
 * head.  @crc is from its descriptor; @len the bytes it covers (whole units), and both @n and @len
 * are as validate_snaptab_desc() and validate_super() let them pass.
 */
MUST_CHECK errint_t validate_snapshots(const struct disk_snapshot *rec, uint32_t n, size_t len,
				       uint32_t crc, const struct limits *lim, struct reason *why);

/* The rule of section 4.2 for a name that a user gives: 0 or -EINVAL with the rule as the reason.
 */
MUST_CHECK errint_t validate_snapshot_name(const char *name, size_t len, struct reason *why);

/* One entry of a group table (@region) or of the alloc root (@region == UINT64_MAX). */
MUST_CHECK errint_t validate_alloc_entry(const struct disk_alloc_entry *e, uint64_t region,
					 struct reason *why);

/* A block of alloc entries: CRC, then each entry.  @index: group for ALLOC_GROUP, block for
 * ALLOC_ROOT. Entries for regions at or beyond lim->phys_regions must be all zero. */
MUST_CHECK errint_t validate_alloc_block(const struct disk_alloc_block *b, enum alloc_level level,
					 uint64_t index, uint32_t crc, const struct limits *lim,
					 struct reason *why);

/*
 * The bitmap of @region in the units of its class: @bits is 4 KiB (DATA, META) or 32 KiB (BLOB,
 * MIXED). Checks the combined CRC, that reserved units are marked (R2), and that free and dead
 * counts are those of @e.
 */
MUST_CHECK errint_t validate_bitmap(const uint8_t *bits, uint64_t region,
				    const struct disk_alloc_entry *e, const struct limits *lim,
				    struct reason *why);

/*
 * A journal transaction of @len bytes available at @txn, expected to carry @sequence and to follow
 * a transaction with CRC @prev_crc.  Returns -ENODATA (no reason) when it is simply not that
 * transaction: other magic, sequence, chain, an impossible length or a wrong CRC, which ends a
 * replay.  Returns -EBADMSG when it is intact but holds an impossible record (H7).
 */
MUST_CHECK errint_t validate_txn(const struct disk_txn *txn, size_t len, uint64_t sequence,
				 uint32_t prev_crc, const struct limits *lim, struct reason *why);

/*
 * One journal record by itself (types, reserved bytes, ranges, its descriptor).  Births of MAP and
 * RANGE may be one above lim->epoch: written after the freeze of a snapshot whose superblock was
 * lost.  Whether its clusters lie within the disk is the caller's to check.
 */
MUST_CHECK errint_t validate_record(const struct disk_record *r, const struct limits *lim,
				    struct reason *why);

/* Record @i of a transaction that validate_txn() accepted. */
const struct disk_record *txn_record(const struct disk_txn *txn, unsigned i);

/* Blocks that @nrecords records need. */
unsigned txn_blocks(unsigned nrecords);

#endif
