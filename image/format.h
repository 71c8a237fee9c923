/* SPDX-License-Identifier: MIT */
/*
 * The image format as it stands on disk: structs, constants and feature bits.  No logic.
 * docs/format.md is the normative text; section numbers below are its.
 */
#ifndef IMAGE_FORMAT_H
#define IMAGE_FORMAT_H

#include <stddef.h>

#include "common/endian_types.h"

#define FORMAT_MAJOR 1

/* Section 2: units, regions, groups. */
#define SECTOR_SHIFT	  9
#define SECTOR_SIZE	  512u
#define UNIT_SHIFT	  12
#define UNIT_SIZE	  4096u
#define UNIT_SECTORS	  8u
#define REGION_SHIFT	  27
#define REGION_SIZE	  (1ull << REGION_SHIFT)
#define REGION_UNITS	  32768u
#define REGION_SECTORS	  262144u
#define GROUP_REGIONS	  256u
#define CLUSTER_SHIFT_MIN 16
#define CLUSTER_SHIFT_MAX 18
#define SUBBLOCKS	  16u /* per cluster, whatever its size */

/* Section 3: fixed places, in bytes. */
#define IDENT_OFFSET	    0x0000000ull
#define SUPER_OFFSET	    0x0010000ull
#define SUPER_STRIDE	    0x0010000ull
#define SUPER_SLOTS	    4u
#define REGION0_BITMAP	    0x0050000ull
#define GROUP0_TABLE	    0x0060000ull
#define ALLOC_ROOT_OFFSET   0x0080000ull
#define ALLOC_ROOT_BLOCKS   64u
#define ZERO_WINDOW_OFFSET  0x0100000ull
#define ZERO_WINDOW_SIZE    0x0100000ull
#define REGION0_START	    0x0200000ull /* first allocatable byte of region 0 */
#define REGION_HEADER_UNITS 16u
#define GROUP_TABLE_UNIT    2u /* in regions r >= 256 with r % 256 == 0: units 2 and 3 */
#define BITMAP_BLOCKS	    8u /* of a region tracked by sectors; one when tracked by units */
#define ALLOC_ENTRIES	    256u

#define MAX_GROUPS  (ALLOC_ROOT_BLOCKS * ALLOC_ENTRIES)
#define MAX_REGIONS (MAX_GROUPS * GROUP_REGIONS) /* 512 TiB */

/* Section 4: the map. */
#define NODE_ENTRIES	  256u
#define NODE_SHIFT	  8
#define MAX_LEVELS	  5u
#define BLOB_MAX_GRANULES 1920u /* 15/16 of a cluster */
#define SNAPTAB_MAX_UNITS 256u
#define MAX_SNAPSHOTS	  4096u
#define SNAP_NAME_MAX	  127u

#define IDENT_MAGIC   0x01474d494b4c4255ull /* "UBLKIMG\x01" */
#define SUPER_MAGIC   0x010042534b4c4255ull /* "UBLKSB\x00\x01" */
#define JOURNAL_MAGIC 0x58544a55u	    /* "UJTX" */
#define VJ_MAGIC      0x01004a564b4c4255ull /* "UBLKVJ\x00\x01" */

/* Seed kinds (section 2): crc32c(uuid || le64(kind << 60 | level << 56 | index)). */
enum seed_kind { SEED_NODE = 1, SEED_BLOB = 2, SEED_SNAPTAB = 3, SEED_ALLOC = 4 };
/* "level" of an alloc block's seed. */
enum alloc_level { ALLOC_BITMAP = 0, ALLOC_GROUP = 1, ALLOC_ROOT = 2 };

/* Superblock flags. */
#define SUPER_CLEAN  (1u << 0)
#define SUPER_ERRORS (1u << 1)
#define SUPER_FLAGS  (SUPER_CLEAN | SUPER_ERRORS)

/* Feature bits. */
#define INCOMPAT_ZSTD_BLOBS  (1ull << 0)
#define INCOMPAT_BACKING     (1ull << 1)
#define INCOMPAT_FALLTHROUGH (1ull << 2) /* reserved */
#define INCOMPAT_SEALED_CSUM (1ull << 3) /* reserved */
#define INCOMPAT_DICT	     (1ull << 4) /* reserved */
#define INCOMPAT_EXT_DATA    (1ull << 5) /* reserved */
#define INCOMPAT_ENCRYPT     (1ull << 6) /* reserved */
#define INCOMPAT_KNOWN	     (INCOMPAT_ZSTD_BLOBS | INCOMPAT_BACKING)
#define ROCOMPAT_BRANCHES    (1ull << 0)
#define ROCOMPAT_KNOWN	     ROCOMPAT_BRANCHES

