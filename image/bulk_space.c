/* SPDX-License-Identifier: MIT */
/*
 * Owns: which units of an image under construction are used.
 *
 *  - Space is given out from the front.  Where alignment or the end of a region skips units, they
 *    become a gap; later blobs and nodes fill gaps first.
 *  - Only the newest BULK_OPEN_REGIONS regions have their bitmaps in memory.  An older one is
 *    written and forgotten together with its gaps, so memory does not grow with the image.
 *  - The store was empty: what is never written reads as zeros, so blocks of zeros are not written.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/bitmap.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/bulk_space.h"
#include "image/checksum.h"

#define REGION0_UNITS ((uint32_t)(REGION0_START / UNIT_SIZE))
#define BITMAP_BYTES  (BITMAP_BLOCKS * UNIT_SIZE)
_Static_assert(BITMAP_BYTES == REGION_UNITS, "a byte of the sector bitmap for each unit");

static uint32_t reserved_units(uint64_t region)
{
	return region ? REGION_HEADER_UNITS : REGION0_UNITS;
}

static bool has_group_table(uint64_t region)
{
	return region >= GROUP_REGIONS && region % GROUP_REGIONS == 0;
}

static uint64_t region_end(uint64_t region)
{
	return (region + 1) * REGION_UNITS;
}

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static bool all_zero(const void *block, size_t len)
{
	const uint8_t *p = block;

	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static struct bulk_region *open_region(struct bulk_space *s, uint64_t unit)
{
	uint64_t region = unit / REGION_UNITS;

	for (unsigned i = 0; i < BULK_OPEN_REGIONS; i++) {
		if (s->open[i].bits && s->open[i].region == region)
			return &s->open[i];
	}
	assert(!"the region is open");
	return NULL;
}

/* -- gaps ---------------------------------------------------------------- */

static void drop_gap(struct bulk_space *s, unsigned i)
{
	s->gap[i] = s->gap[--s->ngaps];
}

static void add_gap(struct bulk_space *s, uint64_t unit, uint64_t end)
{
	unsigned least = 0;

	if (unit == end)
		return;
	if (s->ngaps == BULK_GAPS) {
		for (unsigned i = 1; i < s->ngaps; i++) {
			if (s->gap[i].len < s->gap[least].len)
				least = i;
		}
		if (s->gap[least].len >= end - unit)
			return;
		drop_gap(s, least);
	}
	s->gap[s->ngaps++] = (struct bulk_run){unit, (uint32_t)(end - unit)};
}

/* The units [unit, unit + len) of a gap are used: keep what remains of it. */
static void take_from_gap(struct bulk_space *s, uint64_t unit, uint32_t len)
{
	for (unsigned i = 0; i < s->ngaps; i++) {
		struct bulk_run g = s->gap[i];

		if (unit < g.unit || unit >= g.unit + g.len)
			continue;
		assert(unit + len <= g.unit + g.len);
		drop_gap(s, i);
		add_gap(s, g.unit, unit);
		add_gap(s, unit + len, g.unit + g.len);
		return;
	}
	assert(!"the run came from a gap");
}

static bool find_gap(struct bulk_space *s, uint32_t min, uint32_t align, struct bulk_run *run)
{
	for (unsigned i = 0; i < s->ngaps; i++) {
		uint64_t first = round_up(s->gap[i].unit, align);
		uint64_t end = s->gap[i].unit + s->gap[i].len;

		if (first + min > end)
			continue;
		*run = (struct bulk_run){first, (uint32_t)(end - first)};
		return true;
	}
	return false;
}

/* -- regions ------------------------------------------------------------- */

/* Bytes of the sector bitmap to bits of the unit bitmap, as DATA regions have it. */
static void fold_to_units(const uint8_t *bytes, uint8_t *bits)
{
	memset(bits, 0, UNIT_SIZE);
	for (uint32_t u = 0; u < REGION_UNITS; u++) {
		if (bytes[u])
			bit_set(bits, u);
	}
}

static uint32_t longest_free_run(const uint8_t *bytes)
{
	uint32_t best = 0, run = 0;

	for (uint32_t u = 0; u < REGION_UNITS; u++) {
		run = bytes[u] ? 0 : run + 1;
		if (run > best)
			best = run;
	}
	return best;
}

static void count_space(const uint8_t *bytes, struct disk_alloc_entry *e)
{
	uint32_t free_units = 0, dead = 0, run = longest_free_run(bytes);

	for (uint32_t u = 0; u < REGION_UNITS; u++) {
		if (bytes[u])
			dead += UNIT_SECTORS - (unsigned)__builtin_popcount(bytes[u]);
		else
			free_units++;
	}
	e->free_units = le32_make(free_units);
	e->dead_sectors = le32_make(dead);
	e->run_log2 = run ? (uint8_t)(31 - __builtin_clz(run)) : 0;
}

static uint64_t bitmap_offset(uint64_t region, unsigned block)
{
	uint64_t base = region ? region << REGION_SHIFT : REGION0_BITMAP;

	return base + 2ull * block * UNIT_SIZE; /* slot A */
}

