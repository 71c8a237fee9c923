/* SPDX-License-Identifier: MIT */
/*
 * The packer alone: who shares a batch with whom, and what becomes of it.  The image below it is a
 * fake, whose store can be held in the middle of a write; the wait hook tells when a thread has
 * come to wait, so nothing here depends on timing.
 */
#include "config.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "engine/packer.h"

#define FRAME_MAX (BLOB_MAX_GRANULES * 32u)

/* ---- the fake image --------------------------------------------------------------------- */

struct image {
	struct cache *cache;
	struct geometry geo;
	struct store st;
	uint64_t next; /* free space begins here */
	uint8_t *disk; /* from @base on */
	unsigned batches, blobs;
	_Atomic unsigned done;
	errint_t reserve_error, write_error;
	_Atomic bool hold; /* writes wait for release */
	sem_t held, release;
};

#define DISK_BASE 0x8000000u
#define DISK_LEN  (16u << 20)

uint32_t pack_layout_for(struct image *im, struct pack_blob *blob, unsigned n)
{
	return pack_layout(&im->geo, blob, n);
}

struct store *image_store(struct image *im)
{
	return &im->st;
}

errint_t pack_reserve(struct image *im, uint32_t len, unsigned members, struct pack_batch *b)
{
	assert_int_equal(len % UNIT_SIZE, 0);
	assert_true(len <= PACK_MAX_BYTES && members <= PACK_MAX_BLOBS);
	if (im->reserve_error)
		return im->reserve_error;
	*b = (struct pack_batch){.file_off = im->next, .len = len, .members = members};
	im->next += len;
	im->batches++;
	im->blobs += members;
	return 0;
}

void pack_member_done(struct image *im, struct pack_batch *b)
{
	assert_true(b->members > 0);
	b->members--;
	atomic_fetch_add(&im->done, 1);
}

static errint_t fake_write(struct store *st, const void *buf, size_t len, uint64_t off, bool dsync)
{
	struct image *im = (struct image *)((char *)st - offsetof(struct image, st));

	assert_false(dsync);
	assert_int_equal(off % UNIT_SIZE, 0);
	assert_int_equal(len % UNIT_SIZE, 0);
	assert_in_range(off, DISK_BASE, DISK_BASE + DISK_LEN - len);
	if (atomic_exchange(&im->hold, false)) {
		sem_post(&im->held);
		sem_wait(&im->release);
	}
	if (im->write_error)
		return im->write_error;
	memcpy(im->disk + (off - DISK_BASE), buf, len);
	return 0;
}

static const struct store_ops fake_ops = {.kind = "fake", .write = fake_write};

static void new_image(struct image *im)
{
	memset(im, 0, sizeof(*im));
	im->geo = (struct geometry){.cluster_shift = 16, .sector_shift = 9};
	im->st = (struct store){.ops = &fake_ops, .name = "fake", .align = 512};
	im->next = DISK_BASE;
	im->disk = malloc(DISK_LEN);
	assert_non_null(im->disk);
	memset(im->disk, 0xee, DISK_LEN);
	sem_init(&im->held, 0, 0);
	sem_init(&im->release, 0, 0);
}

static void free_image(struct image *im)
{
	assert_int_equal(im->done, im->blobs); /* every hold has ended */
	free(im->disk);
}

/* ---- members ---------------------------------------------------------------------------- */

struct member {
	struct packer *p;
	pthread_t thread;
	unsigned n;
	uint8_t fill;
	uint64_t ticket;
	bool has_ticket;
	uint8_t *frames;
	struct packed list[PACK_MAX_BLOBS / 2];
	struct batch *batch;
	errint_t err;
	sem_t waits; /* posted when the member waits for the first time */
};

/* The member that the hook is called for. */
static _Thread_local struct member *self;

static void hook(void *arg)
{
	(void)arg;
	if (self) {
		sem_post(&self->waits);
		self = NULL;
	}
	sched_yield();
}

static const struct image_wait_ops waiting = {.wait = hook};

