/* SPDX-License-Identifier: MIT */
/*
 * Writing.
 *
 * Full clusters of an image with compression are compressed and stored first, and planned
 * afterwards, when all that is left to do is to publish them: a blob in fresh units that nobody
 * refers to depends on nothing, so no cluster is held and no guard is taken while a processor works
 * or a batch gathers.  A round of them makes one batch.  If the plan then does not want a blob
 * after all, it is given up, and the cluster is written like any other.
 */
#include "config.h"

#include <string.h>

#include "engine/core.h"
#include "image/checksum.h"

/* One call of the interface. */
struct request {
	struct engine_thread *t;
	bool fua;
	bool flush; /* something written is not durable yet: FUA needs a flush at the end */
};

/* A cluster of a round. */
struct piece {
	enum { PIECE_RAW, PIECE_ZERO, PIECE_BLOB } kind;
	struct packed packed;
	uint32_t crc;
};

struct round {
	const uint8_t *buf;
	uint64_t off;
	unsigned n;
	struct piece piece[ROUND_CLUSTERS];
	struct batch *batch; /* of the blobs */
};

static errint_t store_bytes(struct request *r, const uint8_t *buf, size_t len, uint64_t off,
			    bool dsync)
{
	struct store *st = r->t->e->st;

	if (!dsync)
		r->flush = true;
	return dsync ? store_write_dsync(st, buf, len, off) : store_write(st, buf, len, off);
}

static errint_t write_file(struct request *r, const uint8_t *buf, size_t len, uint64_t off,
			   bool dsync)
{
	struct engine_thread *t = r->t;

	if ((uintptr_t)buf % SECTOR_SIZE == 0)
		return store_bytes(r, buf, len, off, dsync);

	for (size_t done = 0; done < len;) {
		size_t n = len - done < t->e->cluster ? len - done : t->e->cluster;

		memcpy(t->bounce, buf + done, n);

		errint_t err = store_bytes(r, t->bounce, n, off + done, dsync);

		if (err)
			return err;
		done += n;
	}
	return 0;
}

/*
 * A DSYNC write that failed may have been told what an earlier one lost, and nobody will be told
 * again.  A host without space has lost nothing of what it had taken, where writes do not wait in
 * its cache.
 */
static errint_t write_failed(struct engine_thread *t, errint_t err, bool dsync)
{
	if (dsync && (err != -ENOSPC || t->e->st->cached))
		plan_write_sync_failed(t->e->im, &t->wplan, err);
	else
		plan_write_cancel(t->e->im, &t->wplan);
	return err;
}

static errint_t write_direct(struct request *r, const uint8_t *buf)
{
	struct engine_thread *t = r->t;
	struct write_plan *p = &t->wplan;
	bool dsync = r->fua && p->durable_in_place;

	if (dsync)
		plan_write_dsync(t->e->im, p);
	for (unsigned i = 0; i < p->nsegs; i++) {
		const struct seg *s = &p->seg[i];

		assert(s->kind == SEG_FILE);

		errint_t err = write_file(r, buf, s->len, s->file_off, dsync);

		if (err)
			return write_failed(t, err, dsync);
		buf += s->len;
	}
	return settle_write(t->e->im, p);
}

/* The new content of the plan's span: in *out, the caller's memory or t->cluster. */
static errint_t assemble(struct engine_thread *t, const uint8_t *buf, const uint8_t **out)
{
	const struct write_plan *p = &t->wplan;

	assert(p->span_len <= t->e->cluster);
	if (p->len == p->span_len) {
		*out = buf;
		return 0;
	}
	assert(p->skip <= p->span_len && p->len <= p->span_len - p->skip);
	if (p->full) {
		memset(t->cluster, 0, p->span_len); /* the disk ends within it */
	} else {
		errint_t err = read_segs(t, t->cluster, p->source.seg, p->source.nsegs);

		if (err)
			return err;
	}
	memcpy(t->cluster + p->skip, buf, p->len);
	*out = t->cluster;
	return 0;
}

static errint_t write_cluster(struct request *r, const uint8_t *buf)
{
	struct engine_thread *t = r->t;
	struct write_plan *p = &t->wplan;
	const uint8_t *data;
	errint_t err = assemble(t, buf, &data);

	r->flush = true;
	if (!err && p->may_zero && all_zero(data, p->span_len))
		return settle_zero(t->e->im, p);
	if (!err)
		err = plan_write_target(t->e->im, t->writer, p);
	if (!err)
		err = write_file(r, data, p->span_len, p->target, false);
	if (err) {
		plan_write_cancel(t->e->im, p);
		return err;
	}
	return settle_copy(t->e->im, p);
}

