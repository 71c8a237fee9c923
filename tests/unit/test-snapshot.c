/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of a live image: random programs of writes, snapshots, deletions, rollbacks and
 * crashes against a plain model, and what users are told.
 */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "engine/snapshot.h"
#include "image/alloc_priv.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/rng.h"

/* --- a plain model: each cluster holds one byte
 * ---------------------------------------------------
 */

#define PLACES	   48u
#define MAX_POINTS 12u
#define OPERATIONS 400u /* of a program */

/* Places in several leaves, under several nodes above them. */
static uint64_t place(unsigned i)
{
	return (i % 16 + (i / 16) * 70000ull) * CLUSTER;
}

struct point {
	char name[16]; /* "": free */
	uint8_t byte[PLACES];
};

struct model {
	struct live l;
	struct rng rng;
	uint8_t now[PLACES];
	struct point point[MAX_POINTS];
	unsigned names;
	uint8_t next;
};

static void model_new(struct model *m, uint64_t seed)
{
	memset(m, 0, sizeof(*m));
	m->rng.state = seed;
	live_new(&m->l, 4 * GIB, 20 * GIB);
	m->l.opts.journal_length = 64 << 10;
	m->l.opts.dirty_cap = 1 + (unsigned)rng_below(&m->rng, 40);
	m->l.opts.cache_nodes = 1 + (unsigned)rng_below(&m->rng, 30);
	m->l.opts.first_fit = true;
	live_open(&m->l);
}

static struct point *random_point(struct model *m)
{
	struct point *p = &m->point[rng_below(&m->rng, MAX_POINTS)];

	return p->name[0] ? p : NULL;
}

static struct point *free_point(struct model *m)
{
	for (unsigned i = 0; i < MAX_POINTS; i++)
		if (!m->point[i].name[0])
			return &m->point[i];
	return NULL;
}

static void expect_snapshot(struct model *m, const struct point *p)
{
	struct snapshot_view *v;
	CLEANUP(free) uint8_t *buf = store_buffer(CLUSTER);

	assert_int_equal(snapshot_view_open(m->l.im, p->name, &v), 0);
	for (unsigned i = 0; i < PLACES; i++) {
		assert_int_equal(engine_snapshot_read(m->l.t, v, buf, place(i), CLUSTER), 0);
		for (unsigned k = 0; k < CLUSTER; k += 4096)
			if (buf[k] != p->byte[i])
				fail_msg("%s: place %u holds %02x, not %02x", p->name, i, buf[k],
					 p->byte[i]);
	}
	snapshot_view_close(v);
}

static void expect_all(struct model *m)
{
	for (unsigned i = 0; i < PLACES; i++)
		live_expect(&m->l, place(i), CLUSTER, m->now[i]);
	for (unsigned i = 0; i < MAX_POINTS; i++)
		if (m->point[i].name[0])
			expect_snapshot(m, &m->point[i]);
}

static void do_write(struct model *m)
{
	unsigned i = (unsigned)rng_below(&m->rng, PLACES);

	if (rng_chance(&m->rng, 20)) {
		assert_int_equal(engine_discard(m->l.t, place(i), CLUSTER), 0);
		m->now[i] = 0;
		return;
	}
	m->now[i] = ++m->next;
	live_put(&m->l, place(i), CLUSTER, m->now[i]);
}

static void do_create(struct model *m)
{
	struct point *p = free_point(m);

	if (!p)
		return;
	snprintf(p->name, sizeof(p->name), "s%u", m->names++ % 14);
	for (unsigned i = 0; i < MAX_POINTS; i++)
		if (&m->point[i] != p && !strcmp(m->point[i].name, p->name)) {
			assert_int_equal(snapshot_create(m->l.im, p->name, NULL), -EEXIST);
			p->name[0] = '\0';
			return;
		}
	memcpy(p->byte, m->now, sizeof(p->byte));
	assert_int_equal(snapshot_create(m->l.im, p->name, NULL), 0);
}

