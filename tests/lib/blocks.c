/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/blocks.h"

#include <stdio.h>
#include <string.h>

#include "codecs/codec.h"
#include "common/bitmap.h"
#include "image/checksum.h"

const uint8_t blocks_uuid[16] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
				 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

/* Units in regions of their own, by use. */
#define DATA_UNIT (1 * REGION_UNITS + 64)
#define BLOB_BYTE (2 * (uint64_t)REGION_SIZE + 65536)
#define META_UNIT (3 * REGION_UNITS + 16)

struct limits blocks_limits(unsigned cluster_shift)
{
	return (struct limits){
		.geo = {.cluster_shift = (uint8_t)cluster_shift, .sector_shift = 9},
		.uuid_seed = checksum_uuid(blocks_uuid),
		.phys_regions = BLOCKS_REGIONS,
		.epoch = BLOCKS_EPOCH,
		.zstd = true,
		.backing = true,
		.next_snapshot = UINT32_MAX,
	};
}

void blocks_seal_ident(struct disk_ident *ident)
{
	ident->crc = le32_make(checksum_ident(ident));
}

void blocks_seal_super(struct disk_super *sb)
{
	sb->crc = le32_make(checksum_super(checksum_uuid(blocks_uuid), sb));
}

void blocks_seal_txn(struct disk_txn *txn)
{
	unsigned nblocks = le32_get(txn->nblocks);

	if (nblocks >= 1 && nblocks <= TXN_MAX_BLOCKS)
		txn->crc = le32_make(checksum_txn(checksum_uuid(blocks_uuid), txn, nblocks));
}

void blocks_ident(struct disk_ident *ident, unsigned cluster_shift)
{
	memset(ident, 0, sizeof(*ident));
	ident->magic = le64_make(IDENT_MAGIC);
	ident->major = le32_make(FORMAT_MAJOR);
	memcpy(ident->uuid, blocks_uuid, sizeof(ident->uuid));
	ident->unit_shift = UNIT_SHIFT;
	ident->cluster_shift = (uint8_t)cluster_shift;
	ident->region_shift = REGION_SHIFT;
	for (unsigned i = 0; i < SUPER_SLOTS; i++)
		ident->super_offset[i] = le64_make(SUPER_OFFSET + i * SUPER_STRIDE);
	memcpy(ident->creator, BLOCKS_CREATOR, sizeof(BLOCKS_CREATOR));
	blocks_seal_ident(ident);
}

void blocks_super_fresh(struct disk_super *sb)
{
	memset(sb, 0, sizeof(*sb));
	sb->magic = le64_make(SUPER_MAGIC);
	sb->flags = le32_make(SUPER_CLEAN);
	memcpy(sb->uuid, blocks_uuid, sizeof(sb->uuid));
	sb->generation = le64_make(1);
	sb->size = le64_make(10ull << 30);
	sb->sector_shift = 9;
	sb->levels = BLOCKS_LEVELS;
	sb->epoch = le32_make(1);
	sb->next_snapshot = le32_make(1);
	sb->journal_seq = le64_make(1);
	sb->phys_regions = le64_make(1);
	sb->used_units = le64_make(REGION0_START >> UNIT_SHIFT);
	sb->root_crc[0] = le32_make(0xabcd);
	blocks_seal_super(sb);
}

static void put_backing(struct disk_backing *b)
{
	static const char path[] = "../base/debian-12.raw";

	b->kind = BACKING_RAW;
	b->path_len = le16_make(sizeof(path) - 1);
	b->size = le64_make(4ull << 30);
	memset(b->id, 0x77, sizeof(b->id));
	b->stamp = le64_make(1700000000123456789ull);
	memcpy(b->path, path, sizeof(path) - 1);
}

/* An entry that this version does not know and need not, then the compression entry. */
static void put_tlv(uint8_t *tlv)
{
	struct disk_tlv head = {le32_make(0x123), le32_make(3)};

	memcpy(tlv, &head, sizeof(head));
	memcpy(tlv + sizeof(head), "abc", 3);
	tlv += sizeof(head) + 8;
	struct disk_tlv_compression c = {.codec = CODEC_ZSTD, .level = 3};
	head = (struct disk_tlv){le32_make(TLV_COMPRESSION), le32_make(sizeof(c))};
	memcpy(tlv, &head, sizeof(head));
	memcpy(tlv + sizeof(head), &c, sizeof(c));
}

