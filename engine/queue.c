/* SPDX-License-Identifier: MIT */
/*
 * The queue's ring: what is submitted, what comes back, and who gets it.
 *
 * user_data of a completion is a pointer or a cookie with a tag in its lowest bits (enum tag), so
 * there is one place, dispatch(), that knows where completions go.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/container_of.h"
#include "common/log.h"
#include "engine/queue_priv.h"

enum tag { TAG_SEGMENT, TAG_CLIENT, TAG_EVENT, TAG_BLOB, TAG_MASK = 7 };
enum { TAG_BITS = 3 };
_Static_assert(TAG_MASK == (1 << TAG_BITS) - 1, "all bits of a tag");
_Static_assert(_Alignof(struct seg_io) >= 1 << TAG_BITS, "room for a tag");

struct bounce {
	struct bounce *next;
};

/* ---- making and releasing --------------------------------------------------------------- */

static void add_queue(struct engine_queue *q)
{
	SCOPED_LOCK(&q->e->queues_lock);
	q->next = q->e->queues;
	q->e->queues = q;
}

static void remove_queue(struct engine_queue *q)
{
	struct engine_queue **at = &q->e->queues;

	SCOPED_LOCK(&q->e->queues_lock);
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	counters_add(&q->e->past, &q->counters);
}

/* The ring, with what the kernel knows of: newest features first. */
static errint_t open_ring(struct engine_queue *q)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	/* A request is one SQE or a few; more than fit are submitted in turns. */
	unsigned entries = 2 * q->opts.depth + 16;
	int err = -EINVAL;

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags) && err == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
			.cq_entries = 4 * entries,
		};

		err = io_uring_queue_init_params(entries, &q->ring, &params);
	}
	if (err)
		return log_err(err, "cannot set up io_uring");
	return 0;
}

static errint_t register_all(struct engine_queue *q)
{
	const int files[FILES] = {
		[FILE_IMAGE] = store_file_fd(q->e->st),
		[FILE_ZERO] = q->zero_fd,
		[FILE_CLIENT] = q->opts.client_fd,
		[FILE_BACKING] = q->backing ? store_file_fd(q->backing) : -1,
	};
	int err = io_uring_register_files(&q->ring, files, FILES);

	/* Entering it is cheaper then.  Older kernels do without. */
	(void)io_uring_register_ring_fd(&q->ring);
	if (!err && q->opts.buffers)
		err = io_uring_register_buffers_sparse(&q->ring, q->opts.buffers);
	return err ? log_err(err, "cannot register files and buffers with io_uring") : 0;
}

/* Wait for an event once more. */
static void arm_event(struct engine_queue *q)
{
	struct io_uring_sqe *sqe = engine_queue_sqe(q);

	io_uring_prep_read(sqe, q->event_fd, &q->event, sizeof(q->event), 0);
	sqe->user_data = TAG_EVENT;
}

static errint_t queue_init(struct engine_queue *q)
{
	if (store_file_fd(q->e->st) < 0)
		return log_fail(-ENOTSUP, "%s: is not a file, which io_uring needs",
				q->e->st->name);
	q->mem_align = store_mem_align(q->e->st);
	q->backing = q->e->backing ? backing_raw(q->e->backing) : NULL;
	/* A direct write to what is in the page cache as well, as convert or cp leave it, cannot be
	 * submitted without waiting: the kernel would give each to a thread of its own. */
	if (!q->e->st->cached)
		posix_fadvise(store_file_fd(q->e->st), 0, 0, POSIX_FADV_DONTNEED);
	q->zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (q->zero_fd < 0)
		return log_errno("/dev/zero: cannot open");
	q->event_fd = eventfd(0, EFD_CLOEXEC);
	if (q->event_fd < 0)
		return log_errno("cannot create an event descriptor");

	errint_t err = image_writer_new(q->e->im, &q->writer);

	return err ? err : open_ring(q);
}

