/* SPDX-License-Identifier: MIT */
/* The random operations of a program, each a task that tells the oracle what it did. */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/crash.h"
#include "tests/lib/sim_pages.h"

const char *const op_names[OPS] = {
	[OP_WRITE] = "write",
	[OP_FULL_WRITE] = "full-write",
	[OP_FUA] = "fua",
	[OP_DISCARD] = "discard",
	[OP_TRIM] = "trim",
	[OP_ZEROES] = "zeroes",
	[OP_READ] = "read",
	[OP_FLUSH] = "flush",
	[OP_CHECKPOINT] = "checkpoint",
	[OP_MAINTAIN] = "maintain",
	[OP_RESIZE] = "resize",
	[OP_SNAPSHOT] = "snapshot",
	[OP_SNAP_DELETE] = "snap-delete",
	[OP_ROLLBACK] = "rollback",
	[OP_RECLAIM] = "reclaim",
	[OP_SNAP_READ] = "snap-read",
};

/* One operation under way on sectors k .. k + n - 1. */
struct job {
	struct run *r;
	enum op op;
	unsigned slot;
	unsigned k, n;
	uint32_t *index; /* writes: each sector's place in its history; reads: the oldest allowed */
	uint8_t *buf;
	uint64_t size; /* resize: to this */
	uint32_t version;
	bool nowait;
	void *snapshot; /* snapshot_job() */
};

static void job_free(struct job *j)
{
	free(j->index);
	free(j->buf);
	free(j);
}

/* An operation has failed: it may, after an injected error or on a full image. */
static void check_error(const struct job *j, errint_t err, const char *what)
{
	if (run_may_fail(j->r, j->op, err))
		counts.no_space += err == -ENOSPC;
	else
		crash_fail("%s of %u sectors from %u: error %d", what, j->n, j->k, err);
}

static void write_done(struct job *j, errint_t err, const char *what)
{
	struct oracle *o = j->r->o;

	if (err)
		check_error(j, err, what);
	for (unsigned i = 0; i < j->n && !err; i++) {
		if (j->op == OP_FUA)
			oracle_ack_durable(o, j->k + i, j->index[i]);
		else
			oracle_ack(o, j->k + i, j->index[i]);
	}
	oracle_set_busy(o, j->k, j->n, false);
}

static uint64_t job_offset(const struct job *j)
{
	return zone_offset(&j->r->cfg->zones, j->k);
}

static void do_write(struct job *j)
{
	struct world *w = j->r->w;
	size_t len = (size_t)j->n * 512;
	bool fua = j->op == OP_FUA;

	write_done(j,
		   j->nowait ? nowait_write(w, j->slot, j->buf, job_offset(j), len, fua)
			     : engine_write(w->thread[j->slot], j->buf, job_offset(j), len, fua),
		   "write");
}

static void do_discard(struct job *j)
{
	write_done(j, engine_discard(j->r->w->thread[j->slot], job_offset(j), (uint64_t)j->n * 512),
		   "discard");
}

/* A discard of anything but whole clusters may leave what it likes: the zeros are issued, but not
 * acknowledged. */
static void do_trim(struct job *j)
{
	errint_t err =
		engine_discard(j->r->w->thread[j->slot], job_offset(j), (uint64_t)j->n * 512);

	if (err)
		check_error(j, err, "trim");
	oracle_set_busy(j->r->o, j->k, j->n, false);
}

static void do_zeroes(struct job *j)
{
	write_done(
		j,
		engine_write_zeroes(j->r->w->thread[j->slot], job_offset(j), (uint64_t)j->n * 512),
		"write-zeroes");
}

static void do_read(struct job *j)
{
	struct oracle *o = j->r->o;
	char history[512];
	errint_t err;

	if (j->nowait)
		err = nowait_read(j->r->w, j->slot, j->buf, job_offset(j), (size_t)j->n * 512);
	else
		err = engine_read(j->r->w->thread[j->slot], j->buf, job_offset(j),
				  (size_t)j->n * 512);
	/* A disk that became smaller since the range was chosen has no such sectors. */
	bool gone = err == -EINVAL && job_offset(j) + (uint64_t)j->n * 512 > oracle_min_size(o);
	if (err && !gone)
		check_error(j, err, "read");
	for (unsigned i = 0; i < j->n && !err; i++) {
		unsigned k = j->k + i;
		value v = value_read(j->buf + i * 512, k);

		if (!oracle_allows(o, k, v, j->index[i]))
			crash_fail("read: sector %u holds %s%" PRIu32 ", allowed from %" PRIu32
				   ": %s",
				   k, v == VALUE_BAD ? "no value of it, " : "", v, j->index[i],
				   oracle_describe(o, k, history, sizeof(history)));
	}
	oracle_read_end(o);
}

