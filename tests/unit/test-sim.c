/* SPDX-License-Identifier: MIT */
/*
 * The simulated disk and scheduler: a mistake in them would hide mistakes in everything that the
 * crash tests test.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_sched.h"
#include "tests/lib/sim_store.h"

#define SECTOR 512u
#define UNIT   4096u

static uint8_t block[16 * UNIT];

static const void *filled(char c)
{
	memset(block, c, sizeof(block));
	return block;
}

static sim_op issue(struct sim_disk *d, char c, uint64_t off, size_t len)
{
	return sim_disk_issue_write(d, filled(c), len, off);
}

static void put(struct sim_disk *d, char c, uint64_t off, size_t len)
{
	sim_disk_complete(d, issue(d, c, off, len));
}

static void put_dsync(struct sim_disk *d, char c, uint64_t off, size_t len)
{
	sim_disk_complete_dsync(d, issue(d, c, off, len));
}

static void sync_now(struct sim_disk *d)
{
	sim_disk_complete(d, sim_disk_issue_sync(d));
}

static char at(const struct sim_disk *d, uint64_t off)
{
	char sector[SECTOR];

	sim_disk_read(d, sector, SECTOR, off / SECTOR * SECTOR);
	for (unsigned i = 1; i < SECTOR; i++)
		assert_int_equal(sector[i], sector[0]);
	return sector[0] ? sector[0] : '.';
}

/* What one sector can hold after a power loss, as a sorted string; frees nothing. */
static void expect_after_loss(const struct sim_disk *d, uint64_t off, const char *allowed)
{
	struct rng rng = {1};
	char seen[256] = "";
	size_t nseen = 0;

	for (unsigned i = 0; i < 300; i++) {
		struct sim_disk *after =
			sim_disk_power_loss(d, (enum sim_loss)(i % SIM_LOSSES), &rng);
		char c = at(after, off);

		assert_int_equal(sim_disk_volatile_units(after), 0);
		assert_int_equal(sim_disk_in_flight(after), 0);
		if (!strchr(allowed, c))
			fail_msg("%s: '%c' is not one of \"%s\"",
				 sim_loss_name((enum sim_loss)(i % SIM_LOSSES)), c, allowed);
		if (!strchr(seen, c))
			seen[nseen++] = c;
		sim_disk_free(after);
	}
	/* Whatever can happen does happen. */
	if (nseen != strlen(allowed))
		fail_msg("seen \"%s\" of \"%s\"", seen, allowed);
}

static void test_sync(void **state)
{
	struct sim_disk *d = sim_disk_new();

	(void)state;
	put(d, 'a', 0, UNIT);
	assert_int_equal(at(d, 0), 'a');
	expect_after_loss(d, 0, ".a");
	sync_now(d);
	expect_after_loss(d, 0, "a");
	put(d, 'b', 0, UNIT);
	sim_op sync = sim_disk_issue_sync(d);
	put(d, 'c', 0, UNIT); /* completes after the sync was issued */
	expect_after_loss(d, 0, "abc");
	sim_disk_complete(d, sync);
	assert_int_equal(at(d, 0), 'c');
	expect_after_loss(d, 0, "bc");
	sim_disk_free(d);
}

static void test_sync_and_flight(void **state)
{
	struct sim_disk *d = sim_disk_new();
	sim_op a = issue(d, 'a', 0, UNIT);

	(void)state;
	assert_int_equal(at(d, 0), '.');
	sync_now(d); /* covers nothing: the write is in flight */
	expect_after_loss(d, 0, ".a");
	sim_disk_complete(d, a);
	expect_after_loss(d, 0, ".a");
	sync_now(d);
	expect_after_loss(d, 0, "a");
	sim_disk_free(d);
}

static void test_dsync(void **state)
{
	struct sim_disk *d = sim_disk_new();

	(void)state;
	put(d, 'a', 0, 2 * UNIT);
	put_dsync(d, 'b', SECTOR, SECTOR);
	expect_after_loss(d, 0, ".a");
	expect_after_loss(d, SECTOR, "b"); /* older changes of the sector are history */
	expect_after_loss(d, UNIT, ".a");
	put(d, 'c', 0, UNIT);
	expect_after_loss(d, 0, ".ac");
	expect_after_loss(d, SECTOR, "bc");
	sim_disk_free(d);
}

