/* SPDX-License-Identifier: MIT */
/*
 * Owns: the check of blocks at fixed places (I1, I7, I8, I10): IDENT, the superblock copies, the
 * alloc root and the group tables as the newest superblock names them, the snapshot table, the zero
 * window.
 *
 * All is read anew from the file.  Opening the image has looked at most of it already and refuses
 * what it cannot work with; here every copy counts.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/check_parts.h"
#include "image/checksum.h"

static errint_t no_memory(struct check *c)
{
	return log_err(-ENOMEM, "%s: cannot check the image", c->st->name);
}

/* Read a block; a failure is a finding like any other.  True when it is there. */
static bool read_block(struct check *c, const char *what, void *buf, size_t len, uint64_t off)
{
	errint_t err = store_read(c->st, buf, len, off);

	if (err)
		check_corrupt(c, "%s at offset 0x%" PRIx64 ": it cannot be read", what, off);
	return !err;
}

/* --- superblocks --------------------------------------------------------------------------------
 */

struct supers {
	struct disk_ident ident;
	struct disk_super sb[SUPER_SLOTS];
	bool readable[SUPER_SLOTS], valid[SUPER_SLOTS];
	struct reason why[SUPER_SLOTS];
	struct disk_super scratch;
};

static bool all_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	return !len || (!b[0] && !memcmp(b, b + 1, len - 1));
}

/* Sector @i of two superblocks. */
static bool same_sector(const struct disk_super *a, const struct disk_super *b, unsigned i)
{
	return !memcmp((const uint8_t *)a + i * SECTOR_SIZE, (const uint8_t *)b + i * SECTOR_SIZE,
		       SECTOR_SIZE);
}

/* Is the first sector of @slot that of an intact superblock, whatever stands in the others? */
static bool intact_first_sector(struct check *c, struct supers *s, unsigned slot)
{
	const uint8_t *first = (const uint8_t *)&s->sb[slot];

	if (all_zero(first, SECTOR_SIZE))
		return true; /* not yet written */
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		if (!s->valid[i])
			continue;
		s->scratch = s->sb[i];
		memcpy(&s->scratch, first, SECTOR_SIZE);
		if (checksum_super(c->lim.uuid_seed, &s->scratch) == le32_get(s->scratch.crc))
			return true;
	}
	return false;
}

/*
 * A copy that is not valid may be what a power cut left of a write: each sector is that of some
 * superblock, or was never written.  The format expects that and has the other copies (R4), so it
 * is not damage; anything else is.
 */
static bool torn(struct check *c, struct supers *s, unsigned slot)
{
	for (unsigned i = 1; i < UNIT_SECTORS; i++) {
		bool known = all_zero((const uint8_t *)&s->sb[slot] + i * SECTOR_SIZE, SECTOR_SIZE);

		for (unsigned j = 0; j < SUPER_SLOTS && !known; j++)
			known = s->valid[j] && same_sector(&s->sb[slot], &s->sb[j], i);
		if (!known)
			return false;
	}
	return intact_first_sector(c, s, slot);
}

static uint64_t slot_offset(unsigned slot)
{
	return SUPER_OFFSET + slot * SUPER_STRIDE;
}

static void read_supers(struct check *c, struct supers *s)
{
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		s->readable[i] = read_block(c, "superblock copy", &s->sb[i], sizeof(s->sb[i]),
					    slot_offset(i));
		s->valid[i] = s->readable[i] && !validate_super(&s->sb[i], &s->ident, &s->why[i]);
	}
}

/* A valid copy: is it in the right pair, and equal to the others of its generation (R4)? */
static void check_copy(struct check *c, struct supers *s, unsigned slot)
{
	uint64_t gen = le64_get(s->sb[slot].generation);

	if (slot / 2 != (gen & 1))
		check_corrupt(c,
			      "superblock copy %u at offset 0x%" PRIx64 ": generation %" PRIu64
			      " does not belong there (R4)",
			      slot, slot_offset(slot), gen);
	for (unsigned i = 0; i < slot; i++) {
		if (s->valid[i] && le64_get(s->sb[i].generation) == gen &&
		    memcmp(&s->sb[i], &s->sb[slot], sizeof(s->sb[i])))
			check_corrupt(c,
				      "superblock copies %u and %u: both have generation %" PRIu64
				      ", but they differ (R4)",
				      i, slot, gen);
	}
}