/* Write bitmap block @block of @region unless it is all zeros; *crc is its checksum. */
static errint_t write_block(struct bulk_space *s, uint64_t region, unsigned block,
			    const uint8_t *bits, uint32_t *crc)
{
	*crc = checksum_alloc(s->uuid_seed, ALLOC_BITMAP, region * BITMAP_BLOCKS + block, bits);
	if (all_zero(bits, UNIT_SIZE))
		return 0;
	return store_write(s->st, bits, UNIT_SIZE, bitmap_offset(region, block));
}

static errint_t write_data_bitmap(struct bulk_space *s, struct bulk_region *r, uint32_t *crc)
{
	CLEANUP(free) uint8_t *bits = store_buffer(UNIT_SIZE);

	if (!bits)
		return log_err(-ENOMEM, "%s: cannot write a bitmap", s->st->name);
	fold_to_units(r->bits, bits);
	return write_block(s, r->region, 0, bits, crc);
}

static errint_t write_sector_bitmap(struct bulk_space *s, struct bulk_region *r, uint32_t *crc)
{
	uint32_t crcs[BITMAP_BLOCKS];

	for (unsigned i = 0; i < BITMAP_BLOCKS; i++) {
		errint_t err =
			write_block(s, r->region, i, r->bits + (size_t)i * UNIT_SIZE, &crcs[i]);
		if (err)
			return err;
	}
	*crc = checksum_combine(crcs);
	return 0;
}

/* Write the region's bitmap, fill its alloc entry, forget its gaps. */
static errint_t close_region(struct bulk_space *s, struct bulk_region *r)
{
	struct disk_alloc_entry *e = &s->entry[r->region];
	bool data = !r->shared && r->region;
	uint32_t crc;
	errint_t err;

	if (data) /* R2 */
		memset(r->bits + REGION_HEADER_UNITS, 0xff,
		       cluster_units(&s->geo) - REGION_HEADER_UNITS);
	count_space(r->bits, e);
	err = data ? write_data_bitmap(s, r, &crc) : write_sector_bitmap(s, r, &crc);
	e->crc = le32_make(crc);
	e->in_use = 1;
	e->class_ = data ? CLASS_DATA : CLASS_MIXED;
	assert(!data || !le32_get(e->dead_sectors));

	for (unsigned i = s->ngaps; i-- > 0;) {
		if (s->gap[i].unit / REGION_UNITS == r->region)
			drop_gap(s, i);
	}
	free(steal_pointer(&r->bits));
	return err;
}

static errint_t grow_entries(struct bulk_space *s, uint64_t region)
{
	uint64_t n = s->entries ? 2 * s->entries : 64;
	struct disk_alloc_entry *p;

	if (region < s->entries)
		return 0;
	while (n <= region)
		n *= 2;
	p = realloc(s->entry, n * sizeof(*p));
	if (!p)
		return log_err(-ENOMEM, "%s: cannot add a region", s->st->name);
	memset(p + s->entries, 0, (n - s->entries) * sizeof(*p));
	s->entry = p;
	s->entries = n;
	return 0;
}

/* Make @region the newest one. */
static errint_t begin_region(struct bulk_space *s, uint64_t region)
{
	struct bulk_region *oldest = &s->open[BULK_OPEN_REGIONS - 1];
	uint8_t *bits;
	errint_t err;

	if (region >= MAX_REGIONS)
		return log_fail(-ENOSPC, "%s: the image would exceed 512 TiB", s->st->name);
	err = grow_entries(s, region);
	if (!err && oldest->bits)
		err = close_region(s, oldest);
	if (err)
		return err;
	bits = store_buffer(BITMAP_BYTES);
	if (!bits)
		return log_err(-ENOMEM, "%s: cannot add a region", s->st->name);
	memset(bits, 0xff, reserved_units(region));
	memmove(s->open + 1, s->open, sizeof(s->open) - sizeof(s->open[0]));
	s->open[0] = (struct bulk_region){region, region == 0, bits};
	s->nregions = region + 1;
	s->next = region * REGION_UNITS + reserved_units(region);
	return 0;
}

/* Skip regions that a group table keeps from being MIXED (R1). */
static errint_t next_region(struct bulk_space *s)
{
	uint64_t region = s->open[0].region;

	add_gap(s, s->next, region_end(region));
	region++;
	return begin_region(s, region + has_group_table(region));
}

/* -- interface ----------------------------------------------------------- */

errint_t bulk_space_init(struct bulk_space *s, struct store *st, const struct geometry *geo,
			 uint32_t uuid_seed)
{
	*s = (struct bulk_space){.st = st, .geo = *geo, .uuid_seed = uuid_seed};
	return begin_region(s, 0);
}

void bulk_space_destroy(struct bulk_space *s)
{
	for (unsigned i = 0; i < BULK_OPEN_REGIONS; i++)
		free(steal_pointer(&s->open[i].bits));
	free(steal_pointer(&s->entry));
}