errint_t write_planned_cluster(struct engine_thread *t, const uint8_t *buf)
{
	struct request r = {.t = t};

	assert(t->wplan.how == WRITE_CLUSTER);
	return write_cluster(&r, buf);
}

static errint_t publish_blob(struct request *r, const struct piece *blob)
{
	r->flush = true;
	return settle_blob(r->t->e->im, &r->t->wplan, blob->packed.file_off, blob->packed.stored,
			   blob->crc);
}

/* Carry out and settle the plan in t->wplan.  -EAGAIN: plan again. */
static errint_t execute(struct request *r, const uint8_t *buf, const struct piece *blob)
{
	const struct write_plan *p = &r->t->wplan;

	if (p->how == WRITE_DIRECT)
		return write_direct(r, buf);
	if (blob && p->may_pack && p->len == r->t->e->cluster)
		return publish_blob(r, blob);
	return write_cluster(r, buf);
}

/* Most bytes that one write plan is asked for. */
#define WRITE_BYTES (1u << 20)

/* Write a range; @blob: it is one cluster, which is stored already as this. */
static errint_t write_range(struct request *r, const uint8_t *buf, uint64_t off, size_t len,
			    unsigned flags, const struct piece *blob)
{
	struct engine_thread *t = r->t;
	struct write_plan *p = &t->wplan;

	while (len) {
		uint32_t ask = len < WRITE_BYTES ? (uint32_t)len : WRITE_BYTES;
		errint_t err = plan_write(t->e->im, t->writer, off, ask, flags, IMAGE_MAY_BLOCK, p);

		if (err)
			return err;
		assert(p->off == off && p->len > 0 && p->len <= ask);
		ask = p->len;
		err = execute(r, buf, blob);
		if (err == -EAGAIN)
			continue;
		if (err)
			return err;
		buf += ask;
		off += ask;
		len -= ask;
	}
	return 0;
}

static void compress_piece(struct engine_thread *t, const uint8_t *src, struct piece *c,
			   uint8_t *frame)
{
	c->kind = PIECE_RAW;
	if (all_zero(src, t->e->cluster)) {
		c->kind = PIECE_ZERO;
		return;
	}
	c->packed.frame = frame;
	c->packed.len = compress_cluster(t, src, frame);
	if (c->packed.len)
		c->kind = PIECE_BLOB;
}

/* Compress the round and announce it to the packer at the last moment, so that a leader that waits
 * for it waits for one cluster at the most. */
static uint64_t compress_round(struct engine_thread *t, struct round *o)
{
	uint64_t ticket = 0;

	for (unsigned i = 0; i < o->n; i++) {
		if (i == o->n - 1)
			ticket = packer_announce(t->e->packer);
		compress_piece(t, o->buf + i * t->e->cluster, &o->piece[i],
			       t->frames + i * frame_space(t->e));
	}
	return ticket;
}

static void forget_blobs(struct round *o)
{
	for (unsigned i = 0; i < o->n; i++)
		if (o->piece[i].kind == PIECE_BLOB)
			o->piece[i].kind = PIECE_RAW;
}

/* Put the round's blobs into a batch.  No place for them is no failure: they are written raw. */
static errint_t store_blobs(struct engine_thread *t, struct round *o, uint64_t ticket)
{
	struct packed list[ROUND_CLUSTERS];
	unsigned n = 0;

	for (unsigned i = 0; i < o->n; i++)
		if (o->piece[i].kind == PIECE_BLOB)
			list[n++] = o->piece[i].packed;
	if (!n) {
		packer_nothing(t->e->packer, ticket);
		return 0;
	}

	errint_t err = packer_store(t->e->packer, ticket, list, n, &o->batch);

	if (err == -ENOSPC) {
		forget_blobs(o);
		return 0;
	}
	if (err)
		return err;
	for (unsigned i = o->n; i-- > 0;)
		if (o->piece[i].kind == PIECE_BLOB)
			o->piece[i].packed = list[--n];
	return 0;
}

