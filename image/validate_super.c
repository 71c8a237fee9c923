/* SPDX-License-Identifier: MIT */
/* IDENT and superblocks, with the backing reference and the TLV list inside (section 3). */
#include "config.h"

#include "image/validate.h"

#include <inttypes.h>
#include <string.h>

#include "codecs/codec.h"
#include "image/checksum.h"
#include "image/reason.h"

#define IDENT(member)	FIELD(struct disk_ident, member)
#define SUPER(member)	FIELD(struct disk_super, member)
#define BACKING_AT	offsetof(struct disk_super, backing)
#define BACKING(member) "backing." #member, BACKING_AT + offsetof(struct disk_backing, member)

/* What counts up from 0 or 1 for the life of an image gets nowhere near; code that adds to it need
 * not think of overflow. */
#define COUNTER_MAX ((uint64_t)1 << 62)

static errint_t check_magic(uint64_t magic, uint64_t want, const char *what, struct reason *why)
{
	if (magic == want)
		return 0;
	return reason_bad(why, "magic at 0: 0x%016" PRIx64 " is not 0x%016" PRIx64 ", that of %s",
			  magic, want, what);
}

/* Text that can be shown: it goes into messages. */
static errint_t check_creator(const struct disk_ident *ident, struct reason *why)
{
	const size_t at = offsetof(struct disk_ident, creator);
	size_t len = strnlen(ident->creator, sizeof(ident->creator));
	char text[sizeof(ident->creator) + 1];

	reason_printable(ident->creator, sizeof(ident->creator), text);
	if (memcmp(text, ident->creator, len))
		return reason_bad(why,
				  "creator at %zu: \"%s\" is not UTF-8 or has control characters "
				  "at each '?'",
				  at, text);
	return reason_zeros(why, "padding of creator", at + len, ident->creator + len,
			    sizeof(ident->creator) - len);
}

/* The fields that fix the geometry; other values belong to other versions of the format. */
static errint_t check_shifts(const struct disk_ident *ident, struct reason *why)
{
	errint_t err;

	if ((err = reason_expect(why, IDENT(unit_shift), ident->unit_shift, UNIT_SHIFT)))
		return err;
	if (ident->cluster_shift == 19 || ident->cluster_shift == 20)
		return reason_unsupported(why,
					  "cluster_shift at 33: %u is reserved, this version reads "
					  "%d..%d",
					  ident->cluster_shift, CLUSTER_SHIFT_MIN,
					  CLUSTER_SHIFT_MAX);
	if ((err = reason_range(why, IDENT(cluster_shift), ident->cluster_shift, CLUSTER_SHIFT_MIN,
				CLUSTER_SHIFT_MAX)))
		return err;
	return reason_expect(why, IDENT(region_shift), ident->region_shift, REGION_SHIFT);
}

errint_t validate_ident(const struct disk_ident *ident, struct reason *why)
{
	char creator[sizeof(ident->creator) + 1];
	errint_t err;

	if ((err = check_magic(le64_get(ident->magic), IDENT_MAGIC, "an image", why)) ||
	    (err = reason_crc(why, offsetof(struct disk_ident, crc), le32_get(ident->crc),
			      checksum_ident(ident))))
		return err;
	if (le32_get(ident->major) != FORMAT_MAJOR)
		return reason_unsupported(
			why, "major at 12: format version %" PRIu32 " is not %d (made by \"%s\")",
			le32_get(ident->major), FORMAT_MAJOR,
			reason_printable(ident->creator, sizeof(ident->creator), creator));
	if ((err = check_shifts(ident, why)) ||
	    (err = reason_zeros(why, "reserved bytes", offsetof(struct disk_ident, zero1),
				ident->zero1, sizeof(ident->zero1))))
		return err;
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		if ((err = reason_expect(
			     why, "super_offset",
			     offsetof(struct disk_ident, super_offset) + i * sizeof(le64),
			     le64_get(ident->super_offset[i]), SUPER_OFFSET + i * SUPER_STRIDE)))
			return err;
	}
	if ((err = check_creator(ident, why)))
		return err;
	return reason_zeros(why, "reserved bytes", offsetof(struct disk_ident, zero2), ident->zero2,
			    sizeof(ident->zero2));
}

