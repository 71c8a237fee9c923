/* SPDX-License-Identifier: MIT */
/*
 * An image with an engine on it, and the array of bytes that it must agree with; what the tests of
 * engine/ share.  A step that goes wrong fails the running cmocka test.
 */
#ifndef TESTS_LIB_ENGINE_WORLD_H
#define TESTS_LIB_ENGINE_WORLD_H

#include "engine/engine.h"
#include "tests/lib/rng.h"

/*
 * What is used of the disk are islands, far enough from each other for their mappings to stand in
 * different nodes.  Offsets are those in the model, where the islands touch.
 */
#define ISLANDS	  11u
#define ISLAND	  (2ull << 20)
#define STRIDE	  (80ull << 20)
#define ODD	  (7 * 512) /* the disk ends within a sub-block */
#define USED	  (ISLANDS * ISLAND + ODD)
#define DISK	  ((ISLANDS - 1) * STRIDE + ISLAND + ODD)
#define STORE_MAX (1ull << 30)
#define MAX_OP	  (1536u << 10)

struct world {
	struct store *st;
	struct image *im;
	struct engine *e;
	struct engine_thread *t;
	uint8_t *model; /* what the disk must hold */
	uint8_t *room;	/* MAX_OP and any misalignment */
	struct rng rng;
	uint8_t shift;
	struct image_open_opts opts;
};

struct range {
	uint64_t off; /* in the model */
	size_t len;
};

/* A number from the environment. */
uint64_t env_number(const char *name, uint64_t normal);
/* TEST_ENGINE_SEED, or 1. */
uint64_t world_seed(void);

/* A world on @st, which is its own from now on; there is no image yet. */
void world_begin(struct world *w, struct store *st, uint8_t shift,
		 const struct image_open_opts *opts);
struct image_params world_params(const struct world *w, uint8_t codec);
/* The same with an empty image, opened. */
void world_create(struct world *w, struct store *st, uint8_t shift, uint8_t codec,
		  const struct image_open_opts *opts);
void world_free(struct world *w);

void world_open(struct world *w);
void world_close(struct world *w);
/* Close, check the image exactly, open. */
void world_reopen(struct world *w);
/* Stop without a word, as a crash does that loses nothing of what had been written, and open. */
void world_crash(struct world *w);

/* Where the model's @off is on the disk. */
uint64_t world_offset(uint64_t off);
/* Where the model's island around @off ends. */
uint64_t world_island_end(uint64_t off);

/* A range within one island: all alignments, with an eye on clusters and small pieces. */
struct range world_pick_range(struct world *w);

/* Contents that do not compress; that do; any, zeros included. */
void world_random(struct rng *rng, uint8_t *buf, size_t len);
void world_text(struct rng *rng, uint8_t *buf, size_t len);
void world_fill(struct world *w, uint8_t *buf, size_t len);

/* One random operation, which may be to close and open again. */
void world_step(struct world *w);
/* A random write, which succeeds. */
void world_write(struct world *w, bool fua);
void world_verify(struct world *w, struct range r);
void world_verify_all(struct world *w);

#endif
