/* SPDX-License-Identifier: MIT */
/*
 * A tag's way, all in the queue's thread:
 *
 *   fetch ----------> [register] -> engine ----------> [unregister] -> commit and fetch -> ...
 *         fetched()                          done()
 *
 * The bracketed steps are those of BRIDGE_ZERO_COPY_EXPLICIT; with automatic registration the
 * driver does them itself.  A fetch that comes back with -ENODEV was the tag's last.
 */
#include "config.h"

#include "bridge/queue.h"

#include <linux/prctl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/container_of.h"
#include "common/fault.h"
#include "common/log.h"
#include "engine/queue.h"

struct tag {
	struct engine_req r;
	struct bridge_queue *bq;
	uint8_t *buf; /* BRIDGE_COPY: what the driver copies from and to */
};

struct bridge_queue {
	struct queue_config cfg;
	int gone_fd;
	bool started; /* there is a thread to be joined */
	pthread_t thread;
	struct gate *gate; /* until the tags are fetched */
	/* Posted twice: the thread is ready to fetch, and has fetched; or @err says why not. */
	sem_t progress;
	errint_t err;

	/* The thread's. */
	struct engine_queue *q;
	unsigned live; /* tags that have not come back for good */
	bool serving;  /* every tag was fetched */
	uint8_t *bufs;
	struct tag tags[];
};

/* Where the threads of a device's queues wait for each other. */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t opened;
	bool open;
	/* Constant once it is open. */
	bool failed; /* not all are ready: nobody goes on */
	unsigned n;  /* of those that are */
	_Atomic unsigned arrived;
};

/* What a completion of one of our SQEs is about, above the tag in its cookie. */
enum step { STEP_FETCH, STEP_REGISTER, STEP_UNREGISTER };
#define COOKIE_TAG_BITS 16

/* Bytes of bq->bufs. */
static size_t bufs_len(const struct bridge_queue *bq)
{
	return (size_t)bq->cfg.depth * bq->cfg.max_bytes;
}

static unsigned index_of(const struct tag *t)
{
	return (unsigned)(t - t->bq->tags);
}

/* ---- commands ---------------------------------------------------------------------------- */

static struct io_uring_sqe *command(struct tag *t, enum step step, unsigned op)
{
	struct io_uring_sqe *sqe = engine_queue_sqe(t->bq->q);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, QUEUE_CLIENT_FILE, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->cmd_op = op;
	engine_queue_tag(t->bq->q, sqe, (uint64_t)step << COOKIE_TAG_BITS | index_of(t));
	return sqe;
}

static void put_command(struct io_uring_sqe *sqe, const struct tag *t, int32_t result,
			uint64_t addr)
{
	const struct ublksrv_io_cmd cmd = {
		.q_id = (uint16_t)t->bq->cfg.id,
		.tag = (uint16_t)index_of(t),
		.result = result,
		.addr = addr,
	};

	memcpy(sqe->cmd, &cmd, sizeof(cmd));
}

/* FETCH_REQ, or COMMIT_AND_FETCH_REQ with the last request's result. */
static void fetch(struct tag *t, unsigned op, int32_t result)
{
	struct io_uring_sqe *sqe = command(t, STEP_FETCH, op);

	put_command(sqe, t, result, t->bq->cfg.mode == BRIDGE_COPY ? (uintptr_t)t->buf : 0);
	if (t->bq->cfg.mode == BRIDGE_ZERO_COPY)
		sqe->addr =
			ublk_auto_buf_reg_addr((uint16_t)index_of(t), UBLK_AUTO_BUF_REG_FALLBACK);
}

/* Into, or out of, the slot of the tag's number. */
static void register_buffer(struct tag *t, enum step step, unsigned op)
{
	put_command(command(t, step, op), t, 0, index_of(t));
}

/* ---- requests ---------------------------------------------------------------------------- */