/* Before every field that a feature may give another meaning. */
static errint_t check_features(const struct disk_super *sb, const struct disk_ident *ident,
			       struct reason *why)
{
	static const char *const reserved[] = {[2] = "fall-through",
					       [3] = "sealed checksums",
					       [4] = "dictionaries",
					       [5] = "external data",
					       [6] = "encryption"};
	char creator[sizeof(ident->creator) + 1];
	uint64_t unknown = le64_get(sb->incompat) & ~INCOMPAT_KNOWN;

	if (!unknown)
		return 0;
	unsigned bit = (unsigned)__builtin_ctzll(unknown);
	bool named = bit < sizeof(reserved) / sizeof(*reserved) && reserved[bit];
	return reason_unsupported(
		why,
		"incompat at %zu: 0x%" PRIx64 " has bit %u%s%s%s, unknown here (made by \"%s\")",
		offsetof(struct disk_super, incompat), le64_get(sb->incompat), bit,
		named ? " (" : "", named ? reserved[bit] : "", named ? ")" : "",
		reason_printable(ident->creator, sizeof(ident->creator), creator));
}

static errint_t check_size(const struct disk_super *sb, const struct geometry *geo,
			   struct reason *why)
{
	uint64_t size = le64_get(sb->size), max;
	errint_t err;

	if (sb->sector_shift != 9 && sb->sector_shift != 12)
		return reason_bad(why, "sector_shift at %zu: %u is neither 9 nor 12",
				  offsetof(struct disk_super, sector_shift), sb->sector_shift);
	if ((err = reason_range(why, SUPER(levels), sb->levels, 1, MAX_LEVELS)))
		return err;
	if (size & ((1ull << sb->sector_shift) - 1))
		return reason_bad(why,
				  "size at %zu: %" PRIu64 " is not a multiple of %u, the logical "
				  "sector",
				  offsetof(struct disk_super, size), size, 1u << sb->sector_shift);
	max = 1ull << (NODE_SHIFT * sb->levels + geo->cluster_shift);
	if (size > max)
		return reason_bad(why,
				  "size at %zu: %" PRIu64 " is more than the %" PRIu64
				  " bytes of %u levels",
				  offsetof(struct disk_super, size), size, max, sb->levels);
	return reason_zeros(why, "reserved bytes", offsetof(struct disk_super, zero1), sb->zero1,
			    sizeof(sb->zero1));
}

static errint_t check_snapshot_fields(const struct disk_super *sb, const struct limits *lim,
				      struct reason *why)
{
	uint32_t n = le32_get(sb->nsnapshots), next = le32_get(sb->next_snapshot);
	uint32_t parent = le32_get(sb->head_parent);
	errint_t err;

	if ((err = reason_range(why, SUPER(nsnapshots), n, 0, MAX_SNAPSHOTS)))
		return err;
	/* Ids are unique, from 1 on. */
	if ((err = reason_range(why, SUPER(next_snapshot), next, (uint64_t)n + 1, UINT32_MAX)))
		return err;
	if (parent && !n)
		return reason_bad(why,
				  "head_parent at %zu: %" PRIu32
				  " is not 0 although there is no snapshot",
				  offsetof(struct disk_super, head_parent), parent);
	if ((err = reason_range(why, SUPER(head_parent), parent, 0, next - 1)))
		return err;
	err = validate_snaptab_desc(desc_from_disk(&sb->snaptab), lim, n, why);
	return reason_where(why, err, "snaptab at %zu, ", offsetof(struct disk_super, snaptab));
}

static errint_t check_no_journal(const struct disk_super *sb, struct reason *why)
{
	errint_t err;

	if ((err = reason_expect(why, SUPER(journal_offset), le64_get(sb->journal_offset), 0)) ||
	    (err = reason_expect(why, SUPER(journal_pos), le64_get(sb->journal_pos), 0)) ||
	    (err = reason_expect(why, SUPER(journal_seq), le64_get(sb->journal_seq), 1)) ||
	    (err = reason_expect(why, SUPER(journal_chain), le32_get(sb->journal_chain), 0)))
		return err;
	if (!(le32_get(sb->flags) & SUPER_CLEAN))
		return reason_bad(why,
				  "flags at %zu: CLEAN is not set although there is no journal",
				  offsetof(struct disk_super, flags));
	return 0;
}