/* Section 4: 16-byte descriptor. */
struct disk_desc {
	le64 w0;
	le32 birth;
	le32 aux;
};
_Static_assert(sizeof(struct disk_desc) == 16, "descriptor");
_Static_assert(offsetof(struct disk_desc, birth) == 8, "desc.birth");
_Static_assert(offsetof(struct disk_desc, aux) == 12, "desc.aux");

enum desc_type {
	DESC_HOLE = 0,
	DESC_ZERO = 1,
	DESC_RAW = 2,
	DESC_ZSTD = 3,
	DESC_NODE = 4,
	DESC_SNAPTAB = 5,
};

struct disk_node {
	struct disk_desc entry[NODE_ENTRIES];
};
_Static_assert(sizeof(struct disk_node) == UNIT_SIZE, "a node is one unit");

/* Section 3.1. */
struct disk_ident {
	le64 magic;
	le32 crc; /* of the block with this field zero, seed 0 */
	le32 major;
	uint8_t uuid[16];
	uint8_t unit_shift;
	uint8_t cluster_shift;
	uint8_t region_shift;
	uint8_t zero1[5];
	le64 super_offset[SUPER_SLOTS];
	char creator[64];
	uint8_t zero2[3960];
};
_Static_assert(sizeof(struct disk_ident) == UNIT_SIZE, "ident is one unit");
_Static_assert(offsetof(struct disk_ident, crc) == 8, "ident.crc");
_Static_assert(offsetof(struct disk_ident, uuid) == 16, "ident.uuid");
_Static_assert(offsetof(struct disk_ident, unit_shift) == 32, "ident.unit_shift");
_Static_assert(offsetof(struct disk_ident, super_offset) == 40, "ident.super_offset");
_Static_assert(offsetof(struct disk_ident, creator) == 72, "ident.creator");
_Static_assert(offsetof(struct disk_ident, zero2) == 136, "ident.zero2");

/* Section 3.2: backing reference inside the superblock. */
#define BACKING_PATH_MAX 1024u
enum backing_kind { BACKING_NONE = 0, BACKING_RAW = 1, BACKING_QCOW2 = 2, BACKING_UBLK_IMG = 3 };

struct disk_backing {
	uint8_t kind;
	uint8_t zero1;
	le16 path_len;
	le32 zero2;
	le64 size;
	uint8_t id[16];
	le64 stamp; /* raw: mtime in ns; ublk-img: generation; 0: nothing to compare */
	char path[BACKING_PATH_MAX];
	le64 limit; /* bytes of it that the head shows */
	uint8_t zero3[464];
};
_Static_assert(sizeof(struct disk_backing) == 1536, "backing");
_Static_assert(offsetof(struct disk_backing, path_len) == 2, "backing.path_len");
_Static_assert(offsetof(struct disk_backing, size) == 8, "backing.size");
_Static_assert(offsetof(struct disk_backing, id) == 16, "backing.id");
_Static_assert(offsetof(struct disk_backing, stamp) == 32, "backing.stamp");
_Static_assert(offsetof(struct disk_backing, path) == 40, "backing.path");
_Static_assert(offsetof(struct disk_backing, limit) == 1064, "backing.limit");

#define TLV_BYTES	    2032u
#define TLV_MUST_UNDERSTAND 0x80000000u
#define TLV_COMPRESSION	    1u
#define TLV_CONTENT	    2u
#define TLV_DELTA	    (TLV_MUST_UNDERSTAND | 3u)
#define TLV_APPLYING	    (TLV_MUST_UNDERSTAND | 4u)
/* The backing is the snapshot of that image with this uuid. */
#define TLV_BACKING_SNAPSHOT (TLV_MUST_UNDERSTAND | 5u)
/* A commit into the backing has begun.  No data. */
#define TLV_COMMITTING (TLV_MUST_UNDERSTAND | 6u)

