/* SPDX-License-Identifier: MIT */
/* What a superblock says about its disk as a whole (section 3.3). */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "image/reason.h"

static errint_t check_name(const struct disk_point *p, size_t at, struct reason *why)
{
	size_t len = le16_get(p->name_len), name = at + offsetof(struct disk_point, name);
	struct reason inner;
	errint_t err = reason_range(why, "name_len", at + offsetof(struct disk_point, name_len),
				    len, 0, SNAP_NAME_MAX);

	if (err)
		return err;
	if (len && validate_snapshot_name(p->name, len, &inner))
		return reason_bad(why, "name at %zu: %s", name, inner.text);
	return reason_zeros(why, "padding of name", name + len, p->name + len,
			    sizeof(p->name) - len);
}

static errint_t check_point(const struct disk_super *sb, const struct disk_point *p, size_t at,
			    struct reason *why)
{
	uint64_t size = le64_get(p->size);
	errint_t err;

	if (size & ((1ull << sb->sector_shift) - 1))
		return reason_bad(why, "size at %zu: %" PRIu64 " is not a multiple of %u",
				  at + offsetof(struct disk_point, size), size,
				  1u << sb->sector_shift);
	if ((err = reason_zeros(why, "reserved bytes", at + offsetof(struct disk_point, zero),
				p->zero, sizeof(p->zero))))
		return err;
	return check_name(p, at, why);
}

static errint_t check_at(const struct disk_super *sb, const uint8_t *data, uint32_t len, size_t at,
			 struct reason *why)
{
	struct disk_tlv_content c;
	errint_t err = reason_expect(why, "tlv.len (content)", at - 4, len, sizeof(c));

	if (err)
		return err;
	memcpy(&c, data, sizeof(c));
	if (le64_get(c.generation) == le64_get(sb->generation) &&
	    (err = reason_expect(why, "content.size",
				 at + offsetof(struct disk_tlv_content, at.size),
				 le64_get(c.at.size), le64_get(sb->size))))
		return err;
	return check_point(sb, &c.at, at + offsetof(struct disk_tlv_content, at), why);
}

/* A delta is made in one go, and nobody writes to it. */
static errint_t check_unwritten(const struct disk_super *sb, const struct disk_tlv_delta *d,
				size_t at, struct reason *why)
{
	errint_t err;

	if ((err = reason_expect(why, "delta.target.size",
				 at + offsetof(struct disk_tlv_delta, target.size),
				 le64_get(d->target.size), le64_get(sb->size))) ||
	    (err = reason_expect(why, "nsnapshots of a delta",
				 offsetof(struct disk_super, nsnapshots), le32_get(sb->nsnapshots),
				 0)))
		return err;
	return reason_expect(why, "journal_length of a delta",
			     offsetof(struct disk_super, journal_length),
			     le64_get(sb->journal_length), 0);
}

static errint_t check_delta(const struct disk_super *sb, uint32_t type, const uint8_t *data,
			    uint32_t len, size_t at, struct reason *why)
{
	struct disk_tlv_delta d;
	errint_t err = reason_expect(why, "tlv.len (delta)", at - 4, len, sizeof(d));

	if (err)
		return err;
	memcpy(&d, data, sizeof(d));
	if (type == TLV_DELTA && (err = check_unwritten(sb, &d, at, why)))
		return err;
	if ((err = check_point(sb, &d.base, at + offsetof(struct disk_tlv_delta, base), why)))
		return err;
	return check_point(sb, &d.target, at + offsetof(struct disk_tlv_delta, target), why);
}

errint_t validate_content(const struct disk_super *sb, uint32_t type, const uint8_t *data,
			  uint32_t len, size_t at, struct reason *why)
{
	errint_t err = type == TLV_CONTENT ? check_at(sb, data, len, at, why)
					   : check_delta(sb, type, data, len, at, why);

	return reason_where(why, err, "tlv at %zu, ", at - sizeof(struct disk_tlv));
}
