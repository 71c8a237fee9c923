/* SPDX-License-Identifier: MIT */
/*
 * Bottom-up, because a parent holds the checksum of its child.  Everything here works on blocks
 * that no validator has seen: numbers are bounded before they are used.
 */
#include "config.h"

#include "tests/fuzz/fixup.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "image/checksum.h"
#include "tests/fuzz/sparse.h"
#include "tests/lib/blocks.h"

#define MAX_NODES 1024u
#define MAX_TXNS  64u

struct fixup {
	struct store *st;
	struct limits lim;
	bool counts;
	unsigned nodes; /* visited */
	uint8_t *buf;	/* for what is larger than a unit */
};

#define BUF_SIZE ((size_t)TXN_MAX_BLOCKS * UNIT_SIZE)

static const uint8_t zeros[UNIT_SIZE];

/* The unit to look at: zeros for a hole. */
static const void *unit_bytes(struct fixup *f, uint64_t unit)
{
	const uint8_t *bytes = sparse_unit(f->st, unit);

	return bytes ? bytes : zeros;
}

static void fix_blob(struct fixup *f, struct disk_desc *entry, uint64_t vcluster)
{
	struct extent e = desc_extent(&f->lim.geo, desc_from_disk(entry));
	uint64_t start = e.off & ~(uint64_t)(SECTOR_SIZE - 1);
	size_t len = (size_t)(e.off + e.len - start + SECTOR_SIZE - 1) & ~(size_t)(SECTOR_SIZE - 1);

	if (!e.len || len > BUF_SIZE || store_read(f->st, f->buf, len, start))
		return;
	entry->aux = le32_make(
		checksum_blob(f->lim.uuid_seed, vcluster, f->buf + (e.off - start), (size_t)e.len));
}

/* The node that @entry names, and what is below it. */
static void fix_tree(struct fixup *f, struct disk_desc *entry, unsigned level, uint64_t index)
{
	struct desc d = desc_from_disk(entry);
	uint8_t *bytes;

	if (desc_type(d) != DESC_NODE || f->nodes++ > MAX_NODES)
		return;
	bytes = sparse_unit(f->st, desc_unit(d));
	if (!bytes)
		return;
	struct disk_node *node = (void *)bytes;
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		if (level)
			fix_tree(f, &node->entry[i], level - 1, index << NODE_SHIFT | i);
		else if (desc_type(desc_from_disk(&node->entry[i])) == DESC_ZSTD)
			fix_blob(f, &node->entry[i], index << NODE_SHIFT | i);
	}
	entry->aux = le32_make(checksum_node(f->lim.uuid_seed, level, index, node));
}

static void fix_root(struct fixup *f, struct disk_desc *root, uint8_t levels)
{
	fix_tree(f, root, levels >= 1 && levels <= MAX_LEVELS ? levels - 1u : 0, 0);
}

static void fix_snapshots(struct fixup *f, struct disk_super *sb)
{
	struct desc d = desc_from_disk(&sb->snaptab);
	size_t len = (size_t)desc_snaptab_units(d) * UNIT_SIZE;

	if (desc_type(d) != DESC_SNAPTAB || !len || len > BUF_SIZE)
		return;
	for (uint64_t u = 0; u < desc_snaptab_units(d); u++) {
		uint8_t *bytes = sparse_unit(f->st, desc_unit(d) + u);
		for (size_t i = 0; bytes && i < UNIT_SIZE; i += sizeof(struct disk_snapshot)) {
			struct disk_snapshot *rec = (void *)(bytes + i);
			fix_root(f, &rec->root, rec->levels);
		}
	}
	if (!store_read(f->st, f->buf, len, desc_unit(d) * UNIT_SIZE))
		sb->snaptab.aux = le32_make(checksum_snaptab(f->lim.uuid_seed, f->buf, len));
}

/* --- space -------------------------------------------------------------------------------- */

static void fix_bitmap(struct fixup *f, uint64_t region, struct disk_alloc_entry *e)
{
	bool sectors = e->class_ == CLASS_BLOB || e->class_ == CLASS_MIXED;
	uint64_t base = region ? region * REGION_UNITS : REGION0_BITMAP >> UNIT_SHIFT;
	struct disk_alloc_entry sealed = *e;

	for (unsigned i = 0; i < (sectors ? BITMAP_BLOCKS : 1); i++)
		memcpy(f->buf + i * UNIT_SIZE, unit_bytes(f, base + 2 * i + (e->slots >> i & 1)),
		       UNIT_SIZE);
	blocks_seal_bitmap(f->buf, region, &f->lim, &sealed);
	e->crc = sealed.crc;
	if (f->counts) {
		e->free_units = sealed.free_units;
		e->dead_sectors = sealed.dead_sectors;
	}
}

/* Returns the free units of the group's regions. */
static uint32_t fix_group(struct fixup *f, uint64_t group, struct disk_alloc_entry *e,
			  uint64_t *used)
{
	uint64_t unit = group ? group * GROUP_REGIONS * REGION_UNITS + GROUP_TABLE_UNIT
			      : GROUP0_TABLE >> UNIT_SHIFT;
	uint8_t *bytes = sparse_unit(f->st, unit + (e->slots & 1));
	uint32_t free_units = 0;

	if (!bytes)
		return 0;
	struct disk_alloc_block *table = (void *)bytes;
	for (unsigned i = 0; i < ALLOC_ENTRIES; i++) {
		struct disk_alloc_entry *r = &table->entry[i];
		if (!r->in_use)
			continue;
		fix_bitmap(f, group * GROUP_REGIONS + i, r);
		free_units += le32_get(r->free_units);
		*used += REGION_UNITS - le32_get(r->free_units);
	}
	e->crc = le32_make(checksum_alloc(f->lim.uuid_seed, ALLOC_GROUP, group, table));
	return free_units;
}

