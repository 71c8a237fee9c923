/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/check.h"
#include "tests/lib/engine_world.h"

uint64_t env_number(const char *name, uint64_t normal)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 10) : normal;
}

uint64_t world_seed(void)
{
	return env_number("TEST_ENGINE_SEED", 1);
}

/* ---- a disk ----------------------------------------------------------------------------- */

void world_open(struct world *w)
{
	assert_int_equal(image_open(w->st, &w->opts, &w->im), 0);
	assert_int_equal(engine_new(w->im, NULL, &w->e), 0);
	assert_int_equal(engine_thread_new(w->e, &w->t), 0);
}

static void free_engine(struct world *w)
{
	engine_thread_free(w->t);
	engine_free(w->e);
}

void world_close(struct world *w)
{
	free_engine(w);
	assert_int_equal(image_close(w->im), 0);
}

void world_begin(struct world *w, struct store *st, uint8_t shift,
		 const struct image_open_opts *opts)
{
	memset(w, 0, sizeof(*w));
	w->st = st;
	w->shift = shift;
	w->opts = *opts;
	w->rng.state = world_seed() + shift;
	w->model = calloc(1, USED);
	w->room = aligned_alloc(4096, MAX_OP + 8192);
	assert_non_null(w->model);
	assert_non_null(w->room);
}

struct image_params world_params(const struct world *w, uint8_t codec)
{
	return (struct image_params){
		.size = DISK,
		.cluster_shift = w->shift,
		.codec = codec,
		.level = 1,
		.creator = "test-engine",
	};
}

void world_create(struct world *w, struct store *st, uint8_t shift, uint8_t codec,
		  const struct image_open_opts *opts)
{
	struct image_params params;

	world_begin(w, st, shift, opts);
	params = world_params(w, codec);
	assert_int_equal(image_create(st, &params), 0);
	world_open(w);
}

void world_free(struct world *w)
{
	store_close(w->st);
	free(w->model);
	free(w->room);
}

static void print_problem(void *arg, const char *problem)
{
	(void)arg;
	print_message("check: %s\n", problem);
}

static void check_exact(struct world *w)
{
	const struct check_opts opts = {.data = true, .threads = 1, .report = print_problem};
	struct check_result res;

	assert_int_equal(check_image(w->im, &opts, &res), 0);
	assert_int_equal(res.corruptions, 0);
	assert_int_equal(res.leaks, 0);
}

void world_reopen(struct world *w)
{
	const struct image_open_opts read_only = {.read_only = true};

	world_close(w);
	assert_int_equal(image_open(w->st, &read_only, &w->im), 0);
	check_exact(w);
	assert_int_equal(image_close(w->im), 0);
	world_open(w);
}

void world_crash(struct world *w)
{
	free_engine(w);
	image_abandon(w->im);
	world_open(w);
}

/* ---- operations ------------------------------------------------------------------------- */

static uint64_t island_of(uint64_t off)
{
	return off / ISLAND < ISLANDS ? off / ISLAND : ISLANDS - 1;
}

uint64_t world_island_end(uint64_t off)
{
	return island_of(off) == ISLANDS - 1 ? USED : (island_of(off) + 1) * ISLAND;
}

uint64_t world_offset(uint64_t off)
{
	return off + island_of(off) * (STRIDE - ISLAND);
}

struct range world_pick_range(struct world *w)
{
	static const unsigned align[] = {9, 9, 12, 13, 14, 16, 17, 18};
	unsigned a = align[rng_below(&w->rng, 8)];
	size_t limit = rng_chance(&w->rng, 70) ? 64u << 10 : MAX_OP;
	uint64_t off = rng_below(&w->rng, USED >> a) << a;
	uint64_t len = (1 + rng_below(&w->rng, limit >> 9)) << 9;

	if (rng_chance(&w->rng, 50))
		len = (len + (1u << a) - 1) >> a << a;
	if (len > MAX_OP)
		len = MAX_OP;
	if (len > world_island_end(off) - off)
		len = world_island_end(off) - off;
	return (struct range){off, (size_t)len};
}

static uint8_t *pick_buffer(struct world *w)
{
	static const size_t skew[] = {0, 0, 0, 512, 1, 4095};

	return w->room + skew[rng_below(&w->rng, 6)];
}

void world_random(struct rng *rng, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = rng_next(rng);

		memcpy(buf + i, &v, 8);
	}
}

