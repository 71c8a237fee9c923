/* SPDX-License-Identifier: MIT */
/*
 * The file disk: reads and writes of any alignment on a disk of sectors.
 *
 * A sector that is written in part is read, changed and written back while a range lock keeps all
 * other writes off it.  Reads need none: they see the sector before or after.
 */
#include "config.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "engine/snapshot.h"
#include "fuse/view_priv.h"
#include "image/format.h"
#include "image/walk.h"

#define SECTOR_MASK ((uint64_t)SECTOR_SIZE - 1)

static uint64_t down(uint64_t off)
{
	return off & ~SECTOR_MASK;
}

static uint64_t up(uint64_t off)
{
	return down(off + SECTOR_MASK);
}

static errint_t counted(struct view *v, enum view_op op, uint64_t bytes, errint_t err)
{
	struct op_counters *c = &v->count[op];

	atomic_fetch_add_explicit(&c->requests, 1, memory_order_relaxed);
	if (err)
		atomic_fetch_add_explicit(&c->errors, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&c->bytes, bytes, memory_order_relaxed);
	if (op == OP_WRITE || op == OP_ZERO)
		atomic_store_explicit(&v->changed, time(NULL), memory_order_relaxed);
	return err;
}

static uint64_t size_of(const struct view_file *f)
{
	return f->snapshot ? snapshot_view_size(f->snapshot->view) : image_size(f->v->opts.image);
}

/* Bytes of [off, off + len) that are on the disk. */
static uint64_t clip(const struct view_file *f, uint64_t off, uint64_t len)
{
	uint64_t size = size_of(f);

	if (off >= size)
		return 0;
	return len < size - off ? len : size - off;
}

errint_t view_disk_read(struct view_file *f, struct view_thread *t, uint64_t off, size_t len,
			const void **data, size_t *got)
{
	size_t n = clip(f, off, len);
	errint_t err = 0;

	if (n && f->snapshot)
		err = engine_snapshot_read(t->et, f->snapshot->view, t->buf, down(off),
					   up(off + n) - down(off));
	else if (n)
		err = engine_read(t->et, t->buf, down(off), up(off + n) - down(off));
	*data = t->buf + (off & SECTOR_MASK);
	*got = n;
	return counted(f->v, OP_READ, n, err);
}

/* The sectors of [off, off + len) into the thread's buffer, with what the first and the last have
 * beyond it. */
static errint_t merge(struct view_thread *t, const void *data, uint64_t off, size_t len)
{
	uint64_t first = down(off), last = down(off + len - 1);
	errint_t err = 0;

	if (off != first || off + len < first + SECTOR_SIZE)
		err = engine_read(t->et, t->buf, first, SECTOR_SIZE);
	if (!err && (off + len) & SECTOR_MASK && last != first)
		err = engine_read(t->et, t->buf + (last - first), last, SECTOR_SIZE);
	if (!err)
		memcpy(t->buf + (off - first), data, len);
	return err;
}

static bool has_parts(uint64_t off, uint64_t len)
{
	return (off | len) & SECTOR_MASK;
}

static errint_t write_range(struct view_file *f, struct view_thread *t, const void *data,
			    uint64_t off, size_t len)
{
	/* Bytes that are not aligned in memory are copied as well: the engine would have to do that
	 * in smaller pieces. */
	bool parts = has_parts(off, len), copy = parts || (uintptr_t)data % SECTOR_SIZE;
	struct range_holder h;
	errint_t err = 0;

	range_lock(&f->v->writes, &h, down(off), up(off + len), parts);
	if (copy)
		err = merge(t, data, off, len);
	if (!err)
		err = engine_write(t->et, copy ? t->buf : data, down(off),
				   up(off + len) - down(off), false);
	range_unlock(&f->v->writes, &h);
	return err;
}

errint_t view_write(struct view_file *f, struct view_thread *t, const void *data, uint64_t off,
		    size_t len, size_t *put)
{
	size_t n = clip(f, off, len);

	assert(f->kind == KIND_DISK && f->write && len <= VIEW_MAX_IO);
	*put = n;
	if (!len)
		return 0;
	return counted(f->v, OP_WRITE, n, n ? write_range(f, t, data, off, n) : -ENOSPC);
}

