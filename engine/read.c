/* SPDX-License-Identifier: MIT */
/*
 * Reading: a plan's segments into the caller's memory.
 *
 * A guard is held while segments are read, so the storage that they name keeps its content, and a
 * checksum that does not match is damage, never a race.
 */
#include "config.h"

#include <string.h>

#include "common/log.h"
#include "engine/core.h"
#include "image/checksum.h"

typedef errint_t (*read_fn)(struct engine_thread *t, void *buf, size_t len, uint64_t off);

static errint_t from_file(struct engine_thread *t, void *buf, size_t len, uint64_t off)
{
	return store_read(t->e->st, buf, len, off);
}

static errint_t from_backing(struct engine_thread *t, void *buf, size_t len, uint64_t off)
{
	struct backing *b = t->e->backing;
	errint_t err = 0;

	assert(b);
	if (!t->backing)
		err = backing_reader_new(b, &t->backing);
	return err ? err : backing_read(t->backing, buf, len, off);
}

/* Into memory of any alignment. */
static errint_t read_by(read_fn from, struct engine_thread *t, uint8_t *buf, size_t len,
			uint64_t off)
{
	if ((uintptr_t)buf % SECTOR_SIZE == 0)
		return from(t, buf, len, off);

	for (size_t done = 0; done < len;) {
		size_t n = len - done < t->e->cluster ? len - done : t->e->cluster;
		errint_t err = from(t, t->bounce, n, off + done);

		if (err)
			return err;
		memcpy(buf + done, t->bounce, n);
		done += n;
	}
	return 0;
}

errint_t read_backing(struct engine_thread *t, uint8_t *buf, size_t len, uint64_t off)
{
	return read_by(from_backing, t, buf, len, off);
}

static errint_t damaged_blob(const struct seg *s, const char *what)
{
	return log_fail(-EIO,
			"the compressed cluster %llu at byte %llu of the image is damaged: %s; its "
			"data is lost unless there is another copy",
			(unsigned long long)s->vcluster, (unsigned long long)s->file_off, what);
}

/* A blob may begin and end anywhere in a block of the store, which is read whole, so that direct
 * I/O needs no further copy. */
void blob_range(const struct engine *e, const struct seg *s, uint64_t *from, uint32_t *len)
{
	const uint64_t block = e->st->align;

	assert(block <= UNIT_SIZE && !(block & (block - 1)));
	assert(s->stored > 0 && s->stored < e->cluster);
	*from = s->file_off & ~(block - 1);
	*len = (uint32_t)(((s->file_off + s->stored + block - 1) & ~(block - 1)) - *from);
}

errint_t unpack_blob(struct engine_thread *t, const struct seg *s, const uint8_t *range,
		     uint8_t *dst)
{
	const uint8_t *bytes = range + s->file_off % t->e->st->align;
	struct codec_ctx *ctx;
	size_t len = s->stored;
	errint_t err = thread_codec(t, s->codec, &ctx);

	if (err)
		return err;
	if (checksum_blob(t->e->uuid_seed, s->vcluster, bytes, len) != s->crc)
		return damaged_blob(s, "its checksum does not match");
	if (codec_decompress(ctx, bytes, &len, dst))
		return damaged_blob(s, "it does not decompress");
	return 0;
}

errint_t read_cluster(struct engine_thread *t, const struct seg *s, uint8_t *dst)
{
	uint64_t from;
	uint32_t len;

	blob_range(t->e, s, &from, &len);

	errint_t err = store_read(t->e->st, t->stored, len, from);

	return err ? err : unpack_blob(t, s, t->stored, dst);
}

/* Part of a cluster is wanted: the next part will be, too, so all of it is kept. */
static errint_t read_part(struct engine_thread *t, uint8_t *buf, const struct seg *s)
{
	struct cached *e = NULL;
	uint8_t *plain = t->plain;
	enum cache_answer answer = cache_acquire(t->e->cache, s, NULL, &e);
	errint_t err = 0;

	if (e)
		plain = cache_bytes(e);
	if (answer != CACHE_HIT)
		err = read_cluster(t, s, plain);
	if (answer == CACHE_LOAD)
		cache_loaded(t->e->cache, e, err);
	if (err)
		return err;
	memcpy(buf, plain + s->skip, s->len);
	if (e)
		cache_release(t->e->cache, e);
	return 0;
}

static errint_t read_blob(struct engine_thread *t, uint8_t *buf, const struct seg *s)
{
	assert(s->len <= t->e->cluster && s->skip <= t->e->cluster - s->len);
	return s->len == t->e->cluster ? read_cluster(t, s, buf) : read_part(t, buf, s);
}

static errint_t read_seg(struct engine_thread *t, uint8_t *buf, const struct seg *s)
{
	switch (s->kind) {
	case SEG_ZERO:
		memset(buf, 0, s->len);
		return 0;
	case SEG_FILE:
		return read_by(from_file, t, buf, s->len, s->file_off);
	case SEG_BACKING:
		return read_backing(t, buf, s->len, s->file_off);
	case SEG_BLOB:
		return read_blob(t, buf, s);
	}
	assert(!"a segment kind");
	return -EIO;
}

errint_t read_segs(struct engine_thread *t, uint8_t *buf, const struct seg *segs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		errint_t err = read_seg(t, buf, &segs[i]);

		if (err)
			return err;
		buf += segs[i].len;
	}
	return 0;
}

errint_t read_through(struct engine_thread *t, struct snapshot_view *v, void *buf, uint64_t off,
		      size_t len)
{
	struct read_plan *p = &t->rplan;
	uint8_t *at = buf;

	assert(off % SECTOR_SIZE == 0 && len % SECTOR_SIZE == 0);
	while (len) {
		uint32_t ask = len < READ_BYTES ? (uint32_t)len : READ_BYTES;
		errint_t err = v ? plan_read_snapshot(v, off, ask, IMAGE_MAY_BLOCK, p)
				 : plan_read(t->e->im, off, ask, IMAGE_MAY_BLOCK, p);

		if (err)
			return err;
		assert(p->off == off && p->len > 0 && p->len <= ask);
		err = read_segs(t, at, p->seg, p->nsegs);
		plan_read_done(t->e->im, p);
		if (err)
			return err;
		at += p->len;
		off += p->len;
		len -= p->len;
	}
	return 0;
}

errint_t engine_read(struct engine_thread *t, void *buf, uint64_t off, size_t len)
{
	return read_through(t, NULL, buf, off, len);
}