errint_t bulk_space_find(struct bulk_space *s, uint32_t min, uint32_t align, struct bulk_run *run)
{
	uint64_t first;

	assert(min > 0 && min <= REGION_UNITS / 2 && (align & (align - 1)) == 0);
	if (find_gap(s, min, align, run))
		return 0;
	first = round_up(s->next, align);
	if (first + min > region_end(s->open[0].region)) {
		errint_t err = next_region(s);
		if (err)
			return err;
		first = round_up(s->next, align);
	}
	*run = (struct bulk_run){first, (uint32_t)(region_end(s->open[0].region) - first)};
	return 0;
}

void bulk_space_take(struct bulk_space *s, const struct bulk_run *run, uint32_t units,
		     enum bulk_use use)
{
	struct bulk_region *r = open_region(s, run->unit);
	uint8_t *bytes = r->bits + run->unit % REGION_UNITS;

	assert(units > 0 && units <= run->len);
	assert(all_zero(bytes, units));
	if (run->unit >= s->next) {
		add_gap(s, s->next, run->unit);
		s->next = run->unit + units;
	} else {
		take_from_gap(s, run->unit, units);
	}
	if (s->end_used < run->unit + units)
		s->end_used = run->unit + units;
	if (use != BULK_BLOB)
		memset(bytes, 0xff, units);
	if (use != BULK_RAW)
		r->shared = true;
}

void bulk_space_own(struct bulk_space *s, struct extent blob)
{
	struct bulk_region *r = open_region(s, blob.off >> UNIT_SHIFT);
	uint64_t first, end, base = r->region * REGION_SECTORS;

	blob_owned_sectors(blob, &first, &end);
	assert(end > first && first >= base && end <= base + REGION_SECTORS);
	assert(bits_all_clear(r->bits, first - base, end - first));
	bits_set(r->bits, first - base, end - first);
}

/* Write the alloc block @b, all of whose entries are set, and return its checksum. */
static errint_t write_table(struct bulk_space *s, const struct disk_alloc_block *b,
			    enum alloc_level level, uint64_t index, uint64_t off, uint32_t *crc)
{
	*crc = checksum_alloc(s->uuid_seed, level, index, b);
	return store_write(s->st, b, sizeof(*b), off);
}

/* Write the table of @group and describe it in @root, its entry in the alloc root. */
static errint_t write_group(struct bulk_space *s, uint64_t group, struct disk_alloc_entry *root,
			    uint64_t *used)
{
	uint64_t first = group * GROUP_REGIONS;
	uint64_t off =
		group ? (first << REGION_SHIFT) + GROUP_TABLE_UNIT * UNIT_SIZE : GROUP0_TABLE;
	CLEANUP(free) struct disk_alloc_block *b = store_buffer(sizeof(*b));
	uint32_t free_units = 0, crc;
	errint_t err;

	if (!b)
		return log_err(-ENOMEM, "%s: cannot write a group table", s->st->name);
	for (unsigned i = 0; i < GROUP_REGIONS && first + i < s->nregions; i++) {
		b->entry[i] = s->entry[first + i];
		if (!b->entry[i].in_use)
			continue;
		free_units += le32_get(b->entry[i].free_units);
		*used += REGION_UNITS - le32_get(b->entry[i].free_units);
	}
	err = write_table(s, b, ALLOC_GROUP, group, off, &crc);
	*root = (struct disk_alloc_entry){
		.crc = le32_make(crc), .free_units = le32_make(free_units), .in_use = 1};
	return err;
}

/* Write alloc root block @block with the tables of its groups. */
static errint_t write_root_block(struct bulk_space *s, unsigned block,
				 struct bulk_space_totals *totals)
{
	CLEANUP(free) struct disk_alloc_block *b = store_buffer(sizeof(*b));
	uint64_t groups = div_round_up(s->nregions, GROUP_REGIONS);
	uint64_t first = (uint64_t)block * ALLOC_ENTRIES;

	if (!b)
		return log_err(-ENOMEM, "%s: cannot write the alloc root", s->st->name);
	for (unsigned i = 0; i < ALLOC_ENTRIES && first + i < groups; i++) {
		errint_t err = write_group(s, first + i, &b->entry[i], &totals->used_units);
		if (err)
			return err;
	}
	return write_table(s, b, ALLOC_ROOT, block, ALLOC_ROOT_OFFSET + block * 2ull * UNIT_SIZE,
			   &totals->root_crc[block]);
}

errint_t bulk_space_finish(struct bulk_space *s, struct bulk_space_totals *totals)
{
	uint64_t blocks = div_round_up(s->nregions, GROUP_REGIONS * ALLOC_ENTRIES);

	*totals = (struct bulk_space_totals){.length = REGION0_START};
	if (s->end_used << UNIT_SHIFT > totals->length)
		totals->length = s->end_used << UNIT_SHIFT;
	for (unsigned i = 0; i < BULK_OPEN_REGIONS; i++) {
		errint_t err = s->open[i].bits ? close_region(s, &s->open[i]) : 0;
		if (err)
			return err;
	}
	for (unsigned i = 0; i < blocks; i++) {
		errint_t err = write_root_block(s, i, totals);
		if (err)
			return err;
	}
	return 0;
}
