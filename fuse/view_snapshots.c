/* SPDX-License-Identifier: MIT */
/*
 * The directory snapshots: which there are, and those that are open.
 *
 * The files of a snapshot have its number in theirs.  While one is open its snapshot stays what it
 * was, deleted or not, and so do the attributes that the kernel asks for by number.
 */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/log.h"
#include "fuse/view_priv.h"
#include "image/report.h"

/* ---- open snapshots ------------------------------------------------------------------------ */

static struct view_snapshot *find_open(struct view *v, uint32_t id)
{
	for (struct view_snapshot *s = v->snapshots; s; s = s->next)
		if (s->id == id)
			return s;
	return NULL;
}

static errint_t open_snapshot(struct view *v, uint32_t id, struct view_snapshot **out)
{
	CLEANUP(free) struct view_snapshot *s = calloc(1, sizeof(*s));
	errint_t err;

	if (!s)
		return view_no_memory();
	s->id = id;
	err = snapshot_find_id(v->opts.image, id, &s->info);
	if (!err)
		err = snapshot_view_open_id(v->opts.image, id, &s->view);
	if (err)
		return err;
	s->next = v->snapshots;
	v->snapshots = s;
	*out = steal_pointer(&s);
	return 0;
}

errint_t view_snapshot_get(struct view *v, uint32_t id, struct view_snapshot **out)
{
	errint_t err = 0;

	SCOPED_LOCK(&v->snapshots_lock);
	*out = find_open(v, id);
	if (!*out)
		err = open_snapshot(v, id, out);
	if (!err)
		(*out)->users++;
	return err;
}

void view_snapshot_put(struct view *v, struct view_snapshot *s)
{
	struct view_snapshot **at = &v->snapshots;

	SCOPED_LOCK(&v->snapshots_lock);
	if (--s->users)
		return;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	snapshot_view_close(s->view);
	free(s);
}

/* ---- attributes ---------------------------------------------------------------------------- */

errint_t view_snapshot_exists(struct view *v, uint32_t id, struct timespec *when)
{
	struct snapshot_info info;
	struct view_snapshot *s;
	errint_t err;

	pthread_mutex_lock(&v->snapshots_lock);
	s = find_open(v, id);
	if (s)
		info = s->info;
	pthread_mutex_unlock(&v->snapshots_lock);
	err = s ? 0 : snapshot_find_id(v->opts.image, id, &info);
	if (!err)
		*when = (struct timespec){.tv_sec = (time_t)(info.ctime_ns / 1000000000u),
					  .tv_nsec = (long)(info.ctime_ns % 1000000000u)};
	return err;
}

/* What its data takes in the image, which does not change. */
static errint_t count_blocks(struct view_snapshot *s, uint64_t *blocks)
{
	struct map_totals t;
	errint_t err = walk_snapshot_totals(s->view, &t);

	*blocks = err ? 0 : (t.raw_bytes + t.zstd_stored + 511) / 512;
	return err;
}

errint_t view_snapshot_disk_attr(struct view *v, uint32_t id, struct view_attr *a)
{
	struct view_snapshot *s;
	errint_t err = view_snapshot_get(v, id, &s);

	if (err)
		return err;
	a->size = snapshot_view_size(s->view);
	pthread_mutex_lock(&v->snapshots_lock);
	a->blocks = s->blocks;
	pthread_mutex_unlock(&v->snapshots_lock);
	if (!a->blocks) {
		err = count_blocks(s, &a->blocks);
		pthread_mutex_lock(&v->snapshots_lock);
		s->blocks = a->blocks;
		pthread_mutex_unlock(&v->snapshots_lock);
	}
	view_snapshot_put(v, s);
	return err;
}

/* ---- texts --------------------------------------------------------------------------------- */

errint_t text_snapshot_info(struct view *v, uint32_t id, struct text *out)
{
	struct snapshot_info info;
	errint_t err = snapshot_find_id(v->opts.image, id, &info);

	return err ? err : text_print(report_snapshot_json(&info), out);
}

struct diff_text {
	FILE *out;
	uint64_t at, len; /* of what is not printed yet, without a parent */
	bool zeroed;
};

static errint_t put_diff(void *arg, const struct diff_extent *e)
{
	struct diff_text *d = arg;

	fprintf(d->out, "%16" PRIu64 " %16" PRIu64 " %s\n", e->off, e->len,
		e->zeroed ? "zero" : "data");
	return 0;
}

/* Without a parent, what is stored: neighbours in one line. */
static errint_t put_stored(void *arg, const struct map_extent *e)
{
	struct diff_text *d = arg;
	struct diff_extent last = {.off = d->at, .len = d->len};

	if (!report_is_stored(e))
		return 0;
	if (d->len && d->at + d->len == e->off) {
		d->len += e->len;
		return 0;
	}
	d->at = e->off;
	d->len = e->len;
	return last.len ? put_diff(arg, &last) : 0;
}

static errint_t put_differences(struct view *v, struct view_snapshot *s, struct diff_text *d)
{
	struct view_snapshot *parent = NULL;
	struct snapshot_info now;
	errint_t err = snapshot_find_id(v->opts.image, s->id, &now);

	if (!err && now.parent)
		err = view_snapshot_get(v, now.parent, &parent);
	if (err && err != -ENOENT)
		return err;
	/* A parent that is being deleted cannot be compared with any more. */
	if (!parent) {
		err = walk_snapshot_extents(s->view, 0, UINT64_MAX, put_stored, d);
		if (!err && d->len)
			err = put_diff(d, &(struct diff_extent){.off = d->at, .len = d->len});
		return err;
	}
	err = snapshot_diff(v->opts.image, parent->view, s->view, put_diff, d);
	view_snapshot_put(v, parent);
	return err;
}

errint_t text_snapshot_diff(struct view *v, struct view_snapshot *s, struct text *out)
{
	struct diff_text d = {.out = open_memstream(&out->data, &out->len)};
	errint_t err;

	if (!d.out)
		return view_no_memory();
	fprintf(d.out, "%16s %16s %s\n", "#         offset", "length", "kind");
	err = put_differences(v, s, &d);
	if (fclose(d.out) && !err)
		err = view_no_memory();
	return err;
}

/* ---- what users do ------------------------------------------------------------------------- */

static bool is_snapshots(view_ino dir)
{
	return kind_of(dir) == KIND_SNAPSHOTS;
}

errint_t view_mkdir(struct view *v, view_ino dir, const char *name, view_ino *out)
{
	uint32_t id;
	errint_t err;

	if (!is_snapshots(dir))
		return -EPERM;
	if (!v->opts.snapshots)
		return -EROFS;
	err = snapshot_create(v->opts.image, name, &id);
	*out = err ? 0 : view_ino_of(KIND_SNAPSHOT, id);
	return err;
}

errint_t view_rmdir(struct view *v, view_ino dir, const char *name)
{
	if (!is_snapshots(dir))
		return -EPERM;
	if (!v->opts.snapshots)
		return -EROFS;
	return snapshot_delete(v->opts.image, name);
}

errint_t view_rename(struct view *v, view_ino dir, const char *name, view_ino to_dir,
		     const char *to)
{
	if (!is_snapshots(dir) || !is_snapshots(to_dir))
		return -EPERM;
	if (!v->opts.snapshots)
		return -EROFS;
	return snapshot_rename(v->opts.image, name, to);
}