static bool request_op(uint32_t op_flags, enum req_op *op)
{
	switch (op_flags & UBLK_IO_OP_MASK) {
	case UBLK_IO_OP_READ:
		*op = REQ_READ;
		return true;
	case UBLK_IO_OP_WRITE:
		*op = REQ_WRITE;
		return true;
	case UBLK_IO_OP_FLUSH:
		*op = REQ_FLUSH;
		return true;
	case UBLK_IO_OP_DISCARD:
		*op = REQ_DISCARD;
		return true;
	case UBLK_IO_OP_WRITE_ZEROES:
		*op = REQ_WRITE_ZEROES;
		return true;
	default:
		return false;
	}
}

static bool has_bytes(const struct engine_req *r)
{
	return r->op == REQ_READ || r->op == REQ_WRITE;
}

static void set_payload(struct tag *t, uint32_t op_flags)
{
	const struct queue_config *cfg = &t->bq->cfg;
	struct payload *p = &t->r.payload;

	*p = (struct payload){.buf_index = -1};
	if (cfg->mode == BRIDGE_COPY) {
		p->ops = &payload_memory_ops;
		p->mem = t->buf;
		return;
	}
	p->ops = &payload_file_ops;
	p->fd = cfg->char_fd;
	p->pos = ublk_user_copy_pos((uint16_t)cfg->id, (uint16_t)index_of(t), 0);
	if (mode_is_zero_copy(cfg->mode) && !(op_flags & UBLK_IO_F_NEED_REG_BUF))
		p->buf_index = (int)index_of(t);
}

/* Fill t->r from the driver's descriptor.  Errors go to the client as they are. */
static errint_t read_desc(struct tag *t)
{
	const struct ublksrv_io_desc *d = &t->bq->cfg.descs[index_of(t)];
	struct engine_req *r = &t->r;

	if (!request_op(d->op_flags, &r->op))
		return log_fail(-EOPNOTSUPP, "/dev/ublkb%u: a request of unknown kind %#x",
				t->bq->cfg.dev_id, d->op_flags);
	r->fua = d->op_flags & UBLK_IO_F_FUA;
	r->off = d->start_sector << 9;
	r->len = (uint64_t)d->nr_sectors << 9;
	if (r->op == REQ_FLUSH)
		r->off = r->len = 0;
	else if (!r->len || (has_bytes(r) && r->len > t->bq->cfg.max_bytes))
		return log_fail(-EINVAL, "/dev/ublkb%u: a request of %llu bytes", t->bq->cfg.dev_id,
				(unsigned long long)r->len);
	if (has_bytes(r))
		set_payload(t, d->op_flags);
	return 0;
}

static void request_arrived(struct tag *t)
{
	errint_t err = read_desc(t);

	if (err)
		fetch(t, UBLK_U_IO_COMMIT_AND_FETCH_REQ, err);
	else if (t->bq->cfg.mode == BRIDGE_ZERO_COPY_EXPLICIT && has_bytes(&t->r))
		register_buffer(t, STEP_REGISTER, UBLK_U_IO_REGISTER_IO_BUF);
	else
		engine_queue_submit(t->bq->q, &t->r);
}

static void done(void *client, struct engine_req *r)
{
	struct tag *t = container_of(r, struct tag, r);

	(void)client;
	/* Both are carried out in order as they are submitted. */
	if (t->bq->cfg.mode == BRIDGE_ZERO_COPY_EXPLICIT && has_bytes(r) &&
	    r->payload.buf_index >= 0)
		register_buffer(t, STEP_UNREGISTER, UBLK_U_IO_UNREGISTER_IO_BUF);
	fetch(t, UBLK_U_IO_COMMIT_AND_FETCH_REQ,
	      r->result	     ? r->result
	      : has_bytes(r) ? (int32_t)r->len
			     : 0);
}

static void fetched(struct tag *t, int res)
{
	if (res == UBLK_IO_RES_OK) {
		request_arrived(t);
		return;
	}
	if (res != UBLK_IO_RES_ABORT) {
		t->bq->err = log_err(res, "/dev/ublkb%u: cannot fetch requests of queue %u",
				     t->bq->cfg.dev_id, t->bq->cfg.id);
		/* The tag's last request would wait for ever: without us the kernel fails it. */
		if (t->bq->serving)
			abort();
	}
	assert(t->bq->live > 0);
	t->bq->live--;
}

