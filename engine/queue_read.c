/* SPDX-License-Identifier: MIT */
/*
 * READ requests of a queue: plan, have every segment fetched at once, and again for what did not
 * fit into the plan.
 */
#include "config.h"

#include <string.h>

#include "common/container_of.h"
#include "common/log.h"
#include "engine/queue_priv.h"

static void plan_run(struct task *task, struct engine_thread *t)
{
	struct engine_req *r = container_of(task, struct engine_req, task);

	r->result = plan_read(t->e->im, r->off + r->done, (uint32_t)(r->len - r->done),
			      IMAGE_MAY_BLOCK, &r->rplan);
}

static errint_t copy_out(const struct seg_io *io, const uint8_t *src)
{
	const struct payload *p = &io->r->payload;

	COUNT(io->r->q, copied, io->len);
	COUNT(io->r->q, blob_read, io->len);
	return p->ops->copy_out(p, src, io->from, io->len);
}

/* ---- compressed clusters, in a worker ---------------------------------------------------- */

/* The cluster that another thread was loading is there. */
static void joined(struct cache_waiter *w, const uint8_t *bytes, errint_t err)
{
	struct seg_io *io = container_of(w, struct seg_io, waiter);

	io->err = err ? err : copy_out(io, bytes + io->seg->skip);
	COUNT(io->r->q, cached_read, err ? 0 : io->len);
	queue_hand_back(&io->task);
}

static void read_part(struct seg_io *io, struct engine_thread *t)
{
	struct cache *cache = t->e->cache;
	struct cached *e = NULL;
	uint8_t *plain = t->plain;
	enum cache_answer answer;

	io->waiter.ready = joined;
	answer = cache_acquire(cache, io->seg, &io->waiter, &e);
	if (answer == CACHE_JOINED)
		return;
	if (e)
		plain = cache_bytes(e);
	if (answer == CACHE_HIT)
		COUNT(io->r->q, cached_read, io->len);
	else
		io->err = read_cluster(t, io->seg, plain);
	if (answer == CACHE_LOAD)
		cache_loaded(cache, e, io->err);
	if (!io->err) {
		io->err = copy_out(io, plain + io->seg->skip);
		if (e)
			cache_release(cache, e);
	}
	queue_hand_back(&io->task);
}

static void read_whole(struct seg_io *io, struct engine_thread *t)
{
	io->err = read_cluster(t, io->seg, t->plain);
	if (!io->err)
		io->err = copy_out(io, t->plain);
	queue_hand_back(&io->task);
}

static void blob_run(struct work *w, struct engine_thread *t)
{
	struct seg_io *io = (struct seg_io *)w;

	if (io->seg->len == t->e->cluster)
		read_whole(io, t);
	else
		read_part(io, t);
}

static void blob_back(struct task *task)
{
	io_done((struct seg_io *)task);
}

/* ---- in the queue's thread ---------------------------------------------------------------- */

static void read_blob(struct seg_io *io)
{
	struct engine_queue *q = io->r->q;
	struct cached *e;

	if (io->seg->len < q->e->cluster && cache_lookup(q->e->cache, io->seg, &e) == CACHE_HIT) {
		io->err = copy_out(io, cache_bytes(e) + io->seg->skip);
		COUNT(q, cached_read, io->len);
		cache_release(q->e->cache, e);
		io_done(io);
		return;
	}
	/* blob_run() itself says when it comes back: whoever loads the cluster may do that. */
	io->task.back = blob_back;
	io->task.work.run = blob_run;
	COUNT_HERE(q, handoffs, 1);
	pool_run(q->opts.pool, POOL_DATA, &io->task.work);
}

static void read_zeros(struct seg_io *io)
{
	uint8_t *mem = io->r->payload.mem;

	io->zeros = true;
	if (mem) {
		memset(mem + io->from, 0, io->len);
		COUNT_HERE(io->r->q, zero_read, io->len);
		io_done(io);
	} else if (io->r->payload.buf_index >= 0 || queue_bounce(io->r)) {
		io_submit(io);
	} else {
		io_done(io);
	}
}

static void read_file(struct seg_io *io)
{
	const struct payload *p = &io->r->payload;

	if (p->buf_index >= 0 || p->mem || queue_bounce(io->r))
		io_submit(io);
	else
		io_done(io);
}

static void start_seg(struct engine_req *r, const struct seg *s, struct seg_io *io, uint32_t from)
{
	io->task.q = r->q;
	io->r = r;
	io->seg = s;
	io->from = from;
	io->len = s->len;
	io->file_off = s->file_off;
	io->zeros = false;
	io->err = io->sync_err = 0;
	switch (s->kind) {
	case SEG_ZERO:
		io->file_off = 0;
		read_zeros(io);
		return;
	case SEG_FILE:
		read_file(io);
		return;
	case SEG_BLOB:
		read_blob(io);
		return;
	}
	assert(!"a segment kind");
}

static void start_segs(struct engine_req *r)
{
	uint32_t from = (uint32_t)r->done;

	assert(r->rplan.nsegs > 0 && r->rplan.off == r->off + r->done);
	/* One more, so that the plan is not done before all have begun. */
	r->pending = r->rplan.nsegs + 1;
	for (unsigned i = 0; i < r->rplan.nsegs; i++) {
		start_seg(r, &r->rplan.seg[i], &r->io[i], from);
		from += r->rplan.seg[i].len;
	}
	if (!--r->pending)
		read_segs_done(r);
}

static void plan_back(struct task *task)
{
	struct engine_req *r = container_of(task, struct engine_req, task);

	if (r->result)
		queue_finish(r, r->result);
	else
		start_segs(r);
}

void read_step(struct engine_req *r)
{
	struct engine_queue *q = r->q;
	errint_t err = plan_read(q->e->im, r->off + r->done, (uint32_t)(r->len - r->done),
				 IMAGE_NOWAIT, &r->rplan);

	if (!err) {
		start_segs(r);
	} else if (err == -EAGAIN) {
		r->task.run = plan_run;
		r->task.back = plan_back;
		queue_hand_off(&r->task, POOL_BLOCK);
	} else {
		queue_finish(r, err);
	}
}

/* What went through the bounce buffer reaches the client. */
static errint_t deliver(struct engine_req *r)
{
	uint32_t from = (uint32_t)r->done;
	errint_t err = 0;

	for (unsigned i = 0; i < r->rplan.nsegs && !err; i++) {
		const struct seg *s = &r->rplan.seg[i];

		if (s->kind != SEG_BLOB) {
			err = r->payload.ops->copy_out(&r->payload, r->bounce + from, from, s->len);
			COUNT(r->q, copied, s->len);
			COUNT(r->q, copied_raw, s->kind == SEG_FILE ? s->len : 0);
		}
		from += s->len;
	}
	return err;
}

void read_segs_done(struct engine_req *r)
{
	plan_read_done(r->q->e->im, &r->rplan);
	if (!r->result && r->bounce)
		r->result = deliver(r);
	r->done += r->rplan.len;
	if (r->result || r->done == r->len)
		queue_finish(r, r->result);
	else
		read_step(r);
}