static errint_t check_multiple(struct reason *why, const char *name, size_t at, uint64_t value)
{
	if (value % UNIT_SIZE == 0)
		return 0;
	return reason_bad(why, "%s at %zu: %" PRIu64 " is not a multiple of %u", name, at, value,
			  UNIT_SIZE);
}

static errint_t check_journal(const struct disk_super *sb, const struct limits *lim,
			      struct reason *why)
{
	uint64_t off = le64_get(sb->journal_offset), len = le64_get(sb->journal_length);
	errint_t err;

	if (!len)
		return check_no_journal(sb, why);
	if ((err = reason_range(why, SUPER(journal_length), len, JOURNAL_LEAST, JOURNAL_MAX)) ||
	    (err = check_multiple(why, SUPER(journal_length), len)) ||
	    (err = check_multiple(why, SUPER(journal_offset), off)) ||
	    (err = reason_place(why, SUPER(journal_offset), off >> UNIT_SHIFT, len >> UNIT_SHIFT,
				lim->phys_regions)) ||
	    (err = check_multiple(why, SUPER(journal_pos), le64_get(sb->journal_pos))) ||
	    (err = reason_range(why, SUPER(journal_pos), le64_get(sb->journal_pos), 0,
				COUNTER_MAX)))
		return err;
	return reason_range(why, SUPER(journal_seq), le64_get(sb->journal_seq), 1, COUNTER_MAX);
}

static errint_t check_space(const struct disk_super *sb, struct reason *why)
{
	uint64_t regions = le64_get(sb->phys_regions), slots = le64_get(sb->root_slots);
	errint_t err;

	if ((err = reason_range(why, SUPER(phys_regions), regions, 1, MAX_REGIONS)) ||
	    (err = reason_range(why, SUPER(used_units), le64_get(sb->used_units),
				region_reserved_units(0), regions * REGION_UNITS)))
		return err;
	uint64_t per_block = (uint64_t)ALLOC_ENTRIES * GROUP_REGIONS;
	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++) {
		if (i * per_block < regions)
			continue;
		if (slots >> i & 1)
			return reason_bad(why,
					  "root_slots at %zu: bit %u is set, but the %" PRIu64
					  " regions do not reach alloc root block %u",
					  offsetof(struct disk_super, root_slots), i, regions, i);
		if ((err = reason_expect(why, "root_crc",
					 offsetof(struct disk_super, root_crc) + i * sizeof(le32),
					 le32_get(sb->root_crc[i]), 0)))
			return err;
	}
	return 0;
}

static errint_t check_backing(const struct disk_super *sb, struct reason *why)
{
	const struct disk_backing *b = &sb->backing;
	bool feature = le64_get(sb->incompat) & INCOMPAT_BACKING;
	size_t len = le16_get(b->path_len);
	errint_t err;

	if ((err = reason_range(why, BACKING(kind), b->kind, BACKING_NONE, BACKING_UBLK_IMG)))
		return err;
	if (feature != (b->kind != BACKING_NONE))
		return reason_bad(why,
				  "backing.kind at %zu: %u although feature bit 1 (backing) is %d",
				  BACKING_AT, b->kind, feature);
	if (b->kind == BACKING_NONE)
		return reason_zeros(why, "backing", BACKING_AT, b, sizeof(*b));
	if ((err = reason_expect(why, "reserved byte", BACKING_AT + 1, b->zero1, 0)) ||
	    (err = reason_range(why, BACKING(path_len), len, 1, BACKING_PATH_MAX)) ||
	    (err = reason_expect(why, "reserved bytes", BACKING_AT + 4, le32_get(b->zero2), 0)))
		return err;
	if (strnlen(b->path, len) < len)
		return reason_bad(why, "backing.path at %zu: byte %zu of %zu is NUL",
				  BACKING_AT + offsetof(struct disk_backing, path),
				  strnlen(b->path, len), len);
	if ((err = reason_zeros(why, "padding of backing.path",
				BACKING_AT + offsetof(struct disk_backing, path) + len,
				b->path + len, sizeof(b->path) - len)))
		return err;
	uint64_t limit = le64_get(b->limit);
	if (limit % SECTOR_SIZE || limit > le64_get(sb->size))
		return reason_bad(why,
				  "backing.limit at %zu: %" PRIu64
				  " is not a multiple of 512 within the disk",
				  BACKING_AT + offsetof(struct disk_backing, limit), limit);
	return reason_zeros(why, "reserved bytes",
			    BACKING_AT + offsetof(struct disk_backing, zero3), b->zero3,
			    sizeof(b->zero3));
}

