/* SPDX-License-Identifier: MIT */
/*
 * Requests as a thread serves them that must not block: it plans with IMAGE_NOWAIT, moves the bytes
 * itself and settles.  What cannot be planned so goes to the functions that may block, as it would
 * go to a worker.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "image/plan.h"
#include "tests/crash/crash.h"

#define CANCELLED 5u /* per cent of the plans: the client has gone */

/* Memory as a queue has it: aligned. */
static uint8_t *bounce(size_t len)
{
	uint8_t *buf = store_buffer(len);

	if (!buf)
		abort();
	return buf;
}

/* Move the bytes of a plan.  The plan is released. */
static errint_t execute(struct world *w, struct write_plan *p, const uint8_t *buf, bool dsync)
{
	uint8_t *copy = bounce(p->len);
	errint_t err = 0;

	if (dsync)
		plan_write_dsync(w->im, p);
	for (unsigned i = 0; i < p->nsegs && !err; i++) {
		const struct seg *s = &p->seg[i];

		memcpy(copy, buf, s->len);
		err = dsync ? store_write_dsync(&w->store.st, copy, s->len, s->file_off)
			    : store_write(&w->store.st, copy, s->len, s->file_off);
		buf += s->len;
	}
	free(copy);
	if (!err)
		return settle_write(w->im, p);
	if (dsync && err != -ENOSPC)
		plan_write_sync_failed(w->im, p, err);
	else
		plan_write_cancel(w->im, p);
	return err;
}

errint_t nowait_write(struct world *w, unsigned slot, const uint8_t *buf, uint64_t off, size_t len,
		      bool fua)
{
	struct write_plan *p = calloc(1, sizeof(*p));
	bool flush = false;
	errint_t err = 0;

	if (!p)
		abort();
	while (len && !err) {
		err = plan_write(w->im, w->writer[slot], off, (uint32_t)len, 0, IMAGE_NOWAIT, p);
		if (err)
			break;
		if (p->how != WRITE_DIRECT || !p->len)
			crash_fail("a plan for which nobody waits is not direct");
		if (rng_chance(&w->rng, CANCELLED)) {
			plan_write_cancel(w->im, p);
			continue;
		}
		bool dsync = fua && p->durable_in_place;
		uint32_t done = p->len;
		flush |= !dsync;
		err = execute(w, p, buf, dsync);
		if (err == -EAGAIN) { /* its storage was replaced */
			err = 0;
			continue;
		}
		buf += done;
		off += done;
		len -= done;
	}
	free(p);
	if (err == -EAGAIN)
		err = engine_write(w->thread[slot], buf, off, len, fua);
	return err || !fua || !flush ? err : image_flush(w->im);
}

errint_t nowait_read(struct world *w, unsigned slot, uint8_t *buf, uint64_t off, size_t len)
{
	struct read_plan *p = calloc(1, sizeof(*p));
	errint_t err = 0;

	if (!p)
		abort();
	while (len && !err) {
		bool blob = false;

		err = plan_read(w->im, off, (uint32_t)len, IMAGE_NOWAIT, p);
		if (err)
			break;
		for (unsigned i = 0; i < p->nsegs; i++)
			blob |= p->seg[i].kind == SEG_BLOB || p->seg[i].kind == SEG_BACKING;
		if (blob) {
			plan_read_done(w->im, p);
			err = -EAGAIN;
			break;
		}
		uint8_t *copy = bounce(p->len);
		for (unsigned i = 0; i < p->nsegs && !err; i++) {
			const struct seg *s = &p->seg[i];

			memset(copy, 0, s->len);
			if (s->kind == SEG_FILE)
				err = store_read(&w->store.st, copy, s->len, s->file_off);
			memcpy(buf, copy, s->len);
			buf += s->len;
		}
		free(copy);
		off += p->len;
		len -= p->len;
		plan_read_done(w->im, p);
	}
	free(p);
	return err == -EAGAIN ? engine_read(w->thread[slot], buf, off, len) : err;
}
