/* SPDX-License-Identifier: MIT */
/*
 * The documents that --json prints (docs/json.md).  Each is an object whose first members are
 * "schema", the version of its form, and "command".
 */
#ifndef CLI_JSON_OUTPUT_H
#define CLI_JSON_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"
#include "common/json_build.h"

/* A document of @command with its first two members; NULL when out of memory. */
json_t *json_document(const char *command);

/*
 * Setters that cannot fail at the call: with a NULL @obj, or out of memory, they do nothing but
 * spoil the object, which json_print() then reports.  @value of json_put() is stolen.
 */
void json_put(json_t *obj, const char *key, json_t *value);
void json_put_u64(json_t *obj, const char *key, uint64_t value);
void json_put_bool(json_t *obj, const char *key, bool value);
/* Text that is not UTF-8, such as a file name, has its other bytes replaced by U+FFFD. */
void json_put_text(json_t *obj, const char *key, const char *text);
/* A string for json_put_text()'s purposes, appended to the array @list. */
void json_append_text(json_t *list, const char *text);

/* Prints @doc, which is stolen, on standard output.  -ENOMEM when it is NULL or was spoilt, message
 * logged.  Errors of writing show up when standard output is closed (output.h). */
MUST_CHECK errint_t json_print(json_t *doc);

/*
 * A document whose last member @key is an array too long to hold in memory:
 *	json_stream_begin -> { json_stream_item }* -> json_stream_end
 * @doc and @item are stolen; an item takes 1 KiB of text at the most.
 */
struct json_stream {
	uint64_t items;
};
MUST_CHECK errint_t json_stream_begin(struct json_stream *s, json_t *doc, const char *key);
MUST_CHECK errint_t json_stream_item(struct json_stream *s, json_t *item);
void json_stream_end(struct json_stream *s);

#endif
