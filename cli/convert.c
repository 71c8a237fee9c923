/* SPDX-License-Identifier: MIT */
/*
 * Owns: who reads which chunk of the source, how many threads compute at a time, and in what order
 * chunks may be written where order matters.
 */
#include "config.h"

#include "cli/convert.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/workers.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "image/store.h"

/* Threads for each one that computes: the others read and write. */
enum { THREADS_EACH = 2, THREADS_ALL = 256 };

bool convert_is_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	return !b[0] && !memcmp(b, b + 1, len - 1);
}

void sink_free(struct sink *s)
{
	if (s)
		s->ops->free(s);
}

void convert_wait(struct convert *c)
{
	sem_post(&c->processors);
}

void convert_compute(struct convert *c)
{
	while (sem_wait(&c->processors))
		assert(errno == EINTR);
}

static void set_failed(struct convert *c)
{
	SCOPED_LOCK(&c->lock);

	c->failed = true;
	pthread_cond_broadcast(&c->turned);
}

bool convert_begin_turn(struct convert *c, uint64_t index)
{
	SCOPED_LOCK(&c->lock);

	while (c->turn != index && !c->failed)
		pthread_cond_wait(&c->turned, &c->lock);
	return !c->failed;
}

void convert_end_turn(struct convert *c)
{
	SCOPED_LOCK(&c->lock);

	c->turn++;
	pthread_cond_broadcast(&c->turned);
}

/* -- taking chunks, under the lock --------------------------------------- */

static uint64_t align_up(const struct convert *c, uint64_t n)
{
	return (n + c->sink->align - 1) & ~(uint64_t)(c->sink->align - 1);
}

/* Find the run of data at or after c->at; an empty one at the end when there is none. */
static errint_t find_run(struct convert *c)
{
	uint64_t start, end;
	errint_t err;

	if (c->at < c->run_end)
		return 0;
	err = disk_next_data(c->disk, c->at, &start, &end);
	if (err)
		return err;
	if (start == end) {
		c->run_start = c->run_end = disk_size(c->disk);
		return 0;
	}
	c->run_start = start & ~(uint64_t)(c->sink->align - 1);
	if (c->run_start < c->at)
		c->run_start = c->at;
	c->run_end = align_up(c, end);
	return 0;
}

/* The next chunk of a disk; nothing is read yet. */
static errint_t next_of_disk(struct convert *c, struct chunk *k)
{
	uint64_t size = disk_size(c->disk), end;
	errint_t err;

	if (c->at >= size)
		return 0;
	err = find_run(c);
	if (err)
		return err;
	if (c->at < c->run_start) {
		uint64_t hole = c->run_start - c->at;

		if (c->sink->holes) {
			*k = (struct chunk){.off = c->at, .bytes = hole, .hole = true};
			c->at = c->run_start;
			return 0;
		}
		progress_add(c->bar, hole);
		c->at = c->run_start;
		if (c->at >= size)
			return 0;
	}
	end = (c->at | (c->chunk_bytes - 1)) + 1;
	if (end > c->run_end)
		end = c->run_end;
	*k = (struct chunk){.off = c->at, .len = (size_t)(end - c->at)};
	k->bytes = end < size ? end - c->at : size - c->at;
	c->at = end;
	return 0;
}

/* The next chunk of what changed.  Changes begin where chunks of the sink may. */
static void next_of_changes(struct convert *c, struct chunk *k)
{
	const struct changes *all = c->changes;
	const struct change *e;
	uint64_t end;

	while (c->change < all->n && c->at >= all->list[c->change].off + all->list[c->change].len)
		c->change++;
	if (c->change == all->n)
		return;
	e = &all->list[c->change];
	if (c->at < e->off)
		c->at = e->off;
	end = e->off + e->len;
	if (e->zero) {
		*k = (struct chunk){.off = c->at, .bytes = end - c->at, .hole = true};
		c->at = end;
		return;
	}
	assert(!(c->at % c->sink->align));
	if (end > (c->at | (c->chunk_bytes - 1)) + 1)
		end = (c->at | (c->chunk_bytes - 1)) + 1;
	*k = (struct chunk){.off = c->at, .bytes = end - c->at};
	k->len = (size_t)align_up(c, k->bytes);
	c->at = end;
}

