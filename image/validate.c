/* SPDX-License-Identifier: MIT */
/*
 * Descriptors and the blocks made of nothing else.  The other block types are in validate_super.c,
 * validate_snapshot.c, validate_alloc.c and validate_journal.c.
 *
 * Every node that enters memory passes through here, so the path of a good descriptor formats
 * nothing and calls nothing.
 */
#include "config.h"

#include "image/validate.h"

#include <inttypes.h>

#include "common/checked.h"
#include "image/checksum.h"
#include "image/reason.h"

static const char type_at[] = "type";
#define TYPE_AT	   7 /* the byte of a descriptor that holds type and flags */
#define BIRTH_AT   offsetof(struct disk_desc, birth)
#define AUX_AT	   offsetof(struct disk_desc, aux)
#define UPPER_BITS (0xffffull << DESC_UNIT_BITS)

static errint_t check_hole(struct desc d, struct reason *why)
{
	if (!d.w0 && !d.birth && !d.aux)
		return 0;
	if (d.w0)
		return reason_bad(why, "w0 at 0: 0x%" PRIx64 " is not 0, as for a hole", d.w0);
	if (d.birth)
		return reason_bad(why, "birth at %zu: %" PRIu32 " is not 0, as for a hole",
				  BIRTH_AT, d.birth);
	return reason_bad(why, "aux at %zu: 0x%" PRIx32 " is not 0, as for a hole", AUX_AT, d.aux);
}

static errint_t check_zero(struct desc d, struct reason *why)
{
	if (d.w0 != (uint64_t)DESC_ZERO << 56)
		return reason_bad(
			why, "w0 at 0: 0x%" PRIx64 " names storage, a zero range has none", d.w0);
	if (d.aux)
		return reason_bad(why, "aux at %zu: 0x%" PRIx32 " is not 0, as for a zero range",
				  AUX_AT, d.aux);
	return 0;
}

/* Bits 40..55 of w0, which only SNAPTAB and ZSTD use. */
static errint_t check_upper(struct desc d, struct reason *why)
{
	if (d.w0 & UPPER_BITS)
		return reason_bad(why, "w0 at 0: bits 40..55 hold 0x%x and must be 0",
				  desc_snaptab_units(d));
	return 0;
}

static errint_t check_raw(struct desc d, const struct limits *lim, struct reason *why)
{
	uint64_t unit = desc_unit(d);
	unsigned cu = cluster_units(&lim->geo);
	errint_t err = check_upper(d, why);

	if (err)
		return err;
	if (desc_valid(d) & desc_zero(d))
		return reason_bad(why,
				  "aux at %zu: sub-blocks 0x%04x are both valid and zero "
				  "(valid 0x%04x, zero 0x%04x)",
				  AUX_AT, desc_valid(d) & desc_zero(d), desc_valid(d),
				  desc_zero(d));
	if (!unit) {
		if (desc_valid(d))
			return reason_bad(why,
					  "aux at %zu: valid 0x%04x is not 0 although unit 0 means "
					  "no storage",
					  AUX_AT, desc_valid(d));
		return 0;
	}
	if (unit % cu)
		return reason_bad(why, "unit at 0: %" PRIu64 " is not a multiple of %u, a cluster",
				  unit, cu);
	return reason_place(why, "unit", 0, unit, cu, lim->phys_regions);
}

/* The packing rule (section 4.1), for one blob. */
static errint_t check_packing(struct extent e, struct reason *why)
{
	uint64_t first, end;

	if (e.off % UNIT_SIZE > UNIT_SIZE - SECTOR_SIZE)
		return reason_bad(why,
				  "granule at 0: byte %" PRIu64 " begins %" PRIu64
				  " bytes into its unit, at most 3584 is allowed "
				  "(P2)",
				  e.off, e.off % UNIT_SIZE);
	blob_owned_sectors(e, &first, &end);
	if (first >= end)
		return reason_bad(why,
				  "granules at 5: %" PRIu64 " bytes at byte %" PRIu64
				  " contain no first byte of a sector (P1)",
				  e.len, e.off);
	return 0;
}

