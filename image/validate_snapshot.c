/* SPDX-License-Identifier: MIT */
/* The snapshot table (section 4.2), and the names in it. */
#include "config.h"

#include "image/validate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/bitmap.h"
#include "common/checked.h"
#include "common/crc32c.h"
#include "image/checksum.h"
#include "image/reason.h"

#define SNAP(member) FIELD(struct disk_snapshot, member)

/* What is wrong with a name of an allowed length, or NULL. */
static const char *name_fault(const char *name, size_t len)
{
	if (memchr(name, '\0', len))
		return "contains a NUL";
	if (memchr(name, '/', len))
		return "contains a '/'";
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return "is \".\" or \"..\"";
	for (size_t i = 0, n; i < len; i += n) {
		n = reason_utf8((const uint8_t *)name + i, len - i);
		if (!n)
			return "is not UTF-8";
	}
	return NULL;
}

errint_t validate_snapshot_name(const char *name, size_t len, struct reason *why)
{
	const char *fault;

	if (len < 1 || len > SNAP_NAME_MAX) {
		snprintf(why->text, sizeof(why->text),
			 "a snapshot name has 1 to %u bytes, this one has %zu", SNAP_NAME_MAX, len);
		return -EINVAL;
	}
	fault = name_fault(name, len);
	if (!fault)
		return 0;
	snprintf(why->text, sizeof(why->text),
		 "a snapshot name is UTF-8 without '/' and NUL, and not \".\" or \"..\"; this one "
		 "%s",
		 fault);
	return -EINVAL;
}

static errint_t check_name(const struct disk_snapshot *r, struct reason *why)
{
	size_t len = le16_get(r->name_len);
	errint_t err = reason_range(why, SNAP(name_len), len, 1, SNAP_NAME_MAX);

	if (err)
		return err;
	const char *fault = name_fault(r->name, len);
	if (fault)
		return reason_bad(why, "name at %zu: %s", offsetof(struct disk_snapshot, name),
				  fault);
	return reason_zeros(why, "padding of name", offsetof(struct disk_snapshot, name) + len,
			    r->name + len, sizeof(r->name) - len);
}

static errint_t check_tree(const struct disk_snapshot *r, const struct limits *lim,
			   struct reason *why)
{
	uint64_t size = le64_get(r->size);
	errint_t err = reason_range(why, SNAP(levels), r->levels, 1, MAX_LEVELS);

	if (err)
		return err;
	uint64_t max = 1ull << (NODE_SHIFT * r->levels + lim->geo.cluster_shift);
	if (size > max)
		return reason_bad(why,
				  "size at %zu: %" PRIu64 " is more than the %" PRIu64
				  " bytes of %u levels",
				  offsetof(struct disk_snapshot, size), size, max, r->levels);
	if (size & ((1ull << lim->geo.sector_shift) - 1))
		return reason_bad(why,
				  "size at %zu: %" PRIu64 " is not a multiple of %u, the logical "
				  "sector",
				  offsetof(struct disk_snapshot, size), size,
				  1u << lim->geo.sector_shift);
	struct limits own = *lim;
	own.epoch = le32_get(r->epoch);
	uint64_t limit = le64_get(r->backing_limit);
	if (limit % SECTOR_SIZE || limit > (lim->backing ? size : 0))
		return reason_bad(why,
				  "backing_limit at %zu: %" PRIu64
				  " is not a multiple of 512 within the %s",
				  offsetof(struct disk_snapshot, backing_limit), limit,
				  lim->backing ? "disk" : "backing, which the image does not have");
	err = validate_root(desc_from_disk(&r->root), &own, why);
	return reason_where(why, err, "root at %zu, ", offsetof(struct disk_snapshot, root));
}

static errint_t check_cursor(const struct disk_snapshot *r, struct reason *why)
{
	uint64_t cursor = le64_get(r->cursor);

	if (cursor && !(le32_get(r->flags) & SNAP_ZOMBIE))
		return reason_bad(why,
				  "cursor at %zu: %" PRIu64
				  " is not 0 although the snapshot is not being deleted",
				  offsetof(struct disk_snapshot, cursor), cursor);
	return reason_range(why, SNAP(cursor), cursor, 0, 1ull << NODE_SHIFT * r->levels);
}

