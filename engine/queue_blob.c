/* SPDX-License-Identifier: MIT */
/*
 * Compressed segments of READ requests:
 *
 *   read_blob() -> [cache: hit, or joined] -> the ring reads what is stored -> blob_arrived()
 *     -> list of what is ready -> blobs_step() or a helper: decompress, copy out -> io_done()
 *
 * The queue's thread decompresses one blob in each turn, so others' requests wait for no more than
 * that.  As long as more than one is ready, workers help: waking one costs about as much as it
 * saves, so there are no more of them than there is work for.  When no buffer is left, or reading
 * by the ring fails or ends early, a worker does all of it, by the store.
 */
#include "config.h"

#include <sched.h>
#include <unistd.h>

#include "common/container_of.h"
#include "common/log.h"
#include "engine/queue_priv.h"

static errint_t copy_out(const struct seg_io *io, const uint8_t *src)
{
	const struct payload *p = &io->r->payload;

	COUNT(io->r->q, copied, io->len);
	COUNT(io->r->q, blob_read, io->len);
	return p->ops->copy_out(p, src, io->from, io->len);
}

static void back(struct task *task)
{
	io_done((struct seg_io *)task);
}

/* ---- in any thread ------------------------------------------------------------------------ */

/* The cluster that another thread was loading is there. */
static void joined(struct cache_waiter *w, const uint8_t *bytes, errint_t err)
{
	struct seg_io *io = container_of(w, struct seg_io, waiter);

	io->err = err ? err : copy_out(io, bytes + io->seg->skip);
	COUNT(io->r->q, cached_read, err ? 0 : io->len);
	queue_hand_back(&io->task);
}

/* From what is stored, which is in memory or not, to the client. */
static void finish_blob(struct seg_io *io, struct engine_thread *t)
{
	struct engine *e = t->e;
	uint8_t *plain = io->entry ? cache_bytes(io->entry) : t->plain;

	io->err = io->blob ? unpack_blob(t, io->seg, io->blob, plain)
			   : read_cluster(t, io->seg, plain);
	if (io->blob)
		buffers_put(e->blobs, io->blob);
	if (io->entry)
		cache_loaded(e->cache, io->entry, io->err);
	if (io->err)
		return;
	io->err = copy_out(io, plain + io->seg->skip);
	if (io->entry)
		cache_release(e->cache, io->entry);
}

/* ---- workers ------------------------------------------------------------------------------ */

static void finish_by_worker(struct task *task, struct engine_thread *t)
{
	finish_blob((struct seg_io *)task, t);
}

static void hand_to_worker(struct seg_io *io)
{
	io->task.run = finish_by_worker;
	queue_hand_off(&io->task, POOL_DATA);
}

/* The oldest, or NULL.  Lock held. */
static struct seg_io *take(struct ready *ready)
{
	struct work *w = ready->first;

	if (!w)
		return NULL;
	ready->first = w->next;
	if (!w->next)
		ready->last = &ready->first;
	ready->n--;
	return (struct seg_io *)w;
}

/* The next one for a helper; without any it is none any more. */
static struct seg_io *take_for(struct helper *h)
{
	struct ready *ready = &h->q->ready;

	SCOPED_LOCK(&ready->lock);
	struct seg_io *io = take(ready);

	if (!io) {
		h->busy = false;
		ready->busy--;
	}
	return io;
}

static void helped_back(struct task *task)
{
	COUNT_HERE(task->q, handoffs, 1);
	back(task);
}

static void help(struct work *w, struct engine_thread *t)
{
	struct helper *h = container_of(w, struct helper, work);
	struct seg_io *io;

	while ((io = take_for(h))) {
		io->task.back = helped_back;
		finish_blob(io, t);
		queue_hand_back(&io->task);
	}
}

/* ---- in the queue's thread ---------------------------------------------------------------- */

