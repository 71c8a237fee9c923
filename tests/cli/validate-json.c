/* SPDX-License-Identifier: MIT */
/*
 * Validates a document on standard input against a JSON Schema, of which it knows the part that
 * docs/schema/ uses.  A keyword that it does not know is an error: nothing in a schema goes
 * unchecked.
 *
 *	validate-json SCHEMA < DOCUMENT
 *	validate-json --names SCHEMA		the names of all properties, one a line
 */
#include "config.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned errors;

static void complain(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void complain(const char *path, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", *path ? path : "document");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	errors++;
}

static const char *const known[] = {
	"$schema",  "title", "description", "type",  "properties", "additionalProperties",
	"required", "items", "enum",	    "const", "minimum",	   "pattern",
	"examples", NULL,
};

static void check_keywords(json_t *schema, const char *path)
{
	const char *key;
	json_t *value;

	json_object_foreach(schema, key, value)
	{
		const char *const *k = known;

		while (*k && strcmp(*k, key) != 0)
			k++;
		if (!*k)
			complain(path, "the schema has a keyword that is not known: %s", key);
	}
}

static bool has_type(json_t *v, const char *type)
{
	if (!strcmp(type, "integer"))
		return json_is_integer(v);
	if (!strcmp(type, "number"))
		return json_is_number(v);
	if (!strcmp(type, "string"))
		return json_is_string(v);
	if (!strcmp(type, "boolean"))
		return json_is_boolean(v);
	if (!strcmp(type, "null"))
		return json_is_null(v);
	if (!strcmp(type, "array"))
		return json_is_array(v);
	if (!strcmp(type, "object"))
		return json_is_object(v);
	complain("", "the schema has an unknown type: %s", type);
	return false;
}

static void check_type(json_t *type, json_t *v, const char *path)
{
	bool ok = false;
	json_t *t;
	size_t i;

	if (json_is_string(type))
		ok = has_type(v, json_string_value(type));
	else
		json_array_foreach(type, i, t) ok |= has_type(v, json_string_value(t));
	if (!ok)
		complain(path, "has the wrong type");
}

/* Of patterns, only those of hexadecimal digits with fixed text between: "^0x[0-9a-f]+$" and the
 * like are matched by sscanf's cousin below; all else is an error. */
static void check_pattern(const char *pattern, json_t *v, const char *path)
{
	const char *text = json_string_value(v);
	size_t hex = 0;

	if (!text)
		return;
	if (!strcmp(pattern, "^0x[0-9a-f]+$")) {
		if (strncmp(text, "0x", 2) || !text[2] ||
		    text[2 + strspn(text + 2, "0123456789abcdef")])
			complain(path, "\"%s\" does not match %s", text, pattern);
		return;
	}
	if (!strcmp(pattern, "^[0-9a-f-]{36}$")) {
		hex = strspn(text, "0123456789abcdef-");
		if (hex != 36 || text[hex])
			complain(path, "\"%s\" does not match %s", text, pattern);
		return;
	}
	complain(path, "the schema has a pattern that is not known: %s", pattern);
}

static void check(json_t *schema, json_t *v, const char *path);

static void check_object(json_t *schema, json_t *v, const char *path)
{
	json_t *properties = json_object_get(schema, "properties");
	json_t *required = json_object_get(schema, "required"), *item;
	const char *key;
	size_t i;

	json_object_foreach(v, key, item)
	{
		json_t *sub = json_object_get(properties, key);
		char *where;

		if (asprintf(&where, "%s.%s", path, key) < 0)
			exit(2);
		if (sub)
			check(sub, item, where);
		else if (json_is_false(json_object_get(schema, "additionalProperties")))
			complain(where, "is not in the schema");
		free(where);
	}
	json_array_foreach(required, i, item)
	{
		if (!json_object_get(properties, json_string_value(item)))
			complain(path, "the schema requires %s but does not describe it",
				 json_string_value(item));
		if (!json_object_get(v, json_string_value(item)))
			complain(path, "%s is missing", json_string_value(item));
	}
}

static void check_array(json_t *schema, json_t *v, const char *path)
{
	json_t *items = json_object_get(schema, "items");
	json_t *item;
	size_t i;

	json_array_foreach(v, i, item)
	{
		char *where;

		if (asprintf(&where, "%s[%zu]", path, i) < 0)
			exit(2);
		if (items)
			check(items, item, where);
		free(where);
	}
}

static void check_values(json_t *schema, json_t *v, const char *path)
{
	json_t *constant = json_object_get(schema, "const"), *item;
	json_t *values = json_object_get(schema, "enum");
	json_t *minimum = json_object_get(schema, "minimum");
	bool ok = !values;
	size_t i;

	if (constant && !json_equal(constant, v))
		complain(path, "does not have the one value that the schema allows");
	json_array_foreach(values, i, item) ok |= json_equal(item, v);
	if (!ok)
		complain(path, "has a value that the schema does not list");
	if (minimum && json_is_number(v) && json_number_value(v) < json_number_value(minimum))
		complain(path, "is less than the schema's minimum");
}

static void check(json_t *schema, json_t *v, const char *path)
{
	json_t *type = json_object_get(schema, "type");
	json_t *pattern = json_object_get(schema, "pattern");

	check_keywords(schema, path);
	if (!json_object_get(schema, "description"))
		complain(path, "the schema does not describe it");
	if (type)
		check_type(type, v, path);
	check_values(schema, v, path);
	if (pattern)
		check_pattern(json_string_value(pattern), v, path);
	if (json_is_object(v))
		check_object(schema, v, path);
	if (json_is_array(v))
		check_array(schema, v, path);
}

static void print_names(json_t *schema)
{
	const char *key;
	json_t *sub;

	json_object_foreach(json_object_get(schema, "properties"), key, sub)
	{
		puts(key);
		print_names(sub);
	}
	if (json_object_get(schema, "items"))
		print_names(json_object_get(schema, "items"));
}

static json_t *load(const char *path)
{
	json_error_t error;
	json_t *v = path ? json_load_file(path, JSON_REJECT_DUPLICATES, &error)
			 : json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);

	if (!v) {
		fprintf(stderr, "%s:%d: %s\n", path ? path : "standard input", error.line,
			error.text);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	json_t *schema, *document;

	if (argc == 3 && !strcmp(argv[1], "--names")) {
		schema = load(argv[2]);
		print_names(schema);
		json_decref(schema);
		return 0;
	}
	if (argc != 2)
		return 2;
	schema = load(argv[1]);
	document = load(NULL);
	check(schema, document, "");
	json_decref(document);
	json_decref(schema);
	return errors ? 1 : 0;
}