static errint_t check_zstd(struct desc d, const struct limits *lim, struct reason *why)
{
	struct extent e = desc_extent(&lim->geo, d);
	errint_t err = reason_range(why, "granules", 5, desc_granules(d), 1, BLOB_MAX_GRANULES);

	if (err)
		return err;
	if (!lim->zstd)
		return reason_bad(why,
				  "type at %d: a compressed extent, which feature bit 0 of "
				  "the superblock (zstd) rules out",
				  TYPE_AT);
	uint64_t unit = e.off >> UNIT_SHIFT, end = (e.off + e.len - 1) >> UNIT_SHIFT;
	err = reason_place(why, "granule", 0, unit, end - unit + 1, lim->phys_regions);
	if (err)
		return err;
	if (region_has_group_table(unit / REGION_UNITS))
		return reason_bad(why,
				  "granule at 0: byte %" PRIu64 " is in region %" PRIu64
				  ", which cannot hold compressed extents (R1)",
				  e.off, unit / REGION_UNITS);
	return check_packing(e, why);
}

static errint_t check_node(struct desc d, const struct limits *lim, struct reason *why)
{
	errint_t err = check_upper(d, why);

	if (err)
		return err;
	return reason_place(why, "unit", 0, desc_unit(d), 1, lim->phys_regions);
}

/* What holds for a descriptor of every type but HOLE. */
static errint_t check_birth(struct desc d, uint32_t max_birth, struct reason *why)
{
	if (!d.birth || d.birth > max_birth)
		return reason_range(why, "birth", BIRTH_AT, d.birth, 1, max_birth);
	return 0;
}

static errint_t check_flags(struct desc d, struct reason *why)
{
	unsigned flags = (unsigned)(d.w0 >> 60);

	if (!flags)
		return 0;
	return reason_bad(why, "flags at %d: 0x%x is not 0%s%s", TYPE_AT, flags,
			  flags & 1 ? ", FALLTHROUGH is reserved" : "",
			  flags & 2 ? ", SEALED is reserved" : "");
}

static errint_t wrong_type(struct desc d, const char *allowed, struct reason *why)
{
	return reason_bad(why, "%s at %d: %u is not %s", type_at, TYPE_AT, (unsigned)desc_type(d),
			  allowed);
}

static errint_t check_leaf_entry(struct desc d, const struct limits *lim, uint32_t max_birth,
				 struct reason *why)
{
	errint_t err;

	switch (desc_type(d)) {
	case DESC_HOLE:
		return check_hole(d, why);
	case DESC_ZERO:
		err = check_zero(d, why);
		break;
	case DESC_RAW:
		err = check_raw(d, lim, why);
		break;
	case DESC_ZSTD:
		err = check_zstd(d, lim, why);
		break;
	case DESC_NODE:
	case DESC_SNAPTAB:
	default:
		return wrong_type(d, "0 hole, 1 zero, 2 raw or 3 zstd", why);
	}
	return err ? err : check_birth(d, max_birth, why);
}

static errint_t check_inner_entry(struct desc d, const struct limits *lim, uint32_t max_birth,
				  struct reason *why)
{
	if (desc_type(d) == DESC_HOLE)
		return check_hole(d, why);
	if (desc_type(d) != DESC_NODE)
		return wrong_type(d, "0 hole or 4 node", why);
	errint_t err = check_node(d, lim, why);
	return err ? err : check_birth(d, max_birth, why);
}

errint_t validate_desc(struct desc d, const struct limits *lim, unsigned level, uint32_t max_birth,
		       struct reason *why)
{
	assert(level < MAX_LEVELS);
	errint_t err = check_flags(d, why);

	if (err)
		return err;
	if (level)
		return check_inner_entry(d, lim, max_birth, why);
	return check_leaf_entry(d, lim, max_birth, why);
}

errint_t validate_root(struct desc d, const struct limits *lim, struct reason *why)
{
	errint_t err = check_flags(d, why);

	return err ? err : check_inner_entry(d, lim, lim->epoch, why);
}

errint_t validate_snaptab_desc(struct desc d, const struct limits *lim, uint32_t nsnapshots,
			       struct reason *why)
{
	uint64_t units =
		div_round_up((uint64_t)nsnapshots * sizeof(struct disk_snapshot), UNIT_SIZE);
	errint_t err = check_flags(d, why);