struct disk_tlv {
	le32 type;
	le32 len; /* of the data that follows, which is padded with zeros to 8 bytes */
};
_Static_assert(sizeof(struct disk_tlv) == 8, "tlv header");

/* TLV_COMPRESSION: how writes to this image are to be compressed. */
struct disk_tlv_compression {
	uint8_t codec; /* enum codec_id */
	int8_t level;
	uint8_t zero[6];
};
_Static_assert(sizeof(struct disk_tlv_compression) == 8, "tlv compression");

/* Section 3.3: a state that a disk once had. */
struct disk_point {
	uint8_t uuid[16];
	le64 size;
	le16 name_len;
	uint8_t zero[6];
	char name[128];
};
_Static_assert(sizeof(struct disk_point) == 160, "point");
_Static_assert(offsetof(struct disk_point, size) == 16, "point.size");
_Static_assert(offsetof(struct disk_point, name_len) == 24, "point.name_len");
_Static_assert(offsetof(struct disk_point, name) == 32, "point.name");

/* TLV_CONTENT: what the disk holds, if the superblock is of this generation. */
struct disk_tlv_content {
	le64 generation;
	struct disk_point at;
};
_Static_assert(sizeof(struct disk_tlv_content) == 168, "tlv content");

/* TLV_DELTA, TLV_APPLYING. */
struct disk_tlv_delta {
	uint8_t image[16];
	struct disk_point base;
	struct disk_point target;
};
_Static_assert(sizeof(struct disk_tlv_delta) == 336, "tlv delta");
_Static_assert(offsetof(struct disk_tlv_delta, target) == 176, "tlv delta.target");

struct disk_super {
	le64 magic;
	le32 crc; /* with this field zero, seed crc32c(0, uuid) */
	le32 flags;
	uint8_t uuid[16];
	le64 generation;
	le64 incompat;
	le64 ro_compat;
	le64 compat;
	le64 size; /* virtual, bytes */
	uint8_t sector_shift;
	uint8_t levels;
	uint8_t zero1[6];
	le32 epoch;
	le32 head_parent; /* snapshot id or 0 */
	struct disk_desc root;
	struct disk_desc snaptab;
	le32 nsnapshots;
	le32 next_snapshot;
	le64 journal_offset;
	le64 journal_length;
	le64 journal_pos;   /* start, byte counter; ring offset = pos % length */
	le64 journal_seq;   /* sequence of the transaction that would stand there */
	le32 journal_chain; /* CRC of the transaction before the start */
	le32 zero2;
	le64 phys_regions;
	le64 used_units;
	le64 root_slots; /* bit i: active slot of alloc root block i */
	le32 root_crc[ALLOC_ROOT_BLOCKS];
	uint8_t session[16];
	uint8_t zero3[48];
	struct disk_backing backing;
	uint8_t tlv[TLV_BYTES];
	uint8_t zero4[16];
};
_Static_assert(sizeof(struct disk_super) == UNIT_SIZE, "superblock is one unit");
_Static_assert(offsetof(struct disk_super, flags) == 12, "super.flags");
_Static_assert(offsetof(struct disk_super, uuid) == 16, "super.uuid");
_Static_assert(offsetof(struct disk_super, generation) == 32, "super.generation");
_Static_assert(offsetof(struct disk_super, incompat) == 40, "super.incompat");
_Static_assert(offsetof(struct disk_super, size) == 64, "super.size");
_Static_assert(offsetof(struct disk_super, sector_shift) == 72, "super.sector_shift");
_Static_assert(offsetof(struct disk_super, levels) == 73, "super.levels");
_Static_assert(offsetof(struct disk_super, epoch) == 80, "super.epoch");
_Static_assert(offsetof(struct disk_super, root) == 88, "super.root");
_Static_assert(offsetof(struct disk_super, snaptab) == 104, "super.snaptab");
_Static_assert(offsetof(struct disk_super, nsnapshots) == 120, "super.nsnapshots");
_Static_assert(offsetof(struct disk_super, journal_offset) == 128, "super.journal_offset");
_Static_assert(offsetof(struct disk_super, journal_pos) == 144, "super.journal_pos");
_Static_assert(offsetof(struct disk_super, journal_chain) == 160, "super.journal_chain");
_Static_assert(offsetof(struct disk_super, phys_regions) == 168, "super.phys_regions");
_Static_assert(offsetof(struct disk_super, used_units) == 176, "super.used_units");
_Static_assert(offsetof(struct disk_super, root_slots) == 184, "super.root_slots");
_Static_assert(offsetof(struct disk_super, root_crc) == 192, "super.root_crc");
_Static_assert(offsetof(struct disk_super, session) == 448, "super.session");
_Static_assert(offsetof(struct disk_super, backing) == 512, "super.backing");
_Static_assert(offsetof(struct disk_super, tlv) == 2048, "super.tlv");
_Static_assert(offsetof(struct disk_super, zero4) == 4080, "super.zero4");