void world_text(struct rng *rng, uint8_t *buf, size_t len)
{
	static const char letters[] = "etaoin shrdlu\n";

	world_random(rng, buf, len);
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)letters[buf[i] % (sizeof(letters) - 1)];
}

void world_fill(struct world *w, uint8_t *buf, size_t len)
{
	for (size_t n; len; buf += n, len -= n) {
		n = rng_chance(&w->rng, 50) ? len : (1 + rng_below(&w->rng, len >> 9)) << 9;
		switch (rng_below(&w->rng, 4)) {
		case 0:
			world_random(&w->rng, buf, n);
			break;
		case 1:
			memset(buf, 0, n);
			break;
		case 2:
			memset(buf, 1 + (int)rng_below(&w->rng, 255), n);
			break;
		default:
			world_text(&w->rng, buf, n);
		}
	}
}

void world_write(struct world *w, bool fua)
{
	struct range r = world_pick_range(w);
	uint8_t *buf = pick_buffer(w);

	world_fill(w, buf, r.len);
	memcpy(w->model + r.off, buf, r.len);
	assert_int_equal(engine_write(w->t, buf, world_offset(r.off), r.len, fua), 0);
	assert_memory_equal(w->model + r.off, buf, r.len);
}

void world_verify(struct world *w, struct range r)
{
	uint8_t *buf = pick_buffer(w);

	memset(buf, 0xa5, r.len);
	assert_int_equal(engine_read(w->t, buf, world_offset(r.off), r.len), 0);
	assert_memory_equal(buf, w->model + r.off, r.len);
}

void world_verify_all(struct world *w)
{
	static const uint8_t zero[65536];

	for (uint64_t off = 0, len; off < USED; off += len) {
		len = world_island_end(off) - off;
		len = len < MAX_OP ? len : MAX_OP;
		world_verify(w, (struct range){off, len});
	}
	for (uint64_t i = 0; i + 1 < ISLANDS; i++) { /* the sea */
		assert_int_equal(engine_read(w->t, w->room, i * STRIDE + ISLAND, sizeof(zero)), 0);
		assert_memory_equal(w->room, zero, sizeof(zero));
	}
}

static void do_zeroes(struct world *w)
{
	struct range r = world_pick_range(w);

	assert_int_equal(engine_write_zeroes(w->t, world_offset(r.off), r.len), 0);
	memset(w->model + r.off, 0, r.len);
	world_verify(w, r);
}

/* A sector may keep its content, unless its whole cluster was discarded. */
static void adopt_discarded(struct world *w, uint64_t off, const uint8_t *now, struct range r)
{
	static const uint8_t zero[512];
	uint64_t first = off >> w->shift << w->shift;
	bool whole = first >= r.off && first + (1u << w->shift) <= r.off + r.len;

	if (whole || memcmp(now, w->model + off, 512))
		assert_memory_equal(now, zero, 512);
	memcpy(w->model + off, now, 512);
}

static void do_discard(struct world *w)
{
	struct range r = world_pick_range(w);

	assert_int_equal(engine_discard(w->t, world_offset(r.off), r.len), 0);
	assert_int_equal(engine_read(w->t, w->room, world_offset(r.off), r.len), 0);
	for (size_t at = 0; at < r.len; at += 512)
		adopt_discarded(w, r.off + at, w->room + at, r);
}

/* What was flushed, and one FUA write after that, survive; nothing else is pending. */
static void do_crash(struct world *w)
{
	assert_int_equal(engine_flush(w->t), 0);
	if (rng_chance(&w->rng, 50))
		world_write(w, true);
	world_crash(w);
	world_verify_all(w);
}

void world_step(struct world *w)
{
	unsigned what = (unsigned)rng_below(&w->rng, 1000);

	if (what < 420)
		world_write(w, rng_chance(&w->rng, 10));
	else if (what < 780)
		world_verify(w, world_pick_range(w));
	else if (what < 860)
		do_discard(w);
	else if (what < 930)
		do_zeroes(w);
	else if (what < 955)
		assert_int_equal(engine_flush(w->t), 0);
	else if (what < 970)
		assert_int_equal(image_maintain(w->im), 0);
	else if (what < 980)
		assert_int_equal(image_checkpoint(w->im), 0);
	else if (what < 990)
		world_reopen(w);
	else
		do_crash(w);
}
