/* SPDX-License-Identifier: MIT */
/* Extended attributes: the members of an info.json, one by one. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fuse/view_priv.h"
#include "image/report.h"

static bool has_xattrs(view_ino ino)
{
	return ino == VIEW_ROOT || kind_of(ino) == KIND_SNAPSHOT || view_is_disk(ino);
}

/* What they are of. */
static errint_t document(struct view *v, view_ino ino, json_t **doc)
{
	struct snapshot_info info;
	errint_t err;

	if (!snapshot_of(ino))
		return view_info(v, doc);
	err = view_snapshot_find(v, snapshot_of(ino), &info);
	if (err)
		return err;
	*doc = report_snapshot_json(&info);
	return *doc ? 0 : view_no_memory();
}

static bool has_server(const struct view *v, view_ino ino)
{
	return ino == VIEW_ROOT && v->opts.server;
}

/* The member of @doc that is called @name, nested names joined by dots; borrowed. */
static json_t *find(json_t *doc, const char *name)
{
	while (doc && *name) {
		size_t len = strcspn(name, ".");
		char key[64];

		if (len >= sizeof(key))
			return NULL;
		memcpy(key, name, len);
		key[len] = '\0';
		doc = json_object_get(doc, key);
		name += len + (name[len] == '.');
	}
	return doc;
}

/* As in the document, but a string without its quotes.  NULL: out of memory. */
static char *value_text(const json_t *value)
{
	if (json_is_string(value))
		return strdup(json_string_value(value));
	return json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
}

static errint_t give(char *text, char **value, size_t *len)
{
	if (!text)
		return view_no_memory();
	*value = text;
	*len = strlen(text);
	return 0;
}

errint_t view_getxattr(struct view *v, view_ino ino, const char *name, char **value, size_t *len)
{
	const size_t prefix = sizeof(VIEW_XATTR) - 1;
	CLEANUP(json) json_t *doc = NULL;
	json_t *member;
	errint_t err;

	if (!has_xattrs(ino) || strncmp(name, VIEW_XATTR, prefix) || !name[prefix])
		return -ENODATA;
	if (has_server(v, ino) && !strcmp(name, VIEW_XATTR_SERVER)) {
		char text[24];

		snprintf(text, sizeof(text), "%ld", (long)v->opts.server);
		return give(strdup(text), value, len);
	}
	err = document(v, ino, &doc);
	if (err)
		return err;
	member = find(doc, name + prefix);
	if (!member || json_is_object(member))
		return -ENODATA;
	return give(value_text(member), value, len);
}

/* The names of all members of @doc that are no objects themselves. */
static void list(FILE *out, const char *prefix, json_t *doc)
{
	const char *key;
	json_t *value;

	json_object_foreach(doc, key, value)
	{
		char name[128];

		if (snprintf(name, sizeof(name), "%s%s", prefix, key) >= (int)sizeof(name) - 1)
			continue;
		if (json_is_object(value)) {
			strcat(name, ".");
			list(out, name, value);
		} else {
			fputs(name, out);
			fputc('\0', out);
		}
	}
}

errint_t view_listxattr(struct view *v, view_ino ino, char **names, size_t *len)
{
	CLEANUP(json) json_t *doc = NULL;
	errint_t err = 0;
	FILE *out;
	int failed;

	if (has_xattrs(ino))
		err = document(v, ino, &doc);
	if (err)
		return err;
	*names = NULL;
	out = open_memstream(names, len);
	if (!out)
		return view_no_memory();
	if (doc)
		list(out, VIEW_XATTR, doc);
	if (has_server(v, ino))
		fwrite(VIEW_XATTR_SERVER, 1, sizeof(VIEW_XATTR_SERVER), out);
	failed = ferror(out);
	if (fclose(out) || failed) {
		free(*names);
		return view_no_memory();
	}
	return 0;
}
