/* SPDX-License-Identifier: MIT */
/*
 * Sinks for raw content.  A file is written by all threads at once, with holes where there are
 * zeros; a stream, such as a pipe, is written in order by whichever thread's turn it is.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/convert.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "image/store.h"

enum {
	BLOCK = 4096,	      /* what is looked at for zeros */
	HOLE_MIN = 4 * BLOCK, /* fewer zeros than this are written: a write costs more */
	ZEROS_BYTES = 1 << 20,
};

struct raw_sink {
	struct sink sink; /* first */
	struct store *st; /* a file or device */
	bool overwrite;	  /* it has content that is not ours */
	int fd;		  /* a stream */
	const char *name;
};

struct raw_worker {
	struct convert *c;
	struct raw_sink *s;
	uint8_t *zeros; /* ZEROS_BYTES of them, for a stream's or device's holes */
};

static struct raw_sink *raw_sink_of(struct sink *s)
{
	return (struct raw_sink *)s;
}

static struct raw_worker *raw_worker_of(struct sink_worker *w)
{
	return (struct raw_worker *)w;
}

static void count(uint64_t *total, uint64_t more)
{
	__atomic_fetch_add(total, more, __ATOMIC_RELAXED);
}

static void raw_worker_free(struct sink_worker *worker)
{
	free(raw_worker_of(worker)->zeros);
	free(worker);
}

static errint_t raw_worker_new(struct convert *c, struct sink_worker **out)
{
	struct raw_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return log_err(-ENOMEM, "%s: cannot convert", c->source);
	*out = (struct sink_worker *)w;
	w->c = c;
	w->s = raw_sink_of(c->sink);
	w->zeros = store_buffer(ZEROS_BYTES);
	return w->zeros ? 0 : log_err(-ENOMEM, "%s: cannot convert", c->source);
}

static errint_t raw_flush(struct sink_worker *w)
{
	(void)w;
	return 0;
}

static void raw_free(struct sink *s)
{
	free(s);
}

static struct sink *sink_new(const struct sink_ops *ops, const char *name)
{
	struct raw_sink *s = calloc(1, sizeof(*s));

	if (!s) {
		log_err(-ENOMEM, "%s: cannot convert", name);
		return NULL;
	}
	s->sink.ops = ops;
	s->sink.align = BLOCK;
	s->name = name;
	s->fd = -1;
	return &s->sink;
}

/* -- a file or device ---------------------------------------------------- */

static errint_t write_data(struct raw_worker *w, const uint8_t *buf, size_t len, uint64_t off)
{
	errint_t err = fault_point("convert_write");

	if (!len || err)
		return err;
	convert_wait(w->c);
	err = store_write(w->s->st, buf, len, off);
	convert_compute(w->c);
	count(&w->s->sink.totals.raw, len);
	count(&w->s->sink.totals.stored, len);
	return err;
}

static errint_t write_zeros(struct raw_worker *w, uint64_t len, uint64_t off)
{
	while (len) {
		size_t n = len < ZEROS_BYTES ? (size_t)len : ZEROS_BYTES;
		errint_t err = store_write(w->s->st, w->zeros, n, off);

		if (err)
			return err;
		len -= n;
		off += n;
	}
	return 0;
}

/* A new file has holes by itself. */
static errint_t make_hole(struct raw_worker *w, uint64_t len, uint64_t off)
{
	errint_t err = 0;

	count(&w->s->sink.totals.zero, len);
	if (!w->s->overwrite || !len)
		return 0;
	convert_wait(w->c);
	err = store_punch(w->s->st, off, len);
	if (err == -EOPNOTSUPP)
		err = write_zeros(w, len, off);
	convert_compute(w->c);
	return err;
}

