/* SPDX-License-Identifier: MIT */
/*
 * The texts info.json, stats.json and metrics.
 *
 * metrics is the same as the other two in the text format of Prometheus: each number of stats.json
 * is a counter, each number or truth value of info.json a gauge, their names made of those in the
 * documents.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "fuse/view_priv.h"

errint_t text_print(json_t *doc, struct text *out)
{
	CLEANUP(free)
	char *text = doc ? json_dumps(doc, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : NULL;

	json_decref(doc);
	if (!text)
		return view_no_memory();
	out->len = strlen(text) + 1;
	out->data = malloc(out->len);
	if (!out->data)
		return view_no_memory();
	memcpy(out->data, text, out->len - 1);
	out->data[out->len - 1] = '\n';
	return 0;
}

errint_t text_info(struct view *v, struct text *out)
{
	json_t *doc;
	errint_t err = view_info_now(v, &doc);

	return err ? err : text_print(doc, out);
}

static json_t *op_json(const struct op_counters *c, bool bytes)
{
	struct json_build o;

	json_build_begin(&o);
	json_build_u64(&o, "requests", c->requests);
	if (bytes)
		json_build_u64(&o, "bytes", c->bytes);
	json_build_u64(&o, "errors", c->errors);
	return json_build_finish(&o);
}

static json_t *view_json(const struct view *v)
{
	struct json_build o;

	json_build_begin(&o);
	json_build_put(&o, "read", op_json(&v->count[OP_READ], true));
	json_build_put(&o, "write", op_json(&v->count[OP_WRITE], true));
	json_build_put(&o, "zero", op_json(&v->count[OP_ZERO], true));
	json_build_put(&o, "sync", op_json(&v->count[OP_SYNC], false));
	return json_build_finish(&o);
}

static errint_t stats_document(struct view *v, json_t **out)
{
	json_t *doc;
	errint_t err = v->opts.source->stats(v->opts.source_arg, &doc);

	if (err)
		return err;
	if (json_object_set_new(doc, "view", view_json(v))) {
		json_decref(doc);
		return view_no_memory();
	}
	*out = doc;
	return 0;
}

errint_t text_stats(struct view *v, struct text *out)
{
	json_t *doc;
	errint_t err = stats_document(v, &doc);

	return err ? err : text_print(doc, out);
}

/* ---- metrics ----------------------------------------------------------------------------- */

struct metrics {
	FILE *out;
	const char *type;   /* "counter" or "gauge" */
	const char *suffix; /* of a metric's name */
	char label[128];    /* behind each name */
};

static void add_metric(const struct metrics *m, const char *name, json_int_t value)
{
	fprintf(m->out, "# TYPE %s%s %s\n%s%s%s %" JSON_INTEGER_FORMAT "\n", name, m->suffix,
		m->type, name, m->suffix, m->label, value);
}

/* All numbers in @doc; objects in it are part of the names. */
static void add_metrics(const struct metrics *m, const char *prefix, json_t *doc, bool top)
{
	char name[256];
	const char *key;
	json_t *value;

	json_object_foreach(doc, key, value)
	{
		if (snprintf(name, sizeof(name), "%s_%s", prefix, key) >= (int)sizeof(name))
			continue;
		if (json_is_object(value))
			add_metrics(m, name, value, false);
		else if (top && !strcmp(key, "schema"))
			continue;
		else if (json_is_integer(value))
			add_metric(m, name, json_integer_value(value));
		else if (json_is_boolean(value))
			add_metric(m, name, json_is_true(value));
	}
}

/* An image is known by its UUID: that has no characters that would have to be escaped. */
static void set_label(struct metrics *m, json_t *info)
{
	const char *uuid = json_string_value(json_object_get(info, "uuid"));

	snprintf(m->label, sizeof(m->label), "{uuid=\"%s\"}", uuid ? uuid : "");
}

errint_t text_metrics(struct view *v, struct text *out)
{
	CLEANUP(json) json_t *stats = NULL;
	CLEANUP(json) json_t *info = NULL;
	errint_t err = stats_document(v, &stats);
	struct metrics m = {0};
	int failed;

	if (!err)
		err = view_info(v, &info);
	if (err)
		return err;
	m.out = open_memstream(&out->data, &out->len);
	if (!m.out)
		return view_no_memory();
	set_label(&m, info);
	m.type = "counter";
	m.suffix = "_total";
	add_metrics(&m, "ublk_img", stats, true);
	m.type = "gauge";
	m.suffix = "";
	add_metrics(&m, "ublk_img", info, true);
	failed = ferror(m.out);
	if (fclose(m.out) || failed) {
		free(out->data);
		out->data = NULL;
		return view_no_memory();
	}
	return 0;
}
