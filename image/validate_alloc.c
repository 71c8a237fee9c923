/* SPDX-License-Identifier: MIT */
/* Group tables, alloc root blocks and bitmaps (section 5). */
#include "config.h"

#include "image/validate.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "common/bitmap.h"
#include "image/checksum.h"
#include "image/reason.h"

#define ENTRY(member) FIELD(struct disk_alloc_entry, member)

/* Units that a group of 256 regions has at the most besides their headers. */
#define GROUP_FREE_MAX (GROUP_REGIONS * (REGION_UNITS - REGION_HEADER_UNITS))

static bool by_sectors(uint8_t class_)
{
	return class_ == CLASS_BLOB || class_ == CLASS_MIXED;
}

static errint_t check_unused(const struct disk_alloc_entry *e, struct reason *why)
{
	errint_t err;

	if ((err = reason_expect(why, ENTRY(crc), le32_get(e->crc), 0)) ||
	    (err = reason_expect(why, ENTRY(free_units), le32_get(e->free_units), 0)) ||
	    (err = reason_expect(why, ENTRY(slots), e->slots, 0)) ||
	    (err = reason_expect(why, "class", offsetof(struct disk_alloc_entry, class_), e->class_,
				 0)) ||
	    (err = reason_expect(why, ENTRY(run_log2), e->run_log2, 0)))
		return err;
	return reason_expect(why, ENTRY(dead_sectors), le32_get(e->dead_sectors), 0);
}

static errint_t check_group_entry(const struct disk_alloc_entry *e, struct reason *why)
{
	errint_t err;

	if ((err = reason_range(why, ENTRY(free_units), le32_get(e->free_units), 0,
				GROUP_FREE_MAX)) ||
	    (err = reason_range(why, ENTRY(slots), e->slots, 0, 1)) ||
	    (err = reason_expect(why, "class", offsetof(struct disk_alloc_entry, class_), e->class_,
				 0)) ||
	    (err = reason_expect(why, ENTRY(run_log2), e->run_log2, 0)))
		return err;
	return reason_expect(why, ENTRY(dead_sectors), le32_get(e->dead_sectors), 0);
}

static errint_t check_class(const struct disk_alloc_entry *e, uint64_t region, struct reason *why)
{
	const size_t at = offsetof(struct disk_alloc_entry, class_);

	if (!region)
		return reason_expect(why, "class", at, e->class_, CLASS_MIXED);
	if (region_has_group_table(region) && by_sectors(e->class_))
		return reason_bad(why,
				  "class at %zu: %u is neither 1 data nor 3 meta, although region "
				  "%" PRIu64 " holds a group table (R1)",
				  at, e->class_, region);
	return reason_range(why, "class", at, e->class_, CLASS_DATA, CLASS_MIXED);
}

static errint_t check_region_entry(const struct disk_alloc_entry *e, uint64_t region,
				   struct reason *why)
{
	uint32_t most = REGION_UNITS - region_reserved_units(region);
	uint32_t free_units = le32_get(e->free_units);
	errint_t err;

	if ((err = check_class(e, region, why)) ||
	    (err = reason_range(why, ENTRY(free_units), free_units, 0, most)) ||
	    (err = reason_range(why, ENTRY(slots), e->slots, 0,
				by_sectors(e->class_) ? UINT8_MAX : 1)) ||
	    (err = reason_range(why, ENTRY(run_log2), e->run_log2, 0, 15)))
		return err;
	/* A unit in use owns at least one of its sectors. */
	uint64_t dead = by_sectors(e->class_) ? (most - free_units) * (UNIT_SECTORS - 1ull) : 0;
	return reason_range(why, ENTRY(dead_sectors), le32_get(e->dead_sectors), 0, dead);
}

errint_t validate_alloc_entry(const struct disk_alloc_entry *e, uint64_t region, struct reason *why)
{
	errint_t err;

	assert(region == UINT64_MAX || region < MAX_REGIONS);
	if ((err = reason_range(why, ENTRY(in_use), e->in_use, 0, 1)))
		return err;
	if (!e->in_use)
		return check_unused(e, why);
	if (region == UINT64_MAX)
		return check_group_entry(e, why);
	return check_region_entry(e, region, why);
}

/* Of a group with @regions regions, to which root entry @e belongs. */
static errint_t check_group_size(const struct disk_alloc_entry *e, uint64_t regions,
				 struct reason *why)
{
	if (regions > GROUP_REGIONS)
		regions = GROUP_REGIONS;
	return reason_range(why, ENTRY(free_units), le32_get(e->free_units), 0,
			    regions * (REGION_UNITS - REGION_HEADER_UNITS));
}

errint_t validate_alloc_block(const struct disk_alloc_block *b, enum alloc_level level,
			      uint64_t index, uint32_t crc, const struct limits *lim,
			      struct reason *why)
{
	assert(level == ALLOC_GROUP ? index < MAX_GROUPS
				    : level == ALLOC_ROOT && index < ALLOC_ROOT_BLOCKS);
	uint32_t computed = checksum_alloc(lim->uuid_seed, level, index, b);