static void fix_alloc(struct fixup *f, struct disk_super *sb)
{
	uint64_t used = 0;

	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++) {
		unsigned slot = le64_get(sb->root_slots) >> i & 1;
		uint8_t *bytes =
			sparse_unit(f->st, (ALLOC_ROOT_OFFSET >> UNIT_SHIFT) + 2 * i + slot);
		if (!bytes)
			continue;
		struct disk_alloc_block *root = (void *)bytes;
		for (unsigned j = 0; j < ALLOC_ENTRIES; j++) {
			if (!root->entry[j].in_use)
				continue;
			uint32_t free_units = fix_group(f, (uint64_t)i * ALLOC_ENTRIES + j,
							&root->entry[j], &used);
			if (f->counts)
				root->entry[j].free_units = le32_make(free_units);
		}
		sb->root_crc[i] = le32_make(checksum_alloc(f->lim.uuid_seed, ALLOC_ROOT, i, root));
	}
	if (f->counts)
		sb->used_units = le64_make(used);
}

/* --- journal ------------------------------------------------------------------------------ */

/* Copy @len bytes of the ring from or to the buffer; true when all units are there. */
static bool ring_copy(struct fixup *f, const struct disk_super *sb, uint64_t pos, size_t len,
		      bool back)
{
	uint64_t ring = le64_get(sb->journal_length);

	for (size_t i = 0; i < len; i += UNIT_SIZE) {
		uint64_t off = le64_get(sb->journal_offset) + (pos + i) % ring;
		uint8_t *bytes = sparse_unit(f->st, off >> UNIT_SHIFT);
		if (!bytes)
			return false;
		memcpy(back ? bytes : f->buf + i, back ? f->buf + i : bytes, UNIT_SIZE);
	}
	return true;
}

static void fix_journal(struct fixup *f, const struct disk_super *sb)
{
	uint64_t pos = le64_get(sb->journal_pos) & ~(uint64_t)(UNIT_SIZE - 1);
	uint32_t chain = le32_get(sb->journal_chain);
	struct disk_txn *txn = (void *)f->buf;

	if (le64_get(sb->journal_length) < UNIT_SIZE || le64_get(sb->journal_length) % UNIT_SIZE ||
	    le64_get(sb->journal_offset) % UNIT_SIZE)
		return;
	for (unsigned i = 0; i < MAX_TXNS; i++) {
		if (!ring_copy(f, sb, pos, UNIT_SIZE, false))
			return;
		uint32_t nblocks = le32_get(txn->nblocks);
		size_t len = (size_t)nblocks * UNIT_SIZE;
		if (le32_get(txn->magic) != JOURNAL_MAGIC || nblocks < 1 ||
		    nblocks > TXN_MAX_BLOCKS || !ring_copy(f, sb, pos, len, false))
			return;
		txn->prev_crc = le32_make(chain);
		chain = checksum_txn(f->lim.uuid_seed, txn, nblocks);
		txn->crc = le32_make(chain);
		ring_copy(f, sb, pos, len, true);
		pos += len;
	}
}

/* --- superblocks --------------------------------------------------------------------------- */

static struct disk_super *super_at(struct fixup *f, unsigned slot)
{
	uint8_t *bytes = sparse_unit(f->st, (SUPER_OFFSET + slot * SUPER_STRIDE) >> UNIT_SHIFT);
	struct disk_super *sb = (void *)bytes;

	return sb && le64_get(sb->magic) == SUPER_MAGIC ? sb : NULL;
}

static void fix_supers(struct fixup *f, const struct disk_ident *ident)
{
	struct disk_super *best = NULL;

	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		struct disk_super *sb = super_at(f, i);
		if (sb && (!best || le64_get(sb->generation) > le64_get(best->generation)))
			best = sb;
	}
	if (!best)
		return;
	fix_root(f, &best->root, best->levels);
	fix_snapshots(f, best);
	fix_alloc(f, best);
	fix_journal(f, best);
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		struct disk_super *sb = super_at(f, i);
		if (!sb)
			continue;
		if (sb != best && le64_get(sb->generation) == le64_get(best->generation))
			memcpy(sb, best, sizeof(*sb));
		memcpy(sb->uuid, ident->uuid, sizeof(sb->uuid));
		sb->crc = le32_make(checksum_super(f->lim.uuid_seed, sb));
	}
}

void fixup_image(struct store *st, bool counts)
{
	uint8_t *first = sparse_unit(st, 0);
	struct disk_ident *ident = (void *)first;

	if (!first)
		return;
	ident->crc = le32_make(checksum_ident(ident));
	unsigned shift = ident->cluster_shift;
	if (shift < CLUSTER_SHIFT_MIN || shift > CLUSTER_SHIFT_MAX)
		return;
	struct fixup f = {.st = st, .lim = blocks_limits(shift), .counts = counts};
	CLEANUP(free) uint8_t *buf = store_buffer(BUF_SIZE);
	fuzz_require(buf, "out of memory");
	f.buf = buf;
	f.lim.uuid_seed = checksum_uuid(ident->uuid);
	fix_supers(&f, ident);
}
