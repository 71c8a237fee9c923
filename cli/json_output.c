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

void json_put_text(json_t *obj, const char *key, const char *text)
{
	json_put(obj, key, json_text(text));
}

void json_append_text(json_t *list, const char *text)
{
	if (json_array_append_new(list, json_text(text)))
		spoilt = true;
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