static void do_delete(struct model *m)
{
	struct point *p = random_point(m);

	if (!p)
		return;
	assert_int_equal(snapshot_delete(m->l.im, p->name), 0);
	assert_int_equal(snapshot_delete(m->l.im, p->name), -ENOENT);
	p->name[0] = '\0';
}

static void do_rollback(struct model *m)
{
	struct point *p = random_point(m), *keep = free_point(m);

	if (!p || !keep)
		return;
	if (rng_chance(&m->rng, 50)) {
		snprintf(keep->name, sizeof(keep->name), "k%u", m->names++);
		memcpy(keep->byte, m->now, sizeof(keep->byte));
		assert_int_equal(snapshot_rollback(m->l.im, p->name, keep->name), 0);
	} else {
		assert_int_equal(snapshot_rollback(m->l.im, p->name, NULL), 0);
	}
	memcpy(m->now, p->byte, sizeof(m->now));
}

static void do_rename(struct model *m)
{
	struct point *p = random_point(m);
	char to[16];

	if (!p)
		return;
	snprintf(to, sizeof(to), "r%u", m->names++);
	assert_int_equal(snapshot_rename(m->l.im, p->name, to), 0);
	memcpy(p->name, to, sizeof(to));
}

/* --- what changed between two points -------------------------------------------------------------
 */

struct differing {
	bool changed[PLACES], zeroed[PLACES];
	uint64_t bytes, end;
	unsigned take, left; /* extents at once (0: all), and how many more */
};

/* Ends a walk: enough for once. */
enum { ENOUGH = 1 };

static errint_t note_difference(void *arg, const struct diff_extent *e)
{
	struct differing *d = arg;

	assert_true(e->len && e->off >= d->end);
	if (d->take && !d->left--)
		return ENOUGH;
	d->end = e->off + e->len;
	d->bytes += e->len;
	for (unsigned i = 0; i < PLACES; i++) {
		if (place(i) < e->off || place(i) >= e->off + e->len)
			continue;
		d->changed[i] = true;
		d->zeroed[i] = e->zeroed;
	}
	return 0;
}

/* At once, or some extents and then on from where the last one has ended. */
static void find_differences(struct model *m, const struct snapshot_view *a,
			     const struct snapshot_view *b, struct differing *d)
{
	errint_t err;

	d->take = (unsigned)rng_below(&m->rng, 4);
	do {
		d->left = d->take;
		err = d->end ? snapshot_diff_at(m->l.im, a, b, d->end, note_difference, d)
			     : snapshot_diff(m->l.im, a, b, note_difference, d);
	} while (err == ENOUGH);
	assert_int_equal(err, 0);
}

/* Between two snapshots, or one and the disk. */
static void do_diff(struct model *m)
{
	struct point *a = random_point(m), *b = random_point(m);
	struct snapshot_view *va, *vb = NULL;
	struct differing d = {.bytes = 0};
	uint64_t bytes = 0;

	if (!a)
		return;
	const uint8_t *later = b ? b->byte : m->now;
	assert_int_equal(snapshot_view_open(m->l.im, a->name, &va), 0);
	if (b)
		assert_int_equal(snapshot_view_open(m->l.im, b->name, &vb), 0);
	find_differences(m, va, vb, &d);
	for (unsigned i = 0; i < PLACES; i++) {
		/* What was written again with the same bytes may be reported. */
		if (a->byte[i] != later[i] && !d.changed[i])
			fail_msg("place %u: a change is missing", i);
		if (d.changed[i] && d.zeroed[i] != !later[i])
			fail_msg("place %u: zeroed, or not", i);
		bytes += d.changed[i] * (uint64_t)CLUSTER;
	}
	assert_int_equal(d.bytes, bytes); /* and nothing else */
	snapshot_view_close(va);
	snapshot_view_close(vb);
}