static errint_t check_reserved(const struct disk_snapshot *r, struct reason *why)
{
	errint_t err;

	if ((err = reason_zeros(why, "reserved bytes", offsetof(struct disk_snapshot, zero1),
				r->zero1, sizeof(r->zero1))) ||
	    (err = reason_zeros(why, "reserved bytes", offsetof(struct disk_snapshot, zero2),
				r->zero2, sizeof(r->zero2))))
		return err;
	return reason_zeros(why, "reserved bytes", offsetof(struct disk_snapshot, zero3), r->zero3,
			    sizeof(r->zero3));
}

/* One record by itself. */
static errint_t check_record(const struct disk_snapshot *r, const struct limits *lim,
			     struct reason *why)
{
	uint32_t flags = le32_get(r->flags);
	errint_t err;

	/* The head's epoch is above that of every snapshot: creating one raises it. */
	if ((err = reason_range(why, SNAP(id), le32_get(r->id), 1, lim->next_snapshot - 1)) ||
	    (err = reason_range(why, SNAP(epoch), le32_get(r->epoch), 1, lim->epoch - 1)))
		return err;
	if (flags & ~SNAP_ZOMBIE)
		return reason_bad(why, "flags at %zu: 0x%" PRIx32 " has bits outside 0x%x",
				  offsetof(struct disk_snapshot, flags), flags, SNAP_ZOMBIE);
	if ((err = check_tree(r, lim, why)) || (err = check_cursor(r, why)) ||
	    (err = check_name(r, why)))
		return err;
	return check_reserved(r, why);
}

typedef bool (*same_fn)(const struct disk_snapshot *a, const struct disk_snapshot *b);

static bool same_id(const struct disk_snapshot *a, const struct disk_snapshot *b)
{
	return le32_get(a->id) == le32_get(b->id);
}

static bool same_epoch(const struct disk_snapshot *a, const struct disk_snapshot *b)
{
	return le32_get(a->epoch) == le32_get(b->epoch);
}

static bool same_name(const struct disk_snapshot *a, const struct disk_snapshot *b)
{
	return !memcmp(a->name, b->name, sizeof(a->name));
}

#define FILTER_BITS 32768u

/*
 * No two records agree in the field of @name.  A field's hash that no earlier record had proves it
 * without a search, so 4096 records do not cost 4096 searches, and no memory is needed for a table.
 */
static errint_t check_unique(const struct disk_snapshot *rec, uint32_t n, const char *name,
			     size_t at, size_t len, same_fn same, struct reason *why)
{
	uint8_t seen[FILTER_BITS / 8] = {0};

	for (uint32_t i = 0; i < n; i++) {
		size_t h = crc32c(0, (const uint8_t *)&rec[i] + at, len) % FILTER_BITS;
		if (!bit_test(seen, h)) {
			bit_set(seen, h);
			continue;
		}
		for (uint32_t j = 0; j < i; j++) {
			if (same(&rec[i], &rec[j]))
				return reason_bad(why,
						  "record %" PRIu32 " at %zu, %s at %zu: the same "
						  "as that of record %" PRIu32,
						  i, i * sizeof(*rec), name, at, j);
		}
	}
	return 0;
}

/* The record with @id, or NULL; @n when there are many. */
static const struct disk_snapshot *find_record(const struct disk_snapshot *rec, uint32_t n,
					       uint32_t id)
{
	for (uint32_t i = 0; i < n; i++) {
		if (le32_get(rec[i].id) == id)
			return &rec[i];
	}
	return NULL;
}

