/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/core.h"

/* Calls in a row that find the cache unused before its memory is given back. */
#define IDLE_CALLS 10u

errint_t engine_maintain(struct engine *e)
{
	struct cache_stats s;

	cache_get_stats(e->cache, &s);
	if (s.hits + s.misses != e->lookups) {
		e->lookups = s.hits + s.misses;
		e->idle_calls = 0;
	} else if (++e->idle_calls == IDLE_CALLS) {
		cache_shrink(e->cache);
	}
	return image_maintain(e->im);
}
