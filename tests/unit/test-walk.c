/* SPDX-License-Identifier: MIT */
/*
 * Walks over the map: extents against the descriptors themselves, totals against extents, images
 * that are in use and change meanwhile.
 */
#include "config.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"
#include "image/walk.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"
#include "tests/lib/sample.h"

#define CLUSTER 65536ull

static struct image *open_image(struct store *st, bool read_only)
{
	const struct image_open_opts opts = {.read_only = read_only, .journal_length = 4 * MIB};
	struct image *im;

	assert_int_equal(image_open(st, &opts, &im), 0);
	return im;
}

/* --- a recorder ---------------------------------------------------------------------------------
 */

#define MAX_EXTENTS 20000u

struct record {
	struct map_extent e[MAX_EXTENTS];
	unsigned n;
	uint64_t at; /* where the next extent must begin */
	unsigned stop_after;
};

static errint_t record_extent(void *arg, const struct map_extent *e)
{
	struct record *r = arg;

	assert_int_equal(e->off, r->at);
	assert_true(e->len > 0 && r->n < MAX_EXTENTS);
	assert_int_equal(e->stored > 0, e->kind == MAP_ZSTD);
	assert_int_equal(e->file_off > 0, e->kind == MAP_ZSTD || e->kind == MAP_RAW);
	r->at = e->off + e->len;
	r->e[r->n++] = *e;
	return r->stop_after == r->n ? -ECANCELED : 0;
}

static struct record *walk_range(struct image *im, uint64_t off, uint64_t len)
{
	struct record *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->at = off;
	assert_int_equal(walk_extents(im, off, len, record_extent, r), 0);
	uint64_t end = off + len < image_size(im) ? off + len : image_size(im);
	assert_int_equal(r->at, off < end ? end : off);
	return r;
}

/* The extent that holds byte @off. */
static const struct map_extent *find(const struct record *r, uint64_t off)
{
	for (unsigned i = 0; i < r->n; i++)
		if (off >= r->e[i].off && off - r->e[i].off < r->e[i].len)
			return &r->e[i];
	fail_msg("nothing at %" PRIu64, off);
	return NULL;
}

/* --- at rest ------------------------------------------------------------------------------------
 */

static void extents_are_the_descriptors(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct image *im = open_image(st, true);
	struct record *r = walk_range(im, 0, UINT64_MAX);

	(void)state;
	for (uint64_t v = 0; v < RAW_FIRST + RAW_COUNT; v++) {
		/* Leaves between the blobs and the raw clusters do not exist. */
		bool leaf = desc_type(surgery_node(&s, 0, v / 256, NULL)) == DESC_NODE;
		struct desc d = leaf ? surgery_desc(&s, v) : desc_hole();
		const struct map_extent *e = find(r, v * CLUSTER);
		struct extent at = desc_extent(&s.geo, d);

		switch (desc_type(d)) {
		case DESC_ZSTD:
			assert_int_equal(e->kind, MAP_ZSTD);
			assert_true(e->off == v * CLUSTER && e->len == CLUSTER);
			assert_true(e->file_off == at.off && e->stored == at.len);
			break;
		case DESC_RAW:
			assert_int_equal(e->kind, MAP_RAW);
			assert_int_equal(e->file_off + (v * CLUSTER - e->off), at.off);
			break;
		default:
			assert_int_equal(e->kind, MAP_HOLE);
		}
		assert_int_equal(e->birth, d.birth);
	}
	/* As few as can be: a hole, runs of raw clusters where the file has a gap, blobs. */
	assert_in_range(r->n, BLOBS + 5, BLOBS + 20);
	assert_int_equal(find(r, FAR * CLUSTER)->len, CLUSTER);
	free(r);
	image_abandon(im);
	store_close(st);
}

