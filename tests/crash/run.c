/* SPDX-License-Identifier: MIT */
/* A program of random operations, its crashes, and what comes after them. */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "image/core.h"
#include "tests/crash/crash.h"
#include "tests/lib/sim_pages.h"

#define MAX_DEPTH    3u
#define MAX_ATTEMPTS 3u

/* ---- recovery --------------------------------------------------------------------------- */

static struct world *new_world(struct run *r, struct sim_disk *disk)
{
	return world_new(r->cfg, disk, rng_next(&r->rng));
}

/* A recovery that nothing disturbs. */
static void recover_plainly(struct run *r, struct sim_disk *disk, const char *when)
{
	struct world *w = new_world(r, disk);

	crash_trace("recover %p plainly after %s", (void *)disk, when);
	errint_t err = world_open(w, false);
	if (err)
		crash_fail("%s: cannot open: error %d", when, err);
	world_verify(w, r->o, NULL, when);
	world_free(w);
}

/* Opening to read changes nothing, and shows the same. */
static void recover_read_only(struct run *r, const struct sim_disk *disk, const char *when)
{
	struct world *w = new_world(r, sim_disk_clone(disk));
	errint_t err = world_open(w, true);

	if (err)
		crash_fail("%s: cannot open read-only: error %d", when, err);
	world_verify(w, r->o, NULL, when);
	for (unsigned io = SIM_WRITE; io < SIM_IOS; io++)
		if (w->store.count[io])
			crash_fail("%s: a read-only open has written", when);
	counts.read_only++;
	world_free(w);
}

/* Kill the opening of @w, which has begun, at a random step.  Returns the disk as that leaves it,
 * or NULL when the opening was complete before. */
static struct sim_disk *kill_recovery(struct run *r, struct world *w, const char *when)
{
	uint64_t steps = rng_below(&r->rng, r->open_steps + r->open_steps / 4 + 2);
	enum sim_state state = sim_run(w->sched, steps);
	struct sim_disk *disk;

	if (state != SIM_RUNNING)
		return NULL;
	counts.killed_recoveries++;
	crash_trace("kill the recovery of %p", (void *)w->disk);
	enum sim_loss how = (enum sim_loss)rng_below(&r->rng, SIM_LOSSES);
	counts.power[how]++;
	recover_plainly(r, sim_disk_power_loss(w->disk, how, &r->rng), "power loss in recovery");
	disk = sim_disk_process_death(w->disk, &r->rng);
	counts.process++;
	(void)when;
	return disk;
}

/* One attempt to open @disk.  Returns the open world; or NULL, and the disk after the attempt was
 * killed or failed by an injected error. */
static struct world *try_recovery(struct run *r, struct sim_disk **disk, bool last,
				  const char *when)
{
	crash_trace("recover %p after %s", (void *)*disk, when);
	struct world *w = new_world(r, *disk);
	struct sim_disk *left = NULL;
	errint_t err;

	*disk = NULL;
	world_open_begin(w, false);
	if (!last && rng_chance(&r->rng, 4))
		w->store.fail_at = 1 + rng_below(&r->rng, 60);
	else if (!last && rng_chance(&r->rng, 40))
		left = kill_recovery(r, w, when);
	err = world_open_end(w);
	if (!left && err && w->store.failed) {
		counts.failed_recoveries++;
		left = sim_disk_process_death(w->disk, &r->rng);
	}
	if (left) {
		*disk = left;
		world_free(w);
		return NULL;
	}
	if (err)
		crash_fail("%s: cannot open: error %d", when, err);
	w->store.fail_at = 0; /* the injected error did not come to pass */
	return w;
}

/* Close it cleanly: then everything is durable. */
static struct world *close_and_reopen(struct run *r, struct world *w, const struct oracle *o,
				      const char *when)
{
	struct sim_disk *disk;
	errint_t err = world_close(w);

	if (err)
		crash_fail("%s: cannot close: error %d", when, err);
	disk = sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, &r->rng);
	world_free(w);
	w = new_world(r, disk);
	err = world_open(w, false);
	if (err)
		crash_fail("%s: cannot open after closing: error %d", when, err);
	world_verify(w, o, NULL, "after closing");
	counts.closed++;
	return w;
}

/* Open @disk, which is taken over, as often as it takes, and verify.  @next: the oracle of what is
 * there. */
static struct world *recover(struct run *r, struct sim_disk *disk, struct oracle **next,
			     const char *when)
{
	struct world *w = NULL;

	if (rng_chance(&r->rng, 8))
		recover_read_only(r, disk, when);
	for (unsigned attempt = 1; !w; attempt++)
		w = try_recovery(r, &disk, attempt >= MAX_ATTEMPTS, when);
	crash_trace("verify %p", (void *)w->disk);
	world_verify(w, r->o, next, when);
	if (rng_chance(&r->rng, 10))
		w = close_and_reopen(r, w, *next, when);
	return w;
}