void blocks_super(struct disk_super *sb)
{
	blocks_super_fresh(sb);
	sb->flags = le32_make(0);
	sb->generation = le64_make(77);
	sb->incompat = le64_make(INCOMPAT_ZSTD_BLOBS | INCOMPAT_BACKING);
	sb->ro_compat = le64_make(ROCOMPAT_BRANCHES);
	sb->epoch = le32_make(BLOCKS_EPOCH);
	sb->head_parent = le32_make(4);
	sb->root = desc_to_disk(desc_node_make(META_UNIT, BLOCKS_EPOCH, 0xdeadbeef));
	sb->snaptab = desc_to_disk(desc_snaptab_make(META_UNIT + 1, 2, BLOCKS_EPOCH, 0xfeedface));
	sb->nsnapshots = le32_make(20);
	sb->next_snapshot = le32_make(30);
	sb->journal_offset = le64_make(REGION0_START);
	sb->journal_length = le64_make(JOURNAL_MIN);
	sb->journal_pos = le64_make(5 * JOURNAL_MIN + UNIT_SIZE);
	sb->journal_seq = le64_make(BLOCKS_SEQUENCE);
	sb->journal_chain = le32_make(BLOCKS_PREV_CRC);
	sb->phys_regions = le64_make(BLOCKS_REGIONS);
	sb->used_units = le64_make(123456);
	sb->root_slots = le64_make(1);
	memset(sb->session, 0x55, sizeof(sb->session));
	put_backing(&sb->backing);
	put_tlv(sb->tlv);
	blocks_seal_super(sb);
}

void blocks_leaf(struct disk_node *node, const struct geometry *geo)
{
	unsigned cu = cluster_units(geo);
	uint64_t blob = BLOB_BYTE >> granule_shift(geo);

	memset(node, 0, sizeof(*node));
	for (unsigned i = 0; i < 200; i += 5) {
		uint64_t unit = DATA_UNIT + (uint64_t)i * cu;
		node->entry[i] = desc_to_disk(desc_raw_make(unit, 1 + i % 4, 0xffff, 0));
		node->entry[i + 1] = desc_to_disk(desc_raw_make(unit + cu, 3, 0x00f0, 0x0f00));
		/* A blob of a sector and a half, alternately at the start and the end of a sector.
		 */
		unsigned granules = 768u >> granule_shift(geo);
		node->entry[i + 2] = desc_to_disk(desc_zstd_make(blob, granules, 2, 0x1000 + i));
		blob += granules;
		uint64_t at = (blob << granule_shift(geo)) % UNIT_SIZE;
		if (at > UNIT_SIZE - SECTOR_SIZE)
			blob += (UNIT_SIZE - at) >> granule_shift(geo);
		node->entry[i + 3] = desc_to_disk(desc_zero_make(4));
		if (i % 2)
			node->entry[i + 4] = desc_to_disk(desc_raw_make(0, 4, 0, 0x8001));
	}
}

void blocks_inner(struct disk_node *node)
{
	memset(node, 0, sizeof(*node));
	for (unsigned i = 0; i < NODE_ENTRIES; i += 2)
		node->entry[i] =
			desc_to_disk(desc_node_make(META_UNIT + 10 + i, 1 + i % 5, i * 77));
}

size_t blocks_snapshots_len(uint32_t n)
{
	return (n * sizeof(struct disk_snapshot) + UNIT_SIZE - 1) / UNIT_SIZE * UNIT_SIZE;
}

/* Epochs are i + 1, so a table of n records needs limits with an epoch above n. */
void blocks_snapshots(struct disk_snapshot *rec, uint32_t n)
{
	memset((void *)rec, 0, blocks_snapshots_len(n));
	for (uint32_t i = 0; i < n; i++) {
		struct disk_snapshot *r = &rec[i];
		char name[sizeof(r->name)];
		int len = snprintf(name, sizeof(name), "nightly-\xc3\xa4-%u", i);

		r->id = le32_make(i + 10);
		r->parent = le32_make(i ? i + 9 : 0);
		r->epoch = le32_make(i + 1);
		r->size = le64_make(1ull << 30);
		r->levels = 3;
		r->root =
			desc_to_disk(i % 3 ? desc_node_make(META_UNIT + i, i + 1, i) : desc_hole());
		r->ctime_ns = le64_make(1700000000000000000ull + i);
		memset(r->uuid, (int)i, sizeof(r->uuid));
		r->name_len = le16_make((uint16_t)len);
		memcpy(r->name, name, (size_t)len);
	}
	/* The last record is a branch off the first one. */
	rec[n - 1].parent = rec[0].id;
	rec[1].flags = le32_make(SNAP_ZOMBIE);
	rec[1].cursor = le64_make(512);
}

static struct disk_alloc_entry entry(enum region_class class_, uint32_t free_units, uint8_t slots,
				     uint32_t dead)
{
	return (struct disk_alloc_entry){
		.crc = le32_make(0x01020304u * class_),
		.free_units = le32_make(free_units),
		.slots = slots,
		.in_use = 1,
		.class_ = (uint8_t)class_,
		.run_log2 = 7,
		.dead_sectors = le32_make(dead),
	};
}

void blocks_group(struct disk_alloc_block *b)
{
	memset(b, 0, sizeof(*b));
	b->entry[0] = entry(CLASS_MIXED, 1000, 0xa5, 999);
	b->entry[1] = entry(CLASS_DATA, 16 * 1000, 1, 0);
	b->entry[2] = entry(CLASS_BLOB, 20000, 0xff, 4000);
	b->entry[3] = entry(CLASS_META, 30000, 0, 0);
	b->entry[5] = entry(CLASS_MIXED, 7, 0x11, 12);
	b->entry[255] = entry(CLASS_DATA, 0, 0, 0);
}

