/* SPDX-License-Identifier: MIT */
/*
 * Prints what docs/format.md states in figures, for test-docs.sh to compare:
 *
 *	print-format layout	STRUCT SIZE, then STRUCT MEMBER OFFSET SIZE, for every disk struct
 *	print-format constants	NAME VALUE
 *	print-format examples	the worked examples, line by line as they stand there
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "image/checksum.h"
#include "image/desc.h"
#include "image/image.h"
#include "image/pack.h"
#include "image/super.h"
#include "tests/lib/mem_store.h"

#define STRUCT(s) printf("%s %zu\n", #s, sizeof(struct s))
#define MEMBER(s, m)                                                                               \
	printf("%s %s %zu %zu\n", #s, #m, offsetof(struct s, m), sizeof(((struct s *)0)->m))

static void layout_super(void)
{
	STRUCT(disk_super);
	MEMBER(disk_super, magic);
	MEMBER(disk_super, crc);
	MEMBER(disk_super, flags);
	MEMBER(disk_super, uuid);
	MEMBER(disk_super, generation);
	MEMBER(disk_super, incompat);
	MEMBER(disk_super, ro_compat);
	MEMBER(disk_super, compat);
	MEMBER(disk_super, size);
	MEMBER(disk_super, sector_shift);
	MEMBER(disk_super, levels);
	MEMBER(disk_super, zero1);
	MEMBER(disk_super, epoch);
	MEMBER(disk_super, head_parent);
	MEMBER(disk_super, root);
	MEMBER(disk_super, snaptab);
	MEMBER(disk_super, nsnapshots);
	MEMBER(disk_super, next_snapshot);
	MEMBER(disk_super, journal_offset);
	MEMBER(disk_super, journal_length);
	MEMBER(disk_super, journal_pos);
	MEMBER(disk_super, journal_seq);
	MEMBER(disk_super, journal_chain);
	MEMBER(disk_super, zero2);
	MEMBER(disk_super, phys_regions);
	MEMBER(disk_super, used_units);
	MEMBER(disk_super, root_slots);
	MEMBER(disk_super, root_crc);
	MEMBER(disk_super, session);
	MEMBER(disk_super, zero3);
	MEMBER(disk_super, backing);
	MEMBER(disk_super, tlv);
	MEMBER(disk_super, zero4);
}

static void layout_head(void)
{
	STRUCT(disk_ident);
	MEMBER(disk_ident, magic);
	MEMBER(disk_ident, crc);
	MEMBER(disk_ident, major);
	MEMBER(disk_ident, uuid);
	MEMBER(disk_ident, unit_shift);
	MEMBER(disk_ident, cluster_shift);
	MEMBER(disk_ident, region_shift);
	MEMBER(disk_ident, zero1);
	MEMBER(disk_ident, super_offset);
	MEMBER(disk_ident, creator);
	MEMBER(disk_ident, zero2);

	STRUCT(disk_backing);
	MEMBER(disk_backing, kind);
	MEMBER(disk_backing, zero1);
	MEMBER(disk_backing, path_len);
	MEMBER(disk_backing, zero2);
	MEMBER(disk_backing, size);
	MEMBER(disk_backing, id);
	MEMBER(disk_backing, stamp);
	MEMBER(disk_backing, path);
	MEMBER(disk_backing, limit);
	MEMBER(disk_backing, zero3);

	STRUCT(disk_tlv);
	MEMBER(disk_tlv, type);
	MEMBER(disk_tlv, len);

	STRUCT(disk_tlv_compression);
	MEMBER(disk_tlv_compression, codec);
	MEMBER(disk_tlv_compression, level);
	MEMBER(disk_tlv_compression, zero);

	STRUCT(disk_point);
	MEMBER(disk_point, uuid);
	MEMBER(disk_point, size);
	MEMBER(disk_point, name_len);
	MEMBER(disk_point, zero);
	MEMBER(disk_point, name);

	STRUCT(disk_tlv_content);
	MEMBER(disk_tlv_content, generation);
	MEMBER(disk_tlv_content, at);

	STRUCT(disk_tlv_delta);
	MEMBER(disk_tlv_delta, image);
	MEMBER(disk_tlv_delta, base);
	MEMBER(disk_tlv_delta, target);
}

static void layout_map(void)
{
	STRUCT(disk_desc);
	MEMBER(disk_desc, w0);
	MEMBER(disk_desc, birth);
	MEMBER(disk_desc, aux);

	STRUCT(disk_node);
	MEMBER(disk_node, entry);

	STRUCT(disk_snapshot);
	MEMBER(disk_snapshot, id);
	MEMBER(disk_snapshot, parent);
	MEMBER(disk_snapshot, epoch);
	MEMBER(disk_snapshot, flags);
	MEMBER(disk_snapshot, cursor);
	MEMBER(disk_snapshot, size);
	MEMBER(disk_snapshot, levels);
	MEMBER(disk_snapshot, zero1);
	MEMBER(disk_snapshot, root);
	MEMBER(disk_snapshot, ctime_ns);
	MEMBER(disk_snapshot, uuid);
	MEMBER(disk_snapshot, name_len);
	MEMBER(disk_snapshot, zero2);
	MEMBER(disk_snapshot, name);
	MEMBER(disk_snapshot, backing_limit);
	MEMBER(disk_snapshot, zero3);
}

static void layout_vj(void)
{
	STRUCT(disk_vj);
	MEMBER(disk_vj, magic);
	MEMBER(disk_vj, crc);
	MEMBER(disk_vj, version);
	MEMBER(disk_vj, boot);
	MEMBER(disk_vj, uuid);
	MEMBER(disk_vj, session);
	MEMBER(disk_vj, dev);
	MEMBER(disk_vj, ino);
	MEMBER(disk_vj, device);
	MEMBER(disk_vj, shift);
	MEMBER(disk_vj, zero1);
	MEMBER(disk_vj, generation);
	MEMBER(disk_vj, poison);
	MEMBER(disk_vj, zero2);
	MEMBER(disk_vj, head);
	MEMBER(disk_vj, zero3);
	MEMBER(disk_vj, tail);
	MEMBER(disk_vj, zero4);

	STRUCT(disk_vj_slot);
	MEMBER(disk_vj_slot, index);
	MEMBER(disk_vj_slot, sequence);
	MEMBER(disk_vj_slot, crc);
	MEMBER(disk_vj_slot, zero1);
	MEMBER(disk_vj_slot, rec);
	MEMBER(disk_vj_slot, zero2);
}

static void layout_rest(void)
{
	STRUCT(disk_alloc_entry);
	MEMBER(disk_alloc_entry, crc);
	MEMBER(disk_alloc_entry, free_units);
	MEMBER(disk_alloc_entry, slots);
	MEMBER(disk_alloc_entry, in_use);
	MEMBER(disk_alloc_entry, class_);
	MEMBER(disk_alloc_entry, run_log2);
	MEMBER(disk_alloc_entry, dead_sectors);

	STRUCT(disk_alloc_block);
	MEMBER(disk_alloc_block, entry);

	STRUCT(disk_txn);
	MEMBER(disk_txn, magic);
	MEMBER(disk_txn, crc);
	MEMBER(disk_txn, sequence);
	MEMBER(disk_txn, nblocks);
	MEMBER(disk_txn, nrecords);
	MEMBER(disk_txn, sb_gen);
	MEMBER(disk_txn, prev_crc);
	MEMBER(disk_txn, zero);
	MEMBER(disk_txn, rec);

	STRUCT(disk_record);
	MEMBER(disk_record, type);
	MEMBER(disk_record, zero);
	MEMBER(disk_record, x16);
	MEMBER(disk_record, x32);
	MEMBER(disk_record, a);
	MEMBER(disk_record, b);
}

#define CONSTANT(name) printf("%s %llu\n", #name, (unsigned long long)(name))

static void constants(void)
{
	CONSTANT(SECTOR_SIZE);
	CONSTANT(UNIT_SIZE);
	CONSTANT(REGION_SIZE);
	CONSTANT(REGION_UNITS);
	CONSTANT(REGION_SECTORS);
	CONSTANT(REGION_HEADER_UNITS);
	CONSTANT(GROUP_REGIONS);
	CONSTANT(GROUP_TABLE_UNIT);
	CONSTANT(BITMAP_BLOCKS);
	CONSTANT(ALLOC_ENTRIES);
	CONSTANT(ALLOC_ROOT_BLOCKS);
	CONSTANT(MAX_GROUPS);
	CONSTANT(MAX_REGIONS);
	CONSTANT(CLUSTER_SHIFT_MIN);
	CONSTANT(CLUSTER_SHIFT_MAX);
	CONSTANT(SUBBLOCKS);
	CONSTANT(NODE_ENTRIES);
	CONSTANT(MAX_LEVELS);
	CONSTANT(BLOB_MAX_GRANULES);
	CONSTANT(SNAPTAB_MAX_UNITS);
	CONSTANT(MAX_SNAPSHOTS);
	CONSTANT(SNAP_NAME_MAX);
	CONSTANT(BACKING_PATH_MAX);
	CONSTANT(TLV_BYTES);
	CONSTANT(JOURNAL_LEAST);
	CONSTANT(VJ_VERSION);
	CONSTANT(VJ_SHIFT);
	CONSTANT(VJ_SHIFT_MIN);
	CONSTANT(VJ_SHIFT_MAX);
	CONSTANT(JOURNAL_MIN);
	CONSTANT(JOURNAL_DEFAULT_MAX);
	CONSTANT(JOURNAL_MAX);
	CONSTANT(TXN_MAX_BLOCKS);
	CONSTANT(TXN_FIRST_RECORDS);
	CONSTANT(TXN_BLOCK_RECORDS);
	CONSTANT(TXN_MAX_RECORDS);
	CONSTANT(RANGE_MAX);
}

/* --- examples -------------------------------------------------------------------------------- */