/* ---- crashes ---------------------------------------------------------------------------- */

/* Keep the last of several recovered worlds. */
static void keep(struct world **kept, struct oracle **kept_o, struct world *w, struct oracle *o)
{
	world_free(*kept);
	oracle_free(*kept_o);
	*kept = w;
	*kept_o = o;
}

static struct world *crash_everywhere(struct run *r, bool death, struct oracle **o)
{
	const struct sim_disk *d = r->w->disk;
	uint64_t limit = r->cfg->exhaustive;
	uint64_t n = death ? sim_disk_death_outcomes(d, limit) : sim_disk_power_outcomes(d, limit);
	struct world *last = NULL;

	*o = NULL;
	for (uint64_t i = 0; i < n; i++) {
		struct oracle *next;
		struct world *w = recover(
			r, death ? sim_disk_death_outcome(d, i) : sim_disk_power_outcome(d, i),
			&next, death ? "process death" : "power loss");

		++*(death ? &counts.process_all : &counts.power_all);
		keep(&last, o, w, next);
	}
	if (!n)
		counts.skipped++;
	return last;
}

struct world *run_crash(struct run *r, struct oracle **o)
{
	bool death = rng_chance(&r->rng, r->cfg->process);
	enum sim_loss how = (enum sim_loss)rng_below(&r->rng, SIM_LOSSES + 3);
	struct world *w;

	if (r->cfg->exhaustive) {
		w = crash_everywhere(r, death, o);
		if (w)
			return w;
	}
	crash_trace("crash %p", (void *)r->w->disk);
	if (death) {
		counts.process++;
		return recover(r, sim_disk_process_death(r->w->disk, &r->rng), o, "process death");
	}
	if (how > SIM_LOSS_RANDOM)
		how = SIM_LOSS_RANDOM;
	counts.power[how]++;
	return recover(r, sim_disk_power_loss(r->w->disk, how, &r->rng), o, sim_loss_name(how));
}

/* ---- programs --------------------------------------------------------------------------- */

/* Crashes are most telling around syncs and what follows them. */
static void note_event(void *arg, enum sim_io io, uint64_t off, size_t len, bool completed)
{
	struct run *r = arg;

	(void)len, (void)completed;
	if (io != SIM_WRITE || sim_disk_classify(r->w->disk, off) != SIM_DATA)
		r->hot = 4;
}

static void run_steps(struct run *r);

static void resume(struct run *r, struct world *w, struct oracle *o)
{
	struct run next = {
		.cfg = r->cfg,
		.rng = rng_fork(&r->rng),
		.w = w,
		.o = o,
		.depth = r->depth + 1,
		.version = r->version,
		.open_steps = r->open_steps,
	};

	counts.resumed++;
	run_steps(&next);
	r->version = next.version;
}

static void maybe_crash(struct run *r)
{
	unsigned permille = r->cfg->crashes * (r->hot ? 6 : 1);
	struct oracle *o;

	if (r->hot)
		r->hot--;
	if (!rng_permille(&r->rng, permille < 1000 ? permille : 1000))
		return;
	struct world *w = run_crash(r, &o);
	if (r->depth + 1 < MAX_DEPTH && rng_chance(&r->rng, 12)) {
		resume(r, w, o);
		return;
	}
	world_free(w);
	oracle_free(o);
}

/* ---- errors that operations may meet ------------------------------------------------------ */

static bool needs_space(enum op op)
{
	return op != OP_READ && op != OP_FLUSH && op != OP_CHECKPOINT && op != OP_MAINTAIN &&
	       op != OP_RECLAIM && op != OP_SNAP_READ;
}

/*
 * After a failed sync or durable write, or a checkpoint that could not be written, nothing is
 * written any more, but everything can be read.  No other failure leads there.
 */
static bool may_fail_stop(const struct sim_store *st)
{
	switch (st->failed_io) {
	case SIM_SYNC:
	case SIM_DSYNC:
		return true;
	case SIM_WRITE: /* of a checkpoint, if not of data: nodes are among data */
		return true;
	default:
		return false;
	}
}

