/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/surgery_snapshot.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bitmap.h"
#include "common/cleanup.h"
#include "image/checksum.h"

static uint32_t count(const struct surgery *s)
{
	return le32_get(s->sb.nsnapshots);
}

struct disk_snapshot *surgery_records(struct surgery *s)
{
	struct disk_snapshot *rec = store_buffer(UNIT_SIZE);
	struct desc table = desc_from_disk(&s->sb.snaptab);

	assert(rec);
	if (desc_type(table) == DESC_HOLE)
		return rec;
	errint_t err = store_read(s->st, rec, UNIT_SIZE, desc_unit(table) << UNIT_SHIFT);
	assert(!err && desc_snaptab_units(table) == 1);
	assert(checksum_snaptab(s->uuid_seed, rec, UNIT_SIZE) == table.aux);
	return rec;
}

/* A free unit of @region, which is now marked used; 0: there is none for a table. */
static uint64_t take_unit_of(struct surgery *s, uint64_t region)
{
	CLEANUP(free) uint8_t *bits = malloc(REGION_UNITS);
	struct disk_alloc_entry e = surgery_entry(s, region);
	uint64_t unit = 0;

	if (e.class_ != CLASS_META && e.class_ != CLASS_MIXED)
		return 0;
	if (surgery_bits(s, region, bits) > UNIT_SIZE) {
		while (unit < REGION_UNITS && bits[unit])
			unit++;
		if (unit < REGION_UNITS)
			bits[unit] = 0xff;
	} else {
		unit = bits_next_clear(bits, 0, REGION_UNITS);
		if (unit < REGION_UNITS)
			bit_set(bits, unit);
	}
	if (unit == REGION_UNITS)
		return 0;
	surgery_set_bits(s, region, bits);
	return region * REGION_UNITS + unit;
}

static uint64_t take_unit(struct surgery *s)
{
	uint64_t unit = 0;

	for (uint64_t region = 0; !unit && region < le64_get(s->sb.phys_regions); region++)
		unit = take_unit_of(s, region);
	assert(unit);
	return unit;
}

void surgery_set_records(struct surgery *s, const struct disk_snapshot *rec, unsigned n)
{
	struct desc table = desc_from_disk(&s->sb.snaptab);
	uint64_t unit = desc_type(table) == DESC_HOLE ? take_unit(s) : desc_unit(table);

	assert(n && n <= SURGERY_SNAPSHOTS);
	errint_t err = store_write(s->st, rec, UNIT_SIZE, unit << UNIT_SHIFT);
	assert(!err);
	s->sb.snaptab = desc_to_disk(desc_snaptab_make(
		unit, 1, le32_get(s->sb.epoch), checksum_snaptab(s->uuid_seed, rec, UNIT_SIZE)));
	s->sb.nsnapshots = le32_make(n);
	surgery_super(s);
}

uint32_t surgery_take_snapshot(struct surgery *s)
{
	CLEANUP(free) struct disk_snapshot *table = surgery_records(s);
	uint32_t n = count(s), id = le32_get(s->sb.next_snapshot);
	struct disk_snapshot *rec = &table[n];

	assert(n < SURGERY_SNAPSHOTS);
	rec->id = le32_make(id);
	rec->parent = s->sb.head_parent;
	rec->epoch = s->sb.epoch;
	rec->size = s->sb.size;
	rec->levels = s->sb.levels;
	rec->root = s->sb.root;
	rec->uuid[0] = (uint8_t)id;
	rec->name_len = le16_make((uint16_t)snprintf(rec->name, sizeof(rec->name), "snap%u", id));
	s->sb.head_parent = le32_make(id);
	s->sb.next_snapshot = le32_make(id + 1);
	s->sb.epoch = le32_make(le32_get(s->sb.epoch) + 1);
	surgery_set_records(s, table, n + 1);
	return id;
}

void surgery_swap_tree(struct surgery *s, struct disk_snapshot *rec)
{
	struct disk_snapshot was = *rec;

	rec->root = s->sb.root;
	rec->levels = s->sb.levels;
	rec->size = s->sb.size;
	s->sb.root = was.root;
	s->sb.levels = was.levels;
	s->sb.size = was.size;
}

uint32_t surgery_roll_back(struct surgery *s, uint32_t id)
{
	uint32_t old = surgery_take_snapshot(s);
	CLEANUP(free) struct disk_snapshot *table = surgery_records(s);

	for (uint32_t i = 0; i < count(s); i++) {
		if (le32_get(table[i].id) != id)
			continue;
		struct disk_snapshot rec = table[i];
		surgery_swap_tree(s, &rec);
		s->sb.head_parent = le32_make(id);
		s->sb.ro_compat = le64_make(le64_get(s->sb.ro_compat) | ROCOMPAT_BRANCHES);
		surgery_super(s);
		return old;
	}
	abort();
}