errint_t view_sync(struct view_file *f, struct view_thread *t)
{
	assert(f->kind == KIND_DISK);
	return counted(f->v, OP_SYNC, 0, f->snapshot ? 0 : engine_flush(t->et));
}

/* Part of one sector, which is exclusively held. */
static errint_t zero_part(struct view_thread *t, uint64_t off, uint64_t len)
{
	errint_t err;

	if (!len)
		return 0;
	err = engine_read(t->et, t->buf, down(off), SECTOR_SIZE);
	if (err)
		return err;
	memset(t->buf + (off & SECTOR_MASK), 0, len);
	return engine_write(t->et, t->buf, down(off), SECTOR_SIZE, false);
}

static errint_t zero_range(struct view_file *f, struct view_thread *t, uint64_t off, uint64_t len)
{
	uint64_t end = off + len, first = up(off), last = down(end);
	struct range_holder h;
	errint_t err;

	range_lock(&f->v->writes, &h, down(off), up(end), has_parts(off, len));
	if (first > last) {
		err = zero_part(t, off, len); /* within one sector */
	} else {
		err = zero_part(t, off, first - off);
		if (!err)
			err = engine_write_zeroes(t->et, first, last - first);
		if (!err)
			err = zero_part(t, last, end - last);
	}
	range_unlock(&f->v->writes, &h);
	return err;
}

errint_t view_zero(struct view_file *f, struct view_thread *t, uint64_t off, uint64_t len)
{
	uint64_t n = clip(f, off, len);

	assert(f->kind == KIND_DISK && f->write);
	return counted(f->v, OP_ZERO, n, n ? zero_range(f, t, off, n) : 0);
}

/* ---- looking for holes ------------------------------------------------------------------- */

struct seek {
	struct engine *engine;
	bool data;
	uint64_t found;
};

/* Ends a walk without being an error. */
enum { FOUND = 1 };

/* What comes from the backing is data where that may have some. */
static errint_t look_below(struct seek *s, uint64_t off, uint64_t end)
{
	uint64_t from, to;
	errint_t err = engine_backing_data(s->engine, off, &from, &to);

	/* Runs of data may follow one another without a hole. */
	while (!err && !s->data && from == off && to < end) {
		off = to;
		err = engine_backing_data(s->engine, off, &from, &to);
	}
	if (err)
		return err;
	s->found = s->data ? from : off;
	return (s->data ? from < end : from > off) ? FOUND : 0;
}

static errint_t look(void *arg, const struct map_extent *e)
{
	struct seek *s = arg;

	if (e->kind == MAP_BACKING)
		return look_below(s, e->off, e->off + e->len);
	if ((e->kind == MAP_RAW || e->kind == MAP_ZSTD) != s->data)
		return 0;
	s->found = e->off;
	return FOUND;
}

errint_t view_seek(struct view_file *f, uint64_t off, bool data, uint64_t *out)
{
	uint64_t size = size_of(f);
	struct seek s = {.engine = f->v->opts.engine, .data = data};
	/* What is looked for is mostly near, and a walk reads ahead. */
	uint64_t window = 256ull << image_geometry(f->v->opts.image)->cluster_shift;

	assert(f->kind == KIND_DISK);
	if (off >= size)
		return -ENXIO;
	for (uint64_t at = off; at < size;) {
		uint64_t len = window < size - at ? window : size - at;
		errint_t err = f->snapshot
				       ? walk_snapshot_extents(f->snapshot->view, at, len, look, &s)
				       : walk_extents(f->v->opts.image, at, len, look, &s);

		if (err == FOUND) {
			*out = s.found;
			return 0;
		}
		if (err)
			return err;
		at += len;
		window *= 16;
	}
	if (data)
		return -ENXIO;
	*out = size; /* the hole behind the end */
	return 0;
}