static void ranges_are_cut_out(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct image *im = open_image(st, true);
	struct record *all = walk_range(im, 0, UINT64_MAX);
	struct rng rng = {1};

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t off = rng_below(&rng, 7000 * CLUSTER);
		uint64_t len = 1 + rng_below(&rng, i % 2 ? CLUSTER : 300 * CLUSTER);
		struct record *r = walk_range(im, off, len);

		for (unsigned j = 0; j < r->n; j++) {
			const struct map_extent *e = &r->e[j], *a = find(all, e->off);

			assert_int_equal(e->kind, a->kind);
			assert_int_equal(e->birth, a->birth);
			if (e->kind == MAP_RAW)
				assert_int_equal(e->file_off - e->off, a->file_off - a->off);
			else
				assert_int_equal(e->file_off, a->file_off);
		}
		free(r);
	}
	free(walk_range(im, SAMPLE_DISK, 1));
	free(walk_range(im, SAMPLE_DISK - 1, 100));
	free(walk_range(im, 5, 0));
	free(all);
	image_abandon(im);
	store_close(st);
}

static void sub_blocks_are_told_apart(void **state)
{
	static const enum map_kind want[] = {MAP_RAW, MAP_HOLE, MAP_ZERO, MAP_RAW};
	static const unsigned blocks[] = {3, 1, 2, 10};
	struct surgery s;
	struct store *st = sample_image(&s);
	struct desc d = surgery_desc(&s, FAR);
	struct map_totals t;

	(void)state;
	surgery_set_desc(&s, FAR, desc_raw_make(desc_unit(d), 1, 0xffc7, 0x0030));
	surgery_set_desc(&s, FAR + 1, desc_raw_make(0, 1, 0, 0xffff));
	surgery_set_desc(&s, FAR + 2, desc_zero_make(1));
	struct image *im = open_image(st, true);
	struct record *r = walk_range(im, FAR * CLUSTER, 4 * CLUSTER);

	assert_int_equal(r->n, 6);
	for (unsigned i = 0, at = 0; i < 4; at += blocks[i++]) {
		assert_int_equal(r->e[i].kind, want[i]);
		assert_int_equal(r->e[i].len, blocks[i] << 12);
		assert_int_equal(r->e[i].birth, want[i] != MAP_HOLE);
		if (want[i] == MAP_RAW)
			assert_int_equal(r->e[i].file_off,
					 (desc_unit(d) << UNIT_SHIFT) + (at << 12));
	}
	assert_int_equal(r->e[4].kind, MAP_ZERO);
	assert_int_equal(r->e[4].len, 2 * CLUSTER);
	assert_int_equal(r->e[5].kind, MAP_HOLE);
	assert_int_equal(walk_totals(im, &t), 0);
	assert_int_equal(t.clusters[MAP_RAW], RAW_COUNT + 1);
	assert_int_equal(t.clusters[MAP_ZERO], 2);
	assert_int_equal(t.raw_bytes, RAW_COUNT * CLUSTER + (13 << 12));
	free(r);
	image_abandon(im);
	store_close(st);
}

static void a_callback_can_stop(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct image *im = open_image(st, true);
	struct record *r = calloc(1, sizeof(*r));

	(void)state;
	r->stop_after = 17;
	assert_int_equal(walk_extents(im, 0, UINT64_MAX, record_extent, r), -ECANCELED);
	assert_int_equal(r->n, 17);
	free(r);
	image_abandon(im);
	store_close(st);
}