/* A snapshot that is open is readable until it is closed, although it is deleted. */
static void do_delete_open(struct model *m)
{
	struct point *p = random_point(m);
	struct snapshot_view *v;
	bool more;

	if (!p)
		return;
	assert_int_equal(snapshot_view_open(m->l.im, p->name, &v), 0);
	assert_int_equal(snapshot_delete(m->l.im, p->name), 0);
	p->name[0] = '\0';
	assert_int_equal(snapshot_reclaim(m->l.im, 1000, &more), 0);
	for (unsigned i = 0; i < PLACES; i++) {
		uint8_t byte;

		assert_int_equal(engine_snapshot_read(m->l.t, v, m->l.buf, place(i), 4096), 0);
		byte = m->l.buf[4095];
		assert_int_equal(byte, p->byte[i]);
	}
	snapshot_view_close(v);
}

static uint64_t reopened, at_rest, at_rest_failed;

/* The store fails once, or has no need to: after that there is the snapshot, or there is not. */
static errint_t create_failing(struct model *m, const char *name)
{
	enum mem_op op = rng_chance(&m->rng, 70) ? MEM_WRITE : MEM_SYNC;
	unsigned nth = 1 + (unsigned)rng_below(&m->rng, op == MEM_SYNC ? 3 : 40);

	mem_store_fail(m->l.st, op, nth, rng_chance(&m->rng, 50) ? -EIO : -ENOSPC);
	errint_t err = snapshot_create_at_rest(m->l.st, &m->l.opts, name, NULL);
	mem_store_fail(m->l.st, op, 0, 0);
	return err;
}

static void create_at_rest(struct model *m)
{
	struct point *p = free_point(m);
	struct image_info info;

	if (!p)
		return;
	at_rest++;
	snprintf(p->name, sizeof(p->name), "a%u", m->names++);
	memcpy(p->byte, m->now, sizeof(p->byte));
	errint_t err = create_failing(m, p->name);
	live_check(&m->l);
	live_open(&m->l);
	if (err) {
		struct snapshot_info found;

		at_rest_failed++;
		if (snapshot_find(m->l.im, p->name, &found))
			p->name[0] = '\0';
	}
	image_get_info(m->l.im, &info);
	expect_all(m);
	if (rng_chance(&m->rng, 50))
		live_close(&m->l);
	else
		live_crash(&m->l);
}

static void do_reopen(struct model *m)
{
	reopened++;
	if (rng_chance(&m->rng, 50)) {
		assert_int_equal(engine_flush(m->l.t), 0);
		live_crash(&m->l);
	} else {
		live_close(&m->l);
	}
	live_check(&m->l);
	for (uint64_t i = rng_below(&m->rng, 3); i; i--)
		create_at_rest(m);
	live_open(&m->l);
	expect_all(m);
}

static void reclaim(struct model *m, unsigned steps)
{
	bool more;

	assert_int_equal(snapshot_reclaim(m->l.im, steps, &more), 0);
}

static void one_operation(struct model *m)
{
	unsigned what = (unsigned)rng_below(&m->rng, 100);

	if (what < 55)
		do_write(m);
	else if (what < 63)
		do_create(m);
	else if (what < 70)
		do_delete(m);
	else if (what < 73)
		do_rollback(m);
	else if (what < 75)
		do_rename(m);
	else if (what < 78)
		do_diff(m);
	else if (what < 79)
		do_delete_open(m);
	else if (what < 90)
		reclaim(m, 1 + (unsigned)rng_below(&m->rng, 6));
	else if (what < 93)
		assert_int_equal(image_checkpoint(m->l.im), 0);
	else if (what < 96)
		assert_int_equal(engine_flush(m->l.t), 0);
	else if (what < 97)
		do_reopen(m);
	else
		assert_int_equal(image_maintain(m->l.im), 0);
}

/* The disk, which is all holes, takes the space of a new one. */
static void expect_fresh(struct live *l)
{
	struct image_info before, after;
	struct live fresh;

	live_close(l);
	live_check(l);
	live_open(l);
	live_close(l);
	live_open(l);
	image_get_info(l->im, &before);
	live_close(l);
	live_new(&fresh, 4 * GIB, 20 * GIB);
	fresh.opts = l->opts;
	live_open(&fresh);
	image_get_info(fresh.im, &after);
	live_close(&fresh);
	live_free(&fresh);
	assert_int_equal(before.used_units, after.used_units);
}

