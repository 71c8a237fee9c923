/* SPDX-License-Identifier: MIT */
/*
 * The directory snapshots: which there are, and those that are open.
 *
 * The files of a snapshot have its number in theirs.  While one is open its snapshot stays what it
 * was, deleted or not, and so do the attributes that the kernel asks for by number.
 */
#include "config.h"

#include <assert.h>
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

errint_t view_snapshot_find(struct view *v, uint32_t id, struct snapshot_info *info)
{
	struct view_snapshot *s;
	errint_t err = snapshot_find_id(v->opts.image, id, info);

	if (err != -ENOENT)
		return err;
	SCOPED_LOCK(&v->snapshots_lock);
	s = find_open(v, id);
	if (!s)
		return err;
	*info = s->info;
	info->deleting = true;
	return 0;
}

/* ---- what is remembered -------------------------------------------------------------------- */

/* Their lock is held. */
static struct snapshot_facts *facts_of(struct view *v, uint32_t id)
{
	struct snapshot_facts *f = &v->facts[id % FACTS];

	if (f->id != id)
		*f = (struct snapshot_facts){.id = id};
	return f;
}

/* What its data takes in the image, which does not change. */
static errint_t count_blocks(struct view *v, uint32_t id, uint64_t *blocks)
{
	struct view_snapshot *s;
	struct map_totals t;
	errint_t err = view_snapshot_get(v, id, &s);

	if (err)
		return err;
	err = walk_snapshot_totals(s->view, &t);
	view_snapshot_put(v, s);
	if (!err)
		*blocks = (t.raw_bytes + t.zstd_stored + 511) / 512;
	return err;
}

errint_t view_snapshot_blocks(struct view *v, uint32_t id, uint64_t *blocks)
{
	struct snapshot_facts *f;
	bool counted;
	errint_t err;

	pthread_mutex_lock(&v->snapshots_lock);
	f = facts_of(v, id);
	counted = f->counted;
	*blocks = f->blocks;
	pthread_mutex_unlock(&v->snapshots_lock);
	if (counted)
		return 0;
	err = count_blocks(v, id, blocks);
	if (err)
		return err;
	SCOPED_LOCK(&v->snapshots_lock);
	f = facts_of(v, id);
	f->counted = true;
	f->blocks = *blocks;
	return 0;
}

static uint64_t *text_size(struct snapshot_facts *f, enum kind kind)
{
	if (kind == KIND_INFO)
		return &f->info_size;
	assert(kind == KIND_MAP || kind == KIND_DIFF);
	return kind == KIND_MAP ? &f->map_size : &f->diff_size;
}

uint64_t view_snapshot_text_size(struct view *v, uint32_t id, enum kind kind)
{
	SCOPED_LOCK(&v->snapshots_lock);

	return *text_size(facts_of(v, id), kind);
}

void view_snapshot_set_text_size(struct view *v, uint32_t id, enum kind kind, uint64_t size)
{
	SCOPED_LOCK(&v->snapshots_lock);

	*text_size(facts_of(v, id), kind) = size;
}

errint_t text_snapshot_info(struct view *v, uint32_t id, struct text *out)
{
	struct snapshot_info info;
	errint_t err = view_snapshot_find(v, id, &info);

	return err ? err : text_print(report_snapshot_json(&info), out);
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