static void totals_add_up(void **state)
{
	(void)state;
	for (uint8_t shift = CLUSTER_SHIFT_MIN; shift <= CLUSTER_SHIFT_MAX; shift++) {
		struct store *st = sample_image_shift(shift);
		struct image *im = open_image(st, true);
		struct record *r = walk_range(im, 0, UINT64_MAX);
		uint64_t bytes[4] = {0}, stored = 0;
		struct map_totals t;

		for (unsigned i = 0; i < r->n; i++) {
			bytes[r->e[i].kind] += r->e[i].len;
			stored += r->e[i].stored;
		}
		assert_int_equal(walk_totals(im, &t), 0);
		for (unsigned kind = 0; kind < 4; kind++)
			assert_int_equal(t.clusters[kind] << shift, bytes[kind]);
		assert_int_equal(t.clusters[MAP_ZSTD], BLOBS);
		assert_int_equal(t.zstd_stored, stored);
		assert_int_equal(t.raw_bytes, bytes[MAP_RAW]);
		assert_int_equal(t.mapped_bytes, bytes[MAP_RAW] + bytes[MAP_ZSTD]);
		assert_true(t.nodes > 4);
		free(r);
		image_abandon(im);
		store_close(st);
	}
}

static void an_empty_disk_is_one_hole(void **state)
{
	static const uint64_t size[] = {512, 65536, 16 * MIB, 16 * MIB + 512, 64ull << 40};

	(void)state;
	for (unsigned i = 0; i < sizeof(size) / sizeof(*size); i++) {
		struct store *st = mem_store_new(SAMPLE_STORE);
		struct image_params params = {.size = size[i]};
		struct map_totals t;

		assert_int_equal(image_create(st, &params), 0);
		struct image *im = open_image(st, true);
		struct record *r = walk_range(im, 0, UINT64_MAX);

		assert_int_equal(r->n, 1);
		assert_int_equal(r->e[0].kind, MAP_HOLE);
		assert_int_equal(r->e[0].len, size[i]);
		assert_int_equal(walk_totals(im, &t), 0);
		assert_int_equal(t.clusters[MAP_HOLE], (size[i] + CLUSTER - 1) / CLUSTER);
		assert_int_equal(t.nodes, 0);
		free(r);
		image_abandon(im);
		store_close(st);
	}
}

static void damage_ends_a_walk(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct map_totals t;
	struct record *r = calloc(1, sizeof(*r));

	(void)state;
	mem_store_flip(st, (desc_unit(surgery_node(&s, 0, FAR / 256, NULL)) << UNIT_SHIFT) + 9);
	struct image *im = open_image(st, true);
	assert_int_equal(walk_totals(im, &t), -EBADMSG);
	assert_int_equal(walk_extents(im, 0, UINT64_MAX, record_extent, r), -EBADMSG);
	/* What is elsewhere can still be seen. */
	free(walk_range(im, 0, (RAW_FIRST + RAW_COUNT) * CLUSTER));
	free(r);
	image_abandon(im);

	/* The same for a store that fails. */
	im = open_image(st, true);
	mem_store_fail(st, MEM_READ, 1, -EIO);
	assert_int_equal(walk_totals(im, &t), -EIO);
	image_abandon(im);
	store_close(st);
}

/* --- in use -------------------------------------------------------------------------------------
 */

struct user {
	struct image *im;
	struct engine *e;
	struct engine_thread *t;
};

static struct user new_user(struct store *st)
{
	struct user u = {.im = open_image(st, false)};

	assert_int_equal(engine_new(u.im, NULL, &u.e), 0);
	assert_int_equal(engine_thread_new(u.e, &u.t), 0);
	return u;
}

static void free_user(struct user *u)
{
	engine_thread_free(u->t);
	engine_free(u->e);
}

static struct store *empty_disk(uint64_t size)
{
	struct store *st = mem_store_new(SAMPLE_STORE);
	struct image_params params = {.size = size};

	assert_int_equal(image_create(st, &params), 0);
	return st;
}

