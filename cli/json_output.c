/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/json_output.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"

/* Some document could not be built for lack of memory. */
static bool spoilt;

json_t *json_document(const char *command)
{
	json_t *doc = json_object();

	json_put_u64(doc, "schema", JSON_SCHEMA);
	json_put_text(doc, "command", command);
	return doc;
}

void json_put(json_t *obj, const char *key, json_t *value)
{
	if (json_object_set_new(obj, key, value))
		spoilt = true;
}

void json_put_u64(json_t *obj, const char *key, uint64_t value)
{
	assert(value <= INT64_MAX);
	json_put(obj, key, json_integer((json_int_t)value));
}

void json_put_bool(json_t *obj, const char *key, bool value)
{
	json_put(obj, key, json_boolean(value));
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

static json_t *text_value(const char *text)
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

void json_put_text(json_t *obj, const char *key, const char *text)
{
	json_put(obj, key, text_value(text));
}

void json_append_text(json_t *list, const char *text)
{
	if (json_array_append_new(list, text_value(text)))
		spoilt = true;
}

json_t *json_compression(unsigned codec, int level)
{
	json_t *o;

	if (codec == CODEC_NONE)
		return json_null();
	o = json_object();
	json_put_text(o, "codec", codec_name(codec));
	json_put(o, "level", json_integer(level));
	return o;
}

void json_put_mask(json_t *obj, const char *key, uint64_t mask)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, mask);
	json_put(obj, key, json_string(text));
}

static errint_t no_memory(void)
{
	return log_err(-ENOMEM, "cannot build the JSON document");
}

errint_t json_print(json_t *doc)
{
	int failed = !doc || spoilt;

	if (!failed)
		json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	json_decref(doc);
	if (failed)
		return no_memory();
	putchar('\n');
	return output_check();
}

errint_t json_stream_begin(struct json_stream *s, json_t *doc, const char *key)
{
	CLEANUP(free) char *text = doc && !spoilt ? json_dumps(doc, JSON_INDENT(2)) : NULL;

	json_decref(doc);
	s->items = 0;
	if (!text)
		return no_memory();
	/* The document without its closing "\n}". */
	assert(strlen(text) > 2);
	printf("%.*s,\n  \"%s\": [", (int)strlen(text) - 2, text, key);
	return output_check();
}

errint_t json_stream_item(struct json_stream *s, json_t *item)
{
	char line[1024];
	size_t len = item && !spoilt ? json_dumpb(item, line, sizeof(line), JSON_COMPACT) : 0;

	json_decref(item);
	assert(len <= sizeof(line));
	if (!len)
		return no_memory();
	fputs(s->items++ ? ",\n    " : "\n    ", stdout);
	fwrite(line, 1, len, stdout); /* much faster than json_dumpf(), and many are to come */
	return output_check();
}

void json_stream_end(struct json_stream *s)
{
	printf("%s]\n}\n", s->items ? "\n  " : "");
}
