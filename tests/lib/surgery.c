/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/surgery.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bitmap.h"
#include "common/cleanup.h"
#include "image/checksum.h"

static void *read_at(struct surgery *s, size_t len, uint64_t off)
{
	void *buf = store_buffer(len);
	errint_t err = store_read(s->st, buf, len, off);

	assert(!err);
	return buf;
}

/* @block need not be aligned. */
static void write_at(struct surgery *s, const void *block, uint64_t off)
{
	CLEANUP(free) void *buf = store_buffer(UNIT_SIZE);

	memcpy(buf, block, UNIT_SIZE);
	errint_t err = store_write(s->st, buf, UNIT_SIZE, off);
	assert(!err);
}

/* --- superblocks --------------------------------------------------------------------------------
 */

static uint64_t slot_offset(unsigned slot)
{
	return SUPER_OFFSET + slot * SUPER_STRIDE;
}

void surgery_begin(struct surgery *s, struct store *st)
{
	*s = (struct surgery){.st = st};
	CLEANUP(free) struct disk_ident *ident = read_at(s, UNIT_SIZE, IDENT_OFFSET);

	s->uuid_seed = checksum_uuid(ident->uuid);
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		CLEANUP(free) struct disk_super *sb = read_at(s, UNIT_SIZE, slot_offset(i));

		if (checksum_super(s->uuid_seed, sb) == le32_get(sb->crc) &&
		    le64_get(sb->generation) > le64_get(s->sb.generation)) {
			s->sb = *sb;
			s->slot = i;
		}
	}
	assert(le64_get(s->sb.generation) > 0);
	s->geo = (struct geometry){ident->cluster_shift, s->sb.sector_shift};
}

void surgery_super_copy(struct surgery *s, unsigned slot)
{
	s->sb.crc = le32_make(checksum_super(s->uuid_seed, &s->sb));
	write_at(s, &s->sb, slot_offset(slot));
}

void surgery_super(struct surgery *s)
{
	unsigned pair = s->slot & ~1u;

	surgery_super_copy(s, pair);
	surgery_super_copy(s, pair + 1);
}

/* --- nodes --------------------------------------------------------------------------------------
 */

struct desc surgery_node(struct surgery *s, unsigned level, uint64_t index, struct disk_node *node)
{
	struct desc self = desc_from_disk(&s->sb.root);

	assert(level < s->sb.levels);
	for (unsigned l = s->sb.levels; l-- > level;) {
		if (desc_type(self) != DESC_NODE)
			return desc_hole();
		CLEANUP(free)
		struct disk_node *n = read_at(s, UNIT_SIZE, desc_unit(self) << UNIT_SHIFT);

		assert(checksum_node(s->uuid_seed, l, index >> NODE_SHIFT * (l - level), n) ==
		       self.aux);
		if (l == level && node)
			*node = *n;
		if (l > level)
			self = desc_from_disk(
				&n->entry[index >> NODE_SHIFT * (l - level - 1) & 0xff]);
	}
	return self;
}

void surgery_set_node(struct surgery *s, unsigned level, uint64_t index,
		      const struct disk_node *node)
{
	struct disk_node n;
	struct desc self = surgery_node(s, level, index, NULL);

	assert(desc_type(self) == DESC_NODE);
	n = *node;
	for (;;) {
		write_at(s, &n, desc_unit(self) << UNIT_SHIFT);
		self.aux = checksum_node(s->uuid_seed, level, index, &n);
		if (level + 1u == s->sb.levels)
			break;
		struct desc child = self;
		unsigned slot = index & 0xff;
		index >>= NODE_SHIFT;
		self = surgery_node(s, ++level, index, &n);
		n.entry[slot] = desc_to_disk(child);
	}
	s->sb.root = desc_to_disk(self);
	surgery_super(s);
}

struct desc surgery_desc(struct surgery *s, uint64_t vcluster)
{
	struct disk_node n;
	struct desc self = surgery_node(s, 0, vcluster >> NODE_SHIFT, &n);

	assert(desc_type(self) == DESC_NODE);
	return desc_from_disk(&n.entry[vcluster & 0xff]);
}

void surgery_set_desc(struct surgery *s, uint64_t vcluster, struct desc d)
{
	struct disk_node n;
	struct desc self = surgery_node(s, 0, vcluster >> NODE_SHIFT, &n);

	assert(desc_type(self) == DESC_NODE);
	n.entry[vcluster & 0xff] = desc_to_disk(d);
	surgery_set_node(s, 0, vcluster >> NODE_SHIFT, &n);
}

/* --- space --------------------------------------------------------------------------------------
 */

static uint64_t root_offset(struct surgery *s, uint64_t block)
{
	return ALLOC_ROOT_OFFSET +
	       (2 * block + (le64_get(s->sb.root_slots) >> block & 1)) * UNIT_SIZE;
}

static uint64_t table_offset(uint64_t group, unsigned slot)
{
	uint64_t base =
		group ? (group * GROUP_REGIONS << REGION_SHIFT) + GROUP_TABLE_UNIT * UNIT_SIZE
		      : GROUP0_TABLE;

	return base + slot * UNIT_SIZE;
}

