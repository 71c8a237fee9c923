/* SPDX-License-Identifier: MIT */
/* The tree: which files there are, what they look like, and opening them. */
#include "config.h"

#include <assert.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/room.h"
#include "fuse/view_priv.h"

/* The files, in the order in which they are listed. */
static const struct node {
	enum kind kind, parent;
	const char *name;
} nodes[] = {
	{KIND_INFO, KIND_ROOT, "info.json"},	 {KIND_STATS, KIND_ROOT, "stats.json"},
	{KIND_METRICS, KIND_ROOT, "metrics"},	 {KIND_MAP, KIND_ROOT, "map"},
	{KIND_DISK, KIND_ROOT, "disk"},		 {KIND_SNAPSHOTS, KIND_ROOT, "snapshots"},
	{KIND_INFO, KIND_SNAPSHOT, "info.json"}, {KIND_MAP, KIND_SNAPSHOT, "map"},
	{KIND_DISK, KIND_SNAPSHOT, "disk"},	 {KIND_DIFF, KIND_SNAPSHOT, "diff"},
};
enum { NODES = sizeof(nodes) / sizeof(nodes[0]) };

errint_t view_no_memory(void)
{
	return log_err(-ENOMEM, "cannot serve the mounted view");
}

errint_t view_new(const struct view_opts *opts, struct view **out)
{
	struct view *v = calloc(1, sizeof(*v));

	assert(opts->image && opts->engine && opts->source);
	if (!v)
		return view_no_memory();
	v->opts = *opts;
	range_lock_init(&v->writes);
	pthread_mutex_init(&v->info_lock, NULL);
	pthread_mutex_init(&v->snapshots_lock, NULL);
	pthread_mutex_init(&v->lock, NULL);
	clock_gettime(CLOCK_REALTIME, &v->begun);
	atomic_init(&v->changed, v->begun.tv_sec);
	*out = v;
	return 0;
}