/* Read standard input until @buf is full or the input ends. */
static errint_t next_of_pipe(struct convert *c, struct chunk *k, uint8_t *buf)
{
	size_t n = 0;

	while (n < c->chunk_bytes && !c->ended) {
		ssize_t r = read(STDIN_FILENO, buf + n, c->chunk_bytes - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return log_errno("%s: cannot read", c->source);
		c->ended = r == 0;
		n += (size_t)r;
	}
	*k = (struct chunk){.off = c->at, .bytes = n, .len = (size_t)align_up(c, n)};
	memset(buf + n, 0, k->len - n);
	c->at += n;
	return 0;
}

static errint_t take_chunk(struct convert *c, struct chunk *k, uint8_t *buf)
{
	SCOPED_LOCK(&c->lock);
	errint_t err = 0;

	*k = (struct chunk){0};
	if (c->failed)
		return 0;
	if (c->changes)
		next_of_changes(c, k);
	else
		err = c->disk ? next_of_disk(c, k) : next_of_pipe(c, k, buf);
	k->index = c->chunks;
	if (!err && k->bytes)
		c->chunks++;
	return err;
}

/* -- threads ------------------------------------------------------------- */

/* One thread's means. */
struct converter {
	struct convert *c;
	struct disk_reader *reader; /* NULL for a pipe */
	struct sink_worker *worker;
	uint8_t *buf;
};

/* Raw content is read without a processor of our own: it waits, or copies.  Reading an image is
 * computing. */
static errint_t read_chunk(struct converter *t, const struct chunk *k)
{
	bool computes = disk_format(t->c->disk) == DISK_UBLK;
	errint_t err;

	if (k->hole)
		return 0;
	if (computes)
		convert_compute(t->c);
	err = disk_read(t->reader, t->buf, k->off, k->len);
	if (computes)
		convert_wait(t->c);
	return err ? err : fault_point("convert_read");
}

static errint_t convert_chunk(struct converter *t, const struct chunk *k)
{
	struct convert *c = t->c;
	errint_t err = c->disk ? read_chunk(t, k) : 0;

	if (err)
		return err;
	convert_compute(c);
	err = c->sink->ops->put(t->worker, k, t->buf);
	convert_wait(c);
	progress_add(c->bar, k->bytes);
	return err;
}

static errint_t convert_chunks(struct converter *t)
{
	struct chunk k;
	errint_t err;

	do {
		err = take_chunk(t->c, &k, t->buf);
		if (!err && k.bytes)
			err = convert_chunk(t, &k);
	} while (!err && k.bytes);
	if (err)
		return err;
	convert_compute(t->c);
	err = t->c->sink->ops->flush(t->worker);
	convert_wait(t->c);
	return err;
}

static errint_t converter_begin(struct converter *t)
{
	errint_t err = 0;

	t->buf = store_buffer(t->c->chunk_bytes);
	if (!t->buf)
		return log_err(-ENOMEM, "%s: cannot convert", t->c->source);
	if (t->c->disk)
		err = disk_reader_new(t->c->disk, &t->reader);
	return err ? err : t->c->sink->ops->worker_new(t->c, &t->worker);
}

static errint_t thread_main(void *arg)
{
	struct converter t = {.c = arg};
	errint_t err = converter_begin(&t);

	if (!err)
		err = convert_chunks(&t);
	if (err)
		set_failed(t.c);
	if (t.worker)
		t.c->sink->ops->worker_free(t.worker);
	disk_reader_free(t.reader);
	free(t.buf);
	return err;
}

errint_t convert_run(struct convert *c, unsigned threads)
{
	unsigned all = threads * THREADS_EACH;
	errint_t err;

	assert(threads > 0 && c->chunk_bytes % c->sink->align == 0);
	sem_init(&c->processors, 0, threads);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->turned, NULL);
	err = workers_run(all < THREADS_ALL ? all : THREADS_ALL, thread_main, c);
	pthread_cond_destroy(&c->turned);
	pthread_mutex_destroy(&c->lock);
	sem_destroy(&c->processors);
	return err ? err : c->sink->ops->finish(c, c->disk ? disk_size(c->disk) : c->at);
}