	if (computed != crc)
		return reason_bad(why,
				  "crc of the block: 0x%08" PRIx32 " is not 0x%08" PRIx32
				  ", which its parent holds",
				  computed, crc);
	for (unsigned i = 0; i < ALLOC_ENTRIES; i++) {
		const struct disk_alloc_entry *e = &b->entry[i];
		uint64_t n = index * ALLOC_ENTRIES + i;
		uint64_t region = level == ALLOC_GROUP ? n : n * GROUP_REGIONS;
		errint_t err = validate_alloc_entry(e, level == ALLOC_GROUP ? n : UINT64_MAX, why);

		if (!err && e->in_use && region >= lim->phys_regions)
			err = reason_bad(why,
					 "in_use at %zu: 1 although region %" PRIu64
					 " is beyond the last of %" PRIu64,
					 offsetof(struct disk_alloc_entry, in_use), region,
					 lim->phys_regions);
		if (!err && e->in_use && level == ALLOC_ROOT)
			err = check_group_size(e, lim->phys_regions - region, why);
		if (err)
			return reason_where(why, err, "entry %u at %zu, ", i, i * sizeof(*e));
	}
	return 0;
}

static errint_t check_bitmap_crc(const uint8_t *bits, uint64_t region,
				 const struct disk_alloc_entry *e, const struct limits *lim,
				 struct reason *why)
{
	uint32_t crc[BITMAP_BLOCKS], computed;
	unsigned blocks = by_sectors(e->class_) ? BITMAP_BLOCKS : 1;

	for (unsigned i = 0; i < blocks; i++)
		crc[i] = checksum_alloc(lim->uuid_seed, ALLOC_BITMAP, region * BITMAP_BLOCKS + i,
					bits + i * UNIT_SIZE);
	computed = blocks > 1 ? checksum_combine(crc) : crc[0];
	if (computed == le32_get(e->crc))
		return 0;
	return reason_bad(why,
			  "crc of the bitmap: 0x%08" PRIx32 " is not 0x%08" PRIx32
			  ", which the group table holds for region %" PRIu64,
			  computed, le32_get(e->crc), region);
}

static errint_t check_counts(uint32_t free_units, uint32_t dead, const struct disk_alloc_entry *e,
			     struct reason *why)
{
	if (free_units != le32_get(e->free_units))
		return reason_bad(why,
				  "free_units: %" PRIu32 " are free in the bitmap, the group table "
				  "holds %" PRIu32,
				  free_units, le32_get(e->free_units));
	if (dead != le32_get(e->dead_sectors))
		return reason_bad(why,
				  "dead_sectors: %" PRIu32 " are dead in the bitmap, the group "
				  "table holds %" PRIu32,
				  dead, le32_get(e->dead_sectors));
	return 0;
}

static errint_t check_sector_bitmap(const uint8_t *bits, uint64_t region,
				    const struct disk_alloc_entry *e, struct reason *why)
{
	unsigned reserved = region_reserved_units(region), free_units = 0;
	size_t set = bits_count(bits, 0, REGION_SECTORS);

	for (unsigned u = 0; u < reserved; u++) {
		if (bits[u] != 0xff)
			return reason_bad(
				why, "bitmap at %u: 0x%02x is not 0xff, unit %u is reserved (R2)",
				u, bits[u], u);
	}
	for (unsigned u = 0; u < REGION_UNITS; u++)
		free_units += !bits[u];
	uint64_t dead = (uint64_t)(REGION_UNITS - free_units) * UNIT_SECTORS - set;
	return check_counts(free_units, (uint32_t)dead, e, why);
}

/* DATA holds nothing but aligned clusters (A1): all units of one are alike. */
static errint_t check_clusters(const uint8_t *bits, unsigned cu, struct reason *why)
{
	/* Neighbouring bits differ only where one cluster ends; all lie within words of 64 bits. */
	const uint64_t ends = cu == 64 ? 1ull << 63 : ~0ull / ((1ull << cu) - 1) << (cu - 1);
	bool alike = true;

	for (unsigned u = 0; u < REGION_UNITS; u += 64) {
		uint64_t word;

		memcpy(&word, bits + u / 8, sizeof(word));
		word = le64toh(word);
		alike &= !((word ^ word >> 1) & ~ends);
	}
	if (alike)
		return 0;
	for (unsigned u = 0; u < REGION_UNITS; u += cu) {
		if (!bits_all_set(bits, u, cu) && !bits_all_clear(bits, u, cu))
			return reason_bad(
				why,
				"bitmap at %u: cluster at unit %u of the region is in use "
				"in part (A1)",
				u / 8, u);
	}
	return 0;
}

static errint_t check_unit_bitmap(const uint8_t *bits, uint64_t region,
				  const struct disk_alloc_entry *e, const struct limits *lim,
				  struct reason *why)
{
	unsigned cu = cluster_units(&lim->geo), reserved = region_reserved_units(region);

	if (e->class_ == CLASS_DATA && cu > reserved)
		reserved = cu;
	if (!bits_all_set(bits, 0, reserved)) {
		size_t u = bits_next_clear(bits, 0, reserved);
		return reason_bad(why, "bitmap at %zu: unit %zu is reserved (R2) and marked free",
				  u / 8, u);
	}
	if (e->class_ == CLASS_DATA) {
		errint_t err = check_clusters(bits, cu, why);
		if (err)
			return err;
	}
	uint32_t set = (uint32_t)bits_count(bits, 0, REGION_UNITS);
	return check_counts(REGION_UNITS - set, 0, e, why);
}

errint_t validate_bitmap(const uint8_t *bits, uint64_t region, const struct disk_alloc_entry *e,
			 const struct limits *lim, struct reason *why)
{
	assert(e->in_use && e->class_ >= CLASS_DATA && e->class_ <= CLASS_MIXED);
	assert(region < MAX_REGIONS);
	errint_t err = check_bitmap_crc(bits, region, e, lim, why);

	if (err)
		return err;
	if (by_sectors(e->class_))
		return check_sector_bitmap(bits, region, e, why);
	return check_unit_bitmap(bits, region, e, lim, why);
}