/* Deleting all snapshots gives all space back. */
static void delete_all(struct model *m)
{
	struct snapshot_info *list;
	uint32_t n = 0;

	for (unsigned i = 0; i < MAX_POINTS; i++)
		if (m->point[i].name[0])
			assert_int_equal(snapshot_delete(m->l.im, m->point[i].name), 0);
	memset(m->point, 0, sizeof(m->point));
	reclaim(m, 1u << 20);
	assert_int_equal(snapshot_list(m->l.im, &list, &n), 0);
	free(list);
	assert_int_equal(n, 0);
	for (unsigned i = 0; i < PLACES; i++)
		assert_int_equal(engine_discard(m->l.t, place(i), CLUSTER), 0);
	memset(m->now, 0, sizeof(m->now));
	expect_fresh(&m->l);
}

static uint64_t number(const char *name, uint64_t def)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : def;
}

/* SNAPSHOT_PROGRAMS of them, from SNAPSHOT_SEED on; none begins after SNAPSHOT_SECONDS, if set. */
static void random_programs(void **state)
{
	uint64_t programs = number("SNAPSHOT_PROGRAMS", 20), done = 0;
	uint64_t first = number("SNAPSHOT_SEED", 1), seconds = number("SNAPSHOT_SECONDS", 0);
	time_t begin = time(NULL);

	(void)state;
	for (uint64_t seed = first; done < programs; seed++, done++) {
		struct model m;

		if (seconds && (uint64_t)(time(NULL) - begin) >= seconds)
			break;

		if (programs <= 50)
			print_message("seed %" PRIu64 "\n", seed);
		model_new(&m, seed);
		for (unsigned i = 0; i < OPERATIONS; i++)
			one_operation(&m);
		expect_all(&m);
		delete_all(&m);
		live_free(&m.l);
	}
	print_message("%" PRIu64 " operations, %" PRIu64 " reopened, half of them crashed; %" PRIu64
		      " snapshots at rest, %" PRIu64 " failed\n",
		      done * OPERATIONS, reopened, at_rest, at_rest_failed);
}

/* --- many of them --------------------------------------------------------------------------------
 */

#define MANY 1000u

/* What place 0 holds in snapshot @i. */
static uint8_t byte_of(unsigned i)
{
	return (uint8_t)(i % 251 + 1);
}

static void expect_byte(struct live *l, unsigned i)
{
	CLEANUP(free) uint8_t *buf = store_buffer(CLUSTER);
	struct snapshot_view *v;
	char name[16];

	snprintf(name, sizeof(name), "s%u", i);
	assert_int_equal(snapshot_view_open(l->im, name, &v), 0);
	assert_int_equal(engine_snapshot_read(l->t, v, buf, 0, CLUSTER), 0);
	assert_int_equal(buf[CLUSTER / 2], byte_of(i));
	snapshot_view_close(v);
}

/* A thousand snapshots, with something written between any two, deleted in random order. */
static void thousand(void **state)
{
	struct rng rng = {.state = 7};
	unsigned order[MANY];
	struct live l;
	char name[16];
	bool more = true;

	(void)state;
	live_new(&l, 4 * GIB, 20 * GIB);
	l.opts.first_fit = true;
	live_open(&l);
	for (unsigned i = 0; i < MANY; i++) {
		order[i] = i;
		live_put(&l, 0, CLUSTER, byte_of(i));
		live_put(&l, place(i % PLACES), 4096, byte_of(i));
		snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(snapshot_create(l.im, name, NULL), 0);
		if (i % 97 == 0) {
			live_crash(&l);
			live_open(&l);
		}
	}
	for (unsigned i = 0; i < MANY; i += 41)
		if (i % PLACES)
			expect_byte(&l, i);
	for (unsigned i = MANY; i > 1; i--) {
		unsigned j = (unsigned)rng_below(&rng, i), swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "s%u", order[i]);
		assert_int_equal(snapshot_delete(l.im, name), 0);
		if (i % 10 == 0)
			assert_int_equal(snapshot_reclaim(l.im, 40, &more), 0);
	}
	for (more = true; more;)
		assert_int_equal(snapshot_reclaim(l.im, 1000, &more), 0);
	live_expect(&l, 0, CLUSTER, byte_of(MANY - 1));
	for (unsigned i = 0; i < PLACES; i++)
		assert_int_equal(engine_discard(l.t, place(i), CLUSTER), 0);
	expect_fresh(&l);
	live_free(&l);
}