static const struct geometry geo = {16, 9};
static const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void put_bytes(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		printf("%02x%s", p[i], i + 1 == len ? "\n" : " ");
}

static void put_desc(const char *what, struct desc d)
{
	struct disk_desc disk = desc_to_disk(d);

	printf("%-16s", what);
	put_bytes(&disk, sizeof(disk));
}

static void example_descriptors(void)
{
	put_desc("HOLE", desc_hole());
	put_desc("ZERO", desc_zero_make(3));
	put_desc("RAW", desc_raw_make(0x8010, 1, 0x0003, 0x8000));
	put_desc("RAW, no storage", desc_raw_make(0, 1, 0, 0x00ff));
	put_desc("ZSTD", desc_zstd_make(0x400801, 700, 1, 0x11223344));
	put_desc("NODE", desc_node_make(0x201, 2, 0xaabbccdd));
	put_desc("SNAPTAB", desc_snaptab_make(0x8020, 3, 2, 0xaabbccdd));
}

static void example_checksums(void)
{
	uint32_t seed = checksum_uuid(uuid);
	struct disk_desc hole = desc_to_disk(desc_hole());
	uint32_t zero[BITMAP_BLOCKS] = {0};
	struct disk_node *node = calloc(1, sizeof(*node));

	if (!node)
		exit(1);
	printf("crc32c(uuid)                          %08x\n", seed);
	printf("S(1, 0, 5): node 5 of level 0         %08x\n",
	       checksum_seed(seed, SEED_NODE, 0, 5));
	printf("S(2, 0, 7): blob of vcluster 7        %08x\n",
	       checksum_seed(seed, SEED_BLOB, 0, 7));
	printf("S(3, 0, 0): snapshot table            %08x\n",
	       checksum_seed(seed, SEED_SNAPTAB, 0, 0));
	printf("S(4, 0, 10): block 2 of region 1      %08x\n",
	       checksum_seed(seed, SEED_ALLOC, ALLOC_BITMAP, 1 * BITMAP_BLOCKS + 2));
	printf("S(4, 1, 0): table of group 0          %08x\n",
	       checksum_seed(seed, SEED_ALLOC, ALLOC_GROUP, 0));
	printf("S(4, 2, 0): alloc root block 0        %08x\n",
	       checksum_seed(seed, SEED_ALLOC, ALLOC_ROOT, 0));
	printf("node 5 of level 0, all holes          %08x\n", checksum_node(seed, 0, 5, node));
	printf("eight block CRCs of 0, combined       %08x\n", checksum_combine(zero));
	printf("x32 of a MAP that replaces a HOLE     %08x\n", checksum_desc(&hole));
	free(node);
}

