/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "image/reason.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/checked.h"

errint_t reason_bad(struct reason *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

errint_t reason_unsupported(struct reason *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -ENOTSUP;
}

errint_t reason_where(struct reason *why, errint_t err, const char *fmt, ...)
{
	struct reason inner = *why;
	va_list ap;

	if (!err)
		return 0;
	va_start(ap, fmt);
	int n = vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	assert(n > 0 && (size_t)n < sizeof(why->text));
	size_t room = sizeof(why->text) - (size_t)n;
	size_t len = strnlen(inner.text, room - 1);
	memcpy(why->text + n, inner.text, len);
	why->text[(size_t)n + len] = '\0';
	return err;
}

errint_t reason_expect(struct reason *why, const char *name, size_t at, uint64_t value,
		       uint64_t want)
{
	if (value == want)
		return 0;
	return reason_bad(why, "%s at %zu: %" PRIu64 " is not %" PRIu64, name, at, value, want);
}

errint_t reason_range(struct reason *why, const char *name, size_t at, uint64_t value, uint64_t low,
		      uint64_t high)
{
	if (value >= low && value <= high)
		return 0;
	return reason_bad(why, "%s at %zu: %" PRIu64 " is not in %" PRIu64 "..%" PRIu64, name, at,
			  value, low, high);
}

errint_t reason_crc(struct reason *why, size_t at, uint32_t stored, uint32_t computed)
{
	if (stored == computed)
		return 0;
	return reason_bad(why,
			  "crc at %zu: 0x%08" PRIx32 " is not 0x%08" PRIx32
			  ", the checksum of the bytes",
			  at, stored, computed);
}

errint_t reason_zeros(struct reason *why, const char *name, size_t at, const void *bytes,
		      size_t len)
{
	const uint8_t *b = bytes;

	/* Equal to itself shifted by one byte: all bytes are like the first. */
	if (!len || (!b[0] && !memcmp(b, b + 1, len - 1)))
		return 0;
	size_t i = 0;
	while (!b[i])
		i++;
	return reason_bad(why, "%s at %zu: byte %zu holds 0x%02x and must be 0", name, at, at + i,
			  b[i]);
}

size_t reason_utf8(const uint8_t *s, size_t len)
{
	if (s[0] < 0x80)
		return 1;
	size_t n = s[0] >= 0xc2 && s[0] <= 0xdf	  ? 2
		   : (s[0] & 0xf0) == 0xe0	  ? 3
		   : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
						  : 0;
	if (!n || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

/* Neither a control character of ASCII nor one of U+0080..U+009F, which terminals obey as well. */
static bool printable(const uint8_t *s, size_t n)
{
	return n == 1 ? s[0] >= 0x20 && s[0] != 0x7f : n > 1 && !(s[0] == 0xc2 && s[1] < 0xa0);
}

const char *reason_printable(const char *disk, size_t len, char *buf)
{
	const uint8_t *s = (const uint8_t *)disk;
	size_t i = 0;

	while (i < len && s[i]) {
		size_t n = reason_utf8(s + i, len - i);
		if (printable(s + i, n))
			memcpy(buf + i, s + i, n);
		else
			memset(buf + i, '?', n ? n : 1);
		i += n ? n : 1;
	}
	buf[i] = '\0';
	return buf;
}

errint_t reason_place(struct reason *why, const char *name, size_t at, uint64_t unit, uint64_t n,
		      uint64_t phys_regions)
{
	uint64_t region = unit / REGION_UNITS, end;

	assert(n > 0);
	if (region >= phys_regions)
		return reason_bad(why,
				  "%s at %zu: unit %" PRIu64 " is in region %" PRIu64
				  ", the last one is %" PRIu64,
				  name, at, unit, region, phys_regions - 1);
	if (unit % REGION_UNITS < region_reserved_units(region))
		return reason_bad(why,
				  "%s at %zu: unit %" PRIu64
				  " is among the first %u of region %" PRIu64
				  ", which are reserved",
				  name, at, unit, region_reserved_units(region), region);
	if (!checked_add(unit % REGION_UNITS, n, &end) || end > REGION_UNITS)
		return reason_bad(why,
				  "%s at %zu: %" PRIu64 " units from unit %" PRIu64
				  " on leave region %" PRIu64,
				  name, at, n, unit, region);
	return 0;
}