static void free_bounces(struct engine_queue *q)
{
	while (q->free_bounces) {
		struct bounce *b = q->free_bounces;

		q->free_bounces = b->next;
		free(b);
	}
}

static void release(struct engine_queue *q)
{
	free_bounces(q);
	blobs_exit(q);
	image_writer_free(q->writer);
	if (q->zero_fd >= 0)
		close(q->zero_fd);
	if (q->event_fd >= 0)
		close(q->event_fd);
	free(q);
}

errint_t engine_queue_new(struct engine *e, const struct engine_queue_opts *opts,
			  struct engine_queue **out)
{
	struct engine_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return log_err(-ENOMEM, "cannot set up a queue");
	q->e = e;
	q->opts = *opts;
	q->zero_fd = q->event_fd = -1;
	blobs_init(q);

	errint_t err = queue_init(q);

	if (err) {
		release(q);
		return err;
	}
	err = register_all(q);
	if (err) {
		io_uring_queue_exit(&q->ring);
		release(q);
		return err;
	}
	arm_event(q);
	add_queue(q);
	*out = q;
	return 0;
}

void engine_queue_free(struct engine_queue *q)
{
	assert(!q->active && !atomic_load(&q->back));
	while (atomic_load(&q->handing))
		sched_yield();
	remove_queue(q);
	/* The kernel takes its time with a ring; what it refers to is given up at once.  But older
	 * kernels would wait here for what is still under way. */
	if (!q->client_sqes)
		io_uring_unregister_files(&q->ring);
	io_uring_queue_exit(&q->ring);
	release(q);
}

unsigned engine_queue_active(const struct engine_queue *q)
{
	return q->active;
}

/* ---- SQEs ------------------------------------------------------------------------------- */

static bool transient(int res)
{
	return res == -EINTR || res == -EAGAIN || res == -EBUSY;
}

static int enter(struct engine_queue *q, unsigned wait)
{
	COUNT_HERE(q, enters, 1);
	return wait ? io_uring_submit_and_wait(&q->ring, wait)
		    : io_uring_submit_and_get_events(&q->ring);
}

/* Completions meanwhile are taken in the next turn; the kernel keeps them till then. */
static void submit_now(struct engine_queue *q)
{
	int res = enter(q, 0);

	if (res < 0 && !transient(res)) {
		log_err(res, "io_uring failed; nothing can be completed any more");
		abort();
	}
}

void queue_submit(struct engine_queue *q)
{
	if (io_uring_sq_ready(&q->ring))
		submit_now(q);
}

struct io_uring_sqe *engine_queue_sqe(struct engine_queue *q)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&q->ring)))
		submit_now(q);
	return sqe;
}

void engine_queue_tag(struct engine_queue *q, struct io_uring_sqe *sqe, uint64_t cookie)
{
	assert(cookie >> (64 - TAG_BITS) == 0);
	q->client_sqes++;
	sqe->user_data = cookie << TAG_BITS | TAG_CLIENT;
}

uint8_t *queue_memory(const struct engine_req *r, uint32_t from)
{
	if (r->payload.buf_index >= 0)
		return NULL;
	return (r->payload.mem ? r->payload.mem : r->bounce) + from;
}

/* Can the kernel do it directly, as it stands? */
static bool is_aligned(const struct seg_io *io)
{
	const struct engine_queue *q = io->r->q;
	const uint8_t *mem = queue_memory(io->r, io->from);
	bool backing = io->source == IO_BACKING;
	unsigned align = backing ? q->backing->align : q->e->st->align;
	unsigned mem_align = backing ? store_mem_align(q->backing) : q->mem_align;

	uint64_t at = mem ? (uintptr_t)mem : io->r->payload.buf_base + io->from;

	return (io->file_off | io->len) % align == 0 && at % mem_align == 0;
}