void blobs_init(struct engine_queue *q)
{
	struct ready *ready = &q->ready;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	q->helpers = cpus < 1 ? 0 : cpus > HELPERS_MAX ? HELPERS_MAX : (unsigned)cpus - 1;
	pthread_mutex_init(&ready->lock, NULL);
	ready->last = &ready->first;
	for (unsigned i = 0; i < HELPERS_MAX; i++) {
		ready->helper[i].q = q;
		ready->helper[i].work.run = help;
	}
}

static bool is_helped(struct ready *ready)
{
	SCOPED_LOCK(&ready->lock);
	return ready->busy;
}

void blobs_exit(struct engine_queue *q)
{
	assert(!blobs_waiting(q));
	/* What they did has come back, but they may not have seen yet that there is no more. */
	while (is_helped(&q->ready))
		sched_yield();
	pthread_mutex_destroy(&q->ready.lock);
	engine_thread_free(q->thread);
}

static void copy_cached(struct seg_io *io)
{
	io->err = copy_out(io, cache_bytes(io->entry) + io->seg->skip);
	COUNT(io->r->q, cached_read, io->len);
	cache_release(io->r->q->e->cache, io->entry);
	io_done(io);
}

static void load(struct seg_io *io)
{
	struct engine *e = io->r->q->e;
	uint64_t from;
	uint32_t len;

	io->blob = buffers_get(e->blobs);
	if (!io->blob) {
		hand_to_worker(io);
		return;
	}
	blob_range(e, io->seg, &from, &len);
	io_read_blob(io, len, from);
}

void read_blob(struct seg_io *io)
{
	struct engine *e = io->r->q->e;

	io->task.back = back;
	io->waiter.ready = joined;
	/* Part of a cluster is wanted: the next part will be, too, so all of it is kept. */
	if (io->seg->len < e->cluster) {
		switch (cache_acquire(e->cache, io->seg, &io->waiter, &io->entry)) {
		case CACHE_HIT:
			copy_cached(io);
			return;
		case CACHE_JOINED:
			return;
		case CACHE_LOAD:
		case CACHE_NONE:
			break;
		}
	}
	load(io);
}

void blob_arrived(struct seg_io *io, int res)
{
	const struct engine *e = io->r->q->e;
	struct ready *ready = &io->r->q->ready;

	/* The store knows what to do, and what to say. */
	if (res < 0 || (uint32_t)res < io->seg->file_off % e->st->align + io->seg->stored) {
		buffers_put(e->blobs, io->blob);
		io->blob = NULL;
		hand_to_worker(io);
		return;
	}
	SCOPED_LOCK(&ready->lock);
	io->task.work.next = NULL;
	*ready->last = &io->task.work;
	ready->last = &io->task.work.next;
	ready->n++;
}

bool blobs_waiting(struct engine_queue *q)
{
	SCOPED_LOCK(&q->ready.lock);
	return q->ready.n;
}

/* A helper that is to be set to work, or NULL.  Lock held. */
static struct helper *more_help(struct engine_queue *q)
{
	struct ready *ready = &q->ready;
	struct helper *h = ready->helper;

	if (ready->n <= ready->busy || ready->busy == q->helpers)
		return NULL;
	while (h->busy)
		h++;
	h->busy = true;
	ready->busy++;
	return h;
}

/* Take one for this thread, and see to it that the others find somebody. */
static struct seg_io *take_here(struct engine_queue *q, struct helper **h)
{
	SCOPED_LOCK(&q->ready.lock);
	struct seg_io *io = take(&q->ready);

	*h = more_help(q);
	return io;
}

void blobs_step(struct engine_queue *q)
{
	struct helper *h;
	struct seg_io *io = take_here(q, &h);

	if (h)
		pool_run(q->opts.pool, POOL_DATA, &h->work);
	if (!io)
		return;
	if (!q->thread && engine_thread_new(q->e, &q->thread)) {
		hand_to_worker(io);
		return;
	}
	/* What was prepared goes on meanwhile. */
	queue_submit(q);
	finish_blob(io, q->thread);
	io_done(io);
}