static void do_flush(struct job *j)
{
	struct run *r = j->r;
	uint32_t *acked = oracle_flush_begin(r->o);
	errint_t err;

	err = j->op == OP_CHECKPOINT ? image_checkpoint(r->w->im)
				     : engine_flush(r->w->thread[j->slot]);
	if (!err) {
		oracle_flush_end(r->o, acked);
		return;
	}
	free(acked);
	check_error(j, err, "flush");
}

static void do_maintain(struct job *j)
{
	errint_t err = image_maintain(j->r->w->im);

	if (err)
		check_error(j, err, "maintain");
}

/* As image_resize() asks: what remains of the last cluster is overwritten first. */
static errint_t zero_tail(struct job *j, uint64_t old)
{
	uint64_t cluster = 1ull << j->r->cfg->params.cluster_shift;
	uint64_t end = (j->size + cluster - 1) / cluster * cluster;

	if (end > old)
		end = old;
	if (j->size >= end)
		return 0;
	return engine_write_zeroes(j->r->w->thread[j->slot], j->size, end - j->size);
}

static void do_resize(struct job *j)
{
	struct run *r = j->r;
	bool begun = run_resize_begin(r, j->size);
	errint_t err = zero_tail(j, image_size(r->w->im));

	if (!err)
		err = image_resize(r->w->im, j->size, true);
	run_resize_end(r, begun, err);
	if (!err) {
		for (unsigned i = 0; i < j->n; i++)
			if (zone_offset(&r->cfg->zones, j->k + i) >= j->size)
				oracle_ack_durable(r->o, j->k + i, j->index[i]);
	} else {
		check_error(j, err, "resize");
	}
	oracle_set_busy(r->o, j->k, j->n, false);
}

static void do_snapshot(struct job *j)
{
	snapshot_do(j->snapshot, j->op);
}

static void run_job(void *arg)
{
	static void (*const fn[OPS])(struct job *) = {
		[OP_WRITE] = do_write,
		[OP_FULL_WRITE] = do_write,
		[OP_FUA] = do_write,
		[OP_DISCARD] = do_discard,
		[OP_TRIM] = do_trim,
		[OP_ZEROES] = do_zeroes,
		[OP_READ] = do_read,
		[OP_FLUSH] = do_flush,
		[OP_MAINTAIN] = do_maintain,
		[OP_CHECKPOINT] = do_flush,
		[OP_RESIZE] = do_resize,
		[OP_SNAPSHOT] = do_snapshot,
		[OP_SNAP_DELETE] = do_snapshot,
		[OP_ROLLBACK] = do_snapshot,
		[OP_RECLAIM] = do_snapshot,
		[OP_SNAP_READ] = do_snapshot,
	};
	struct job *j = arg;
	struct world *w = j->r->w;

	crash_trace("begin %s %u+%u at %#" PRIx64 " version %" PRIu32, op_names[j->op], j->k, j->n,
		    j->n ? job_offset(j) : 0, j->version);
	fn[j->op](j);
	crash_trace("end %s %u+%u", op_names[j->op], j->k, j->n);
	w->thread_busy[j->slot] = false;
	counts.ops[j->op]++;
	job_free(j);
}

/* ---- choosing --------------------------------------------------------------------------- */

/* Sectors of an operation: within a zone, of a size that the operation likes. */
static void choose_range(struct job *j)
{
	struct run *r = j->r;
	const struct zone *z = &r->cfg->zones.zone[rng_below(&r->rng, r->cfg->zones.n)];
	unsigned cluster = 1u << (r->cfg->params.cluster_shift - 9);
	unsigned align = 1, max = 16;

	if (j->op == OP_FULL_WRITE || j->op == OP_DISCARD) {
		align = cluster;
		max = rng_chance(&r->rng, 75) ? 1 : 3;
	} else if (rng_chance(&r->rng, 30)) {
		align = 8;
		max = 4;
	} else if (rng_chance(&r->rng, 30)) {
		align = cluster / 16;
		max = 16;
	} else if (rng_chance(&r->rng, 15)) {
		max = 2 * cluster + cluster / 2;
	}
	unsigned places = (z->sectors + align - 1) / align;
	j->k = z->first + (unsigned)rng_below(&r->rng, places) * align;
	j->n = (1 + (unsigned)rng_below(&r->rng, max)) * align;
	if (j->k + j->n > z->first + z->sectors)
		j->n = z->first + z->sectors - j->k;
}

