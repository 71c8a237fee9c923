/* SPDX-License-Identifier: MIT */
/*
 * How the validators say what is wrong: "FIELD at OFFSET: what it holds, what would be right".
 * Shared by the validate*.c files only.  Pure functions, any thread; @why is never NULL.
 */
#ifndef IMAGE_REASON_H
#define IMAGE_REASON_H

#include "image/validate.h"

/* Name and offset of a member, the two arguments that the functions below begin with. */
#define FIELD(type, member) #member, offsetof(type, member)

/* Fill @why and return -EBADMSG. */
MUST_CHECK errint_t reason_bad(struct reason *why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold, noinline));

/* Fill @why and return -ENOTSUP. */
MUST_CHECK errint_t reason_unsupported(struct reason *why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold, noinline));

/* Put text that says where in front of the reason for @err, and return @err; nothing when it is 0.
 */
MUST_CHECK errint_t reason_where(struct reason *why, errint_t err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold, noinline));

/* The field @name at @at must hold @want. */
MUST_CHECK errint_t reason_expect(struct reason *why, const char *name, size_t at, uint64_t value,
				  uint64_t want);

/* The field @name at @at must be in @low..@high. */
MUST_CHECK errint_t reason_range(struct reason *why, const char *name, size_t at, uint64_t value,
				 uint64_t low, uint64_t high);

/* The stored CRC at @at must be @computed. */
MUST_CHECK errint_t reason_crc(struct reason *why, size_t at, uint32_t stored, uint32_t computed);

/* The @len bytes at @bytes, at offset @at of the block, are @name and must be zero. */
MUST_CHECK errint_t reason_zeros(struct reason *why, const char *name, size_t at, const void *bytes,
				 size_t len);

/* Bytes of the UTF-8 character at @s, with @len > 0 bytes left, or 0 when there is none: RFC 3629,
 * so no overlong forms, no surrogates, nothing above U+10FFFF. */
size_t reason_utf8(const uint8_t *s, size_t len);

/* Copy at most @len bytes of text from a disk, up to a NUL, with '?' for each byte of what is not
 * UTF-8 or a terminal should not see.  @buf has room for @len + 1. */
const char *reason_printable(const char *disk, size_t len, char *buf);

/*
 * Units [unit, unit + n), n > 0, must lie in one existing region, beyond what that region reserves
 * (R2).  @name and @at are the field that says so.
 */
MUST_CHECK errint_t reason_place(struct reason *why, const char *name, size_t at, uint64_t unit,
				 uint64_t n, uint64_t phys_regions);

/* Units at the start of @region that are never allocated, whatever its class (R2). */
static inline unsigned region_reserved_units(uint64_t region)
{
	return region ? REGION_HEADER_UNITS : (unsigned)(REGION0_START >> UNIT_SHIFT);
}

/* A region whose units 2 and 3 hold a group table: neither BLOB nor MIXED (R1). */
static inline bool region_has_group_table(uint64_t region)
{
	return region >= GROUP_REGIONS && region % GROUP_REGIONS == 0;
}

#endif
