/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/log_store.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"

struct log_store {
	struct store st; /* first */
	struct store *below;

	pthread_mutex_t lock; /* protects what follows */
	FILE *log;
	uint64_t moment;
};

static struct log_store *log_store_of(struct store *st)
{
	return (struct log_store *)st;
}

static uint64_t begin(struct log_store *s)
{
	SCOPED_LOCK(&s->lock);
	return ++s->moment;
}

static void put(struct log_store *s, const void *p, size_t len)
{
	if (len && fwrite(p, len, 1, s->log) != 1) {
		perror("the log of a store");
		abort();
	}
}

/* What has failed may have happened, too. */
static void end(struct log_store *s, struct log_record r, const void *data, errint_t err)
{
	SCOPED_LOCK(&s->lock);
	r.end = ++s->moment;
	if (err && r.type == LOG_SYNC)
		return;
	r.durable &= !err;
	put(s, &r, sizeof(r));
	if (data)
		put(s, data, r.len);
}

static errint_t log_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	return store_read(log_store_of(st)->below, buf, len, off);
}

static errint_t log_write(struct store *st, const void *buf, size_t len, uint64_t off, bool dsync)
{
	struct log_store *s = log_store_of(st);
	const struct log_record r = {
		.type = LOG_WRITE, .durable = dsync, .begin = begin(s), .off = off, .len = len};
	errint_t err = dsync ? store_write_dsync(s->below, buf, len, off)
			     : store_write(s->below, buf, len, off);

	end(s, r, buf, err);
	return err;
}

static errint_t log_datasync(struct store *st)
{
	struct log_store *s = log_store_of(st);
	const struct log_record r = {.type = LOG_SYNC, .begin = begin(s)};
	errint_t err = store_datasync(s->below);

	end(s, r, NULL, err);
	return err;
}

static errint_t log_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct log_store *s = log_store_of(st);
	const struct log_record r = {.type = LOG_PUNCH, .begin = begin(s), .off = off, .len = len};
	errint_t err = store_punch(s->below, off, len);

	if (err != -EOPNOTSUPP)
		end(s, r, NULL, err);
	return err;
}

static errint_t log_allocate(struct store *st, uint64_t off, uint64_t len)
{
	struct log_store *s = log_store_of(st);
	const struct log_record r = {.type = LOG_GROW, .begin = begin(s), .off = off + len};
	errint_t err = store_allocate(s->below, off, len);

	end(s, r, NULL, err);
	return err;
}

static errint_t log_truncate(struct store *st, uint64_t len)
{
	struct log_store *s = log_store_of(st);
	const struct log_record r = {.type = LOG_LENGTH, .begin = begin(s), .off = len};
	errint_t err = store_truncate(s->below, len);

	end(s, r, NULL, err);
	return err;
}

static errint_t log_length(struct store *st, uint64_t *len)
{
	return store_length(log_store_of(st)->below, len);
}

static uint64_t log_usage(struct store *st)
{
	return store_usage(log_store_of(st)->below);
}

static errint_t log_lock(struct store *st, enum store_lock how, bool quiet)
{
	struct store *below = log_store_of(st)->below;

	return quiet ? store_try_lock(below, how) : store_lock(below, how);
}

static errint_t log_identity(struct store *st, struct store_identity *id)
{
	return store_identity(log_store_of(st)->below, id);
}

static void log_close(struct store *st)
{
	struct log_store *s = log_store_of(st);

	store_close(s->below);
	if (fclose(s->log)) {
		perror("the log of a store");
		abort();
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static const struct store_ops log_ops = {
	.kind = "log",
	.read = log_read,
	.write = log_write,
	.datasync = log_datasync,
	.punch = log_punch,
	.allocate = log_allocate,
	.truncate = log_truncate,
	.length = log_length,
	.usage = log_usage,
	.lock = log_lock,
	.identity = log_identity,
	.close = log_close,
};

void log_store_mark(struct store *st, uint64_t number)
{
	struct log_store *s = log_store_of(st);
	const struct log_record r = {.type = LOG_MARK, .begin = begin(s), .off = number};

	assert(st->ops == &log_ops);
	end(s, r, NULL, 0);
}

struct store *log_store_new(struct store *below, const char *path)
{
	struct log_store *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->st = *below;
	s->st.ops = &log_ops;
	s->below = below;
	pthread_mutex_init(&s->lock, NULL);
	s->log = fopen(path, "wxe");
	if (!s->log) {
		perror(path);
		abort();
	}
	return &s->st;
}
