/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "common/json_build.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

void json_build_begin(struct json_build *o)
{
	*o = (struct json_build){.json = json_object()};
	o->failed = !o->json;
}

void json_build_put(struct json_build *o, const char *name, json_t *value)
{
	if (o->failed)
		json_decref(value);
	else if (json_object_set_new(o->json, name, value))
		o->failed = true;
}

void json_build_u64(struct json_build *o, const char *name, uint64_t value)
{
	assert(value <= INT64_MAX);
	json_build_put(o, name, json_integer((json_int_t)value));
}

void json_build_bool(struct json_build *o, const char *name, bool value)
{
	json_build_put(o, name, json_boolean(value));
}

void json_build_text(struct json_build *o, const char *name, const char *text)
{
	json_build_put(o, name, json_text(text));
}

void json_build_mask(struct json_build *o, const char *name, uint64_t mask)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, mask);
	json_build_put(o, name, json_string(text));
}

json_t *json_build_finish(struct json_build *o)
{
	if (!o->failed)
		return o->json;
	json_decref(o->json);
	return NULL;
}

/* Length of the UTF-8 character at @s, 0 when it is none. */
static size_t utf8_char(const char *s)
{
	unsigned char c = (unsigned char)*s;
	size_t n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : 4;
	CLEANUP(json) json_t *probe = NULL;

	if (strnlen(s, n) < n)
		return 0;
	/* jansson knows the finer points: overlong forms, surrogates, U+110000. */
	probe = n == 1 ? json_true() : json_stringn(s, n);
	return probe ? n : 0;
}

json_t *json_text(const char *text)
{
	json_t *value = json_string(text);
	CLEANUP(free) char *clean = NULL;
	size_t len = 0, n;

	if (value)
		return value;
	clean = malloc(3 * strlen(text) + 1);
	if (!clean)
		return NULL;
	for (const char *s = text; *s; s += n ? n : 1) {
		n = utf8_char(s);
		memcpy(clean + len, n ? s : "\xef\xbf\xbd", n ? n : 3);
		len += n ? n : 3;
	}
	return json_stringn(clean, len);
}