/* Section 4.2. */
#define SNAP_ZOMBIE (1u << 0)
struct disk_snapshot {
	le32 id;
	le32 parent;
	le32 epoch;
	le32 flags;
	le64 cursor;
	le64 size;
	uint8_t levels;
	uint8_t zero1[7];
	struct disk_desc root;
	le64 ctime_ns;
	uint8_t uuid[16];
	le16 name_len;
	uint8_t zero2[14];
	char name[128];
	le64 backing_limit; /* bytes of the backing that it shows */
	uint8_t zero3[24];
};
_Static_assert(sizeof(struct disk_snapshot) == 256, "snapshot record");
_Static_assert(offsetof(struct disk_snapshot, cursor) == 16, "snapshot.cursor");
_Static_assert(offsetof(struct disk_snapshot, levels) == 32, "snapshot.levels");
_Static_assert(offsetof(struct disk_snapshot, root) == 40, "snapshot.root");
_Static_assert(offsetof(struct disk_snapshot, ctime_ns) == 56, "snapshot.ctime_ns");
_Static_assert(offsetof(struct disk_snapshot, uuid) == 64, "snapshot.uuid");
_Static_assert(offsetof(struct disk_snapshot, name_len) == 80, "snapshot.name_len");
_Static_assert(offsetof(struct disk_snapshot, name) == 96, "snapshot.name");
_Static_assert(offsetof(struct disk_snapshot, backing_limit) == 224, "snapshot.backing_limit");
_Static_assert(offsetof(struct disk_snapshot, zero3) == 232, "snapshot.zero3");

/* Section 5: one entry per group in the alloc root, per region in a group table. */
enum region_class {
	CLASS_NONE = 0,
	CLASS_DATA = 1,
	CLASS_BLOB = 2,
	CLASS_META = 3,
	CLASS_MIXED = 4,
};
struct disk_alloc_entry {
	le32 crc;
	le32 free_units;
	uint8_t slots;	  /* bit i: active slot of block i */
	uint8_t in_use;	  /* 0 never used, 1 in use */
	uint8_t class_;	  /* enum region_class; 0 in the alloc root */
	uint8_t run_log2; /* log2 of the longest free run, a hint */
	le32 dead_sectors;
};
_Static_assert(sizeof(struct disk_alloc_entry) == 16, "alloc entry");
_Static_assert(offsetof(struct disk_alloc_entry, slots) == 8, "alloc.slots");
_Static_assert(offsetof(struct disk_alloc_entry, dead_sectors) == 12, "alloc.dead_sectors");

struct disk_alloc_block {
	struct disk_alloc_entry entry[ALLOC_ENTRIES];
};
_Static_assert(sizeof(struct disk_alloc_block) == UNIT_SIZE, "alloc block is one unit");

/* Section 6. */
#define JOURNAL_LEAST	    (64ull << 10) /* that a reader accepts; tests make such */
#define JOURNAL_MIN	    (4ull << 20)  /* that is made */
#define JOURNAL_MAX	    (REGION_SIZE - REGION_HEADER_UNITS * UNIT_SIZE) /* in one region */
#define JOURNAL_DEFAULT_MAX (64ull << 20)
#define TXN_MAX_BLOCKS	    256u
#define TXN_FIRST_RECORDS   126u
#define TXN_BLOCK_RECORDS   128u
#define TXN_MAX_RECORDS	    (TXN_MAX_BLOCKS * TXN_BLOCK_RECORDS - 2)
#define RANGE_MAX	    4096u

