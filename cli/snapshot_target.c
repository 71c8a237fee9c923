/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/snapshot_target.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cli/attached.h"
#include "cli/snapshot_ops.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "image/snapshot.h"
#include "image/validate.h"

/* A freeze of a large image, with a slow disk below, takes its time. */
#define CALL_MS 120000

/* Steps of a deletion between looks at how far it has come. */
#define RECLAIM_STEPS 256u

static const struct {
	const char *method;
	snapshot_op_fn op;
} ops[] = {
	{"snapshot-list", snapshot_op_list},
	{"snapshot-rename", snapshot_op_rename},
	{"snapshot-delete", snapshot_op_delete},
	{"snapshot-rollback", snapshot_op_rollback},
};

errint_t snapshot_check_name(const char *name)
{
	struct reason why;
	errint_t err = validate_snapshot_name(name, strlen(name), &why);

	return err ? log_fail(err, "%s", why.text) : 0;
}

errint_t snapshot_check_names(char *const *names, unsigned n)
{
	errint_t err = 0;

	for (unsigned i = 0; i < n && !err; i++)
		err = snapshot_check_name(names[i]);
	return err;
}

/* Snapshots come and go without a change of the disk; rolling back says so itself. */
static struct image_file_opts open_opts(bool write)
{
	return (struct image_file_opts){
		.write = write, .accept_applying = true, .keeps_content = true};
}

errint_t snapshot_target_find(const char *what, struct snapshot_target *t)
{
	*t = (struct snapshot_target)SNAPSHOT_TARGET_NONE;
	t->what = what;
	errint_t err = attached_find(what, &t->client);
	t->attached = !err;
	return err;
}

errint_t snapshot_target_open(const char *what, bool write, struct snapshot_target *t)
{
	const struct image_file_opts opts = open_opts(write);
	errint_t err = snapshot_target_find(what, t);

	return err == -ENOENT ? image_file_open_as(what, &opts, &t->file) : err;
}

errint_t snapshot_target_create_here(const char *what, const char *name, uint32_t *id)
{
	const struct image_file_opts opts = open_opts(true);

	return image_file_snapshot(what, &opts, name, id);
}

static errint_t call_here(struct image *im, const char *method, const json_t *params,
			  json_t **result)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(ops[i].method, method))
			return ops[i].op(im, params, result);
	assert(!"a method of the table");
	return -EINVAL;
}

errint_t snapshot_target_call(struct snapshot_target *t, const char *method, json_t *params,
			      json_t **result)
{
	json_t *answer = NULL;
	errint_t err;

	if (t->attached) {
		err = client_call(&t->client, method, params, -1, CALL_MS, &answer);
	} else {
		err = call_here(t->file.image, method, params, &answer);
		json_decref(params);
	}
	if (result && !err)
		*result = answer;
	else
		json_decref(answer);
	return err;
}

errint_t snapshot_target_list(struct snapshot_target *t, json_t **all)
{
	json_int_t after = 0;
	bool more = true;
	errint_t err = 0;

	*all = json_array();
	while (more && !err) {
		CLEANUP(json) json_t *part = NULL;
		json_t *items, *last;

		err = snapshot_target_call(t, "snapshot-list", json_pack("{s:I}", "after", after),
					   &part);
		items = json_object_get(part, "snapshots");
		json_array_extend(*all, items);
		last = json_array_get(*all, json_array_size(*all) - 1);
		more = !err && json_array_size(items) &&
		       json_is_true(json_object_get(part, "more"));
		after = json_integer_value(json_object_get(last, "id"));
	}
	return err;
}

errint_t snapshot_target_diff(struct snapshot_target *t, json_t *params, int fd)
{
	errint_t err;

	if (t->attached)
		return client_call(&t->client, "snapshot-diff", params, fd, CALL_MS, NULL);
	err = snapshot_op_diff(t->file.image, params, fd);
	json_decref(params);
	return err;
}

/* ---- freeing space ------------------------------------------------------------------------- */

/* Bytes of disks that deletions have come past, and those that there are. */
static errint_t how_far(struct image *im, uint64_t *done, uint64_t *end)
{
	CLEANUP(free) void *memory = NULL;
	struct snapshot_info *list;
	uint32_t n;
	errint_t err = snapshot_list(im, &list, &n);

	*done = *end = 0;
	if (err)
		return err;
	memory = list;
	unsigned shift = image_geometry(im)->cluster_shift;
	for (uint32_t i = 0; i < n; i++) {
		if (!list[i].deleting)
			continue;
		*done += list[i].done << shift;
		*end += list[i].end << shift;
	}
	return 0;
}

errint_t snapshot_target_reclaim(struct snapshot_target *t, enum progress_mode mode, bool *done)
{
	CLEANUP(progress) struct progress *progress = NULL;
	struct image *im = t->file.image;
	uint64_t passed, end, all;
	bool more = true;
	errint_t err;

	*done = false;
	if (t->attached)
		return 0;
	err = how_far(im, &passed, &all);
	progress = progress_begin(mode, "free space", all);
	while (!err && more) {
		err = snapshot_reclaim(im, RECLAIM_STEPS, &more);
		if (!err)
			err = how_far(im, &passed, &end);
		/* Those that have gone are done. */
		if (!err && all >= end)
			progress_update(progress, all - end + passed);
	}
	*done = !err && !end;
	return err;
}

/* -------------------------------------------------------------------------------------------- */

errint_t snapshot_target_close(struct snapshot_target *t)
{
	return t->attached ? 0 : image_file_close(&t->file);
}

void cleanup_snapshot_target(struct snapshot_target *t)
{
	client_close(&t->client);
	cleanup_image_file(&t->file);
}
