/* SPDX-License-Identifier: MIT */
/*
 * A queue on a real file and a real ring, with payloads of all three kinds: memory, bytes of a file
 * (as ublk's user copy), and pages registered with the ring (as ublk's zero copy).  What is
 * asserted here fails the test.
 */
#ifndef TESTS_LIB_QUEUE_BENCH_H
#define TESTS_LIB_QUEUE_BENCH_H

#include "engine/queue_priv.h"
#include "tests/lib/rng.h"

#define DISK	  (48u << 20)
#define DEPTH	  16u
#define CHUNK	  (64u << 10) /* of the table of what is busy */
#define PATH	  bench_path(".img")
#define BELOW	  bench_path("-below.img")
#define BELOW_END (DISK / 4 * 3 + 700) /* of a raw backing: within a sector */
#define MAX_BYTES REQ_MAX_BYTES

enum payload_kind { MEMORY, FILE_BYTES, REGISTERED, KINDS };
enum below { ALONE, ON_RAW, ON_IMAGE };

struct slot {
	struct engine_req r;
	struct bench *b;
	unsigned index;
	bool busy;
	uint8_t *mem; /* what the payload is; of FILE_BYTES and REGISTERED a mapping */
};

struct bench {
	struct store *st;
	struct image *im;
	struct engine *e;
	struct pool *pool;
	struct engine_queue *q;
	enum payload_kind kind;
	bool codec;
	int fd; /* FILE_BYTES */
	struct slot slot[DEPTH];
	unsigned writers[DISK / CHUNK], readers[DISK / CHUNK];
	uint8_t *model;
	struct rng rng;
	unsigned submitted, completed, cookies, idle;
	errint_t expected; /* of directed requests */
};

/* The test's own file with that end of its name; until the second call after it. */
const char *bench_path(const char *end);

/* A new image, open, with a queue; @seed decides what is random. */
struct bench *bench_begin(enum payload_kind kind, bool codec, enum below below, uint64_t seed);
/* For requests that a test makes one by one, whose results are to be b->expected. */
struct bench *bench_begin_directed(enum payload_kind kind, bool codec, enum below below);
/* Nothing is under way.  Frees @b. */
void bench_end(struct bench *b);
/* The image and its queue, on the file as it is. */
void bench_open_image(struct bench *b);
void bench_close_image(struct bench *b);
/* The disk is as the model, opened again as well. */
void bench_verify(struct bench *b);
/* Random bytes. */
void bench_fill(struct rng *rng, uint8_t *mem, size_t len);
/* Does nothing that is under way touch what @r writes, or write what it touches? */
bool bench_is_free(const struct bench *b, const struct engine_req *r);
/* @r begins (@by 1) or has ended (-1). */
void bench_mark(struct bench *b, const struct engine_req *r, int by);
/* The memory of the slot as the payload of its request. */
void bench_set_payload(struct bench *b, struct slot *s);
/* With the memory of that slot, which must be idle. */
void bench_submit(struct bench *b, unsigned slot, enum req_op op, uint64_t off, uint32_t len);
/* The same with slot 0, to its end. */
void bench_one(struct bench *b, enum req_op op, uint64_t off, uint32_t len);
/* Turns until nothing is under way. */
void bench_drain(struct bench *b);
/* What has been counted since @before. */
struct engine_stats bench_since(struct bench *b, const struct engine_stats *before);

#endif