static void test_punch_and_length(void **state)
{
	struct sim_disk *d = sim_disk_new();
	struct rng rng = {1};

	(void)state;
	put(d, 'a', 0, 4 * UNIT);
	assert_int_equal(sim_disk_length(d), 4 * UNIT);
	sync_now(d);
	sim_disk_complete(d, sim_disk_issue_punch(d, UNIT + SECTOR, UNIT));
	assert_int_equal(at(d, UNIT), 'a');
	assert_int_equal(at(d, UNIT + SECTOR), '.');
	assert_int_equal(at(d, 2 * UNIT), '.');
	assert_int_equal(at(d, 2 * UNIT + SECTOR), 'a');
	expect_after_loss(d, UNIT + SECTOR, ".a");
	expect_after_loss(d, UNIT, "a");
	sim_disk_complete(d, sim_disk_issue_truncate(d, 100 * UNIT));
	struct sim_disk *none = sim_disk_power_loss(d, SIM_LOSS_NONE_KEPT, &rng);
	struct sim_disk *all = sim_disk_power_loss(d, SIM_LOSS_ALL_KEPT, &rng);
	assert_int_equal(sim_disk_length(none), 4 * UNIT);
	assert_int_equal(sim_disk_length(all), 100 * UNIT);
	sim_disk_complete(d, sim_disk_issue_truncate(d, UNIT));
	assert_int_equal(at(d, UNIT), '.');
	expect_after_loss(d, UNIT, ".a");
	expect_after_loss(d, 0, "a");
	sim_disk_free(none);
	sim_disk_free(all);
	sim_disk_free(d);
}

/* A failed sync loses what it covered, also for syncs to come. */
static void test_failed_sync(void **state)
{
	struct sim_disk *d = sim_disk_new();
	struct rng rng = {3};

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		put(d, 'a', i * UNIT, UNIT);
	sim_disk_fail_sync(d, sim_disk_issue_sync(d), &rng);
	sync_now(d);
	struct sim_disk *none = sim_disk_power_loss(d, SIM_LOSS_NONE_KEPT, &rng);
	unsigned lost = 0;
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(at(d, i * UNIT), 'a');
		lost += at(none, i * UNIT) == '.';
	}
	assert_in_range(lost, 1, 15);
	sim_disk_free(none);
	sim_disk_free(d);
}

static void test_process_death(void **state)
{
	struct sim_disk *d = sim_disk_new();
	struct rng rng = {1};
	unsigned landed = 0, torn = 0, cancelled = 0;

	(void)state;
	put(d, 'a', 0, UNIT);
	sim_op b = issue(d, 'b', UNIT, UNIT);
	for (unsigned i = 0; i < 60; i++) {
		struct sim_disk *after = sim_disk_process_death(d, &rng);
		unsigned n = 0;

		assert_int_equal(sim_disk_in_flight(after), 0);
		assert_int_equal(at(after, 0), 'a');
		for (unsigned s = 0; s < 8; s++)
			n += at(after, UNIT + s * SECTOR) == 'b';
		landed += n == 8;
		torn += n > 0 && n < 8;
		cancelled += n == 0;
		expect_after_loss(d, 0, ".a"); /* completed, but still volatile */
		sim_disk_free(after);
	}
	assert_true(landed && torn && cancelled);
	/* The original goes on undisturbed. */
	sim_disk_complete(d, b);
	assert_int_equal(at(d, UNIT), 'b');
	sim_disk_free(d);
}

static bool has_outcome(const struct sim_disk *d, bool death, const char *want)
{
	uint64_t n = death ? sim_disk_death_outcomes(d, 1000) : sim_disk_power_outcomes(d, 1000);

	for (uint64_t i = 0; i < n; i++) {
		struct sim_disk *o =
			death ? sim_disk_death_outcome(d, i) : sim_disk_power_outcome(d, i);
		bool same = true;

		for (unsigned k = 0; want[k]; k++)
			same &= at(o, k * UNIT) == want[k];
		sim_disk_free(o);
		if (same)
			return true;
	}
	return false;
}