/* Without a registered buffer the bytes are copied. */
static void registered(struct tag *t, int res)
{
	if (res < 0)
		t->r.payload.buf_index = -1;
	engine_queue_submit(t->bq->q, &t->r);
}

static void completed(void *client, uint64_t cookie, int res)
{
	struct bridge_queue *bq = client;
	struct tag *t = &bq->tags[cookie & ((1u << COOKIE_TAG_BITS) - 1)];

	switch ((enum step)(cookie >> COOKIE_TAG_BITS)) {
	case STEP_FETCH:
		fetched(t, res);
		return;
	case STEP_REGISTER:
		registered(t, res);
		return;
	case STEP_UNREGISTER:
		if (res < 0)
			log_err(res, "/dev/ublkb%u: cannot release a request's buffer",
				bq->cfg.dev_id);
		return;
	}
	assert(!"a step");
}

/* No tag has a request, and none can get one meanwhile: what the driver has copied into a buffer
 * would be lost. */
static void idle(void *client)
{
	struct bridge_queue *bq = client;

	if (bq->bufs && bq->cfg.completes_in_task)
		madvise(bq->bufs, bufs_len(bq), MADV_DONTNEED);
}

static const struct queue_client_ops client_ops = {
	.done = done, .completed = completed, .idle = idle};

/* ---- the thread -------------------------------------------------------------------------- */