static void prepare(struct io_uring_sqe *sqe, const struct seg_io *io)
{
	const struct engine_req *r = io->r;
	bool write = r->op == REQ_WRITE;
	static const int files[] = {FILE_IMAGE, FILE_ZERO, FILE_BACKING};
	int file = files[io->source];
	uint8_t *mem = queue_memory(r, io->from);

	if (mem) {
		if (write)
			io_uring_prep_write(sqe, file, mem, io->len, io->file_off);
		else
			io_uring_prep_read(sqe, file, mem, io->len, io->file_off);
	} else {
		void *at = (void *)(uintptr_t)(r->payload.buf_base + io->from);

		if (write)
			io_uring_prep_write_fixed(sqe, file, at, io->len, io->file_off,
						  r->payload.buf_index);
		else
			io_uring_prep_read_fixed(sqe, file, at, io->len, io->file_off,
						 r->payload.buf_index);
	}
	if (write && r->dsync)
		sqe->rw_flags = RWF_DSYNC;
	sqe->flags |= IOSQE_FIXED_FILE;
}

static void by_hand(struct task *task, struct engine_thread *t)
{
	io_by_hand((struct seg_io *)task, t);
}

static void by_hand_back(struct task *task)
{
	io_done((struct seg_io *)task);
}

static void hand_to_worker(struct seg_io *io)
{
	io->task.run = by_hand;
	io->task.back = by_hand_back;
	queue_hand_off(&io->task, POOL_DATA);
}

void io_read_blob(struct seg_io *io, uint32_t len, uint64_t file_off)
{
	struct io_uring_sqe *sqe = engine_queue_sqe(io->r->q);

	io_uring_prep_read(sqe, FILE_IMAGE, io->blob, len, file_off);
	sqe->flags |= IOSQE_FIXED_FILE;
	sqe->user_data = (uintptr_t)io | TAG_BLOB;
	COUNT_HERE(io->r->q, sqes, 1);
}

void io_submit(struct seg_io *io)
{
	struct engine_queue *q = io->r->q;

	if ((io->source == IO_BACKING && !q->backing) ||
	    (io->source != IO_ZERO && !is_aligned(io))) {
		hand_to_worker(io);
		return;
	}
	struct io_uring_sqe *sqe = engine_queue_sqe(q);

	prepare(sqe, io);
	sqe->user_data = (uintptr_t)io | TAG_SEGMENT;
	COUNT_HERE(q, sqes, 1);
}

static errint_t io_failed(const struct seg_io *io, errint_t err)
{
	const struct engine_req *r = io->r;

	return log_err(err, "%s: cannot %s %u bytes at offset %llu",
		       io->source == IO_BACKING ? r->q->backing->name : r->q->e->st->name,
		       r->op == REQ_WRITE ? "write" : "read", io->len,
		       (unsigned long long)io->file_off);
}

/*
 * A DSYNC write failed with @err.  It may have been told what an earlier write lost, and nobody
 * will be told again: unless the error is one of the request itself.  A full host is, where writes
 * go straight to the device and none is left in a cache.
 */
static void note_loss(struct engine_req *r, errint_t err)
{
	bool own = err == -EFAULT || err == -EINVAL || err == -EBADF || err == -EFBIG ||
		   (err == -ENOSPC && !r->q->e->st->cached);

	if (r->dsync && !own)
		r->lost = true;
}

static void count_moved(const struct seg_io *io, uint32_t len)
{
	struct engine_queue *q = io->r->q;
	bool write = io->r->op == REQ_WRITE;

	if (io->source == IO_BACKING)
		COUNT_HERE(q, backing_read, len);
	if (io->source == IO_ZERO)
		COUNT_HERE(q, zero_read, len);
	else if (io->r->payload.buf_index >= 0 && write)
		COUNT_HERE(q, zero_copy_written, len);
	else if (io->r->payload.buf_index >= 0)
		COUNT_HERE(q, zero_copy_read, len);
	else if (write)
		COUNT_HERE(q, direct_written, len);
	else
		COUNT_HERE(q, direct_read, len);
}