static unsigned messages;

static void count_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)message;
	messages += level == LOG_LEVEL_ERROR;
}

/* A device with a unit or two for the table, and for nothing more: who cannot have a snapshot is
 * told, the image is as it was, and what a deletion frees is enough for another one. */
static void full_device(void **state)
{
	struct live l;
	errint_t err = 0;
	unsigned n = 0;
	char name[16];
	bool more = true;

	(void)state;
	live_new(&l, 4 * GIB, 1 * GIB);
	/* What is at fixed places, the journal, and 48 units. */
	assert_int_equal(store_truncate(l.st, ZERO_WINDOW_OFFSET + ZERO_WINDOW_SIZE + JOURNAL_MIN +
						      (192 << 10)),
			 0);
	l.st->fixed = true;
	l.opts.journal_length = JOURNAL_MIN;
	l.opts.dirty_cap = 1;
	for (messages = 0; !err; n++) {
		snprintf(name, sizeof(name), "s%u", n);
		log_set_sink(count_message, NULL);
		err = snapshot_create_at_rest(l.st, &l.opts, name, NULL);
		log_set_sink(NULL, NULL);
		if (n % 10 == 0)
			live_check(&l);
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(n > 20 && messages == 1);
	live_check(&l);
	live_open(&l);
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(snapshot_delete(l.im, name), 0);
	}
	while (more)
		assert_int_equal(snapshot_reclaim(l.im, 1000, &more), 0);
	live_close(&l);
	live_check(&l);
	assert_int_equal(snapshot_create_at_rest(l.st, &l.opts, "again", NULL), 0);
	live_check(&l);
	live_free(&l);
}

#define KEPT 24u /* leaves with two clusters, of which the second one stays */

/* One more set of leaves for a snapshot to keep, by discards or by writing zeros; no data. */
static errint_t spend_nodes(struct live *l, unsigned i, bool zeros)
{
	static _Alignas(4096) uint8_t zero[CLUSTER];
	errint_t err = 0;
	char name[16];

	for (unsigned k = 0; !err && k < KEPT; k++)
		err = zeros ? engine_write(l->t, zero, k * LEAF, CLUSTER, false)
			    : engine_discard(l->t, k * LEAF, CLUSTER);
	snprintf(name, sizeof(name), "s%u", i);
	return err ? err : snapshot_rollback(l->im, "base", name);
}

/* Mark all but @left units of region 0 used, as if there were more nodes. */
static void fill_region(struct live *l, unsigned left)
{
	struct need need = {0};
	uint64_t unit;

	pthread_mutex_lock(&l->im->lock);
	const struct region *r = region_get(l->im, 0);
	while (r->free_units > r->busy + left) {
		assert_int_equal(alloc_reserve_meta(l->im, 1, &unit, &need), 0);
		assert_int_equal(alloc_set(l->im, desc_node_make(unit, 0, 0)), 0);
	}
	pthread_mutex_unlock(&l->im->lock);
	assert_int_equal(image_checkpoint(l->im), 0);
}

/* A3: discards and zeros between snapshots need nodes, and nothing else.  They end before the image
 * can be closed or opened no more. */
