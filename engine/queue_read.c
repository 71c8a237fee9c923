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

static void read_zeros(struct seg_io *io)
{
	uint8_t *mem = io->r->payload.mem;

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
	io->source = IO_FILE;
	io->entry = NULL;
	io->blob = NULL;
	io->err = io->sync_err = 0;
	switch (s->kind) {
	case SEG_ZERO:
		io->source = IO_ZERO;
		io->file_off = 0;
		read_zeros(io);
		return;
	case SEG_BACKING:
		io->source = IO_BACKING;
		read_file(io);
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
			COUNT(r->q, copied_raw, s->kind != SEG_ZERO ? s->len : 0);
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