/* Give the sectors new values; some of them compress well. */
static void choose_values(struct job *j)
{
	struct run *r = j->r;
	unsigned easy = (unsigned)rng_below(&r->rng, 101);
	bool zeros = j->op == OP_DISCARD || j->op == OP_TRIM || j->op == OP_ZEROES ||
		     rng_chance(&r->rng, 4);
	uint32_t version = j->version = ++r->version;

	j->index = sim_calloc(j->n, sizeof(*j->index));
	j->buf = sim_calloc(j->n, 512);
	for (unsigned i = 0; i < j->n; i++) {
		value v = zeros ? 0 : 2 * version + rng_chance(&r->rng, easy);

		j->index[i] = oracle_issue(r->o, j->k + i, v);
		value_fill(j->buf + i * 512, j->k + i, v);
	}
	oracle_set_busy(r->o, j->k, j->n, true);
}

static void choose_oldest(struct job *j)
{
	j->index = sim_calloc(j->n, sizeof(*j->index));
	j->buf = sim_calloc(j->n, 512);
	for (unsigned i = 0; i < j->n; i++)
		j->index[i] = oracle_acked(j->r->o, j->k + i);
	oracle_read_begin(j->r->o);
}

/* Cut the last zone somewhere, or make it whole again; nobody else works in it meanwhile. */
static bool choose_resize(struct job *j)
{
	struct run *r = j->r;
	const struct zone *z = &r->cfg->zones.zone[r->cfg->zones.n - 1];

	j->k = z->first;
	j->n = z->sectors;
	if (z->sectors < 2 || oracle_busy(r->o, j->k, j->n))
		return false;
	j->size = z->off + 512 * (1 + rng_below(&r->rng, z->sectors));
	if (rng_chance(&r->rng, 50))
		j->size = r->cfg->params.size;
	j->index = sim_calloc(j->n, sizeof(*j->index));
	for (unsigned i = 0; i < j->n; i++)
		if (z->off + i * 512 >= j->size && !run_stopped(r))
			j->index[i] = oracle_issue(r->o, j->k + i, 0);
	oracle_set_busy(r->o, j->k, j->n, true);
	return true;
}

static bool prepare(struct job *j)
{
	struct run *r = j->r;

	switch (j->op) {
	case OP_FLUSH:
	case OP_CHECKPOINT:
	case OP_MAINTAIN:
		return true;
	case OP_RESIZE:
		return choose_resize(j);
	case OP_SNAPSHOT:
	case OP_SNAP_DELETE:
	case OP_ROLLBACK:
	case OP_RECLAIM:
	case OP_SNAP_READ:
		j->snapshot = snapshot_job(r, j->op, j->slot);
		return j->snapshot;
	default:
		break;
	}
	choose_range(j);
	if (zone_offset(&r->cfg->zones, j->k) + (uint64_t)j->n * 512 > oracle_min_size(r->o))
		return false;
	if (j->op == OP_READ) {
		choose_oldest(j);
		return true;
	}
	if (oracle_busy(r->o, j->k, j->n))
		return false;
	choose_values(j);
	return true;
}

static enum op choose_op(struct run *r)
{
	unsigned total = 0, i = 0;

	for (unsigned k = 0; k < OPS; k++)
		total += r->cfg->weight[k];
	unsigned at = (unsigned)rng_below(&r->rng, total);
	while (at >= r->cfg->weight[i])
		at -= r->cfg->weight[i++];
	return (enum op)i;
}

void run_random_op(struct run *r)
{
	struct job *j = sim_calloc(1, sizeof(*j));
	unsigned slot = 0;

	while (slot < MAX_TASKS && r->w->thread_busy[slot])
		slot++;
	assert(slot < MAX_TASKS);
	j->r = r;
	j->op = choose_op(r);
	j->slot = slot;
	j->nowait = rng_chance(&r->rng, r->cfg->nowait);
	if (!prepare(j)) {
		job_free(j);
		return;
	}
	r->w->thread_busy[slot] = true;
	sim_spawn(r->w->sched, op_names[j->op], run_job, j);
}
