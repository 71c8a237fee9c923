/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/snapshot.h"

#include "engine/core.h"

errint_t engine_snapshot_read(struct engine_thread *t, struct snapshot_view *v, void *buf,
			      uint64_t off, size_t len)
{
	assert(snapshot_view_image(v) == t->e->im);
	return read_through(t, v, buf, off, len);
}
