/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/snapshot_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "image/image.h"
#include "image/report.h"
#include "image/snapshot.h"

/* Snapshots in one answer: a name may take six bytes of JSON for each of its own. */
enum { LIST_MAX = 150 };

/* ---- parameters and results --------------------------------------------------------------- */

static errint_t text_param(const json_t *params, const char *key, const char **out)
{
	*out = json_string_value(json_object_get(params, key));
	return *out ? 0 : log_fail(-EINVAL, "\"%s\" is missing", key);
}

static errint_t finish(struct json_build *o, json_t **result)
{
	*result = json_build_finish(o);
	return *result ? 0 : log_err(-ENOMEM, "cannot answer");
}

/* ---- operations --------------------------------------------------------------------------- */

errint_t snapshot_op_create(struct image *im, const json_t *params, json_t **result)
{
	struct json_build o;
	const char *name;
	uint32_t id;
	errint_t err = text_param(params, "name", &name);

	if (!err)
		err = snapshot_create(im, name, &id);
	if (err)
		return err;
	json_build_begin(&o);
	json_build_text(&o, "name", name);
	json_build_u64(&o, "id", id);
	return finish(&o, result);
}

/* Those whose id is above that in "after". */
static json_t *list_after(const struct snapshot_info *list, uint32_t n, json_int_t after,
			  bool *more)
{
	json_t *items = json_array();
	unsigned count = 0;

	*more = false;
	for (uint32_t i = 0; i < n && !*more; i++) {
		if (list[i].id <= after)
			continue;
		if (count++ == LIST_MAX)
			*more = true;
		else
			json_array_append_new(items, report_snapshot_json(&list[i]));
	}
	return items;
}

errint_t snapshot_op_list(struct image *im, const json_t *params, json_t **result)
{
	CLEANUP(free) void *memory = NULL;
	struct snapshot_info *list;
	struct json_build o;
	uint32_t n;
	bool more;
	errint_t err = snapshot_list(im, &list, &n);

	if (err)
		return err;
	memory = list;
	json_build_begin(&o);
	json_build_put(
		&o, "snapshots",
		list_after(list, n, json_integer_value(json_object_get(params, "after")), &more));
	json_build_bool(&o, "more", more);
	return finish(&o, result);
}

errint_t snapshot_op_rename(struct image *im, const json_t *params, json_t **result)
{
	const char *name, *to;
	errint_t err = text_param(params, "name", &name);

	(void)result;
	if (!err)
		err = text_param(params, "to", &to);
	return err ? err : snapshot_rename(im, name, to);
}

errint_t snapshot_op_delete(struct image *im, const json_t *params, json_t **result)
{
	const char *name;
	errint_t err = text_param(params, "name", &name);

	(void)result;
	return err ? err : snapshot_delete(im, name);
}

errint_t snapshot_op_rollback(struct image *im, const json_t *params, json_t **result)
{
	const char *name, *keep = json_string_value(json_object_get(params, "keep"));
	struct json_build o;
	errint_t err = text_param(params, "name", &name);

	if (!err)
		err = snapshot_rollback(im, name, keep);
	if (err)
		return err;
	json_build_begin(&o);
	json_build_u64(&o, "virtual_size", image_size(im));
	return finish(&o, result);
}

/* ---- differences -------------------------------------------------------------------------- */

static errint_t write_record(void *arg, const struct diff_extent *e)
{
	const struct diff_record r = {.off = e->off, .len = e->len, .zeroed = e->zeroed};

	return fwrite(&r, sizeof(r), 1, arg) == 1 ? 0 : log_errno("cannot hand on what differs");
}

static void cleanup_snapshot_view(struct snapshot_view **v)
{
	if (*v)
		snapshot_view_close(*v);
}

static errint_t diff(struct image *im, const json_t *params, FILE *out)
{
	CLEANUP(snapshot_view) struct snapshot_view *from = NULL, *to = NULL;
	const char *later = json_string_value(json_object_get(params, "to")), *earlier;
	errint_t err = text_param(params, "from", &earlier);

	if (!err)
		err = snapshot_view_open(im, earlier, &from);
	if (!err && later)
		err = snapshot_view_open(im, later, &to);
	return err ? err : snapshot_diff(im, from, to, write_record, out);
}

errint_t snapshot_op_diff(struct image *im, const json_t *params, int fd)
{
	int own = dup(fd);
	FILE *out = own < 0 ? NULL : fdopen(own, "w");
	errint_t err;

	if (!out) {
		err = log_errno("cannot hand on what differs");
		if (own >= 0)
			close(own);
		return err;
	}
	err = diff(im, params, out);
	if (fclose(out) && !err)
		err = log_errno("cannot hand on what differs");
	return err;
}