/* What only memory knows is there, before and after it reaches the disk. */
static void nodes_in_memory_are_seen(void **state)
{
	struct store *st = empty_disk(SAMPLE_DISK);
	struct user u = new_user(st);
	CLEANUP(free) uint8_t *buf = malloc(CLUSTER);
	struct map_totals t;

	(void)state;
	memset(buf, 1, CLUSTER);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t off = (i * 37 % 40) * (SAMPLE_DISK / 40) / CLUSTER * CLUSTER;

		assert_int_equal(engine_write(u.t, buf, off, CLUSTER, false), 0);
		if (i == 20)
			assert_int_equal(image_checkpoint(u.im), 0);
		assert_int_equal(walk_totals(u.im, &t), 0);
		assert_int_equal(t.clusters[MAP_RAW], i + 1);
		assert_int_equal(t.raw_bytes, (i + 1) * CLUSTER);
	}
	struct record *live = walk_range(u.im, 0, UINT64_MAX);
	assert_int_equal(image_flush(u.im), 0);
	free_user(&u);
	image_abandon(u.im);

	/* The same after a crash, from the journal, which nothing folds into the tree here. */
	struct image *im = open_image(st, true);
	struct record *replayed = walk_range(im, 0, UINT64_MAX);
	assert_int_equal(replayed->n, live->n);
	for (unsigned i = 0; i < live->n; i++) {
		assert_int_equal(replayed->e[i].off, live->e[i].off);
		assert_int_equal(replayed->e[i].kind, live->e[i].kind);
		assert_int_equal(replayed->e[i].file_off, live->e[i].file_off);
	}
	free(live);
	free(replayed);
	image_abandon(im);
	store_close(st);
}

/*
 * A store that lets an image change at the worst moment: when a walk has seen where a node is and
 * is about to read it.
 */
struct meddler {
	struct store st;
	struct store *inner;
	struct user u;
	struct rng rng;
	bool armed, busy;
	unsigned changes;
};

static struct meddler *meddler_of(struct store *st)
{
	return (struct meddler *)st;
}

/* Move all nodes, and let others take their places. */
static void meddle(struct meddler *m)
{
	CLEANUP(free) uint8_t *buf = malloc(CLUSTER);

	memset(buf, 9, CLUSTER);
	m->busy = true;
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned j = 0; j < 30; j++) {
			uint64_t off = rng_below(&m->rng, 64) * 256 * CLUSTER;

			assert_int_equal(engine_write(m->u.t, buf, off, CLUSTER, false), 0);
		}
		assert_int_equal(image_checkpoint(m->u.im), 0);
	}
	m->busy = false;
	m->changes++;
}

static errint_t meddler_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	struct meddler *m = meddler_of(st);

	if (m->armed && !m->busy && m->changes < 30)
		meddle(m);
	return store_read(m->inner, buf, len, off);
}

static errint_t meddler_write(struct store *st, const void *buf, size_t len, uint64_t off,
			      bool dsync)
{
	struct store *inner = meddler_of(st)->inner;

	return dsync ? store_write_dsync(inner, buf, len, off) : store_write(inner, buf, len, off);
}

static errint_t meddler_datasync(struct store *st)
{
	return store_datasync(meddler_of(st)->inner);
}

static errint_t meddler_punch(struct store *st, uint64_t off, uint64_t len)
{
	return store_punch(meddler_of(st)->inner, off, len);
}

static errint_t meddler_allocate(struct store *st, uint64_t off, uint64_t len)
{
	return store_allocate(meddler_of(st)->inner, off, len);
}

static errint_t meddler_truncate(struct store *st, uint64_t len)
{
	return store_truncate(meddler_of(st)->inner, len);
}

static errint_t meddler_length(struct store *st, uint64_t *len)
{
	return store_length(meddler_of(st)->inner, len);
}

static uint64_t meddler_usage(struct store *st)
{
	return store_usage(meddler_of(st)->inner);
}

static errint_t meddler_lock(struct store *st, enum store_lock how, bool quiet)
{
	(void)quiet;
	return store_lock(meddler_of(st)->inner, how);
}

static errint_t meddler_identity(struct store *st, struct store_identity *id)
{
	return store_identity(meddler_of(st)->inner, id);
}

static void meddler_close(struct store *st)
{
	store_close(meddler_of(st)->inner);
}