static void spend_all(bool zeros)
{
	struct live l;
	errint_t err = 0;
	unsigned i;

	live_new(&l, 4 * GIB, 1 * GIB);
	assert_int_equal(store_truncate(l.st, 256 * MIB), 0);
	l.st->fixed = true;
	l.opts.journal_length = JOURNAL_MIN;
	live_open(&l);
	for (unsigned k = 0; k < KEPT; k++) {
		live_put(&l, k * LEAF, CLUSTER, 1);
		live_put(&l, k * LEAF + CLUSTER, CLUSTER, 2);
	}
	assert_int_equal(snapshot_create(l.im, "base", NULL), 0);
	fill_region(&l, 600);
	for (i = 0; !err; i++)
		err = spend_nodes(&l, i, zeros);
	assert_int_equal(err, -ENOSPC);
	assert_true(i > 10);
	/* Who cuts the disk off in the middle of a leaf needs another one. */
	messages = 0;
	log_set_sink(count_message, NULL);
	assert_int_equal(image_resize(l.im, KEPT * LEAF / 2 + CLUSTER, true), -ENOSPC);
	log_set_sink(NULL, NULL);
	assert_int_equal(messages, 1);
	assert_int_equal(image_size(l.im), 1 * GIB);
	assert_int_equal(image_checkpoint(l.im), 0);
	live_crash(&l);
	live_open(&l);
	live_close(&l);
	live_open(&l);
	for (unsigned k = 0; k < KEPT; k++)
		live_expect(&l, k * LEAF + CLUSTER, CLUSTER, 2);
	live_close(&l);
	live_free(&l);
}

static void spent_nodes(void **state)
{
	(void)state;
	spend_all(false);
	spend_all(true);
}

/* Not even the journal has room. */
static void short_device(void **state)
{
	struct live l;

	(void)state;
	live_new(&l, 4 * GIB, 1 * GIB);
	l.st->fixed = true;
	messages = 0;
	log_set_sink(count_message, NULL);
	assert_int_equal(snapshot_create_at_rest(l.st, &l.opts, "s", NULL), -ENOSPC);
	assert_int_equal(live_try_open(&l), -ENOSPC);
	log_set_sink(NULL, NULL);
	assert_int_equal(messages, 2);
	live_check(&l);
	live_free(&l);
}

static void expect_parent(struct model *m, const struct snapshot_view *v, const char *name)
{
	struct snapshot_info info = {.id = 0};
	struct snapshot_view *parent;

	assert_int_equal(snapshot_view_open_parent(v, &parent), 0);
	if (name)
		assert_int_equal(snapshot_find(m->l.im, name, &info), 0);
	assert_int_equal(parent ? snapshot_view_id(parent) : 0, info.id);
	snapshot_view_close(parent);
}

/* Who is being deleted is no parent any more, before and after it is gone. */
static void parents(void **state)
{
	static const char *const name[] = {"one", "two", "three"};
	struct snapshot_view *held, *v;
	struct model m;

	(void)state;
	model_new(&m, 1);
	for (unsigned i = 0; i < 3; i++) {
		do_write(&m);
		assert_int_equal(snapshot_create(m.l.im, name[i], NULL), 0);
	}
	assert_int_equal(snapshot_view_open(m.l.im, "three", &v), 0);
	expect_parent(&m, v, "two");
	assert_int_equal(snapshot_view_open(m.l.im, "two", &held), 0);
	assert_int_equal(snapshot_delete(m.l.im, "two"), 0);
	expect_parent(&m, v, "one");
	expect_parent(&m, held, "one");
	snapshot_view_close(held);
	reclaim(&m, 1000);
	expect_parent(&m, v, "one");
	assert_int_equal(snapshot_delete(m.l.im, "three"), 0);
	expect_parent(&m, v, "one"); /* of one that is being deleted itself */
	assert_int_equal(snapshot_delete(m.l.im, "one"), 0);
	expect_parent(&m, v, NULL);
	snapshot_view_close(v);
	live_close(&m.l);
	live_free(&m.l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parents),	   cmocka_unit_test(full_device),
		cmocka_unit_test(spent_nodes),	   cmocka_unit_test(short_device),
		cmocka_unit_test(random_programs), cmocka_unit_test(thousand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
