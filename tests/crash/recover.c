/* SPDX-License-Identifier: MIT */
/*
 * What comes after a crash: openings and recoveries, some of which are crashed or fail themselves.
 *
 * A power loss leaves the disk.  The death of the process leaves the volatile journal as well: then
 * the device is recovered, and every sector has to hold what was acknowledged last.
 */
#include "config.h"

#include <string.h>

#include "image/vj_priv.h"
#include "tests/crash/crash.h"

#define MAX_ATTEMPTS 3u

static struct world *new_world(struct run *r, struct sim_disk *disk)
{
	return world_new(r->cfg, disk, rng_next(&r->rng));
}

/* ---- openings of their own --------------------------------------------------------------- */

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

static void expect_no_writes(const struct world *w, const char *when, const char *who)
{
	for (unsigned io = SIM_WRITE; io < SIM_IOS; io++)
		if (w->store.count[io] && (io != SIM_SYNC || w->store.st.read_only))
			crash_fail("%s: %s has written", when, who);
}

/* Opening to read changes nothing, and shows the same. */
static void recover_read_only(struct run *r, const struct sim_disk *disk, const char *when)
{
	struct world *w = new_world(r, sim_disk_process_death(disk, &r->rng));
	errint_t err = world_open(w, true);

	if (err)
		crash_fail("%s: cannot open read-only: error %d", when, err);
	world_verify(w, r->o, NULL, when);
	expect_no_writes(w, when, "a read-only open");
	counts.read_only++;
	world_free(w);
}

/* ---- what is refused ---------------------------------------------------------------------- */

/* Nobody may go on with @vj, which is taken over; the attempt changes neither. */
static void expect_refused(struct run *r, const struct sim_disk *disk, struct vj_copy *vj,
			   errint_t want, const char *what)
{
	struct world *w = new_world(r, sim_disk_process_death(disk, &r->rng));

	world_recover(w, vj);
	errint_t err = world_open(w, false);
	if (!err)
		crash_fail("a volatile journal that is %s was accepted", what);
	if (err != want)
		crash_fail("a volatile journal that is %s: error %d", what, err);
	expect_no_writes(w, what, "a recovery that was refused");
	struct vj_copy *after = world_vj(w);
	if (!after || after->len != vj->len || memcmp(after->bytes, vj->bytes, vj->len))
		crash_fail("a recovery that was refused has changed what is %s", what);
	counts.refused++;
	vj_copy_free(after);
	vj_copy_free(vj);
	world_free(w);
}

/* Sound ones that were changed a little. */
static void refuse_others(struct run *r, const struct remains *left)
{
	struct vj_copy *c = vj_copy_clone(left->vj);
	struct disk_vj *h = (void *)c->bytes;
	uint64_t tail = le64_get(h->tail), n = le64_get(h->head) - tail;
	uint64_t slots = 1ull << le32_get(h->shift);

	switch (rng_below(&r->rng, n ? 4 : 3)) {
	case 0:
		c->len -= 64 * (1 + rng_below(&r->rng, c->len / 64));
		expect_refused(r, left->disk, c, -EBADMSG, "truncated");
		break;
	case 1:
		h->boot[rng_below(&r->rng, 16)] ^= 1;
		h->crc = le32_make(checksum_vj(h));
		expect_refused(r, left->disk, c, -ESTALE, "of another boot");
		break;
	case 2:
		h->ino = le64_make(le64_get(h->ino) + 1);
		h->crc = le32_make(checksum_vj(h));
		expect_refused(r, left->disk, c, -ESTALE, "foreign");
		break;
	default:
		tail += rng_below(&r->rng, n);
		c->bytes[UNIT_SIZE + 64 * (tail & (slots - 1)) + rng_below(&r->rng, 64)] ^=
			(uint8_t)(1u << rng_below(&r->rng, 8));
		expect_refused(r, left->disk, c, -EBADMSG, "damaged in a slot");
	}
}

void recover_stale(struct run *r, struct world *w, const struct vj_copy *old)
{
	if (!vj_copy_poisoned(old))
		expect_refused(r, w->disk, vj_copy_clone(old), -ESTALE, "of another session");
}