static errint_t check_supers(struct check *c, struct supers *s)
{
	const struct disk_super *best = NULL;

	read_supers(c, s);
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		if (s->valid[i]) {
			check_copy(c, s, i);
			if (!best || le64_get(s->sb[i].generation) > le64_get(best->generation))
				best = &s->sb[i];
		} else if (s->readable[i] && !torn(c, s, i)) {
			check_corrupt(c, "superblock copy %u at offset 0x%" PRIx64 ": %s", i,
				      slot_offset(i), s->why[i].text);
		}
	}
	if (!best)
		return 0;
	if (le64_get(best->generation) != c->info.generation)
		check_corrupt(c,
			      "superblock: the newest on disk has generation %" PRIu64
			      ", the image was opened with %" PRIu64,
			      le64_get(best->generation), c->info.generation);
	c->super = malloc(sizeof(*c->super));
	if (!c->super)
		return no_memory(c);
	*c->super = *best;
	return 0;
}

/* --- alloc root and group tables ----------------------------------------------------------------
 */

struct tables {
	struct disk_alloc_block root, group;
	uint64_t used_units;
};

static uint64_t group_table_offset(uint64_t group, unsigned slot)
{
	uint64_t base = group ? (group * GROUP_REGIONS << REGION_SHIFT) +
					GROUP_TABLE_UNIT * (uint64_t)UNIT_SIZE
			      : GROUP0_TABLE;

	return base + slot * (uint64_t)UNIT_SIZE;
}

static void check_group(struct check *c, struct tables *t, uint64_t group,
			const struct disk_alloc_entry *e, const struct limits *lim)
{
	uint64_t off = group_table_offset(group, e->slots & 1), free_units = 0;
	struct reason why;

	if (!read_block(c, "group table", &t->group, UNIT_SIZE, off))
		return;
	if (validate_alloc_block(&t->group, ALLOC_GROUP, group, le32_get(e->crc), lim, &why)) {
		check_corrupt(c, "group table %" PRIu64 " at offset 0x%" PRIx64 ": %s", group, off,
			      why.text);
		return;
	}
	for (unsigned i = 0; i < ALLOC_ENTRIES; i++) {
		const struct disk_alloc_entry *r = &t->group.entry[i];

		if (!r->in_use)
			continue;
		free_units += le32_get(r->free_units);
		t->used_units += REGION_UNITS - le32_get(r->free_units);
	}
	if (free_units != le32_get(e->free_units))
		check_corrupt(c,
			      "group table %" PRIu64 " at offset 0x%" PRIx64 ": %" PRIu64
			      " units are free in its regions, the alloc root says %" PRIu32,
			      group, off, free_units, le32_get(e->free_units));
}

static void check_root_block(struct check *c, struct tables *t, unsigned i,
			     const struct limits *lim)
{
	uint64_t slot = le64_get(c->super->root_slots) >> i & 1;
	uint64_t off = ALLOC_ROOT_OFFSET + (2 * i + slot) * UNIT_SIZE;
	struct reason why;

	if (!read_block(c, "alloc root block", &t->root, UNIT_SIZE, off))
		return;
	if (validate_alloc_block(&t->root, ALLOC_ROOT, i, le32_get(c->super->root_crc[i]), lim,
				 &why)) {
		check_corrupt(c, "alloc root block %u at offset 0x%" PRIx64 ": %s", i, off,
			      why.text);
		return;
	}
	for (unsigned j = 0; j < ALLOC_ENTRIES; j++) {
		if (t->root.entry[j].in_use)
			check_group(c, t, (uint64_t)i * ALLOC_ENTRIES + j, &t->root.entry[j], lim);
	}
}

