/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>

#include "image/core.h"

uint64_t guard_enter(struct image *im)
{
	struct guards *g = &im->guards;

	g->count[g->epoch % GUARD_EPOCHS]++;
	return g->epoch;
}

void guard_leave(struct image *im, uint64_t epoch)
{
	struct guards *g = &im->guards;

	assert(epoch >= g->oldest && epoch <= g->epoch);
	assert(g->count[epoch % GUARD_EPOCHS] > 0);
	if (--g->count[epoch % GUARD_EPOCHS] || epoch != g->oldest)
		return;
	while (g->oldest < g->epoch && !g->count[g->oldest % GUARD_EPOCHS])
		g->oldest++;
	image_wake(im);
}

uint64_t guard_barrier(struct image *im)
{
	struct guards *g = &im->guards;
	uint64_t barrier = g->epoch;

	/* When the ring is full, later guards share the epoch: the wait gets longer, never shorter.
	 */
	if (g->count[g->epoch % GUARD_EPOCHS] && g->epoch - g->oldest < GUARD_EPOCHS - 1)
		g->epoch++;
	else if (!g->count[g->epoch % GUARD_EPOCHS])
		barrier = g->epoch - 1;
	return barrier;
}

bool guard_drained(struct image *im, uint64_t barrier)
{
	struct guards *g = &im->guards;

	if (g->oldest > barrier)
		return true;
	if (g->oldest == g->epoch && !g->count[g->epoch % GUARD_EPOCHS])
		return true;
	/* The ring was full when the barrier was set: close its epoch as soon as there is room. */
	if (barrier == g->epoch && g->epoch - g->oldest < GUARD_EPOCHS - 1)
		g->epoch++;
	return false;
}

bool excl_held(struct image *im, uint64_t first, uint64_t count)
{
	for (unsigned i = 0; i < im->guards.nexcl; i++)
		if (im->guards.excl[i] - first < count)
			return true;
	return false;
}

errint_t excl_take(struct image *im, uint64_t vcluster, struct need *need)
{
	struct guards *g = &im->guards;

	if (excl_held(im, vcluster, 1))
		return need_event(im, need);
	if (g->nexcl == g->excl_cap) {
		unsigned cap = g->excl_cap ? g->excl_cap * 2 : 32;
		uint64_t *p = realloc(g->excl, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		g->excl = p;
		g->excl_cap = cap;
	}
	g->excl[g->nexcl++] = vcluster;
	repack_touch(im, vcluster, 1);
	return 0;
}

void excl_drop(struct image *im, uint64_t vcluster)
{
	struct guards *g = &im->guards;

	for (unsigned i = 0; i < g->nexcl; i++) {
		if (g->excl[i] == vcluster) {
			g->excl[i] = g->excl[--g->nexcl];
			image_wake(im);
			return;
		}
	}
	assert(!"the marker is held");
}
