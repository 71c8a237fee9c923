/* SPDX-License-Identifier: MIT */
/* A program of random operations, its crashes, and what comes after them. */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "image/core.h"
#include "tests/crash/crash.h"
#include "tests/lib/sim_pages.h"
#include "tests/lib/vj_box.h"

#define MAX_DEPTH 3u

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
	struct vj_copy *vj = death ? world_vj(r->w) : NULL;
	uint64_t limit = r->cfg->exhaustive;
	uint64_t n = death ? sim_disk_death_outcomes(d, limit) : sim_disk_power_outcomes(d, limit);
	struct world *last = NULL;

	*o = NULL;
	for (uint64_t i = 0; i < n; i++) {
		struct oracle *next;
		struct remains left = {death ? sim_disk_death_outcome(d, i)
					     : sim_disk_power_outcome(d, i),
				       vj_copy_clone(vj), death && r->w->box};
		struct world *w = recover(r, left, &next, death ? "process death" : "power loss");

		++*(death ? &counts.process_all : &counts.power_all);
		keep(&last, o, w, next);
	}
	if (!n)
		counts.skipped++;
	vj_copy_free(vj);
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
		return recover(r, recover_death(r, r->w), o, "process death");
	}
	if (how > SIM_LOSS_RANDOM)
		how = SIM_LOSS_RANDOM;
	counts.power[how]++;
	struct vj_copy *old = world_vj(r->w);
	w = recover(r, (struct remains){.disk = sim_disk_power_loss(r->w->disk, how, &r->rng)}, o,
		    sim_loss_name(how));
	if (old && rng_chance(&r->rng, 15))
		recover_stale(r, w, old);
	vj_copy_free(old);
	return w;
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
	/* Between two stores of a publication: what only the volatile journal has to get right. */
	unsigned permille = r->cfg->crashes * (sim_paused(r->w->sched) ? 3 : r->hot ? 6 : 1);
	struct oracle *o;

	if (r->hot)
		r->hot--;
	if (!rng_permille(&r->rng, permille < 1000 ? permille : 1000))
		return;
	if (r->cfg->rarely > 1 && rng_below(&r->rng, r->cfg->rarely))
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

bool run_stopped(const struct run *r)
{
	return r->w->im->failed;
}

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
	case SIM_PUNCH: /* a resize makes what remains of its last cluster zeros */
		return err == st->fail_err &&
		       (op == OP_TRIM || op == OP_DISCARD || op == OP_ZEROES || op == OP_RESIZE);
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
	if (!run_stopped(r))
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

/* ---- the size of the disk ---------------------------------------------------------------- */

bool run_resize_begin(struct run *r, uint64_t size)
{
	if (run_stopped(r))
		return false;
	oracle_issue_size(r->o, size);
	return true;
}

void run_resize_end(struct run *r, bool begun, errint_t err)
{
	uint64_t size = image_size(r->w->im);

	if (!begun && !err)
		crash_fail("the size was changed after the image had stopped");
	if (!begun || (err && run_stopped(r)))
		return; /* what an unfinished change has left on disk is not known any more */
	if (err)
		oracle_drop_size(r->o);
	else
		oracle_ack_size(r->o);
	if (!oracle_allows_size(r->o, size))
		crash_fail("after a change of size, error %d, the disk has %" PRIu64 " bytes", err,
			   size);
}

/* ---- a run ------------------------------------------------------------------------------- */

/* Every task comes to its end; a clean close makes everything durable. */
static void end_run(struct run *r)
{
	errint_t err;

	world_drain(r->w);
	bool failed = run_stopped(r), met = r->w->store.failed;
	err = world_close(r->w);
	if (err && !close_may_fail(r, failed, met))
		crash_fail("close: error %d", err);
	struct vj_copy *vj = world_vj(r->w);
	if (!err && vj)
		crash_fail("close has left the volatile journal");
	vj_copy_free(vj);
	if (!err && !r->w->store.failed)
		oracle_flush_end(r->o, oracle_flush_begin(r->o));
	counts.power[SIM_LOSS_NONE_KEPT]++;
	struct oracle *o;
	struct remains left = {
		.disk = sim_disk_power_loss(r->w->disk, SIM_LOSS_NONE_KEPT, &r->rng)};
	struct world *w = recover(r, left, &o, "at the end");
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
		if (!sim_paused(r->w->sched) && sim_tasks(r->w->sched) < r->cfg->tasks &&
		    rng_chance(&r->rng, 50))
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
	struct world *w = world_new(r->cfg, sim_disk_clone(disk), rng_next(&r->rng));

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
	r.w = recover(&r, (struct remains){.disk = disk}, &r.o, "first open");
	oracle_free(first);
	run_steps(&r);
}