/* Metadata by units, each also torn; data by writes. */
static void test_outcomes(void **state)
{
	struct sim_disk *d = sim_disk_new();
	uint64_t data = (128ull << 20) + 16 * UNIT;

	(void)state;
	sim_disk_complete(d, sim_disk_issue_truncate(d, 256u << 20));
	sync_now(d);
	put(d, 'a', 0, UNIT);
	put(d, 'b', UNIT, UNIT);
	put(d, 'c', UNIT, UNIT);
	sim_op e = issue(d, 'e', 2 * UNIT, UNIT);
	assert_int_equal(sim_disk_power_outcomes(d, 1000), 3 * 4 * 3);
	assert_int_equal(sim_disk_power_outcomes(d, 35), 0);
	assert_true(has_outcome(d, false, "..."));
	assert_true(has_outcome(d, false, "ab."));
	assert_true(has_outcome(d, false, ".ce"));
	assert_false(has_outcome(d, false, "b.."));
	assert_int_equal(sim_disk_death_outcomes(d, 1000), 3);
	assert_true(has_outcome(d, true, "ac."));
	assert_true(has_outcome(d, true, "ace"));
	assert_false(has_outcome(d, true, "a.e"));
	sim_disk_complete(d, e);
	sync_now(d);
	put(d, 'x', data, 4 * UNIT);
	put(d, 'y', data + 4 * UNIT, 4 * UNIT);
	assert_int_equal(sim_disk_power_outcomes(d, 1000), 4);
	sim_disk_free(d);
}

/* Random changes on the disk and on a plain array give the same contents; copies are independent.
 */
static void test_differential(void **state)
{
	enum { UNITS = 32 };
	struct sim_disk *d = sim_disk_new(), *copy = NULL;
	char *model = calloc(1, UNITS * UNIT), *frozen = calloc(1, UNITS * UNIT);
	char *buf = calloc(1, UNITS * UNIT);
	struct rng rng = {7};

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t off = rng_below(&rng, UNITS * 8 - 16) * SECTOR;
		size_t len = (1 + rng_below(&rng, 16)) * SECTOR;
		char c = (char)('a' + i % 26);

		switch (rng_below(&rng, 8)) {
		case 0:
			sync_now(d);
			break;
		case 1:
			sim_disk_complete(d, sim_disk_issue_punch(d, off, len));
			memset(model + off, 0, len);
			break;
		case 2:
			put_dsync(d, c, off, len);
			memset(model + off, c, len);
			break;
		default:
			put(d, c, off, len);
			memset(model + off, c, len);
		}
		if (i == 1500) {
			copy = sim_disk_clone(d);
			memcpy(frozen, model, UNITS * UNIT);
		}
		sim_disk_read(d, buf, UNITS * UNIT, 0);
		assert_memory_equal(buf, model, UNITS * UNIT);
	}
	sim_disk_read(copy, buf, UNITS * UNIT, 0);
	assert_memory_equal(buf, frozen, UNITS * UNIT);
	sync_now(d);
	assert_int_equal(sim_disk_volatile_units(d), 0);
	struct sim_disk *after = sim_disk_power_loss(d, SIM_LOSS_NONE_KEPT, &rng);
	sim_disk_read(after, buf, UNITS * UNIT, 0);
	assert_memory_equal(buf, model, UNITS * UNIT);
	sim_disk_free(after);
	sim_disk_free(copy);
	sim_disk_free(d);
	free(model);
	free(frozen);
	free(buf);
}

/* ---- scheduler -------------------------------------------------------------------------- */

struct trace {
	struct sim_sched *sched;
	char text[256];
	unsigned n, turns;
	bool open;
};

static void trace_task(void *arg, char c)
{
	struct trace *t = arg;

	for (unsigned i = 0; i < t->turns; i++) {
		t->text[t->n++] = c;
		sim_yield("trace");
	}
}

static void task_a(void *arg)
{
	trace_task(arg, 'a');
}

static void task_b(void *arg)
{
	trace_task(arg, 'b');
}

static void run_trace(struct trace *t, uint64_t seed)
{
	*t = (struct trace){.sched = sim_sched_new(seed), .turns = 20};
	sim_spawn(t->sched, "a", task_a, t);
	sim_spawn(t->sched, "b", task_b, t);
	assert_int_equal(sim_run(t->sched, 1000), SIM_DONE);
	sim_sched_free(t->sched);
}

static void test_sched(void **state)
{
	struct trace one, again, other;

	(void)state;
	run_trace(&one, 1);
	run_trace(&again, 1);
	run_trace(&other, 2);
	assert_int_equal(one.n, 40);
	assert_memory_equal(one.text, again.text, 40);
	assert_memory_not_equal(one.text, other.text, 40);
	assert_false(sim_in_task());
}

