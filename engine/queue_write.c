/* SPDX-License-Identifier: MIT */
/*
 * WRITE requests of a queue.
 *
 * What goes to its final place at once (WRITE_DIRECT) is written by the queue's ring, from the
 * client's pages.  If planning that has to wait, a worker plans, and the ring still writes.  The
 * rest is a worker's: clusters that are put together in memory, and, in an image that compresses,
 * requests with whole clusters.
 */
#include "config.h"

#include <string.h>

#include "common/container_of.h"
#include "common/log.h"
#include "engine/queue_priv.h"

static void start_segs(struct engine_req *r);

static uint32_t rest(const struct engine_req *r)
{
	return (uint32_t)(r->len - r->done);
}

static struct engine_req *req_of(struct task *task)
{
	return container_of(task, struct engine_req, task);
}

/* ---- in a worker -------------------------------------------------------------------------- */

/* @len bytes of the request from @from on, in memory: *out. */
static errint_t fetch(struct engine_req *r, struct engine_thread *t, uint32_t from, uint32_t len,
		      const uint8_t **out)
{
	const struct payload *p = &r->payload;

	*out = p->mem ? p->mem + from : r->copied_in ? r->bounce + from : t->request;
	if (*out != t->request)
		return 0;
	if (!t->request) {
		t->request = store_buffer(ROUND_BYTES);
		if (!t->request)
			return log_err(-ENOMEM, "cannot hold the bytes of a request");
		*out = t->request;
	}
	assert(len <= ROUND_BYTES);
	COUNT(r->q, copied, len);
	return p->ops->copy_in(p, t->request, from, len);
}

/* Commit what a request with FUA has left to be made durable. */
static errint_t make_durable(struct engine_req *r, struct engine_thread *t)
{
	return r->fua && r->flush ? engine_flush(t) : 0;
}

/* All of the request, with whole clusters compressed. */
static errint_t pack(struct engine_req *r, struct engine_thread *t)
{
	errint_t err = 0;

	while (r->done < r->len && !err) {
		uint64_t off = r->off + r->done;
		/* Rounds end where clusters do. */
		uint32_t n = ROUND_BYTES - (uint32_t)(off & (t->e->cluster - 1));
		const uint8_t *buf;

		if (n > rest(r))
			n = rest(r);
		err = fetch(r, t, (uint32_t)r->done, n, &buf);
		if (!err)
			err = engine_write(t, buf, off, n, false);
		COUNT(r->q, cluster_written, n);
		r->done += n;
	}
	r->flush = true;
	return err;
}

static void pack_run(struct task *task, struct engine_thread *t)
{
	struct engine_req *r = req_of(task);

	r->result = pack(r, t);
	if (!r->result)
		r->result = make_durable(r, t);
}

static void whole_back(struct task *task)
{
	struct engine_req *r = req_of(task);

	queue_finish(r, r->result);
}

/* Plan the next part; if it is to be put together in memory, do that at once. */
static errint_t plan_and_wait(struct engine_req *r, struct engine_thread *t)
{
	const uint8_t *buf;
	uint32_t len;
	errint_t err = plan_write(t->e->im, t->writer, r->off + r->done, rest(r), 0,
				  IMAGE_MAY_BLOCK, &t->wplan);

	if (err)
		return err;
	r->pending = t->wplan.how == WRITE_DIRECT;
	if (r->pending) {
		r->wplan = t->wplan;
		return 0;
	}
	len = t->wplan.len;
	err = fetch(r, t, (uint32_t)r->done, len, &buf);
	if (err) {
		plan_write_cancel(t->e->im, &t->wplan);
		return err;
	}
	COUNT(r->q, cluster_written, len);
	r->flush = true;
	err = write_planned_cluster(t, buf);
	engine_note(t->e, r->off + r->done, len);
	r->done += len;
	return err;
}

static void plan_run(struct task *task, struct engine_thread *t)
{
	struct engine_req *r = req_of(task);

	r->result = plan_and_wait(r, t);
}

static void plan_back(struct task *task)
{
	struct engine_req *r = req_of(task);

	if (r->result)
		queue_finish(r, r->result);
	else if (r->pending)
		start_segs(r);
	else
		write_step(r);
}