	if (err)
		return err;
	if (desc_type(d) == DESC_HOLE) {
		if (nsnapshots)
			return reason_bad(why,
					  "%s at %d: a hole, but there are %" PRIu32 " snapshots",
					  type_at, TYPE_AT, nsnapshots);
		return check_hole(d, why);
	}
	if (desc_type(d) != DESC_SNAPTAB)
		return wrong_type(d, "0 hole or 5 snapshot table", why);
	err = reason_range(why, "units", 5, desc_snaptab_units(d), 1, SNAPTAB_MAX_UNITS);
	if (err)
		return err;
	if (desc_snaptab_units(d) != units)
		return reason_bad(why,
				  "units at 5: %u is not %" PRIu64 ", as for %" PRIu32 " snapshots",
				  desc_snaptab_units(d), units, nsnapshots);
	err = reason_place(why, "unit", 0, desc_unit(d), units, lim->phys_regions);
	return err ? err : check_birth(d, lim->epoch, why);
}

/* A unit of a region other than 0, behind its header. */
static inline bool surely_placed(uint64_t unit, const struct limits *lim)
{
	uint64_t region = unit / REGION_UNITS;

	return region && region < lim->phys_regions && unit % REGION_UNITS >= REGION_HEADER_UNITS;
}

static inline bool surely_valid_blob(struct desc d, const struct limits *lim)
{
	struct extent e = {desc_granule(d) << granule_shift(&lim->geo),
			   (uint64_t)desc_granules(d) << granule_shift(&lim->geo)};
	uint64_t region = e.off >> REGION_SHIFT, first, end;

	blob_owned_sectors(e, &first, &end);
	return desc_granules(d) - 1 < BLOB_MAX_GRANULES && lim->zstd && first < end &&
	       e.off % UNIT_SIZE <= UNIT_SIZE - SECTOR_SIZE && region % GROUP_REGIONS &&
	       region < lim->phys_regions && (e.off + e.len - 1) >> REGION_SHIFT == region &&
	       e.off % REGION_SIZE >= REGION_HEADER_UNITS * UNIT_SIZE;
}

/*
 * Would validate_desc() say yes, as far as that is quickly found out?  A large disk has millions of
 * descriptors, nearly all of them good and of a few kinds; what is left takes the long way.
 */
static inline bool surely_valid(struct desc d, const struct limits *lim, unsigned level,
				uint32_t max_birth)
{
	if (!(d.w0 | d.birth | d.aux))
		return true;
	if (d.birth - 1 >= max_birth)
		return false;
	if (level)
		return d.w0 >> DESC_UNIT_BITS == (uint64_t)DESC_NODE << 16 &&
		       surely_placed(desc_unit(d), lim);
	if (d.w0 >> DESC_UNIT_BITS == (uint64_t)DESC_RAW << 16)
		return !(desc_unit(d) & (cluster_units(&lim->geo) - 1)) &&
		       !(desc_valid(d) & desc_zero(d)) && surely_placed(desc_unit(d), lim);
	return d.w0 >> 56 == DESC_ZSTD && surely_valid_blob(d, lim);
}

errint_t validate_node(const struct disk_node *node, struct desc self, unsigned level,
		       uint64_t index, uint64_t nclusters, const struct limits *lim,
		       struct reason *why)
{
	assert(level < MAX_LEVELS && index >> NODE_SHIFT * (MAX_LEVELS - 1 - level) == 0);
	uint32_t crc = checksum_node(lim->uuid_seed, level, index, node);

	if (crc != self.aux)
		return reason_bad(why,
				  "crc of the node: 0x%08" PRIx32 " is not 0x%08" PRIx32
				  ", which its parent holds",
				  crc, self.aux);
	bool inside = (index + 1) << NODE_SHIFT * (level + 1) <= nclusters;
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		struct desc d = desc_from_disk(&node->entry[i]);
		uint64_t cluster = (index << NODE_SHIFT | i) << NODE_SHIFT * level;

		if (inside && surely_valid(d, lim, level, self.birth))
			continue;
		errint_t err = validate_desc(d, lim, level, self.birth, why);

		if (!err && cluster >= nclusters && desc_type(d) != DESC_HOLE)
			err = reason_bad(why,
					 "%s at %d: %u is not 0, although cluster %" PRIu64
					 " is beyond the last of %" PRIu64,
					 type_at, TYPE_AT, (unsigned)desc_type(d), cluster,
					 nclusters);
		if (err)
			return reason_where(why, err, "entry %u at %zu, ", i,
					    i * sizeof(struct disk_desc));
	}
	return 0;
}
