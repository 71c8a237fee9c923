/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/delta.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli/report_read.h"
#include "cli/snapshot_ops.h"
#include "cli/snapshot_target.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"

/* As long as looking at the map of a large image takes. */
#define ASK_MS 120000

/* ---- the two moments ----------------------------------------------------------------------- */

static errint_t find_point(const struct snapshot_target *t, json_t *all, const char *name,
			   struct content_point *p)
{
	json_t *item;
	size_t i;

	json_array_foreach(all, i, item)
	{
		if (json_is_true(json_object_get(item, "deleting")) ||
		    strcmp(json_string_value(json_object_get(item, "name")), name))
			continue;
		return report_read_point(item, p);
	}
	return log_fail(-ENOENT, "%s: there is no snapshot '%s'", t->what, name);
}

/* The disk as it is has no uuid by which it could be told later. */
static errint_t live_point(const struct snapshot_target *t, uint64_t size, struct content_point *p)
{
	*p = (struct content_point){.size = size};
	return getrandom(p->uuid, sizeof(p->uuid), 0) == sizeof(p->uuid)
		       ? 0
		       : log_errno("%s: cannot make a uuid", t->what);
}

/* What there is to know of the image itself. */
static errint_t describe(struct snapshot_target *t, struct delta *d, uint64_t *size)
{
	CLEANUP(json) json_t *info = NULL;
	struct image_info i;
	errint_t err;

	if (!t->attached) {
		image_get_info(t->file.image, &i);
		memcpy(d->content.image, i.uuid, sizeof(i.uuid));
		d->geo = i.geo;
		*size = i.size;
		return 0;
	}
	err = client_call(&t->client, "info", NULL, -1, ASK_MS, &info);
	if (err)
		return err;
	*size = (uint64_t)json_integer_value(json_object_get(info, "virtual_size"));
	if (report_read_uuid(json_object_get(info, "uuid"), d->content.image) ||
	    report_read_geometry(info, &d->geo))
		return log_fail(-EPROTO, "%s: the bridge does not describe its image", t->what);
	return 0;
}

static errint_t find_points(const struct delta_range *r, struct snapshot_target *t,
			    struct content *c, uint64_t size)
{
	CLEANUP(json) json_t *all = NULL;
	errint_t err = snapshot_target_list(t, &all);

	if (!err)
		err = find_point(t, all, r->since, &c->base);
	if (err)
		return err;
	return r->until ? find_point(t, all, r->until, &c->target)
			: live_point(t, size, &c->target);
}

/* ---- what differs -------------------------------------------------------------------------- */

static errint_t add_records(FILE *in, struct changes *c)
{
	struct diff_record r;
	errint_t err = 0;

	while (!err && fread(&r, sizeof(r), 1, in) == 1) {
		const struct change e = {r.off, r.len, r.zeroed};

		err = changes_add(c, &e);
	}
	if (!err && ferror(in))
		err = log_errno("cannot read what differs");
	return err;
}

static errint_t find_changes(const struct delta_range *r, struct snapshot_target *t,
			     struct changes *c)
{
	CLEANUP(close) int fd = memfd_create("ublk-img-delta", MFD_CLOEXEC);
	errint_t err;
	FILE *in;

	if (fd < 0)
		return log_errno("cannot keep what differs");
	err = snapshot_target_diff(t, json_pack("{s:s, s:s*}", "from", r->since, "to", r->until),
				   fd);
	if (err)
		return err;
	in = fdopen(fd, "r");
	if (!in)
		return log_errno("cannot read what differs");
	fd = -1;
	rewind(in);
	err = add_records(in, c);
	fclose(in);
	return err;
}

errint_t delta_find(const struct delta_range *r, struct snapshot_target *t, struct delta *d)
{
	uint64_t size = 0;
	errint_t err = snapshot_target_open(r->image, false, t);

	*d = (struct delta){.content.state = CONTENT_DELTA};
	if (!err && t->attached && !r->until &&
	    !json_is_true(json_object_get(t->client.about, "read_only")))
		err = log_fail(-EBUSY,
			       "%s is attached as %s (pid %ld), and changes: name a snapshot of "
			       "it with --from-snapshot",
			       r->image, client_text(&t->client, "device"), client_pid(&t->client));
	if (!err)
		err = describe(t, d, &size);
	if (!err)
		err = find_points(r, t, &d->content, size);
	return err ? err : find_changes(r, t, &d->changes);
}

errint_t delta_confirm(const struct delta_range *r, struct snapshot_target *t,
		       const struct delta *d)
{
	struct content now;
	errint_t err = find_points(r, t, &now, 0);

	if (err)
		return err;
	if (point_same(&now.base, &d->content.base) &&
	    (!r->until || point_same(&now.target, &d->content.target)))
		return 0;
	return log_fail(-ESTALE, "%s: somebody gave these names to other snapshots; try again",
			r->image);
}