static void checksum_blobs(const struct engine *e, struct round *o)
{
	uint64_t first = o->off >> e->geo.cluster_shift;

	for (unsigned i = 0; i < o->n; i++) {
		struct piece *c = &o->piece[i];

		if (c->kind == PIECE_BLOB)
			c->crc = checksum_blob(e->uuid_seed, first + i, c->packed.frame,
					       c->packed.stored);
	}
}

/* Clusters from @i on that one write handles: neighbours that are not compressed. */
static unsigned run_of(const struct round *o, unsigned i)
{
	unsigned n = 1;

	if (o->piece[i].kind != PIECE_RAW)
		return 1;
	while (i + n < o->n && o->piece[i + n].kind == PIECE_RAW)
		n++;
	return n;
}

/* Publish or write each piece; every blob leaves the batch, also after a failure. */
static errint_t write_pieces(struct request *r, const struct round *o)
{
	const struct engine *e = r->t->e;
	errint_t err = 0;
	unsigned run;

	for (unsigned i = 0; i < o->n; i += run) {
		const struct piece *c = &o->piece[i];
		const struct piece *blob = c->kind == PIECE_BLOB ? c : NULL;
		unsigned flags = c->kind == PIECE_RAW ? 0 : WRITE_COMPRESS;

		run = run_of(o, i);
		if (!err)
			err = write_range(r, o->buf + i * e->cluster, o->off + i * e->cluster,
					  run * e->cluster, flags, blob);
		if (blob)
			packer_done(e->packer, o->batch);
	}
	return err;
}

static errint_t write_round(struct request *r, const uint8_t *buf, uint64_t off, unsigned n)
{
	struct round o = {.buf = buf, .off = off, .n = n};
	uint64_t ticket = compress_round(r->t, &o);
	errint_t err = store_blobs(r->t, &o, ticket);

	if (err)
		return err;
	checksum_blobs(r->t->e, &o);
	return write_pieces(r, &o);
}

/* The next stretch of a request: whole clusters to be compressed, or what comes before them. */
static errint_t write_some(struct request *r, const uint8_t *buf, uint64_t off, size_t len,
			   size_t *done)
{
	const struct engine *e = r->t->e;
	size_t before = -off & (e->cluster - 1);

	if (!e->codec) {
		*done = len;
	} else if (before || len < e->cluster) {
		*done = before && before < len ? before : len;
	} else {
		size_t n = len < ROUND_BYTES ? len : ROUND_BYTES;

		n >>= e->geo.cluster_shift;
		*done = n << e->geo.cluster_shift;
		return write_round(r, buf, off, (unsigned)n);
	}
	errint_t err = write_range(r, buf, off, *done, 0, NULL);

	engine_note(r->t->e, off, *done);
	return err;
}

errint_t engine_write(struct engine_thread *t, const void *buf, uint64_t off, size_t len, bool fua)
{
	struct request r = {.t = t, .fua = fua};
	const uint8_t *at = buf;
	size_t done;

	assert(off % SECTOR_SIZE == 0 && len % SECTOR_SIZE == 0);
	for (; len; len -= done, off += done, at += done) {
		errint_t err = write_some(&r, at, off, len, &done);

		if (err)
			return err;
	}
	return r.fua && r.flush ? image_flush(t->e->im) : 0;
}

errint_t engine_discard(struct engine_thread *t, uint64_t off, uint64_t len)
{
	assert(off % SECTOR_SIZE == 0 && len % SECTOR_SIZE == 0);
	return len ? image_discard(t->e->im, off, len) : 0;
}

static errint_t write_zeros(struct request *r, uint64_t off, uint64_t len)
{
	const struct engine *e = r->t->e;

	while (len) {
		size_t n = len < e->cluster ? len : e->cluster;
		errint_t err = write_range(r, e->zeros, off, n, 0, NULL);

		if (err)
			return err;
		off += n;
		len -= n;
	}
	return 0;
}

errint_t engine_write_zeroes(struct engine_thread *t, uint64_t off, uint64_t len)
{
	struct request r = {.t = t};
	struct zero_rest rest = {.n = 0};

	assert(off % SECTOR_SIZE == 0 && len % SECTOR_SIZE == 0);
	if (!len)
		return 0;

	errint_t err = image_zero(t->e->im, off, len, &rest);

	assert(err || rest.n <= 2);
	for (unsigned i = 0; i < rest.n && !err; i++)
		err = write_zeros(&r, rest.r[i].off, rest.r[i].len);
	return err;
}