static void new_member(struct member *m, struct packer *p, unsigned n, uint32_t len, uint8_t fill)
{
	const size_t step = FRAME_MAX + PACK_PAD;

	memset(m, 0, sizeof(*m));
	m->p = p;
	m->n = n;
	m->fill = fill;
	m->frames = calloc(n, step);
	assert_non_null(m->frames);
	for (unsigned i = 0; i < n; i++) {
		memset(m->frames + i * step, fill, len);
		m->list[i] = (struct packed){.frame = m->frames + i * step, .len = len};
	}
	sem_init(&m->waits, 0, 0);
}

static void *member_main(void *arg)
{
	struct member *m = arg;

	self = m;
	if (!m->has_ticket)
		m->ticket = packer_announce(m->p);
	m->err = packer_store(m->p, m->ticket, m->list, m->n, &m->batch);
	return NULL;
}

static void start(struct member *m)
{
	assert_int_equal(pthread_create(&m->thread, NULL, member_main, m), 0);
}

static void start_waiting(struct member *m)
{
	start(m);
	sem_wait(&m->waits);
}

/* Every frame stands where it was told, followed by zeros up to its stored length. */
static void verify_frames(const struct image *im, const struct member *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct packed *f = &m->list[i];
		const uint8_t *at = im->disk + (f->file_off - DISK_BASE);

		assert_true(f->stored >= f->len);
		assert_memory_equal(at, f->frame, f->stored);
		assert_int_equal(at[0], m->fill);
	}
}

static void finish(struct image *im, struct member *m, errint_t expected)
{
	pthread_join(m->thread, NULL);
	assert_int_equal(m->err, expected);
	if (!m->err) {
		verify_frames(im, m);
		for (unsigned i = 0; i < m->n; i++)
			packer_done(m->p, m->batch);
	}
	free(m->frames);
}

static struct packer *new_packer(struct image *im)
{
	struct packer *p;

	new_image(im);
	assert_int_equal(cache_new(65536, 1u << 20, &im->cache), 0);
	assert_int_equal(packer_new(im, im->cache, &waiting, &p), 0);
	return p;
}

static void free_packer(struct packer *p, struct image *im)
{
	packer_free(p);
	cache_free(im->cache);
	free_image(im);
}

/* ---- tests ------------------------------------------------------------------------------ */

static void alone(void **state)
{
	struct image im;
	struct packer *p = new_packer(&im);
	struct member m;

	(void)state;
	new_member(&m, p, 3, 1000, 7);
	start(&m);
	finish(&im, &m, 0);
	assert_int_equal(sem_trywait(&m.waits), -1); /* it waited for nobody */
	assert_int_equal(im.blobs, 3);
	assert_int_equal(m.list[0].file_off, DISK_BASE);
	assert_int_equal(m.list[1].file_off, DISK_BASE + 1024);
	assert_int_equal(im.disk[3 * 1024], 0); /* zeros to the unit's end, and nothing behind */
	assert_int_equal(im.disk[4095], 0);
	assert_int_equal(im.disk[4096], 0xee);
	free_packer(p, &im);
}

static void expect_zeros(const struct image *im, size_t from, size_t to)
{
	while (from < to)
		assert_int_equal(im->disk[from++], 0);
}

/* Gaps and the rest of the last unit are zeros, whatever the batch before contained. */
static void zero_gaps(void **state)
{
	struct image im;
	struct packer *p = new_packer(&im);
	struct member m;

	(void)state;
	new_member(&m, p, 1, 4 * UNIT_SIZE, 0xff);
	start(&m);
	finish(&im, &m, 0);
	new_member(&m, p, 2, UNIT_SIZE - 400, 0xff);
	start(&m);
	finish(&im, &m, 0);
	assert_int_equal(m.list[0].file_off, DISK_BASE + 4 * UNIT_SIZE);
	assert_int_equal(m.list[1].file_off, DISK_BASE + 5 * UNIT_SIZE);
	expect_zeros(&im, 5 * UNIT_SIZE - 400, 5 * UNIT_SIZE);
	expect_zeros(&im, 6 * UNIT_SIZE - 400, 6 * UNIT_SIZE);
	free_packer(p, &im);
}