static void prepare_thread(const struct queue_config *cfg)
{
	char name[16];

	snprintf(name, sizeof(name), "ublk-queue-%u", cfg->id);
	prctl(PR_SET_NAME, name);
	/* Memory that is reclaimed on our behalf must not wait for our own device. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (CPU_COUNT(&cfg->cpus))
		sched_setaffinity(0, sizeof(cfg->cpus), &cfg->cpus);
}

/* Everything but to submit the fetches. */
static errint_t prepare(struct bridge_queue *bq)
{
	const struct engine_queue_opts opts = {
		.pool = bq->cfg.pool,
		.depth = bq->cfg.depth,
		.buffers = mode_is_zero_copy(bq->cfg.mode) ? bq->cfg.depth : 0,
		.client_fd = bq->cfg.char_fd,
		.ops = &client_ops,
		.client = bq,
	};
	errint_t err = engine_queue_new(bq->cfg.engine, &opts, &bq->q);

	if (err)
		return err;
	for (unsigned i = 0; i < bq->cfg.depth; i++)
		fetch(&bq->tags[i], UBLK_U_IO_FETCH_REQ, -1);
	/* So that the turn in which they are submitted, all at once, ends. */
	engine_queue_wake(bq->q);
	return 0;
}

/* False: not all queues are ready. */
static bool pass(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (!g->open)
		pthread_cond_wait(&g->opened, &g->lock);
	pthread_mutex_unlock(&g->lock);
	if (g->failed)
		return false;
	/* Those who are woken come one by one, and wait for the last one awake. */
	atomic_fetch_add(&g->arrived, 1);
	while (atomic_load(&g->arrived) < g->n)
		sched_yield();
	return true;
}

static errint_t fetch_all(struct bridge_queue *bq)
{
	bq->live = bq->cfg.depth;

	errint_t err = engine_queue_turn(bq->q);

	(void)fault_point("fetched"); /* to be killed */
	if (!err)
		err = bq->err;
	if (!err && bq->live < bq->cfg.depth)
		err = log_fail(-EIO, "/dev/ublkb%u: the driver gives tags of queue %u back at once",
			       bq->cfg.dev_id, bq->cfg.id);
	bq->serving = !err;
	return err;
}

static errint_t begin(struct bridge_queue *bq)
{
	bq->err = prepare(bq);
	sem_post(&bq->progress);
	return pass(bq->gate) ? fetch_all(bq) : bq->err;
}

/* Without the ring nothing can be completed any more.  When the process ends, the kernel fails what
 * is under way; the image is as after any crash. */
static void serve(struct bridge_queue *bq)
{
	while (bq->live || engine_queue_active(bq->q))
		if (engine_queue_turn(bq->q))
			abort();
}

static void tell_gone(const struct bridge_queue *bq)
{
	const uint64_t one = 1;

	if (bq->gone_fd >= 0 && write(bq->gone_fd, &one, sizeof(one)) != sizeof(one))
		log_errno("/dev/ublkb%u: cannot say that it is gone", bq->cfg.dev_id);
}

static void *queue_thread(void *arg)
{
	struct bridge_queue *bq = arg;

	prepare_thread(&bq->cfg);

	errint_t err = begin(bq);

	if (err)
		bq->err = err;
	sem_post(&bq->progress);
	if (bq->serving) {
		serve(bq);
		tell_gone(bq);
	}
	if (bq->q)
		engine_queue_free(bq->q);
	return NULL;
}

errint_t bridge_queue_new(const struct queue_config *cfg, struct bridge_queue **out)
{
	struct bridge_queue *bq = calloc(1, sizeof(*bq) + cfg->depth * sizeof(struct tag));

	assert(cfg->mode < BRIDGE_LOOP && cfg->max_bytes <= REQ_MAX_BYTES);
	assert(cfg->depth <= UBLK_MAX_QUEUE_DEPTH);
	if (!bq)
		return log_err(-ENOMEM, "/dev/ublkb%u: cannot set up queue %u", cfg->dev_id,
			       cfg->id);
	bq->cfg = *cfg;
	for (unsigned i = 0; i < cfg->depth; i++)
		bq->tags[i].bq = bq;
	sem_init(&bq->progress, 0, 0);
	if (cfg->mode == BRIDGE_COPY) {
		/* Touched, and so taken, only as far as requests are that large. */
		bq->bufs = mmap(NULL, bufs_len(bq), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (bq->bufs == MAP_FAILED) {
			errint_t err = log_errno("/dev/ublkb%u: cannot set up queue %u",
						 cfg->dev_id, cfg->id);

			bq->bufs = NULL;
			bridge_queue_free(bq);
			return err;
		}
		for (unsigned i = 0; i < cfg->depth; i++)
			bq->tags[i].buf = bq->bufs + (size_t)i * cfg->max_bytes;
	}
	*out = bq;
	return 0;
}

static errint_t start_thread(struct bridge_queue *bq, struct gate *gate, int gone_fd)
{
	assert(!bq->started);
	bq->gone_fd = gone_fd;
	bq->gate = gate;

	int err = pthread_create(&bq->thread, NULL, queue_thread, bq);

	bq->started = !err;
	return err ? log_err(-err, "/dev/ublkb%u: cannot start queue %u", bq->cfg.dev_id,
			     bq->cfg.id)
		   : 0;
}

static void wait_progress(struct bridge_queue *const *queues, unsigned n, errint_t *err)
{
	for (unsigned i = 0; i < n; i++) {
		while (sem_wait(&queues[i]->progress))
			;
		if (!*err)
			*err = queues[i]->err;
	}
}

static void open_gate(struct gate *g, bool failed)
{
	SCOPED_LOCK(&g->lock);
	g->open = true;
	g->failed = failed;
	pthread_cond_broadcast(&g->opened);
}

errint_t bridge_queues_start(struct bridge_queue *const *queues, unsigned n, int gone_fd)
{
	struct gate gate = {
		.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER, .n = n};
	unsigned started = 0;
	errint_t err = 0;

	while (started < n && !err) {
		err = start_thread(queues[started], &gate, gone_fd);
		started += !err;
	}
	wait_progress(queues, started, &err);
	open_gate(&gate, err != 0);
	wait_progress(queues, started, &err);
	for (unsigned i = 0; i < started; i++)
		if (!queues[i]->serving)
			bridge_queue_join(queues[i]);
	pthread_cond_destroy(&gate.opened);
	pthread_mutex_destroy(&gate.lock);
	return err;
}

void bridge_queue_join(struct bridge_queue *bq)
{
	if (bq->started)
		pthread_join(bq->thread, NULL);
	bq->started = false;
}

void bridge_queue_free(struct bridge_queue *bq)
{
	if (!bq)
		return;
	assert(!bq->started);
	if (bq->bufs)
		munmap(bq->bufs, bufs_len(bq));
	sem_destroy(&bq->progress);
	free(bq);
}
