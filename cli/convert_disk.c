/* SPDX-License-Identifier: MIT */
/* The sink that writes to the disk of an image that is there already. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "cli/convert.h"
#include "cli/image_file.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "engine/engine.h"

enum { BLOCK = 4096 };

struct disk_sink {
	struct sink sink; /* first */
	struct image *im;
	struct engine *engine;
	uint64_t cluster; /* bytes */
};

struct disk_worker {
	struct disk_sink *s;
	struct engine_thread *thread;
};

static struct disk_sink *disk_sink_of(struct sink *s)
{
	return (struct disk_sink *)s;
}

static struct disk_worker *disk_worker_of(struct sink_worker *w)
{
	return (struct disk_worker *)w;
}

static void count(uint64_t *total, uint64_t more)
{
	__atomic_fetch_add(total, more, __ATOMIC_RELAXED);
}

static errint_t disk_worker_new(struct convert *c, struct sink_worker **out)
{
	struct disk_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return log_err(-ENOMEM, "%s: cannot convert", c->source);
	*out = (struct sink_worker *)w;
	w->s = disk_sink_of(c->sink);
	return engine_thread_new(w->s->engine, &w->thread);
}

static void disk_worker_free(struct sink_worker *worker)
{
	if (disk_worker_of(worker)->thread)
		engine_thread_free(disk_worker_of(worker)->thread);
	free(worker);
}

static errint_t write_some(struct disk_worker *w, const uint8_t *buf, uint64_t off, size_t len,
			   bool zero)
{
	struct convert_totals *totals = &w->s->sink.totals;
	errint_t err = fault_point("convert_write");

	if (err || !len)
		return err;
	count(zero ? &totals->zero : &totals->raw, len);
	return zero ? engine_write_zeroes(w->thread, off, len)
		    : engine_write(w->thread, buf, off, len, false);
}

/* What is all zeros of a cluster takes no space in an image that does not compress either. */
static errint_t disk_put(struct sink_worker *worker, const struct chunk *k, const uint8_t *buf)
{
	struct disk_worker *w = disk_worker_of(worker);
	const size_t len = (size_t)(k->bytes + 511) & ~(size_t)511;
	size_t from = 0; /* of what has not been written */
	errint_t err = 0;

	if (k->hole)
		return write_some(w, NULL, k->off, len, true);
	for (size_t at = 0, n; at < len && !err; at += n) {
		n = w->s->cluster - (k->off + at) % w->s->cluster;
		if (n > len - at)
			n = len - at;
		if (!convert_is_zero(buf + at, n))
			continue;
		err = write_some(w, buf + from, k->off + from, at - from, false);
		if (!err)
			err = write_some(w, NULL, k->off + at, n, true);
		from = at + n;
	}
	return err ? err : write_some(w, buf + from, k->off + from, len - from, false);
}

static errint_t disk_flush(struct sink_worker *worker)
{
	(void)worker;
	return 0;
}

static errint_t disk_finish(struct convert *c, uint64_t size)
{
	errint_t err = fault_point("convert_finish");

	(void)size;
	return err ? err : image_flush(disk_sink_of(c->sink)->im);
}

static void disk_free(struct sink *sink)
{
	engine_free(disk_sink_of(sink)->engine);
	free(sink);
}

static const struct sink_ops disk_ops = {
	.worker_new = disk_worker_new,
	.worker_free = disk_worker_free,
	.put = disk_put,
	.flush = disk_flush,
	.finish = disk_finish,
	.free = disk_free,
};

errint_t sink_disk_new(struct image *im, struct sink **out)
{
	CLEANUP(free) struct disk_sink *s = calloc(1, sizeof(*s));
	errint_t err;

	if (!s)
		return log_err(-ENOMEM, "cannot convert");
	err = image_file_engine(im, &s->engine);
	if (err)
		return err;
	s->sink.ops = &disk_ops;
	s->sink.align = BLOCK;
	s->sink.holes = true;
	s->im = im;
	s->cluster = cluster_size(image_geometry(im));
	*out = &steal_pointer(&s)->sink;
	return 0;
}
