/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/core.h"

/* Calls in a row that find the cache unused before its memory is given back. */
#define IDLE_CALLS 10u

/* What was written in parts is compressed when nobody has written to it for so many calls, for so
 * many milliseconds of each call: a quarter of one processor. */
#define REPACK_AGE 5u
#define REPACK_MS  250u

static void shrink_idle_cache(struct engine *e)
{
	struct cache_stats s;

	cache_get_stats(e->cache, &s);
	if (s.hits + s.misses != e->lookups) {
		e->lookups = s.hits + s.misses;
		e->idle_calls = 0;
	} else if (++e->idle_calls == IDLE_CALLS) {
		cache_shrink(e->cache);
	}
}

static errint_t repack(struct engine *e, unsigned age, unsigned ms)
{
	bool more;
	errint_t err = e->janitor ? 0 : engine_thread_new(e, &e->janitor);

	return err ? err : repacker_run(e->repacker, e->janitor, age, ms, &more);
}

errint_t engine_maintain(struct engine *e)
{
	errint_t err = 0;

	shrink_idle_cache(e);
	if (e->repacker) {
		repacker_tick(e->repacker);
		err = repack(e, REPACK_AGE, REPACK_MS);
	}
	return err ? err : image_maintain(e->im);
}

errint_t engine_repack(struct engine *e)
{
	return e->repacker ? repack(e, 0, 0) : 0;
}