/* The image goes on after the error. */
static bool may_fail_alone(const struct sim_store *st, enum op op, errint_t err)
{
	switch (st->failed_io) {
	case SIM_READ: /* of a node or bitmap, or of data */
		return err == -EIO && op != OP_FLUSH;
	case SIM_WRITE:
	case SIM_DSYNC:
		return err == st->fail_err && needs_space(op);
	case SIM_TRUNCATE: /* space for nodes is reserved ahead (A3) */
		return err == st->fail_err && (err != -ENOSPC || needs_space(op)) &&
		       op != OP_READ && op != OP_FLUSH;
	case SIM_PUNCH:
		return err == st->fail_err &&
		       (op == OP_TRIM || op == OP_DISCARD || op == OP_ZEROES);
	default:
		return false;
	}
}

bool run_may_fail(const struct run *r, enum op op, errint_t err)
{
	const struct sim_store *st = &r->w->store;

	if (err == -ENOSPC && r->cfg->nearly_full && needs_space(op))
		return true;
	if (!st->failed)
		return false;
	if (!r->w->im->failed)
		return may_fail_alone(st, op, err);
	return may_fail_stop(st) && op != OP_READ;
}

/* The same for closing, after which there is no image to ask; @failed: it was in fail-stop. */
static bool close_may_fail(const struct run *r, bool failed, bool met_before)
{
	const struct sim_store *st = &r->w->store;

	if (failed)
		return may_fail_stop(st);
	if (!st->failed || (met_before && !st->fail_on))
		return false;
	return st->failed_io != SIM_PUNCH &&
	       (st->failed_io != SIM_TRUNCATE || st->fail_err != -ENOSPC);
}

/* ---- a run ------------------------------------------------------------------------------- */

/* Every task comes to its end; a clean close makes everything durable. */
static void end_run(struct run *r)
{
	errint_t err;

	world_drain(r->w);
	bool failed = r->w->im->failed, met = r->w->store.failed;
	err = world_close(r->w);
	if (err && !close_may_fail(r, failed, met))
		crash_fail("close: error %d", err);
	if (!err && !r->w->store.failed)
		oracle_flush_end(r->o, oracle_flush_begin(r->o));
	counts.power[SIM_LOSS_NONE_KEPT]++;
	struct oracle *o;
	struct world *w = recover(r, sim_disk_power_loss(r->w->disk, SIM_LOSS_NONE_KEPT, &r->rng),
				  &o, "at the end");
	world_free(w);
	oracle_free(o);
	world_free(r->w);
	oracle_free(r->o);
}

static void inject_error(struct run *r)
{
	struct sim_store *st = &r->w->store;

	if (!r->depth && r->cfg->fail_at) {
		st->fail_at = st->ios + r->cfg->fail_at;
		st->fail_err = r->cfg->fail_err;
		st->fail_on = r->cfg->fail_on;
	} else if (r->cfg->inject && rng_chance(&r->rng, 50)) {
		st->fail_at = st->ios + 1 + rng_below(&r->rng, 150);
		st->fail_err = rng_chance(&r->rng, 30) ? -ENOSPC : -EIO;
		/* The host has space for metadata: only one write can lack it. */
		st->fail_on = st->fail_err == -EIO && rng_chance(&r->rng, 30);
	} else {
		return;
	}
	counts.injected++;
}

static void run_steps(struct run *r)
{
	unsigned steps = r->depth ? r->cfg->steps / 3 : r->cfg->steps;

	r->w->store.event = note_event;
	r->w->store.event_arg = r;
	inject_error(r);
	for (unsigned i = 0; i < steps; i++) {
		counts.steps++;
		if (sim_tasks(r->w->sched) < r->cfg->tasks && rng_chance(&r->rng, 50))
			run_random_op(r);
		if (sim_step(r->w->sched) == SIM_STUCK) {
			sim_sched_dump(r->w->sched, stdout);
			crash_fail("deadlock");
		}
		maybe_crash(r);
	}
	end_run(r);
}

/* The first open of an image, which is killed like any other, makes its journal. */
static void measure_open(struct run *r, const struct sim_disk *disk)
{
	struct world *w = new_world(r, sim_disk_clone(disk));

	world_open_begin(w, false);
	while (sim_step(w->sched) == SIM_RUNNING)
		r->open_steps++;
	if (world_open_end(w))
		crash_fail("cannot open a new image");
	world_free(w);
}

void run_program(const struct config *cfg)
{
	struct run r = {.cfg = cfg, .rng = {cfg->seed}, .version = 1u << 20};

	crash_report_seed(cfg->seed);
	struct sim_disk *disk = world_base(cfg);
	struct oracle *first = oracle_new(cfg->zones.sectors);

	counts.runs++;
	snapshot_oracle(cfg, first);
	measure_open(&r, disk);
	r.o = first;
	r.w = recover(&r, disk, &r.o, "first open");
	oracle_free(first);
	run_steps(&r);
}