/*
 * An SQE completed.  What is short is finished by a worker, whose store knows ends of files and odd
 * lengths: a short transfer never reaches the client as a whole one.
 */
static void io_completed(struct seg_io *io, int res)
{
	if (res == -EINTR) {
		io_submit(io);
		return;
	}
	/* What the ring cannot do now or at all, the store may: -EINVAL is also what a host says
	 * that wants memory aligned in a way that it does not tell. */
	if (res == -EAGAIN || res == -EINVAL || (res == -EOPNOTSUPP && io->r->dsync)) {
		hand_to_worker(io);
		return;
	}
	if (res < 0) {
		io->err = io_failed(io, res);
		io->sync_err = io->r->dsync ? io->err : 0;
		io_done(io);
		return;
	}
	assert((uint32_t)res <= io->len);
	count_moved(io, (uint32_t)res);
	io->from += (uint32_t)res;
	io->file_off += (uint32_t)res;
	io->len -= (uint32_t)res;
	if (!io->len)
		io_done(io);
	else if (io->source == IO_ZERO && res)
		io_submit(io);
	else
		hand_to_worker(io);
}

void io_done(struct seg_io *io)
{
	struct engine_req *r = io->r;

	if (io->err && !r->result)
		r->result = io->err;
	if (io->sync_err)
		note_loss(r, io->sync_err);
	assert(r->pending > 0);
	if (--r->pending)
		return;
	if (r->op == REQ_WRITE)
		write_segs_done(r);
	else
		read_segs_done(r);
}

/* ---- workers ---------------------------------------------------------------------------- */

static errint_t move_read(struct seg_io *io, struct engine_thread *t, uint32_t n)
{
	const struct payload *p = &io->r->payload;
	uint8_t *mem = queue_memory(io->r, io->from);
	errint_t err = 0;

	if (io->source == IO_ZERO)
		memset(t->cluster, 0, n);
	else if (io->source == IO_BACKING)
		err = read_backing(t, t->cluster, n, io->file_off);
	else
		err = store_read(t->e->st, t->cluster, n, io->file_off);
	if (err)
		return err;
	if (!mem)
		return p->ops->copy_out(p, t->cluster, io->from, n);
	memcpy(mem, t->cluster, n);
	return 0;
}

static errint_t move_write(struct seg_io *io, struct engine_thread *t, uint32_t n)
{
	errint_t err = 0;
	const struct payload *p = &io->r->payload;
	const uint8_t *mem = queue_memory(io->r, io->from);
	struct store *st = t->e->st;

	if (mem) {
		memcpy(t->cluster, mem, n);
	} else {
		err = p->ops->copy_in(p, t->cluster, io->from, n);
		if (err)
			return err;
	}
	if (!io->r->dsync)
		return store_write(st, t->cluster, n, io->file_off);
	err = store_write_dsync(st, t->cluster, n, io->file_off);
	if (err)
		io->sync_err = err;
	return err;
}

void io_by_hand(struct seg_io *io, struct engine_thread *t)
{
	struct engine_queue *q = io->r->q;

	/* What a short transfer left may begin anywhere; the whole sector is done again. */
	uint32_t odd = (uint32_t)(io->file_off % SECTOR_SIZE);

	io->file_off -= odd;
	io->from -= odd;
	io->len += odd;
	while (io->len && !io->err) {
		uint32_t n = io->len < t->e->cluster ? io->len : (uint32_t)t->e->cluster;

		io->err = io->r->op == REQ_WRITE ? move_write(io, t, n) : move_read(io, t, n);
		COUNT(q, copied, n);
		COUNT(q, copied_raw, n);
		if (io->source == IO_BACKING)
			COUNT(q, backing_read, n);
		io->from += n;
		io->file_off += n;
		io->len -= n;
	}
}

static void work_run(struct work *w, struct engine_thread *t)
{
	struct task *task = (struct task *)w;

	task->run(task, t);
	queue_hand_back(task);
}