enum record_type {
	REC_MAP = 1,
	REC_RANGE = 2,
	REC_FREE = 3,
	REC_CURSOR = 4,
	REC_ZOMBIE = 5,
	REC_DISSOLVE = 6,
};

struct disk_record {
	uint8_t type;
	uint8_t zero;
	le16 x16;
	le32 x32;
	le64 a;
	struct disk_desc b;
};
_Static_assert(sizeof(struct disk_record) == 32, "journal record");
_Static_assert(offsetof(struct disk_record, x32) == 4, "record.x32");
_Static_assert(offsetof(struct disk_record, a) == 8, "record.a");
_Static_assert(offsetof(struct disk_record, b) == 16, "record.b");

struct disk_txn {
	le32 magic;
	le32 crc; /* over all blocks with this field zero, seed crc32c(0, uuid) */
	le64 sequence;
	le32 nblocks;
	le32 nrecords;
	le64 sb_gen;
	le32 prev_crc;
	uint8_t zero[28];
	struct disk_record rec[TXN_FIRST_RECORDS]; /* continues in the following blocks */
};
_Static_assert(sizeof(struct disk_txn) == UNIT_SIZE, "first block of a transaction");
_Static_assert(offsetof(struct disk_txn, sequence) == 8, "txn.sequence");
_Static_assert(offsetof(struct disk_txn, nblocks) == 16, "txn.nblocks");
_Static_assert(offsetof(struct disk_txn, sb_gen) == 24, "txn.sb_gen");
_Static_assert(offsetof(struct disk_txn, prev_crc) == 32, "txn.prev_crc");
_Static_assert(offsetof(struct disk_txn, rec) == 64, "txn.rec");

/* Section 10: the volatile journal, a file of its own. */
#define VJ_VERSION   1u
#define VJ_SHIFT     16u /* slots, normally */
#define VJ_SHIFT_MIN 9u	 /* a group of records must fit */
#define VJ_SHIFT_MAX 24u
struct disk_vj {
	le64 magic;
	le32 crc; /* plain, of the bytes before generation, with this field zero */
	le32 version;
	uint8_t boot[16]; /* boot id of the kernel */
	uint8_t uuid[16]; /* of the image */
	uint8_t session[16];
	le64 dev; /* of the image file */
	le64 ino;
	le32 device; /* number of the block device that is served */
	le32 shift;  /* log2 of the number of slots */
	uint8_t zero1[40];
	/* Each of these changes by itself, by one store. */
	le64 generation; /* of the newest durable superblock */
	le32 poison;
	uint8_t zero2[52];
	le64 head; /* slots ever published */
	uint8_t zero3[56];
	le64 tail; /* slots ever retired */
	uint8_t zero4[3832];
};
_Static_assert(sizeof(struct disk_vj) == UNIT_SIZE, "header of the volatile journal");
_Static_assert(offsetof(struct disk_vj, boot) == 16, "vj.boot");
_Static_assert(offsetof(struct disk_vj, uuid) == 32, "vj.uuid");
_Static_assert(offsetof(struct disk_vj, session) == 48, "vj.session");
_Static_assert(offsetof(struct disk_vj, dev) == 64, "vj.dev");
_Static_assert(offsetof(struct disk_vj, device) == 80, "vj.device");
_Static_assert(offsetof(struct disk_vj, shift) == 84, "vj.shift");
_Static_assert(offsetof(struct disk_vj, generation) == 128, "vj.generation");
_Static_assert(offsetof(struct disk_vj, poison) == 136, "vj.poison");
_Static_assert(offsetof(struct disk_vj, head) == 192, "vj.head");
_Static_assert(offsetof(struct disk_vj, tail) == 256, "vj.tail");

struct disk_vj_slot {
	le64 index;    /* counted from the first slot ever published */
	le64 sequence; /* of the transaction that the record is part of */
	le32 crc;      /* plain, of index, sequence and record */
	le32 zero1;
	struct disk_record rec;
	le64 zero2;
};
_Static_assert(sizeof(struct disk_vj_slot) == 64, "slot of the volatile journal");
_Static_assert(offsetof(struct disk_vj_slot, sequence) == 8, "slot.sequence");
_Static_assert(offsetof(struct disk_vj_slot, crc) == 16, "slot.crc");
_Static_assert(offsetof(struct disk_vj_slot, rec) == 24, "slot.rec");

#endif
