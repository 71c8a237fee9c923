/* SPDX-License-Identifier: MIT */
/* Reading snapshots (image/snapshot.h), in the calling thread. */
#ifndef ENGINE_SNAPSHOT_H
#define ENGINE_SNAPSHOT_H

#include "engine/engine.h"
#include "image/snapshot.h"

/*
 * As engine_read(), from a snapshot of the engine's image that is open: [@off, @off + @len) is
 * within its disk, whose size may be another than that of the head.  Any number of threads may read
 * through one view, each with its own @t.
 */
MUST_CHECK errint_t engine_snapshot_read(struct engine_thread *t, struct snapshot_view *v,
					 void *buf, uint64_t off, size_t len);

#endif