static uint64_t bitmap_offset(uint64_t region, unsigned block, unsigned slots)
{
	uint64_t base = region ? region << REGION_SHIFT : REGION0_BITMAP;

	return base + (2 * block + (slots >> block & 1)) * UNIT_SIZE;
}

static bool by_sector(const struct disk_alloc_entry *e)
{
	return e->class_ == CLASS_BLOB || e->class_ == CLASS_MIXED;
}

struct disk_alloc_entry surgery_entry(struct surgery *s, uint64_t region)
{
	uint64_t group = region / GROUP_REGIONS;
	CLEANUP(free)
	struct disk_alloc_block *root =
		read_at(s, UNIT_SIZE, root_offset(s, group / ALLOC_ENTRIES));
	const struct disk_alloc_entry *g = &root->entry[group % ALLOC_ENTRIES];

	if (!g->in_use)
		return (struct disk_alloc_entry){0};
	CLEANUP(free)
	struct disk_alloc_block *table = read_at(s, UNIT_SIZE, table_offset(group, g->slots & 1));
	return table->entry[region % GROUP_REGIONS];
}

static uint32_t used_units(const struct disk_alloc_entry *e)
{
	return e->in_use ? REGION_UNITS - le32_get(e->free_units) : 0;
}

static uint32_t free_units(const struct disk_alloc_entry *e)
{
	return e->in_use ? le32_get(e->free_units) : 0;
}

void surgery_set_entry(struct surgery *s, uint64_t region, const struct disk_alloc_entry *e)
{
	uint64_t group = region / GROUP_REGIONS, block = group / ALLOC_ENTRIES;
	CLEANUP(free) struct disk_alloc_block *root = read_at(s, UNIT_SIZE, root_offset(s, block));
	struct disk_alloc_entry *g = &root->entry[group % ALLOC_ENTRIES];
	uint64_t off = table_offset(group, g->slots & 1);
	CLEANUP(free) struct disk_alloc_block *table = read_at(s, UNIT_SIZE, off);
	struct disk_alloc_entry *old = &table->entry[region % GROUP_REGIONS];

	assert(g->in_use);
	s->sb.used_units = le64_make(le64_get(s->sb.used_units) - used_units(old) + used_units(e));
	g->free_units = le32_make(le32_get(g->free_units) - free_units(old) + free_units(e));
	*old = *e;
	write_at(s, table, off);
	g->crc = le32_make(checksum_alloc(s->uuid_seed, ALLOC_GROUP, group, table));
	write_at(s, root, root_offset(s, block));
	s->sb.root_crc[block] = le32_make(checksum_alloc(s->uuid_seed, ALLOC_ROOT, block, root));
	surgery_super(s);
}

size_t surgery_bits(struct surgery *s, uint64_t region, uint8_t *bits)
{
	struct disk_alloc_entry e = surgery_entry(s, region);
	unsigned blocks = by_sector(&e) ? BITMAP_BLOCKS : 1;

	assert(e.in_use);
	for (unsigned i = 0; i < blocks; i++) {
		CLEANUP(free)
		void *block = read_at(s, UNIT_SIZE, bitmap_offset(region, i, e.slots));
		memcpy(bits + i * UNIT_SIZE, block, UNIT_SIZE);
	}
	return blocks * (size_t)UNIT_SIZE;
}

static void count_bits(const uint8_t *bits, bool sectors, struct disk_alloc_entry *e)
{
	uint32_t used = 0, dead = 0;

	if (sectors) {
		for (unsigned u = 0; u < REGION_UNITS; u++)
			used += bits[u] != 0;
		dead = used * UNIT_SECTORS - (uint32_t)bits_count(bits, 0, REGION_SECTORS);
	} else {
		used = (uint32_t)bits_count(bits, 0, REGION_UNITS);
	}
	e->free_units = le32_make(REGION_UNITS - used);
	e->dead_sectors = le32_make(dead);
}

void surgery_set_bits(struct surgery *s, uint64_t region, const uint8_t *bits)
{
	struct disk_alloc_entry e = surgery_entry(s, region);
	unsigned blocks = by_sector(&e) ? BITMAP_BLOCKS : 1;
	uint32_t crc[BITMAP_BLOCKS];

	for (unsigned i = 0; i < blocks; i++) {
		crc[i] = checksum_alloc(s->uuid_seed, ALLOC_BITMAP, region * BITMAP_BLOCKS + i,
					bits + i * UNIT_SIZE);
		write_at(s, bits + i * UNIT_SIZE, bitmap_offset(region, i, e.slots));
	}
	e.crc = le32_make(blocks > 1 ? checksum_combine(crc) : crc[0]);
	count_bits(bits, blocks > 1, &e);
	surgery_set_entry(s, region, &e);
}

void surgery_mark(struct surgery *s, uint64_t off, bool used)
{
	uint64_t region = off >> REGION_SHIFT;
	CLEANUP(free) uint8_t *bits = malloc(REGION_UNITS);
	size_t bytes = surgery_bits(s, region, bits);
	size_t bit = (off & (REGION_SIZE - 1)) >> (bytes > UNIT_SIZE ? SECTOR_SHIFT : UNIT_SHIFT);

	if (used)
		bit_set(bits, bit);
	else
		bit_clear(bits, bit);
	surgery_set_bits(s, region, bits);
}