void queue_hand_off(struct task *task, enum pool_kind kind)
{
	task->work.run = work_run;
	COUNT_HERE(task->q, handoffs, 1);
	pool_run(task->q->opts.pool, kind, &task->work);
}

void engine_queue_wake(struct engine_queue *q)
{
	const uint64_t one = 1;

	if (write(q->event_fd, &one, sizeof(one)) != sizeof(one))
		log_errno("cannot wake a queue");
}

void queue_hand_back(struct task *task)
{
	struct engine_queue *q = task->q;
	struct task *head = atomic_load_explicit(&q->back, memory_order_relaxed);

	/* Once the task is in the list, the queue may come to its end without having been told. */
	atomic_fetch_add(&q->handing, 1);
	do
		task->next = head;
	while (!atomic_compare_exchange_weak(&q->back, &head, task));
	if (atomic_exchange(&q->sleeping, false))
		engine_queue_wake(q);
	atomic_fetch_sub(&q->handing, 1);
}

/* Everything that workers have finished, oldest first. */
static void take_back(struct engine_queue *q)
{
	struct task *list = atomic_exchange(&q->back, NULL), *oldest = NULL, *next;

	for (; list; list = next) {
		next = list->next;
		list->next = oldest;
		oldest = list;
	}
	for (; oldest; oldest = next) {
		next = oldest->next;
		oldest->back(oldest);
	}
}

/* ---- idle queues ------------------------------------------------------------------------ */

void queues_shrink(struct engine *e)
{
	SCOPED_LOCK(&e->queues_lock);
	for (struct engine_queue *q = e->queues; q; q = q->next) {
		atomic_store(&q->shrink, true);
		engine_queue_wake(q);
	}
}

/* All that the client has prepared is carried out, which may be what takes a request's bytes from
 * its memory; and it has been told of all that has arrived. */
static bool all_told(struct engine_queue *q)
{
	queue_submit(q);
	return !io_uring_sq_ready(&q->ring) && !io_uring_cq_ready(&q->ring) &&
	       !io_uring_cq_has_overflow(&q->ring);
}

/* With DEFER_TASKRUN nothing arrives outside a turn. */
static void shrink_if_asked(struct engine_queue *q)
{
	if (!atomic_load_explicit(&q->shrink, memory_order_relaxed) || q->active || !all_told(q))
		return;
	atomic_store(&q->shrink, false);
	free_bounces(q);
	malloc_trim(0);
	if (q->opts.ops->idle && q->ring.flags & IORING_SETUP_DEFER_TASKRUN)
		q->opts.ops->idle(q->opts.client);
}

/* ---- one turn --------------------------------------------------------------------------- */

static void dispatch(struct engine_queue *q, uint64_t user_data, int res)
{
	switch ((enum tag)(user_data & TAG_MASK)) {
	case TAG_SEGMENT:
		io_completed((struct seg_io *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK), res);
		return;
	case TAG_CLIENT:
		q->client_sqes--;
		q->opts.ops->completed(q->opts.client, user_data >> TAG_BITS, res);
		return;
	case TAG_EVENT:
		arm_event(q);
		return;
	case TAG_BLOB:
		blob_arrived((struct seg_io *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK), res);
		return;
	case TAG_MASK:
		break;
	}
	assert(!"a tag");
}

/* Wait only if nothing is left to do, which workers are told before it is looked at for the last
 * time. */
static int take_completions(struct engine_queue *q)
{
	bool wait = !blobs_waiting(q);

	if (wait) {
		atomic_store(&q->sleeping, true);
		wait = !atomic_load(&q->back);
	}
	int res = enter(q, wait);

	atomic_store(&q->sleeping, false);
	return res;
}

