/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/mem_store.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/lib/rng.h"

#define CHUNK (64u << 10)

/* A lock for each chunk, so that the store orders threads as little as a disk would. */
struct chunk {
	pthread_mutex_t lock;
	uint8_t *data; /* NULL: zeros */
};

struct mem_store {
	struct store st;
	uint64_t max;
	_Atomic uint64_t length;
	struct chunk *chunk;
	_Atomic uint64_t calls[MEM_OPS];
	_Atomic uint64_t fail_at[MEM_OPS]; /* by calls; 0: never */
	errint_t fail_with[MEM_OPS];
	bool dawdle;
};

static struct mem_store *mem_of(struct store *st)
{
	return (struct mem_store *)st;
}

static errint_t count(struct mem_store *m, enum mem_op op)
{
	uint64_t n = atomic_fetch_add(&m->calls[op], 1) + 1;

	return n == atomic_load(&m->fail_at[op]) ? m->fail_with[op] : 0;
}

/* One call in eight, for a thirtieth of a millisecond up to a quarter. */
static void dawdle(struct mem_store *m)
{
	static _Thread_local struct rng rng;

	if (m->dawdle && rng_below(&rng, 8) == 0)
		usleep((useconds_t)(30 << rng_below(&rng, 4)));
}

static size_t piece(uint64_t off, uint64_t len)
{
	uint64_t room = CHUNK - off % CHUNK;

	return (size_t)(len < room ? len : room);
}

/* What a range operation does with one chunk's part of it; the chunk's lock is held. */
typedef void (*piece_fn)(struct chunk *c, size_t at, size_t len, void *arg);

static void each_piece(struct mem_store *m, uint64_t off, uint64_t len, piece_fn fn, uint8_t *arg)
{
	while (len) {
		struct chunk *c = &m->chunk[off / CHUNK];
		size_t n = piece(off, len);

		pthread_mutex_lock(&c->lock);
		fn(c, off % CHUNK, n, arg);
		pthread_mutex_unlock(&c->lock);
		if (arg)
			arg += n;
		off += n;
		len -= n;
	}
}

static void read_piece(struct chunk *c, size_t at, size_t len, void *arg)
{
	if (c->data)
		memcpy(arg, c->data + at, len);
	else
		memset(arg, 0, len);
}

static void write_piece(struct chunk *c, size_t at, size_t len, void *arg)
{
	if (!c->data)
		c->data = calloc(1, CHUNK);
	if (!c->data)
		abort();
	memcpy(c->data + at, arg, len);
}

static void zero_piece(struct chunk *c, size_t at, size_t len, void *arg)
{
	(void)arg;
	if (c->data)
		memset(c->data + at, 0, len);
}

static void flip_piece(struct chunk *c, size_t at, size_t len, void *arg)
{
	(void)len, (void)arg;
	assert(c->data);
	c->data[at] ^= 0x10;
}

static errint_t mem_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	struct mem_store *m = mem_of(st);
	errint_t err = count(m, MEM_READ);
	size_t inside = off >= m->max ? 0 : m->max - off < len ? (size_t)(m->max - off) : len;

	if (err)
		return err;
	dawdle(m);
	each_piece(m, off, inside, read_piece, buf);
	memset((uint8_t *)buf + inside, 0, len - inside);
	return 0;
}

static errint_t grow(struct mem_store *m, uint64_t end)
{
	uint64_t length = atomic_load(&m->length);

	if (end > m->max)
		return -ENOSPC;
	while (length < end && !atomic_compare_exchange_weak(&m->length, &length, end))
		;
	return 0;
}

static errint_t mem_write(struct store *st, const void *buf, size_t len, uint64_t off, bool dsync)
{
	struct mem_store *m = mem_of(st);
	errint_t err = count(m, MEM_WRITE);

	(void)dsync;
	/* What is smaller than the host's blocks is for nobody to write without excluding others.
	 */
	if ((off | len) % st->align)
		abort();
	dawdle(m);
	if (!err)
		err = grow(m, off + len);
	if (!err)
		each_piece(m, off, len, write_piece, (uint8_t *)(uintptr_t)buf);
	return err;
}

static errint_t mem_datasync(struct store *st)
{
	return count(mem_of(st), MEM_SYNC);
}

static errint_t mem_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct mem_store *m = mem_of(st);
	errint_t err = count(m, MEM_PUNCH);

	if (!err && off < m->max)
		each_piece(m, off, len < m->max - off ? len : m->max - off, zero_piece, NULL);
	return err;
}

static errint_t mem_allocate(struct store *st, uint64_t off, uint64_t len)
{
	return grow(mem_of(st), off + len);
}

static errint_t mem_truncate(struct store *st, uint64_t len)
{
	struct mem_store *m = mem_of(st);
	uint64_t old = atomic_load(&m->length);

	if (len > m->max)
		return -ENOSPC;
	if (len < old)
		each_piece(m, len, old - len, zero_piece, NULL);
	atomic_store(&m->length, len);
	return 0;
}

static errint_t mem_length(struct store *st, uint64_t *len)
{
	*len = atomic_load(&mem_of(st)->length);
	return 0;
}

static uint64_t mem_usage(struct store *st)
{
	struct mem_store *m = mem_of(st);
	uint64_t used = 0;

	for (uint64_t i = 0; i < m->max / CHUNK; i++) {
		SCOPED_LOCK(&m->chunk[i].lock);
		used += m->chunk[i].data ? CHUNK : 0;
	}
	return used;
}

static errint_t mem_lock(struct store *st, enum store_lock how, bool quiet)
{
	(void)st, (void)how, (void)quiet;
	return 0;
}

static errint_t mem_identity(struct store *st, struct store_identity *id)
{
	(void)st;
	*id = (struct store_identity){1, 2};
	return 0;
}

static void mem_close(struct store *st)
{
	struct mem_store *m = mem_of(st);

	for (uint64_t i = 0; i < m->max / CHUNK; i++) {
		pthread_mutex_destroy(&m->chunk[i].lock);
		free(m->chunk[i].data);
	}
	free(m->chunk);
	free(m);
}

static const struct store_ops mem_ops = {
	.kind = "memory",
	.read = mem_read,
	.write = mem_write,
	.datasync = mem_datasync,
	.punch = mem_punch,
	.allocate = mem_allocate,
	.truncate = mem_truncate,
	.length = mem_length,
	.usage = mem_usage,
	.lock = mem_lock,
	.identity = mem_identity,
	.close = mem_close,
};

struct store *mem_store_new(uint64_t max)
{
	struct mem_store *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->st = (struct store){.ops = &mem_ops, .name = "memory", .align = 512};
	m->max = (max + CHUNK - 1) / CHUNK * CHUNK;
	m->chunk = calloc(m->max / CHUNK, sizeof(*m->chunk));
	if (!m->chunk)
		abort();
	for (uint64_t i = 0; i < m->max / CHUNK; i++)
		pthread_mutex_init(&m->chunk[i].lock, NULL);
	return &m->st;
}

void mem_store_fail(struct store *st, enum mem_op op, unsigned nth, errint_t err)
{
	struct mem_store *m = mem_of(st);

	m->fail_with[op] = err;
	atomic_store(&m->fail_at[op], nth ? atomic_load(&m->calls[op]) + nth : 0);
}

void mem_store_dawdle(struct store *st)
{
	mem_of(st)->dawdle = true;
}

uint64_t mem_store_calls(struct store *st, enum mem_op op)
{
	return atomic_load(&mem_of(st)->calls[op]);
}

void mem_store_flip(struct store *st, uint64_t off)
{
	each_piece(mem_of(st), off, 1, flip_piece, NULL);
}