static void wait_for_door(void *arg)
{
	struct trace *t = arg;

	while (!t->open)
		sim_wait_ops.wait(sim_wait_ops.arg);
}

static void open_door(void *arg)
{
	struct trace *t = arg;

	for (unsigned i = 0; i < 500; i++)
		sim_yield("slow");
	t->open = true;
}

static void test_deadlock(void **state)
{
	struct trace t = {.sched = sim_sched_new(1)};

	(void)state;
	sim_spawn(t.sched, "one", wait_for_door, &t);
	sim_spawn(t.sched, "two", wait_for_door, &t);
	sim_spawn(t.sched, "opener", open_door, &t);
	assert_int_equal(sim_run(t.sched, 100000), SIM_DONE);
	t.open = false;
	sim_spawn(t.sched, "one", wait_for_door, &t);
	sim_spawn(t.sched, "two", wait_for_door, &t);
	assert_int_equal(sim_run(t.sched, 100000), SIM_STUCK);
	t.open = true;
	assert_int_equal(sim_run(t.sched, 100000), SIM_DONE);
	sim_sched_free(t.sched);
}

static void nested_inner(void *arg)
{
	struct sim_store *s = arg;
	void *buf = store_buffer(UNIT);

	memset(buf, 'n', UNIT);
	assert_int_equal(store_write(&s->st, buf, UNIT, 0), 0);
	assert_int_equal(store_datasync(&s->st), 0);
	assert_int_equal(store_read(&s->st, buf, UNIT, 0), 0);
	assert_int_equal(*(char *)buf, 'n');
	free(buf);
}

static void test_store(void **state)
{
	struct sim_sched *sched = sim_sched_new(4);
	struct sim_disk *d = sim_disk_new();
	struct sim_store s;
	struct rng rng = {1};

	(void)state;
	sim_store_init(&s, d);
	sim_spawn(sched, "io", nested_inner, &s);
	unsigned steps = 0;
	while (sim_step(sched) == SIM_RUNNING)
		steps++;
	assert_true(steps >= 6); /* three operations, each with an issue and a completion */
	struct sim_disk *after = sim_disk_power_loss(d, SIM_LOSS_NONE_KEPT, &rng);
	assert_int_equal(at(after, 0), 'n');
	sim_disk_free(after);
	s.fail_at = s.ios + 1;
	assert_int_equal(store_datasync(&s.st), -EIO);
	assert_int_equal(store_datasync(&s.st), 0);
	sim_sched_free(sched);
	sim_disk_free(d);
}

/* Units of 16 that are lost when a durable write fails with @err, and a sync succeeds then. */
static unsigned lost_with_dsync(errint_t err)
{
	struct sim_disk *d = sim_disk_new();
	void *buf = store_buffer(UNIT);
	struct rng rng = {1};
	struct sim_store s;
	unsigned lost = 0;

	sim_store_init(&s, d);
	for (unsigned i = 0; i < 16; i++)
		put(d, 'a', i * UNIT, UNIT);
	s.fail_at = s.ios + 1;
	s.fail_err = err;
	assert_int_equal(store_write_dsync(&s.st, buf, UNIT, 16 * UNIT), err);
	assert_int_equal(store_datasync(&s.st), 0);
	struct sim_disk *after = sim_disk_power_loss(d, SIM_LOSS_NONE_KEPT, &rng);
	for (unsigned i = 0; i < 16; i++)
		lost += at(after, i * UNIT) == '.';
	sim_disk_free(after);
	sim_disk_free(d);
	free(buf);
	return lost;
}

static void test_failed_dsync(void **state)
{
	(void)state;
	assert_in_range(lost_with_dsync(-EIO), 1, 15);
	assert_int_equal(lost_with_dsync(-ENOSPC), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sync),	    cmocka_unit_test(test_sync_and_flight),
		cmocka_unit_test(test_dsync),	    cmocka_unit_test(test_punch_and_length),
		cmocka_unit_test(test_failed_sync), cmocka_unit_test(test_process_death),
		cmocka_unit_test(test_outcomes),    cmocka_unit_test(test_differential),
		cmocka_unit_test(test_sched),	    cmocka_unit_test(test_deadlock),
		cmocka_unit_test(test_store),	    cmocka_unit_test(test_failed_dsync),
	};

	return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