static const struct store_ops meddler_ops = {
	.kind = "meddler",
	.read = meddler_read,
	.write = meddler_write,
	.datasync = meddler_datasync,
	.punch = meddler_punch,
	.allocate = meddler_allocate,
	.truncate = meddler_truncate,
	.length = meddler_length,
	.usage = meddler_usage,
	.lock = meddler_lock,
	.identity = meddler_identity,
	.close = meddler_close,
};

static void nodes_that_move_are_found_again(void **state)
{
	struct meddler m = {.st = {.ops = &meddler_ops, .name = "meddler", .align = 512},
			    .inner = empty_disk(SAMPLE_DISK),
			    .rng = {5}};
	struct map_totals t;

	(void)state;
	m.u = new_user(&m.st);
	meddle(&m);
	/* Closed and opened again: no node is in memory. */
	free_user(&m.u);
	assert_int_equal(image_close(m.u.im), 0);
	m.u = new_user(&m.st);
	m.changes = 0;
	m.armed = true;
	assert_int_equal(walk_totals(m.u.im, &t), 0);
	m.armed = false;
	assert_true(m.changes > 0 && t.clusters[MAP_RAW] > 0);
	free_user(&m.u);
	assert_int_equal(image_close(m.u.im), 0);
	expect(&m.st, 0, 0, NULL);
	store_close(&m.st);
}

struct writer {
	struct user u;
	uint64_t clusters; /* that it writes to, here and there */
	_Atomic bool stop;
	_Atomic unsigned rounds;
};

static void *write_and_checkpoint(void *arg)
{
	struct writer *w = arg;
	struct rng rng = {3};
	CLEANUP(free) uint8_t *buf = malloc(CLUSTER);

	memset(buf, 7, CLUSTER);
	while (!atomic_load(&w->stop)) {
		/* Nodes move with each checkpoint, and their units are used again. */
		for (unsigned i = 0; i < 20; i++) {
			uint64_t off = rng_below(&rng, w->clusters) * 200 * CLUSTER;
			errint_t err = rng_chance(&rng, 30)
					       ? engine_discard(w->u.t, off, CLUSTER)
					       : engine_write(w->u.t, buf, off, CLUSTER, false);
			if (err)
				return (void *)1;
		}
		if (image_checkpoint(w->u.im) || image_maintain(w->u.im))
			return (void *)2;
		atomic_fetch_add(&w->rounds, 1);
	}
	return NULL;
}

static void a_changing_image_can_be_walked(void **state)
{
	struct store *st = empty_disk(SAMPLE_DISK);
	struct writer w = {.u = new_user(st), .clusters = 1500};
	pthread_t thread;
	struct map_totals t;
	void *result;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, write_and_checkpoint, &w), 0);
	for (unsigned i = 0; i < 60 || atomic_load(&w.rounds) < 60; i++) {
		assert_int_equal(walk_totals(w.u.im, &t), 0);
		assert_true(t.clusters[MAP_RAW] <= w.clusters);
		free(walk_range(w.u.im, 0, UINT64_MAX));
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, &result);
	assert_null(result);
	free_user(&w.u);
	assert_int_equal(image_close(w.u.im), 0);
	expect(st, 0, 0, NULL);
	store_close(st);
}

static void ignore_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(extents_are_the_descriptors),
		cmocka_unit_test(ranges_are_cut_out),
		cmocka_unit_test(sub_blocks_are_told_apart),
		cmocka_unit_test(a_callback_can_stop),
		cmocka_unit_test(totals_add_up),
		cmocka_unit_test(an_empty_disk_is_one_hole),
		cmocka_unit_test(damage_ends_a_walk),
		cmocka_unit_test(nodes_in_memory_are_seen),
		cmocka_unit_test(nodes_that_move_are_found_again),
		cmocka_unit_test(a_changing_image_can_be_walked),
	};

	if (!getenv("UBLK_IMG_TEST_VERBOSE"))
		log_set_sink(ignore_message, NULL);
	return cmocka_run_group_tests_name("walk", tests, NULL, NULL);
}
