/* SPDX-License-Identifier: MIT */
/*
 * Building JSON objects.  The documents of commands, of the mounted view and of the control socket
 * are made of these.
 */
#ifndef COMMON_JSON_BUILD_H
#define COMMON_JSON_BUILD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* First member, "schema", of each document.  Changes when a member changes its meaning or goes
 * away; new members may appear without. */
#define JSON_SCHEMA 1

/* An object under construction: once a member could not be set, for lack of memory, the rest does
 * nothing, and json_build_finish() returns NULL. */
struct json_build {
	json_t *json;
	bool failed;
};

void json_build_begin(struct json_build *o);
/* @value is stolen; NULL counts as a failure. */
void json_build_put(struct json_build *o, const char *name, json_t *value);
void json_build_u64(struct json_build *o, const char *name, uint64_t value); /* < 2^63 */
void json_build_bool(struct json_build *o, const char *name, bool value);
/* As json_text(). */
void json_build_text(struct json_build *o, const char *name, const char *text);
/* "0x1f": a bit mask. */
void json_build_mask(struct json_build *o, const char *name, uint64_t mask);
/* The object, a new reference; NULL when something failed. */
json_t *json_build_finish(struct json_build *o);

/* @text as a string; what is not UTF-8, as may be in a file name, is replaced by U+FFFD.  NULL when
 * out of memory. */
json_t *json_text(const char *text);

static inline void cleanup_json(json_t **j)
{
	json_decref(*j);
}

#endif