/* Three frames as a batch at the start of region 1's allocatable units. */
static void example_packing(void)
{
	struct pack_blob blob[3] = {{.len = 3700}, {.len = 100}, {.len = 9000}};
	const uint64_t start = REGION_SIZE + REGION_HEADER_UNITS * UNIT_SIZE;
	uint32_t len = pack_layout(&geo, blob, 3);

	for (unsigned i = 0; i < 3; i++) {
		uint64_t first, end;

		blob_owned_sectors((struct extent){start + blob[i].at, blob[i].stored}, &first,
				   &end);
		printf("frame of %4u bytes: at %4u, %4u stored, sectors %2u to %2u\n", blob[i].len,
		       blob[i].at, blob[i].stored, (unsigned)(first - start / SECTOR_SIZE),
		       (unsigned)(end - 1 - start / SECTOR_SIZE));
	}
	printf("batch: %u bytes, %u units\n", len, len / UNIT_SIZE);
}

/* One transaction: cluster 7, a hole, becomes RAW without data; it is the first of a journal. */
static void example_transaction(void)
{
	struct disk_txn *t = calloc(1, sizeof(*t));
	struct disk_desc hole = desc_to_disk(desc_hole());

	if (!t)
		exit(1);
	t->magic = le32_make(JOURNAL_MAGIC);
	t->sequence = le64_make(1001);
	t->nblocks = le32_make(txn_blocks(1));
	t->nrecords = le32_make(1);
	t->sb_gen = le64_make(2);
	t->rec[0] = (struct disk_record){.type = REC_MAP,
					 .x32 = le32_make(checksum_desc(&hole)),
					 .a = le64_make(7),
					 .b = desc_to_disk(desc_raw_make(0x8010, 1, 0, 0))};
	t->crc = le32_make(checksum_txn(checksum_uuid(uuid), t, 1));
	for (unsigned at = 0; at < 96; at += 16) {
		printf("%04x  ", at);
		put_bytes((const uint8_t *)t + at, 16);
	}
	free(t);
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* Every block of a new image that is not zeros, and what its own or its parent's CRC is. */
static void example_empty(void)
{
	struct image_params params = {.size = 1ull << 30,
				      .codec = CODEC_ZSTD,
				      .level = 3,
				      .creator = "example",
				      .uuid = uuid};
	struct store *st = mem_store_new(1ull << 30);
	uint8_t *block = store_buffer(UNIT_SIZE);
	uint64_t length;

	if (!block || image_create(st, &params) || store_length(st, &length))
		exit(1);
	for (uint64_t off = 0; off < length; off += UNIT_SIZE) {
		if (store_read(st, block, UNIT_SIZE, off))
			exit(1);
		if (all_zero(block, UNIT_SIZE))
			continue;
		size_t used = UNIT_SIZE;
		while (!block[used - 1])
			used--;
		printf("%06" PRIx64 "  last byte that is not 0 at %4zu:  ", off, used - 1);
		put_bytes(block, 16);
	}
	printf("length %" PRIu64 "\n", length);
	free(block);
	store_close(st);
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";

	if (!strcmp(what, "layout")) {
		layout_head();
		layout_super();
		layout_map();
		layout_rest();
		layout_vj();
	} else if (!strcmp(what, "constants")) {
		constants();
	} else if (!strcmp(what, "examples")) {
		example_descriptors();
		example_checksums();
		example_packing();
		example_transaction();
		example_empty();
	} else {
		fprintf(stderr, "print-format: layout, constants or examples?\n");
		return 2;
	}
	return 0;
}
