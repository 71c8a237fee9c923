/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/report_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/validate.h"

errint_t report_read_uuid(const json_t *text, uint8_t uuid[16])
{
	const char *at = json_string_value(text);
	unsigned n = 0;

	for (; at && *at && n < 16; at += 2) {
		unsigned byte;

		if (*at == '-')
			at++;
		if (!strspn(at, "0123456789abcdefABCDEF") || sscanf(at, "%2x", &byte) != 1 ||
		    strspn(at, "0123456789abcdefABCDEF") < 2)
			return -EINVAL;
		uuid[n++] = (uint8_t)byte;
	}
	return n == 16 && !*at ? 0 : -EINVAL;
}

errint_t report_read_point(const json_t *o, struct content_point *p)
{
	const json_t *size = json_object_get(o, "virtual_size");
	const char *name = json_string_value(json_object_get(o, "name"));
	struct reason why;

	*p = (struct content_point){.size = (uint64_t)json_integer_value(size)};
	if (report_read_uuid(json_object_get(o, "uuid"), p->uuid) || json_integer_value(size) < 0 ||
	    (name && validate_snapshot_name(name, strlen(name), &why)))
		return log_fail(-EPROTO, "this is no description of a snapshot");
	if (name)
		memcpy(p->name, name, strlen(name) + 1);
	return 0;
}

/* The exponent of @n, a power of two; 0 for anything else. */
static uint8_t shift_of(const json_t *n)
{
	json_int_t v = json_integer_value(n);

	return v > 0 && !(v & (v - 1)) ? (uint8_t)__builtin_ctzll((unsigned long long)v) : 0;
}

errint_t report_read_geometry(const json_t *o, struct geometry *geo)
{
	*geo = (struct geometry){
		.cluster_shift = shift_of(json_object_get(o, "cluster_size")),
		.sector_shift = shift_of(json_object_get(o, "sector_size")),
	};
	return geo->cluster_shift >= CLUSTER_SHIFT_MIN && geo->cluster_shift <= CLUSTER_SHIFT_MAX &&
			       (geo->sector_shift == SECTOR_SHIFT ||
				geo->sector_shift == UNIT_SHIFT)
		       ? 0
		       : -EINVAL;
}
