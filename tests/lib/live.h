/* SPDX-License-Identifier: MIT */
/*
 * An image in memory with an engine on it, for tests of the live core.  A step that goes wrong
 * fails the running cmocka test.
 */
#ifndef TESTS_LIB_LIVE_H
#define TESTS_LIB_LIVE_H

#include "engine/engine.h"
#include "image/core.h"

#define MIB	(1ull << 20)
#define GIB	(1ull << 30)
#define CLUSTER (64u << 10)
#define LEAF	(256ull * CLUSTER) /* bytes of the disk whose mappings stand in one leaf */

struct live {
	struct store *st;
	struct image_open_opts opts;
	struct image *im;
	struct engine *e;
	struct engine_thread *t;
	uint8_t *buf; /* a cluster */
};

/* A closed empty image of a disk of @size bytes, in a store that can hold @max. */
void live_new(struct live *l, uint64_t max, uint64_t size);
void live_free(struct live *l);

errint_t live_try_open(struct live *l);
void live_open(struct live *l);
errint_t live_try_close(struct live *l);
void live_close(struct live *l);
/* As for another process, which takes the device over. */
errint_t live_leave(struct live *l);
/* Stop as a crash does that loses nothing that had been written. */
void live_crash(struct live *l);

/* Fill [@off, @off + @len), at most a cluster, with a byte; see that it is full of it. */
errint_t live_try_put(struct live *l, uint64_t off, uint32_t len, uint8_t with);
void live_put(struct live *l, uint64_t off, uint32_t len, uint8_t with);
void live_expect(struct live *l, uint64_t off, uint32_t len, uint8_t with);

/* The closed image is exact. */
void live_check(struct live *l);

#endif