/* As of the newest superblock: the image in memory may be ahead by what its journal holds. */
static errint_t check_tables(struct check *c)
{
	CLEANUP(free) struct tables *t = store_buffer(sizeof(*t));
	struct limits lim = c->lim;

	if (!t)
		return no_memory(c);
	lim.phys_regions = le64_get(c->super->phys_regions);
	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++) {
		if (super_has_root_block(c->super, i))
			check_root_block(c, t, i, &lim);
	}
	if (t->used_units != le64_get(c->super->used_units))
		check_corrupt(c,
			      "superblock: used_units is %" PRIu64
			      ", the group tables add up to %" PRIu64,
			      le64_get(c->super->used_units), t->used_units);
	if (lim.phys_regions > div_round_up(c->length, REGION_SIZE))
		check_corrupt(c,
			      "superblock: phys_regions is %" PRIu64 ", but the file, %" PRIu64
			      " bytes long, has %" PRIu64 " (R3): it was truncated",
			      lim.phys_regions, c->length, div_round_up(c->length, REGION_SIZE));
	return 0;
}

/* --- the rest -----------------------------------------------------------------------------------
 */

/* What descends from snapshot @id, the head included. */
static unsigned count_children(const struct check *c, const struct disk_snapshot *rec, uint32_t id)
{
	unsigned n = le32_get(c->super->head_parent) == id;

	for (uint32_t i = 0; i < le32_get(c->super->nsnapshots); i++)
		n += le32_get(rec[i].parent) == id;
	return n;
}

/* What a valid table and the superblock say together. */
static void check_record(struct check *c, const struct disk_snapshot *rec, uint32_t i)
{
	uint32_t id = le32_get(rec[i].id);
	unsigned children = count_children(c, rec, id);

	if (children > 1 && !(le64_get(c->super->ro_compat) & ROCOMPAT_BRANCHES))
		check_corrupt(c,
			      "snapshot %" PRIu32
			      ": %u others descend from it, but the superblock does not have the "
			      "feature BRANCHES",
			      id, children);
}

static errint_t check_snapshots(struct check *c)
{
	struct desc d = desc_from_disk(&c->super->snaptab);
	struct extent e = desc_extent(&c->lim.geo, d);
	uint32_t n = le32_get(c->super->nsnapshots);
	struct reason why;

	if (!e.len)
		return 0;
	CLEANUP(free) struct disk_snapshot *rec = store_buffer(e.len);
	if (!rec)
		return no_memory(c);
	if (!read_block(c, "snapshot table", rec, e.len, e.off))
		return 0;
	if (validate_snapshots(rec, n, e.len, d.aux, &c->lim, &why)) {
		check_corrupt(c, "snapshot table at offset 0x%" PRIx64 ": %s", e.off, why.text);
		return 0;
	}
	for (uint32_t i = 0; i < n; i++)
		check_record(c, rec, i);
	return 0;
}

/* Holes of the disk are read from here: a byte that is not zero would show up in them. */
static errint_t check_zero_window(struct check *c)
{
	CLEANUP(free) uint8_t *buf = store_buffer(ZERO_WINDOW_SIZE);
	size_t i = 0;

	if (!buf)
		return no_memory(c);
	if (!read_block(c, "zero window", buf, ZERO_WINDOW_SIZE, ZERO_WINDOW_OFFSET) ||
	    all_zero(buf, ZERO_WINDOW_SIZE))
		return 0;
	while (!buf[i])
		i++;
	check_corrupt(c, "zero window: the byte at offset 0x%" PRIx64 " is 0x%02x, not 0",
		      (uint64_t)ZERO_WINDOW_OFFSET + i, buf[i]);
	return 0;
}

errint_t check_fixed(struct check *c)
{
	CLEANUP(free) struct supers *s = store_buffer(sizeof(*s));
	struct reason why;
	errint_t err;

	if (!s)
		return no_memory(c);
	if (!read_block(c, "first block", &s->ident, sizeof(s->ident), IDENT_OFFSET))
		return 0;
	if (validate_ident(&s->ident, &why))
		check_corrupt(c, "first block: %s", why.text);
	else if ((err = check_supers(c, s)))
		return err;
	if (c->super) {
		err = check_tables(c);
		if (!err)
			err = check_snapshots(c);
		if (err)
			return err;
	}
	return check_zero_window(c);
}
