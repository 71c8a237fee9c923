/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <malloc.h>

#include "common/clock.h"
#include "engine/core.h"
#include "image/snapshot.h"
#include "image/txn.h"

/* Calls in a row that find nothing done before memory is given back. */
#define IDLE_CALLS 10u

/* What was written in parts is compressed when nobody has written to it for so many calls, for so
 * many milliseconds of each call: a quarter of one processor. */
#define REPACK_AGE 5u
#define REPACK_MS  250u

/* Space of deleted snapshots is freed for so many milliseconds of each call, so many steps at a
 * time. */
#define RECLAIM_MS    250u
#define RECLAIM_STEPS 64u

/* A number that changes when anything is done. */
static uint64_t activity(struct engine *e)
{
	struct engine_stats s;
	uint64_t n;

	engine_get_stats(e, &s);
	n = s.cache_hits + s.cache_misses + s.repacked;
	for (unsigned op = 0; op < REQ_OPS; op++)
		n += s.requests[op];
	return n;
}

/* What nobody needs now goes back to the kernel: there may be many idle bridges. */
static void shrink_when_idle(struct engine *e)
{
	uint64_t n = activity(e);

	if (n != e->activity) {
		e->activity = n;
		e->idle_calls = 0;
	} else if (++e->idle_calls == IDLE_CALLS) {
		cache_shrink(e->cache);
		buffers_shrink(e->blobs);
		queues_shrink(e);
		malloc_trim(0);
	}
}

static errint_t repack(struct engine *e, unsigned age, unsigned ms)
{
	bool more;
	errint_t err = e->janitor ? 0 : engine_thread_new(e, &e->janitor);

	return err ? err : repacker_run(e->repacker, e->janitor, age, ms, &more);
}

/* For a part of each second; whoever waits for the end of a deletion calls snapshot_reclaim(). */
static errint_t reclaim(struct engine *e)
{
	uint64_t until = clock_ms() + RECLAIM_MS;
	bool more = true;
	errint_t err = 0;

	while (!err && more && clock_ms() < until)
		err = snapshot_reclaim(e->im, RECLAIM_STEPS, &more);
	return err;
}

errint_t engine_maintain(struct engine *e)
{
	errint_t err = 0;

	shrink_when_idle(e);
	if (e->repacker) {
		repacker_tick(e->repacker);
		err = repack(e, REPACK_AGE, REPACK_MS);
	}
	if (!err)
		err = reclaim(e);
	return err ? err : image_maintain(e->im);
}

errint_t engine_repack(struct engine *e)
{
	return e->repacker ? repack(e, 0, 0) : 0;
}
