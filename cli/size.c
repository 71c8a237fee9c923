/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/size.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

static const char units[] = "KMGTPE";

static errint_t bad_size(const char *what, const char *text, const char *why)
{
	return log_fail(-EINVAL, "%s: \"%s\" is not a size: %s", what, text, why);
}

/* The digits after a decimal point, as a fraction of 10^18; more digits than that are dropped. */
static uint64_t parse_fraction(const char **text)
{
	uint64_t value = 0;
	unsigned n = 0;

	for (; isdigit((unsigned char)**text); (*text)++) {
		if (n == 18)
			continue;
		value = value * 10 + (unsigned)(**text - '0');
		n++;
	}
	for (; n < 18; n++)
		value *= 10;
	return value;
}

/* "", "B", "K", "KiB": *shift and how much of @text that was; false when it is none of these. */
static bool parse_unit(const char *text, unsigned *shift)
{
	const char *at;

	*shift = 0;
	if (!*text || !strcasecmp(text, "B"))
		return true;
	at = strchr(units, toupper((unsigned char)*text));
	if (!at || (text[1] && strcasecmp(text + 1, "iB")))
		return false;
	*shift = 10u * (unsigned)(at - units + 1);
	return true;
}

errint_t size_parse(const char *what, const char *text, uint64_t *bytes)
{
	const char *p = text;
	unsigned __int128 value = 0;
	uint64_t fraction = 0;
	bool has_fraction = false;
	unsigned shift;

	if (!*text)
		return bad_size(what, text, "it is empty");
	if (!isdigit((unsigned char)*p))
		return bad_size(what, text, "it does not begin with a digit");
	for (; isdigit((unsigned char)*p); p++)
		if (value <= INT64_MAX)
			value = value * 10 + (unsigned)(*p - '0');
	if (*p == '.') {
		p++;
		if (!isdigit((unsigned char)*p))
			return bad_size(what, text, "no digit follows the point");
		fraction = parse_fraction(&p);
		has_fraction = true;
	}
	if (!parse_unit(p, &shift))
		return bad_size(what, text, "the units are K, M, G, T, P and E, or KiB and so on");
	if (has_fraction && !shift)
		return bad_size(what, text, "there are no fractions of a byte");
	value = (value << shift) +
		(((unsigned __int128)fraction << shift) / 1000000000000000000ull);
	if (value > INT64_MAX)
		return log_fail(-ERANGE, "%s: %s is more than 2^63 - 1 bytes", what, text);
	*bytes = (uint64_t)value;
	return 0;
}

const char *size_text(uint64_t bytes, char buf[SIZE_TEXT_MAX])
{
	unsigned shift = 0, unit = 0;
	uint64_t whole;
	double value;
	int digits;

	while (unit < sizeof(units) - 1 && bytes >> shift >= 1024) {
		shift += 10;
		unit++;
	}
	whole = bytes >> shift;
	if (!unit) {
		snprintf(buf, SIZE_TEXT_MAX, "%u byte%s", (unsigned)whole, whole == 1 ? "" : "s");
		return buf;
	}
	if (bytes == whole << shift) {
		snprintf(buf, SIZE_TEXT_MAX, "%u %ciB", (unsigned)whole, units[unit - 1]);
		return buf;
	}
	value = (double)bytes / (double)(1ull << shift);
	digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
	snprintf(buf, SIZE_TEXT_MAX, "%.*f %ciB", digits, value, units[unit - 1]);
	return buf;
}