/* Entries that say more about the backing. */
static errint_t check_backing_entry(const struct disk_super *sb, uint32_t type, uint32_t len,
				    size_t at, struct reason *why)
{
	uint32_t want = type == TLV_BACKING_SNAPSHOT ? 16 : 0;
	uint8_t kind = sb->backing.kind;

	if (kind == BACKING_NONE || (type == TLV_BACKING_SNAPSHOT && kind != BACKING_UBLK_IMG))
		return reason_bad(
			why, "tlv.type at %zu: 0x%08" PRIx32 " does not go with backing.kind %u",
			at, type, kind);
	return reason_expect(why, "tlv.len (backing)", at + 4, len, want);
}

static errint_t check_compression(const struct disk_super *sb, const uint8_t *data, uint32_t len,
				  size_t at, struct reason *why)
{
	struct disk_tlv_compression c;
	errint_t err;

	if ((err = reason_expect(why, "tlv.len (compression)", at - 4, len, sizeof(c))))
		return err;
	memcpy(&c, data, sizeof(c));
	/* A codec that is unknown here only keeps this version from compressing. */
	if (c.codec == CODEC_NONE &&
	    (err = reason_expect(why, "compression.level", at + 1, (uint8_t)c.level, 0)))
		return err;
	if (c.codec == CODEC_ZSTD && !(le64_get(sb->incompat) & INCOMPAT_ZSTD_BLOBS))
		return reason_bad(why,
				  "compression.codec at %zu: zstd although feature bit 0 (zstd) is "
				  "not set",
				  at);
	return reason_zeros(why, "reserved bytes", at + offsetof(struct disk_tlv_compression, zero),
			    c.zero, sizeof(c.zero));
}

bool super_has_root_block(const struct disk_super *sb, unsigned i)
{
	return le32_get(sb->root_crc[i]) || le64_get(sb->root_slots) >> i & 1;
}

/* One entry that is whole; *@seen has a bit for each known type that was met before. */
static errint_t check_entry(const struct disk_super *sb, uint32_t type, const uint8_t *data,
			    uint32_t len, size_t at, unsigned *seen, struct reason *why)
{
	static const struct {
		uint32_t type;
		unsigned excludes; /* bits of rows */
		const char *name;
	} known[] = {
		{TLV_COMPRESSION, 1 << 0, "compression"},
		{TLV_CONTENT, 7 << 1, "content"},
		{TLV_DELTA, 7 << 1, "content"},
		{TLV_APPLYING, 7 << 1, "content"},
		{TLV_BACKING_SNAPSHOT, 1 << 4, "backing"},
		{TLV_COMMITTING, 1 << 5, "backing"},
	};
	const size_t head = at - sizeof(struct disk_tlv);

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i].type != type)
			continue;
		if (*seen & known[i].excludes)
			return reason_bad(why, "tlv.type at %zu: a second %s entry", head,
					  known[i].name);
		*seen |= 1u << i;
		switch (type) {
		case TLV_COMPRESSION:
			return check_compression(sb, data, len, at, why);
		case TLV_BACKING_SNAPSHOT:
		case TLV_COMMITTING:
			return check_backing_entry(sb, type, len, head, why);
		default:
			return validate_content(sb, type, data, len, at, why);
		}
	}
	if (type & TLV_MUST_UNDERSTAND)
		return reason_unsupported(
			why, "tlv.type at %zu: 0x%08" PRIx32 " must be understood and is not", head,
			type);
	return 0;
}