/* Parents exist and are older, hence no cycles. */
static errint_t check_parents(const struct disk_snapshot *rec, uint32_t n, uint32_t head_parent,
			      struct reason *why)
{
	/* Without its parent the head would own, and overwrite, what snapshots hold. */
	if (head_parent && !find_record(rec, n, head_parent))
		return reason_bad(why, "the parent of the disk: no record has id %" PRIu32,
				  head_parent);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t id = le32_get(rec[i].parent);
		if (!id)
			continue;
		/* A chain in the order of creation: the parent is most often the one before. */
		const struct disk_snapshot *parent =
			i && le32_get(rec[i - 1].id) == id ? &rec[i - 1] : find_record(rec, n, id);
		if (!parent)
			return reason_bad(why,
					  "record %" PRIu32 " at %zu, parent at %zu: no record has "
					  "id %" PRIu32,
					  i, i * sizeof(*rec),
					  offsetof(struct disk_snapshot, parent), id);
		if (le32_get(parent->epoch) >= le32_get(rec[i].epoch))
			return reason_bad(why,
					  "record %" PRIu32 " at %zu, epoch at %zu: %" PRIu32
					  " is not above %" PRIu32 ", that of its parent %" PRIu32,
					  i, i * sizeof(*rec),
					  offsetof(struct disk_snapshot, epoch),
					  le32_get(rec[i].epoch), le32_get(parent->epoch), id);
	}
	return 0;
}

/* At most one deletion is under way, and what is being deleted has at most one child among
 * snapshots and head (I8). */
static errint_t check_deletion(const struct disk_snapshot *rec, uint32_t n, uint32_t head_parent,
			       struct reason *why)
{
	uint32_t active = n, children;

	for (uint32_t i = 0; i < n; i++) {
		if (!le64_get(rec[i].cursor))
			continue;
		if (active < n)
			return reason_bad(
				why,
				"record %" PRIu32 " at %zu, cursor at %zu: %" PRIu64
				" is not 0 although that of record %" PRIu32 " is not 0 either",
				i, i * sizeof(*rec), offsetof(struct disk_snapshot, cursor),
				le64_get(rec[i].cursor), active);
		active = i;
	}
	if (active == n)
		return 0;
	children = head_parent == le32_get(rec[active].id);
	for (uint32_t i = 0; i < n; i++)
		children += le32_get(rec[i].parent) == le32_get(rec[active].id);
	if (children > 1)
		return reason_bad(why,
				  "record %" PRIu32
				  " at %zu, cursor at %zu: not 0 although it has %" PRIu32
				  " children, the disk counted",
				  active, active * sizeof(*rec),
				  offsetof(struct disk_snapshot, cursor), children);
	return 0;
}

static errint_t check_records(const struct disk_snapshot *rec, uint32_t n, const struct limits *lim,
			      struct reason *why)
{
	for (uint32_t i = 0; i < n; i++) {
		errint_t err = check_record(&rec[i], lim, why);
		if (err)
			return reason_where(why, err, "record %" PRIu32 " at %zu, ", i,
					    i * sizeof(*rec));
	}
	return 0;
}

errint_t validate_snapshots(const struct disk_snapshot *rec, uint32_t n, size_t len, uint32_t crc,
			    const struct limits *lim, struct reason *why)
{
	size_t used = n * sizeof(*rec);
	uint32_t computed;
	errint_t err;

	assert(n >= 1 && n <= MAX_SNAPSHOTS);
	assert(len % UNIT_SIZE == 0 && len - used < UNIT_SIZE);
	computed = checksum_snaptab(lim->uuid_seed, rec, len);
	if (computed != crc)
		return reason_bad(why,
				  "crc of the snapshot table: 0x%08" PRIx32 " is not 0x%08" PRIx32
				  ", which its descriptor holds",
				  computed, crc);
	if ((err = check_records(rec, n, lim, why)) ||
	    (err = check_unique(rec, n, SNAP(id), sizeof(rec->id), same_id, why)) ||
	    (err = check_unique(rec, n, SNAP(epoch), sizeof(rec->epoch), same_epoch, why)) ||
	    (err = check_unique(rec, n, SNAP(name), sizeof(rec->name), same_name, why)) ||
	    (err = check_parents(rec, n, lim->head_parent, why)) ||
	    (err = check_deletion(rec, n, lim->head_parent, why)))
		return err;
	return reason_zeros(why, "bytes after the last record", used, (const uint8_t *)rec + used,
			    len - used);
}