/* How many of the @len bytes at @buf to write; the *zeros behind them are to be a hole. */
static size_t data_run(const uint8_t *buf, size_t len, size_t *zeros)
{
	size_t at, end = 0; /* of the data found so far */

	for (at = 0; at < len; at += BLOCK) {
		size_t n = len - at < BLOCK ? len - at : BLOCK;

		if (convert_is_zero(buf + at, n))
			continue;
		if (at - end >= HOLE_MIN)
			break;
		end = at + n;
	}
	if (at >= len && end && len - end < HOLE_MIN)
		end = len;
	*zeros = (at < len ? at : len) - end;
	return end;
}

static errint_t raw_put(struct sink_worker *worker, const struct chunk *k, const uint8_t *buf)
{
	struct raw_worker *w = raw_worker_of(worker);
	size_t len = (size_t)(k->bytes + 511) & ~(size_t)511;

	if (k->hole)
		return make_hole(w, (k->bytes + 511) & ~511ull, k->off);
	assert(len <= k->len);
	for (size_t at = 0; at < len;) {
		size_t zeros, data = data_run(buf + at, len - at, &zeros);
		errint_t err = write_data(w, buf + at, data, k->off + at);

		if (!err)
			err = make_hole(w, zeros, k->off + at + data);
		if (err)
			return err;
		at += data + zeros;
	}
	return 0;
}

static errint_t raw_finish(struct convert *c, uint64_t size)
{
	struct raw_sink *s = raw_sink_of(c->sink);
	errint_t err = s->overwrite ? 0 : store_truncate(s->st, size);

	if (!err)
		err = fault_point("convert_finish");
	return err ? err : store_datasync(s->st);
}

static const struct sink_ops raw_ops = {
	.worker_new = raw_worker_new,
	.worker_free = raw_worker_free,
	.put = raw_put,
	.flush = raw_flush,
	.finish = raw_finish,
	.free = raw_free,
};

errint_t sink_raw_new(struct store *st, bool overwrite, struct sink **out)
{
	*out = sink_new(&raw_ops, st->name);
	if (!*out)
		return -ENOMEM;
	(*out)->holes = overwrite;
	raw_sink_of(*out)->st = st;
	raw_sink_of(*out)->overwrite = overwrite;
	return 0;
}

/* -- a stream ------------------------------------------------------------ */

static errint_t write_stream(const struct raw_sink *s, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = write(s->fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return log_errno("%s: cannot write", s->name);
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static errint_t stream_chunk(struct raw_worker *w, const struct chunk *k, const uint8_t *buf)
{
	uint64_t left = k->bytes;
	errint_t err = 0;

	if (!k->hole)
		return write_stream(w->s, buf, (size_t)left);
	while (left && !err) {
		size_t n = left < ZEROS_BYTES ? (size_t)left : ZEROS_BYTES;

		err = write_stream(w->s, w->zeros, n);
		left -= n;
	}
	return err;
}

static errint_t stream_put(struct sink_worker *worker, const struct chunk *k, const uint8_t *buf)
{
	struct raw_worker *w = raw_worker_of(worker);
	errint_t err = 0;

	convert_wait(w->c);
	/* When another thread has failed there is nothing left to do here. */
	if (convert_begin_turn(w->c, k->index)) {
		err = stream_chunk(w, k, buf);
		if (!err)
			convert_end_turn(w->c);
	}
	convert_compute(w->c);
	count(k->hole ? &w->s->sink.totals.zero : &w->s->sink.totals.raw, k->bytes);
	count(&w->s->sink.totals.stored, k->bytes);
	return err;
}

static errint_t stream_finish(struct convert *c, uint64_t size)
{
	(void)c, (void)size;
	return 0;
}

static const struct sink_ops stream_ops = {
	.worker_new = raw_worker_new,
	.worker_free = raw_worker_free,
	.put = stream_put,
	.flush = raw_flush,
	.finish = stream_finish,
	.free = raw_free,
};

errint_t sink_stream_new(int fd, const char *name, struct sink **out)
{
	*out = sink_new(&stream_ops, name);
	if (!*out)
		return -ENOMEM;
	(*out)->holes = true;
	raw_sink_of(*out)->fd = fd;
	return 0;
}