/* The list of type, length, data; it ends with the area, or with zeros. */
static errint_t check_tlv(const struct disk_super *sb, struct reason *why)
{
	const size_t base = offsetof(struct disk_super, tlv);
	unsigned seen = 0;
	size_t pos = 0;

	while (pos < TLV_BYTES) {
		struct disk_tlv head;
		memcpy(&head, sb->tlv + pos, sizeof(head));
		uint32_t type = le32_get(head.type), len = le32_get(head.len);
		if (!type)
			return reason_zeros(why, "end of the tlv list", base + pos, sb->tlv + pos,
					    TLV_BYTES - pos);
		size_t data = pos + sizeof(head), room = TLV_BYTES - data;
		if (len > room)
			return reason_bad(why,
					  "tlv.len at %zu: %" PRIu32 " is more than the %zu "
					  "bytes that are left",
					  base + pos + 4, len, room);
		errint_t err = check_entry(sb, type, sb->tlv + data, len, base + data, &seen, why);
		if (err)
			return err;
		pos = data + ((len + 7ull) & ~7ull);
		err = reason_zeros(why, "padding of a tlv entry", base + data + len,
				   sb->tlv + data + len, pos - data - len);
		if (err)
			return err;
	}
	return 0;
}

/* Magic, image, checksum: whether this is a superblock of @ident's image at all. */
static errint_t check_identity(const struct disk_super *sb, const struct disk_ident *ident,
			       struct reason *why)
{
	errint_t err = check_magic(le64_get(sb->magic), SUPER_MAGIC, "a superblock", why);

	if (err)
		return err;
	if (memcmp(sb->uuid, ident->uuid, sizeof(sb->uuid)))
		return reason_bad(why,
				  "uuid at %zu: not that of the image, at %zu of its first "
				  "block",
				  offsetof(struct disk_super, uuid),
				  offsetof(struct disk_ident, uuid));
	return reason_crc(why, offsetof(struct disk_super, crc), le32_get(sb->crc),
			  checksum_super(checksum_uuid(ident->uuid), sb));
}

static errint_t check_flags_epoch(const struct disk_super *sb, struct reason *why)
{
	uint32_t flags = le32_get(sb->flags);

	if (flags & ~SUPER_FLAGS)
		return reason_bad(why, "flags at %zu: 0x%" PRIx32 " has bits outside 0x%x",
				  offsetof(struct disk_super, flags), flags, SUPER_FLAGS);
	errint_t err =
		reason_range(why, SUPER(generation), le64_get(sb->generation), 1, COUNTER_MAX);
	if (err)
		return err;
	return reason_range(why, SUPER(epoch), le32_get(sb->epoch), 1, UINT32_MAX);
}

static errint_t check_reserved(const struct disk_super *sb, struct reason *why)
{
	errint_t err;

	if ((err = reason_zeros(why, "reserved bytes", offsetof(struct disk_super, zero2),
				&sb->zero2, sizeof(sb->zero2))) ||
	    (err = reason_zeros(why, "reserved bytes", offsetof(struct disk_super, zero3),
				sb->zero3, sizeof(sb->zero3))))
		return err;
	return reason_zeros(why, "reserved bytes", offsetof(struct disk_super, zero4), sb->zero4,
			    sizeof(sb->zero4));
}

errint_t validate_super(const struct disk_super *sb, const struct disk_ident *ident,
			struct reason *why)
{
	struct limits lim = {
		.geo = {ident->cluster_shift, sb->sector_shift},
		.uuid_seed = checksum_uuid(ident->uuid),
		.phys_regions = le64_get(sb->phys_regions),
		.epoch = le32_get(sb->epoch),
		.zstd = le64_get(sb->incompat) & INCOMPAT_ZSTD_BLOBS,
		.backing = le64_get(sb->incompat) & INCOMPAT_BACKING,
	};
	errint_t err;

	if ((err = check_identity(sb, ident, why)) || (err = check_features(sb, ident, why)) ||
	    (err = check_flags_epoch(sb, why)) || (err = check_size(sb, &lim.geo, why)) ||
	    (err = check_space(sb, why)))
		return err;
	err = validate_root(desc_from_disk(&sb->root), &lim, why);
	if (err)
		return reason_where(why, err, "root at %zu, ", offsetof(struct disk_super, root));
	if ((err = check_snapshot_fields(sb, &lim, why)) || (err = check_journal(sb, &lim, why)) ||
	    (err = check_backing(sb, why)) || (err = check_tlv(sb, why)))
		return err;
	return check_reserved(sb, why);
}