void view_free(struct view *v)
{
	if (!v)
		return;
	while (v->files)
		view_close(v->files);
	while (v->dirs)
		view_closedir(v->dirs);
	json_decref(v->info);
	range_lock_destroy(&v->writes);
	pthread_mutex_destroy(&v->info_lock);
	pthread_mutex_destroy(&v->snapshots_lock);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

/* A sector on both sides. */
#define BUF_BYTES (VIEW_MAX_IO + 2 * SECTOR_SIZE)

errint_t view_thread_new(struct view *v, struct view_thread **out)
{
	struct view_thread *t = calloc(1, sizeof(*t));
	errint_t err;

	if (!t)
		return view_no_memory();
	t->v = v;
	t->buf = room_new(BUF_BYTES);
	err = t->buf ? engine_thread_new(v->opts.engine, &t->et) : view_no_memory();
	if (err) {
		view_thread_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void view_thread_free(struct view_thread *t)
{
	if (!t)
		return;
	engine_thread_free(t->et);
	room_free(t->buf, BUF_BYTES);
	free(t);
}

void view_thread_shrink(struct view_thread *t)
{
	room_empty(t->buf, BUF_BYTES);
	engine_thread_shrink(t->et);
}

/* ---- the document info.json -------------------------------------------------------------- */

static bool is_fresh(const struct view *v)
{
	return v->info && clock_ms() - v->info_when < 1000;
}

static errint_t make_info(struct view *v, json_t **out)
{
	json_t *doc;
	errint_t err = v->opts.source->info(v->opts.source_arg, &doc);

	if (err)
		return err;
	json_decref(v->info);
	v->info = doc;
	v->info_when = clock_ms();
	*out = json_incref(doc);
	return 0;
}

errint_t view_info(struct view *v, json_t **out)
{
	SCOPED_LOCK(&v->info_lock);

	if (!is_fresh(v))
		return make_info(v, out);
	*out = json_incref(v->info);
	return 0;
}

errint_t view_info_now(struct view *v, json_t **out)
{
	SCOPED_LOCK(&v->info_lock);

	return make_info(v, out);
}

/* ---- names and attributes ---------------------------------------------------------------- */

static bool is_node(view_ino ino)
{
	enum kind kind = kind_of(ino);

	if (ino >> KIND_BITS > UINT32_MAX || kind < KIND_ROOT || kind >= KINDS)
		return false;
	if (!snapshot_of(ino))
		return kind != KIND_SNAPSHOT && kind != KIND_DIFF;
	return kind == KIND_SNAPSHOT || kind == KIND_INFO || kind == KIND_MAP ||
	       kind == KIND_DISK || kind == KIND_DIFF;
}

bool view_is_dir(view_ino ino)
{
	enum kind kind = kind_of(ino);

	return kind == KIND_ROOT || kind == KIND_SNAPSHOTS || kind == KIND_SNAPSHOT;
}

bool view_may_rename(view_ino ino)
{
	return kind_of(ino) == KIND_SNAPSHOT;
}

errint_t view_lookup(struct view *v, view_ino dir, const char *name, view_ino *out)
{
	struct snapshot_info info;

	if (!is_node(dir))
		return -ENOENT;
	if (kind_of(dir) == KIND_SNAPSHOTS) {
		errint_t err = snapshot_find(v->opts.image, name, &info);

		*out = err ? 0 : view_ino_of(KIND_SNAPSHOT, info.id);
		return err;
	}
	for (unsigned i = 0; i < NODES; i++)
		if (nodes[i].parent == kind_of(dir) && !strcmp(nodes[i].name, name)) {
			*out = view_ino_of(nodes[i].kind, snapshot_of(dir));
			return 0;
		}
	return -ENOENT;
}

/* ---- directories ------------------------------------------------------------------------- */

struct view_dir {
	struct view *v;
	struct view_dir *next, **link; /* among the view's; under its lock */
	view_ino ino;
	struct snapshot_info *list; /* of snapshots; else NULL */
	uint32_t n;
};

/* Those that users know. */
static errint_t list_snapshots(struct view *v, struct view_dir *d)
{
	errint_t err = snapshot_list(v->opts.image, &d->list, &d->n);
	uint32_t kept = 0;

	if (err)
		return err;
	for (uint32_t i = 0; i < d->n; i++)
		if (!d->list[i].deleting)
			d->list[kept++] = d->list[i];
	d->n = kept;
	return 0;
}

static void remember_dir(struct view_dir *d)
{
	SCOPED_LOCK(&d->v->lock);

	d->next = d->v->dirs;
	d->link = &d->v->dirs;
	if (d->next)
		d->next->link = &d->next;
	d->v->dirs = d;
}

static void forget_dir(struct view_dir *d)
{
	SCOPED_LOCK(&d->v->lock);

	*d->link = d->next;
	if (d->next)
		d->next->link = d->link;
}

errint_t view_opendir(struct view *v, view_ino ino, struct view_dir **out)
{
	struct view_dir *d;
	struct snapshot_info info;
	errint_t err = 0;

	if (!is_node(ino))
		return -ENOENT;
	if (!view_is_dir(ino))
		return -ENOTDIR;
	if (snapshot_of(ino))
		err = view_snapshot_find(v, snapshot_of(ino), &info);
	if (err)
		return err;
	d = calloc(1, sizeof(*d));
	if (!d)
		return view_no_memory();
	d->v = v;
	d->ino = ino;
	if (kind_of(ino) == KIND_SNAPSHOTS)
		err = list_snapshots(v, d);
	if (err) {
		free(d);
		return err;
	}
	remember_dir(d);
	*out = d;
	return 0;
}

bool view_dir_entry(const struct view_dir *d, unsigned nth, const char **name, view_ino *out)
{
	if (d->list) {
		if (nth >= d->n)
			return false;
		*name = d->list[nth].name;
		*out = view_ino_of(KIND_SNAPSHOT, d->list[nth].id);
		return true;
	}
	for (unsigned i = 0; i < NODES; i++) {
		if (nodes[i].parent != kind_of(d->ino) || nth--)
			continue;
		*name = nodes[i].name;
		*out = view_ino_of(nodes[i].kind, snapshot_of(d->ino));
		return true;
	}
	return false;
}

void view_closedir(struct view_dir *d)
{
	forget_dir(d);
	free(d->list);
	free(d);
}

/* ---- attributes -------------------------------------------------------------------------- */

bool view_is_disk(view_ino ino)
{
	return kind_of(ino) == KIND_DISK;
}

bool view_may_cache(const struct view *v, view_ino ino)
{
	return view_is_disk(ino) && (!v->opts.changing || snapshot_of(ino));
}

static uint64_t member(const json_t *doc, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(doc, name));

	return n > 0 ? (uint64_t)n : 0;
}

static errint_t disk_attr(struct view *v, struct view_attr *a)
{
	json_t *doc;
	errint_t err = view_info(v, &doc);

	if (err)
		return err;
	a->size = image_size(v->opts.image);
	if (v->opts.changing)
		clock_gettime(CLOCK_REALTIME, &a->when);
	else
		a->when = (struct timespec){.tv_sec = v->changed};
	a->blocks = (member(doc, "raw_bytes") + member(doc, "compressed_bytes") + 511) / 512;
	json_decref(doc);
	return 0;
}

/* A text that nobody has opened lately is made, to know its size. */
static errint_t snapshot_text_attr(struct view *v, view_ino ino, struct view_attr *a)
{
	struct view_file *f;
	errint_t err;

	a->size = view_snapshot_text_size(v, snapshot_of(ino), kind_of(ino));
	if (a->size)
		return 0;
	err = view_open(v, ino, false, &f);
	if (err)
		return err;
	a->size = f->text_size;
	view_close(f);
	return 0;
}

/* A text that nobody has opened yet is made, to know its size. */
static errint_t text_attr(struct view *v, enum kind kind, struct view_attr *a)
{
	struct view_file *f;
	bool known;

	pthread_mutex_lock(&v->lock);
	known = v->text[kind].known;
	pthread_mutex_unlock(&v->lock);
	if (!known) {
		errint_t err = view_open(v, kind, false, &f);

		if (err)
			return err;
		view_close(f);
	}

	SCOPED_LOCK(&v->lock);
	a->size = v->text[kind].size;
	a->when = v->text[kind].when;
	return 0;
}

static errint_t snapshot_attr(struct view *v, view_ino ino, struct view_attr *a)
{
	struct snapshot_info info;
	errint_t err = view_snapshot_find(v, snapshot_of(ino), &info);

	if (err)
		return err;
	a->when = (struct timespec){.tv_sec = (time_t)(info.ctime_ns / 1000000000u),
				    .tv_nsec = (long)(info.ctime_ns % 1000000000u)};
	if (view_is_dir(ino))
		return 0;
	if (!view_is_disk(ino))
		return snapshot_text_attr(v, ino, a);
	a->size = info.size;
	return view_snapshot_blocks(v, info.id, &a->blocks);
}

static mode_t mode_of(const struct view *v, view_ino ino)
{
	mode_t readable = v->opts.mode & 0444, writable = v->opts.mode & 0222;

	/* Who may read the files may list them. */
	if (view_is_dir(ino))
		return S_IFDIR | readable | readable >> 2 |
		       (kind_of(ino) == KIND_SNAPSHOTS && v->opts.snapshots ? writable : 0);
	if (ino == KIND_DISK && v->opts.writable)
		return S_IFREG | readable | writable;
	return S_IFREG | readable;
}

errint_t view_getattr(struct view *v, view_ino ino, struct view_attr *out)
{
	if (!is_node(ino))
		return -ENOENT;
	*out = (struct view_attr){
		.ino = ino,
		.mode = mode_of(v, ino),
		.uid = v->opts.uid,
		.gid = v->opts.gid,
		.nlink = view_is_dir(ino) ? 2 : 1,
	};
	clock_gettime(CLOCK_REALTIME, &out->when);
	if (snapshot_of(ino))
		return snapshot_attr(v, ino, out);
	if (view_is_dir(ino))
		return 0;
	return view_is_disk(ino) ? disk_attr(v, out) : text_attr(v, kind_of(ino), out);
}

/* ---- open files -------------------------------------------------------------------------- */

static errint_t make_text(struct view_file *f, uint64_t *size)
{
	errint_t err;

	switch (f->kind) {
	case KIND_INFO:
		err = f->snapshot_id ? text_snapshot_info(f->v, f->snapshot_id, &f->text)
				     : text_info(f->v, &f->text);
		break;
	case KIND_STATS:
		err = text_stats(f->v, &f->text);
		break;
	case KIND_METRICS:
		err = text_metrics(f->v, &f->text);
		break;
	case KIND_MAP:
	case KIND_DIFF:
		return map_text_open(f->v->opts.image, f->snapshot ? f->snapshot->view : NULL,
				     f->kind == KIND_DIFF, &f->map, size);
	case KIND_ROOT:
	case KIND_SNAPSHOTS:
	case KIND_SNAPSHOT:
	case KIND_DISK:
	case KINDS:
	default:
		assert(!"a file that is a text");
		return -EIO;
	}
	*size = f->text.len;
	return err;
}

static errint_t open_text(struct view_file *f)
{
	uint64_t size = 0;
	errint_t err = make_text(f, &size);

	if (err)
		return err;
	f->text_size = size;
	if (f->snapshot_id) {
		view_snapshot_set_text_size(f->v, f->snapshot_id, f->kind, size);
		return 0;
	}

	SCOPED_LOCK(&f->v->lock);
	f->v->text[f->kind].known = true;
	f->v->text[f->kind].size = size;
	clock_gettime(CLOCK_REALTIME, &f->v->text[f->kind].when);
	return 0;
}

static void remember(struct view_file *f)
{
	SCOPED_LOCK(&f->v->lock);

	f->next = f->v->files;
	f->link = &f->v->files;
	if (f->next)
		f->next->link = &f->next;
	f->v->files = f;
}

static void forget(struct view_file *f)
{
	SCOPED_LOCK(&f->v->lock);

	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
}

static void free_file(struct view_file *f)
{
	map_text_close(f->map);
	free(f->text.data);
	if (f->snapshot)
		view_snapshot_put(f->v, f->snapshot);
	free(f);
}

static errint_t fill_file(struct view_file *f)
{
	/* It tells how many have the snapshot open, before its reader is one. */
	bool first = f->kind == KIND_INFO;
	errint_t err = first ? open_text(f) : 0;

	if (!err && f->snapshot_id)
		err = view_snapshot_get(f->v, f->snapshot_id, &f->snapshot);
	if (!err && !first && f->kind != KIND_DISK)
		err = open_text(f);
	return err;
}

errint_t view_open(struct view *v, view_ino ino, bool write, struct view_file **out)
{
	struct view_file *f;
	errint_t err;

	if (!is_node(ino))
		return -ENOENT;
	if (view_is_dir(ino))
		return -EISDIR;
	if (write && !(ino == KIND_DISK && v->opts.writable))
		return -EROFS;
	f = calloc(1, sizeof(*f));
	if (!f)
		return view_no_memory();
	f->v = v;
	f->kind = kind_of(ino);
	f->write = write;
	f->snapshot_id = snapshot_of(ino);
	err = fill_file(f);
	if (err) {
		free_file(f);
		return err;
	}
	remember(f);
	*out = f;
	return 0;
}

void view_close(struct view_file *f)
{
	forget(f);
	free_file(f);
}

errint_t view_read(struct view_file *f, struct view_thread *t, uint64_t off, size_t len,
		   const void **data, size_t *got)
{
	assert(len <= VIEW_MAX_IO);
	if (f->kind == KIND_DISK)
		return view_disk_read(f, t, off, len, data, got);
	if (f->map) {
		*data = t->buf;
		return map_text_read(f->map, off, (char *)t->buf, len, got);
	}
	if (off > f->text.len)
		off = f->text.len;
	*got = len < f->text.len - off ? len : f->text.len - off;
	/* The file may be closed as soon as the answer is read, before whoever gives it has
	 * returned. */
	memcpy(t->buf, f->text.data + off, *got);
	*data = t->buf;
	return 0;
}