/* Those who come while a batch is being written make the next one. */
static void grouped(void **state)
{
	struct image im;
	struct packer *p = new_packer(&im);
	struct member m[5];

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		new_member(&m[i], p, 1 + i % 2, 700 + i, (uint8_t)(1 + i));
	im.hold = true;
	start(&m[0]);
	sem_wait(&im.held);
	for (unsigned i = 1; i < 5; i++)
		start_waiting(&m[i]);
	sem_post(&im.release);
	for (unsigned i = 0; i < 5; i++)
		finish(&im, &m[i], 0);
	assert_int_equal(im.batches, 2);
	assert_int_equal(im.blobs, 7);
	free_packer(p, &im);
}

/* What does not fit waits for the batch after. */
static void overflow(unsigned n, uint32_t len)
{
	struct image im;
	struct packer *p = new_packer(&im);
	struct member m[4];

	for (unsigned i = 0; i < 4; i++)
		new_member(&m[i], p, i ? n : 1, i ? len : 100, (uint8_t)(1 + i));
	im.hold = true;
	start(&m[0]);
	sem_wait(&im.held);
	for (unsigned i = 1; i < 4; i++)
		start_waiting(&m[i]);
	assert_int_equal(im.batches, 1);
	sem_post(&im.release);
	for (unsigned i = 0; i < 4; i++)
		finish(&im, &m[i], 0);
	assert_int_equal(im.batches, 3);
	free_packer(p, &im);
}

static void too_many_blobs(void **state)
{
	(void)state;
	overflow(PACK_MAX_BLOBS / 2, 500);
}

static void too_many_bytes(void **state)
{
	(void)state;
	overflow(16, FRAME_MAX);
}

/* A leader waits for the thread that announced itself before, and only for that one. */
static void awaited(void **state)
{
	struct image im;
	struct packer *p = new_packer(&im);
	struct member m[2];
	uint64_t later;

	(void)state;
	new_member(&m[0], p, 1, 300, 1);
	new_member(&m[1], p, 1, 300, 2);
	m[1].has_ticket = true;
	m[1].ticket = packer_announce(p);
	start_waiting(&m[0]);
	later = packer_announce(p);
	assert_int_equal(im.batches, 0);
	start(&m[1]);
	finish(&im, &m[0], 0);
	finish(&im, &m[1], 0);
	assert_int_equal(im.batches, 1);
	assert_int_equal(im.blobs, 2);
	packer_nothing(p, later);
	free_packer(p, &im);
}

/* ... or until that thread has nothing. */
static void awaited_in_vain(void **state)
{
	struct image im;
	struct packer *p = new_packer(&im);
	uint64_t ticket = packer_announce(p);
	struct member m;

	(void)state;
	new_member(&m, p, 1, 300, 1);
	start_waiting(&m);
	assert_int_equal(im.batches, 0);
	packer_nothing(p, ticket);
	finish(&im, &m, 0);
	assert_int_equal(im.batches, 1);
	free_packer(p, &im);
}

/* A failure reaches every member, and nothing stays held. */
static void failed(errint_t reserve_error, errint_t write_error)
{
	struct image im;
	struct packer *p = new_packer(&im);
	struct member m[3];

	for (unsigned i = 0; i < 3; i++)
		new_member(&m[i], p, 2, 700, (uint8_t)(1 + i));
	im.hold = true;
	start(&m[0]);
	sem_wait(&im.held);
	start_waiting(&m[1]);
	start_waiting(&m[2]);
	im.reserve_error = reserve_error;
	im.write_error = write_error;
	sem_post(&im.release);
	finish(&im, &m[0], write_error);
	finish(&im, &m[1], reserve_error ? reserve_error : write_error);
	finish(&im, &m[2], reserve_error ? reserve_error : write_error);

	/* The next one is as good as ever. */
	im.reserve_error = im.write_error = 0;
	new_member(&m[0], p, 1, 700, 9);
	start(&m[0]);
	finish(&im, &m[0], 0);
	free_packer(p, &im);
}

static void no_space(void **state)
{
	(void)state;
	failed(-ENOSPC, 0);
}

static void no_write(void **state)
{
	(void)state;
	failed(0, -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alone),	   cmocka_unit_test(zero_gaps),
		cmocka_unit_test(grouped),	   cmocka_unit_test(too_many_blobs),
		cmocka_unit_test(too_many_bytes),  cmocka_unit_test(awaited),
		cmocka_unit_test(awaited_in_vain), cmocka_unit_test(no_space),
		cmocka_unit_test(no_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