void blocks_root(struct disk_alloc_block *b)
{
	memset(b, 0, sizeof(*b));
	for (unsigned i = 0; i < 2; i++)
		b->entry[i] = (struct disk_alloc_entry){.crc = le32_make(0x55aa + i),
							.free_units = le32_make(100000 * (i + 1)),
							.slots = (uint8_t)i,
							.in_use = 1};
}

static bool is_by_sectors(unsigned class_)
{
	return class_ == CLASS_BLOB || class_ == CLASS_MIXED;
}

void blocks_bitmap(uint8_t *bits, uint64_t region, enum region_class class_,
		   const struct limits *lim, struct disk_alloc_entry *e)
{
	unsigned cu = cluster_units(&lim->geo);
	unsigned reserved = region ? REGION_HEADER_UNITS : REGION0_START >> UNIT_SHIFT;

	memset(bits, 0, REGION_SECTORS / 8);
	*e = entry(class_, 0, 0, 0);
	if (is_by_sectors(class_)) {
		memset(bits, 0xff, reserved);
		bits_set(bits, (size_t)reserved * UNIT_SECTORS, 3);
		bits_set(bits, (size_t)reserved * UNIT_SECTORS + 20, 41);
		bits_set(bits, REGION_SECTORS - 1, 1);
	} else {
		if (class_ == CLASS_DATA && cu > reserved)
			reserved = cu;
		bits_set(bits, 0, reserved);
		bits_set(bits, REGION_UNITS / 2, cu);
		bits_set(bits, REGION_UNITS - cu, cu);
	}
	blocks_seal_bitmap(bits, region, lim, e);
}

/* The slow way round, so that it is not the way of the code under test. */
void blocks_seal_bitmap(const uint8_t *bits, uint64_t region, const struct limits *lim,
			struct disk_alloc_entry *e)
{
	bool sectors = is_by_sectors(e->class_);
	uint32_t crc[BITMAP_BLOCKS], free_units = 0, dead = 0;

	for (unsigned u = 0; u < REGION_UNITS; u++) {
		if (!sectors) {
			free_units += !bit_test(bits, u);
			continue;
		}
		unsigned owned = (unsigned)__builtin_popcount(bits[u]);
		free_units += !owned;
		dead += owned ? UNIT_SECTORS - owned : 0;
	}
	for (unsigned i = 0; i < (sectors ? BITMAP_BLOCKS : 1); i++)
		crc[i] = checksum_alloc(lim->uuid_seed, ALLOC_BITMAP, region * BITMAP_BLOCKS + i,
					bits + i * UNIT_SIZE);
	e->crc = le32_make(sectors ? checksum_combine(crc) : crc[0]);
	e->free_units = le32_make(free_units);
	e->dead_sectors = le32_make(dead);
}

static struct disk_record record(unsigned i)
{
	struct disk_record r = {.x32 = le32_make(1 + i), .a = le64_make(5000 + i)};

	switch (i % 7) {
	case 0:
		r.type = REC_MAP;
		r.b = desc_to_disk(desc_raw_make(DATA_UNIT, BLOCKS_EPOCH, 0x00ff, 0xff00));
		break;
	case 1:
		r.type = REC_RANGE;
		r.x32 = le32_make(RANGE_MAX);
		r.b = desc_to_disk(desc_zero_make(BLOCKS_EPOCH));
		break;
	case 2:
		r.type = REC_FREE;
		r.b = desc_to_disk(desc_node_make(META_UNIT, 3, 0x4711));
		r.a = le64_make(1ull << 56 | 200);
		break;
	case 3:
		r.type = REC_CURSOR;
		break;
	case 4:
		r.type = REC_ZOMBIE;
		r.a = le64_make(0);
		break;
	case 5:
		r.type = REC_DISSOLVE;
		r.a = le64_make(0);
		break;
	case 6:
		r.type = REC_FREE;
		r.b = desc_to_disk(desc_raw_make(DATA_UNIT, 2, 0xffff, 0));
		break;
	}
	return r;
}

void blocks_txn(struct disk_txn *txn, unsigned nrecords)
{
	unsigned nblocks = txn_blocks(nrecords);
	uint8_t *bytes = (uint8_t *)txn;

	memset(bytes, 0, (size_t)nblocks * UNIT_SIZE);
	txn->magic = le32_make(JOURNAL_MAGIC);
	txn->sequence = le64_make(BLOCKS_SEQUENCE);
	txn->nblocks = le32_make(nblocks);
	txn->nrecords = le32_make(nrecords);
	txn->sb_gen = le64_make(77);
	txn->prev_crc = le32_make(BLOCKS_PREV_CRC);
	for (unsigned i = 0; i < nrecords; i++) {
		struct disk_record r = record(i);
		memcpy(bytes + offsetof(struct disk_txn, rec) + i * sizeof(r), &r, sizeof(r));
	}
	blocks_seal_txn(txn);
}