/* ---- recoveries --------------------------------------------------------------------------- */

struct remains recover_death(struct run *r, const struct world *w)
{
	struct remains left = {.vj = world_vj(w), .acked = w->box};
	bool late = left.vj && !w->store.failed && rng_chance(&r->rng, r->cfg->late);

	left.disk = late ? sim_disk_process_death_late(w->disk)
			 : sim_disk_process_death(w->disk, &r->rng);
	counts.late += late;
	return left;
}

/* Kill the opening of @w, which has begun, at a random step.  *left: what that leaves. Returns
 * false when the opening was complete before. */
static bool kill_recovery(struct run *r, struct world *w, struct remains *left)
{
	uint64_t steps = rng_below(&r->rng, r->open_steps + r->open_steps / 4 + 2);
	enum sim_state state = sim_run(w->sched, steps);

	if (state != SIM_RUNNING)
		return false;
	counts.killed_recoveries++;
	crash_trace("kill the recovery of %p", (void *)w->disk);
	enum sim_loss how = (enum sim_loss)rng_below(&r->rng, SIM_LOSSES);
	counts.power[how]++;
	recover_plainly(r, sim_disk_power_loss(w->disk, how, &r->rng), "power loss in recovery");
	bool acked = left->acked;
	*left = recover_death(r, w);
	left->acked = acked;
	counts.process++;
	return true;
}

/* The image had stopped, and what was acknowledged may be lost. */
static void give_up(struct run *r, struct world *w, struct remains *left, errint_t err)
{
	if (err != -EIO)
		crash_fail("a poisoned volatile journal: error %d", err);
	counts.poisoned++;
	left->acked = false;
	left->disk = sim_disk_process_death(w->disk, &r->rng);
}

/* One attempt to open what is left.  Returns the open world; or NULL, and in *left what there is
 * after the attempt was killed, refused, or failed by an injected error. */
static struct world *try_recovery(struct run *r, struct remains *left, bool last, const char *when)
{
	crash_trace("recover %p%s after %s", (void *)left->disk, left->vj ? " and the device" : "",
		    when);
	struct world *w = new_world(r, left->disk);
	bool poisoned = left->vj && vj_copy_poisoned(left->vj), killed = false;

	if (left->vj)
		world_recover(w, left->vj);
	vj_copy_free(left->vj);
	*left = (struct remains){.acked = left->acked};
	world_open_begin(w, false);
	if (!last && !poisoned && rng_chance(&r->rng, 4))
		w->store.fail_at = 1 + rng_below(&r->rng, 60);
	else if (!last && !poisoned && rng_chance(&r->rng, 40))
		killed = kill_recovery(r, w, left);
	errint_t err = world_open_end(w);
	if (!err && poisoned)
		crash_fail("%s: a poisoned volatile journal was accepted", when);
	if (err && poisoned) {
		give_up(r, w, left, err);
	} else if (err && !killed && w->store.failed) {
		bool acked = left->acked;
		counts.failed_recoveries++;
		*left = recover_death(r, w);
		left->acked = acked;
	} else if (err && !killed) {
		crash_fail("%s: cannot open: error %d", when, err);
	}
	if (left->disk) {
		world_free(w);
		return NULL;
	}
	w->store.fail_at = 0; /* the injected error did not come to pass */
	w->acked = left->acked;
	counts.recovered += w->recover;
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

struct world *recover(struct run *r, struct remains left, struct oracle **next, const char *when)
{
	struct world *w = NULL;

	if (rng_chance(&r->rng, 8))
		recover_read_only(r, left.disk, when);
	if (left.vj && !vj_copy_poisoned(left.vj) && rng_chance(&r->rng, 5))
		refuse_others(r, &left);
	for (unsigned attempt = 1; !w; attempt++)
		w = try_recovery(r, &left, attempt >= MAX_ATTEMPTS, when);
	crash_trace("verify %p", (void *)w->disk);
	world_verify(w, r->o, next, when);
	if (rng_chance(&r->rng, 10))
		w = close_and_reopen(r, w, *next, when);
	return w;
}
