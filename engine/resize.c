/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/core.h"

/*
 * Shrinking gives whole clusters back.  What else lies beyond the end, in the cluster that the end
 * is in, is overwritten: it would come back if the disk grew again.
 */
static errint_t zero_tail(struct engine_thread *t, uint64_t old, uint64_t size)
{
	uint64_t cluster = t->e->cluster, end = (size + cluster - 1) & ~(cluster - 1);

	if (end > old)
		end = old;
	return size < end ? engine_write_zeroes(t, size, end - size) : 0;
}

errint_t engine_resize(struct engine_thread *t, uint64_t size, bool shrink)
{
	struct image *im = t->e->im;
	uint64_t old = image_size(im), sector = 1ull << t->e->geo.sector_shift;
	errint_t err = 0;

	/* A size that will be refused destroys nothing. */
	if (shrink && size < old && size % sector == 0)
		err = zero_tail(t, old, size);
	return err ? err : image_resize(im, size, shrink);
}