static void flush_run(struct task *task, struct engine_thread *t)
{
	req_of(task)->result = engine_flush(t);
}

static void hand_off(struct engine_req *r, void (*run)(struct task *, struct engine_thread *),
		     void (*back)(struct task *))
{
	r->task.run = run;
	r->task.back = back;
	queue_hand_off(&r->task, POOL_BLOCK);
}

/* ---- in the queue's thread ---------------------------------------------------------------- */

/* Has the request whole clusters that the image wants compressed?  What the disk's end cuts is
 * one. */
static bool has_whole_cluster(const struct engine_req *r)
{
	const struct engine *e = r->q->e;
	uint64_t first = (r->off + e->cluster - 1) & ~(uint64_t)(e->cluster - 1);
	uint64_t end = r->off + r->len;

	return e->codec && (first + e->cluster <= end || (first < end && end == image_size(e->im)));
}

/* Bytes that neither the kernel nor we can reach in place come into the bounce buffer once. */
static bool fetch_all(struct engine_req *r)
{
	const struct payload *p = &r->payload;

	if (p->buf_index >= 0 || p->mem || r->copied_in)
		return true;
	if (!queue_bounce(r))
		return false;
	r->result = p->ops->copy_in(p, r->bounce, 0, (uint32_t)r->len);
	COUNT(r->q, copied, r->len);
	COUNT(r->q, copied_raw, r->len);
	r->copied_in = !r->result;
	return r->copied_in;
}

static void start_segs(struct engine_req *r)
{
	struct write_plan *p = &r->wplan;
	uint32_t from = (uint32_t)r->done;

	assert(p->how == WRITE_DIRECT && p->nsegs > 0 && p->off == r->off + r->done);
	r->dsync = r->fua && p->durable_in_place;
	r->lost = false;
	r->flush |= !r->dsync;
	if (r->dsync)
		plan_write_dsync(r->q->e->im, p);
	r->pending = p->nsegs + 1;
	for (unsigned i = 0; i < p->nsegs; i++) {
		struct seg_io *io = &r->io[i];

		assert(p->seg[i].kind == SEG_FILE);
		io->task.q = r->q;
		io->r = r;
		io->seg = &p->seg[i];
		io->from = from;
		io->len = p->seg[i].len;
		io->file_off = p->seg[i].file_off;
		io->source = IO_FILE;
		io->err = io->sync_err = 0;
		from += io->len;
		io_submit(io);
	}
	if (!--r->pending)
		write_segs_done(r);
}

static void plan_in_worker(struct engine_req *r)
{
	hand_off(r, plan_run, plan_back);
}

static void finish_or_flush(struct engine_req *r)
{
	if (r->fua && r->flush)
		hand_off(r, flush_run, whole_back);
	else
		queue_finish(r, 0);
}

void write_step(struct engine_req *r)
{
	struct engine_queue *q = r->q;
	errint_t err;

	if (!r->done && has_whole_cluster(r)) {
		hand_off(r, pack_run, whole_back);
		return;
	}
	if (!fetch_all(r)) {
		queue_finish(r, r->result);
		return;
	}
	if (r->done == r->len) {
		finish_or_flush(r);
		return;
	}
	err = plan_write(q->e->im, q->writer, r->off + r->done, rest(r), 0, IMAGE_NOWAIT,
			 &r->wplan);
	if (!err)
		start_segs(r);
	else if (err == -EAGAIN)
		plan_in_worker(r);
	else
		queue_finish(r, err);
}

static void give_up(struct engine_req *r)
{
	struct image *im = r->q->e->im;

	if (r->lost)
		plan_write_sync_failed(im, &r->wplan, r->result);
	else
		plan_write_cancel(im, &r->wplan);
	queue_finish(r, r->result);
}

void write_segs_done(struct engine_req *r)
{
	errint_t err;

	if (r->result) {
		give_up(r);
		return;
	}
	uint32_t len = r->wplan.len;

	err = settle_write(r->q->e->im, &r->wplan);
	/* Its storage was replaced meanwhile: what replaced it is written, by somebody patient. */
	if (err == -EAGAIN) {
		plan_in_worker(r);
	} else if (err) {
		queue_finish(r, err);
	} else {
		engine_note(r->q->e, r->off + r->done, len);
		r->done += len;
		write_step(r);
	}
}