errint_t engine_queue_turn(struct engine_queue *q)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	int res = take_completions(q);

	if (res < 0 && !transient(res))
		return log_err(res, "io_uring failed");
	q->now = q->turns++ % TIMED_TURNS ? 0 : clock_us();
	q->done_at = 0;
	q->turning = true;
	io_uring_for_each_cqe(&q->ring, head, cqe)
	{
		dispatch(q, cqe->user_data, cqe->res);
		n++;
	}
	io_uring_cq_advance(&q->ring, n);
	take_back(q);
	q->turning = false;
	q->now = 0;
	blobs_step(q);
	shrink_if_asked(q);
	return 0;
}

/* ---- requests --------------------------------------------------------------------------- */

bool queue_bounce(struct engine_req *r)
{
	struct engine_queue *q = r->q;

	if (r->bounce)
		return true;
	if (q->free_bounces) {
		r->bounce = (uint8_t *)q->free_bounces;
		q->free_bounces = q->free_bounces->next;
	} else {
		r->bounce = store_buffer(REQ_MAX_BYTES);
	}
	if (!r->bounce)
		r->result = log_err(-ENOMEM, "cannot hold the bytes of a request");
	return r->bounce;
}

/* When this turn's requests are done, as far as they are timed. */
static uint64_t done_time(struct engine_queue *q)
{
	if (!q->turning)
		return clock_us();
	if (!q->done_at)
		q->done_at = q->now ? q->now : clock_us();
	return q->done_at;
}

static unsigned latency_bucket(uint64_t us)
{
	unsigned bits = us ? 64 - (unsigned)__builtin_clzll(us) : 0;

	return bits < LATENCY_BUCKETS ? bits : LATENCY_BUCKETS - 1;
}

void queue_finish(struct engine_req *r, errint_t err)
{
	struct engine_queue *q = r->q;

	if (r->bounce) {
		struct bounce *b = (struct bounce *)r->bounce;

		b->next = q->free_bounces;
		q->free_bounces = b;
		r->bounce = NULL;
	}
	r->result = err;
	COUNT_HERE(q, errors, err != 0);
	if (r->start)
		COUNT_HERE(q, latency[r->op][latency_bucket(done_time(q) - r->start)], 1);
	assert(q->active > 0);
	q->active--;
	q->opts.ops->done(q->opts.client, r);
}

/* Flush, discard, write zeroes: nothing but waiting. */
static void block_run(struct task *task, struct engine_thread *t)
{
	struct engine_req *r = container_of(task, struct engine_req, task);
	errint_t err = 0;

	if (r->op == REQ_DISCARD)
		err = engine_discard(t, r->off, r->len);
	else if (r->op == REQ_WRITE_ZEROES)
		err = engine_write_zeroes(t, r->off, r->len);
	if (!err && (r->op == REQ_FLUSH || r->fua))
		err = engine_flush(t);
	r->result = err;
}

static void block_back(struct task *task)
{
	struct engine_req *r = container_of(task, struct engine_req, task);

	queue_finish(r, r->result);
}

void engine_queue_submit(struct engine_queue *q, struct engine_req *r)
{
	assert(r->off % SECTOR_SIZE == 0 && r->len % SECTOR_SIZE == 0);
	r->q = r->task.q = q;
	r->result = 0;
	r->done = 0;
	r->flush = r->dsync = r->copied_in = false;
	r->start = q->turning ? q->now : clock_us();
	q->active++;
	COUNT_HERE(q, requests[r->op], 1);
	COUNT_HERE(q, bytes[r->op], r->len);
	switch (r->op) {
	case REQ_READ:
		assert(r->len && r->len <= REQ_MAX_BYTES);
		read_step(r);
		return;
	case REQ_WRITE:
		assert(r->len && r->len <= REQ_MAX_BYTES);
		write_step(r);
		return;
	case REQ_FLUSH:
	case REQ_DISCARD:
	case REQ_WRITE_ZEROES:
		r->task.run = block_run;
		r->task.back = block_back;
		queue_hand_off(&r->task, POOL_BLOCK);
		return;
	case REQ_OPS:
		break;
	}
	assert(!"an operation");
}
