/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: the operations on them, and what must hold of them after a crash.
 *
 * What a snapshot holds is known only roughly when it is taken: of each sector a value that was
 * acknowledged before or issued before the end.  It is read once, compared with that, and has to be
 * exactly what was read from then on.
 */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/snapshot.h"
#include "tests/crash/crash.h"
#include "tests/lib/sim_pages.h"

#define MAX_SNAPS 10u

enum fate {
	FREE,
	TAKING,	  /* may or may not exist */
	EXISTS,	  /* acknowledged */
	DELETING, /* may or may not exist */
};

struct snap {
	enum fate fate;
	bool exact; /* val is what it holds */
	bool busy;  /* an operation is under way */
	char name[16];
	uint64_t size;
	uint32_t *from; /* TAKING: index of the oldest value allowed, by sector */
	value *val;
};

struct snapset {
	unsigned sectors;
	unsigned names;
	struct snap snap[MAX_SNAPS];
};

struct snapset *snapset_new(unsigned sectors)
{
	struct snapset *s = sim_calloc(1, sizeof(*s));

	s->sectors = sectors;
	return s;
}

static void snap_free(struct snap *s)
{
	free(s->from);
	free(s->val);
	*s = (struct snap){.fate = FREE};
}

void snapset_free(struct snapset *s)
{
	for (unsigned i = 0; s && i < MAX_SNAPS; i++)
		snap_free(&s->snap[i]);
	free(s);
}

static struct snap *snap_named(struct snapset *s, const char *name)
{
	for (unsigned i = 0; i < MAX_SNAPS; i++)
		if (s->snap[i].fate != FREE && !strcmp(s->snap[i].name, name))
			return &s->snap[i];
	return NULL;
}

static struct snap *snap_new(struct snapset *s)
{
	for (unsigned i = 0; i < MAX_SNAPS; i++) {
		struct snap *n = &s->snap[i];

		if (n->fate != FREE)
			continue;
		n->val = sim_calloc(s->sectors, sizeof(*n->val));
		return n;
	}
	return NULL;
}

/* One that exists and that nobody is busy with. */
static struct snap *snap_random(struct run *r)
{
	struct snapset *s = oracle_snaps(r->o);
	unsigned first = (unsigned)rng_below(&r->rng, MAX_SNAPS);

	for (unsigned i = 0; i < MAX_SNAPS; i++) {
		struct snap *n = &s->snap[(first + i) % MAX_SNAPS];

		if (n->fate == EXISTS && n->exact && !n->busy)
			return n;
	}
	return NULL;
}

/* --- reading -------------------------------------------------------------------------------------
 */

struct reading {
	struct world *w;
	const struct oracle *o; /* of TAKING: what is allowed */
	struct snap *s;
	const char *when;
	unsigned slot;
	value *found; /* by sector */
};

static void check_value(const struct reading *rd, unsigned k, value v)
{
	const struct snap *s = rd->s;
	char history[512];

	rd->found[k] = v;
	if (s->exact && v != s->val[k])
		crash_fail("%s: snapshot %s: sector %u holds %" PRIu32 ", not %" PRIu32, rd->when,
			   s->name, k, v, s->val[k]);
	if (!s->exact && !oracle_allows(rd->o, k, v, s->from[k]))
		crash_fail("%s: snapshot %s: sector %u holds %" PRIu32 ", allowed from %" PRIu32
			   ": %s",
			   rd->when, s->name, k, v, s->from[k],
			   oracle_describe(rd->o, k, history, sizeof(history)));
}

static errint_t read_snapshot(struct reading *rd)
{
	const struct zones *zones = &rd->w->cfg->zones;
	struct snapshot_view *v;
	errint_t err = snapshot_view_open(rd->w->im, rd->s->name, &v);

	if (err)
		return err;
	if (rd->s->exact && snapshot_view_size(v) != rd->s->size)
		crash_fail("%s: snapshot %s has %" PRIu64 " bytes, not %" PRIu64, rd->when,
			   rd->s->name, snapshot_view_size(v), rd->s->size);
	rd->s->size = snapshot_view_size(v);
	for (unsigned i = 0; i < zones->n && !err; i++) {
		const struct zone *z = &zones->zone[i];
		uint64_t len = (uint64_t)z->sectors * 512;
		uint8_t *buf = sim_calloc(1, len);

		if (z->off >= rd->s->size)
			len = 0;
		else if (len > rd->s->size - z->off)
			len = rd->s->size - z->off;
		if (len)
			err = engine_snapshot_read(rd->w->thread[rd->slot], v, buf, z->off, len);
		for (unsigned k = 0; k < len / 512 && !err; k++)
			check_value(rd, z->first + k, value_read(buf + k * 512, z->first + k));
		free(buf);
	}
	snapshot_view_close(v);
	return err;
}

/* Read it, and know it exactly from then on. */
static errint_t pin(struct run *r, struct snap *s, unsigned slot)
{
	value *found = sim_calloc(oracle_sectors(r->o), sizeof(*found));
	struct reading rd = {r->w, r->o, s, "reading", slot, found};
	errint_t err = read_snapshot(&rd);

	if (!err && !s->exact) {
		free(s->val);
		s->val = found;
		s->exact = true;
		return 0;
	}
	free(found);
	return err;
}

/* --- operations ----------------------------------------------------------------------------------
 */

struct snap_job {
	struct run *r;
	struct snap *s, *keep;
	uint32_t *index;
	unsigned slot;
};

/* What is acknowledged now is in the snapshot, or something newer. */
static struct snap *begin_taking(struct run *r)
{
	struct snapset *set = oracle_snaps(r->o);
	struct snap *s = snap_new(set);

	if (!s)
		return NULL;
	snprintf(s->name, sizeof(s->name), "s%u", ++set->names);
	s->fate = TAKING;
	s->busy = true;
	s->from = sim_calloc(set->sectors, sizeof(*s->from));
	for (unsigned k = 0; k < set->sectors; k++)
		s->from[k] = oracle_acked(r->o, k);
	oracle_read_begin(r->o);
	return s;
}

static void end_taking(struct snap_job *j, struct snap *s, errint_t err)
{
	if (!err) {
		s->fate = EXISTS;
		err = pin(j->r, s, j->slot);
		if (err && !run_may_fail(j->r, OP_READ, err))
			crash_fail("reading snapshot %s: error %d", s->name, err);
	}
	s->busy = false;
	if (s->exact)
		oracle_read_end(j->r->o); /* else its history is needed */
}

static void do_create(struct snap_job *j)
{
	errint_t err = snapshot_create(j->r->w->im, j->s->name, NULL);

	if (err && !run_may_fail(j->r, OP_SNAPSHOT, err))
		crash_fail("taking snapshot %s: error %d", j->s->name, err);
	end_taking(j, j->s, err);
}

static void do_delete(struct snap_job *j)
{
	j->s->fate = DELETING;
	errint_t err = snapshot_delete(j->r->w->im, j->s->name);

	j->s->busy = false;
	if (!err)
		snap_free(j->s);
	else if (!run_may_fail(j->r, OP_SNAP_DELETE, err))
		crash_fail("deleting snapshot %s: error %d", j->s->name, err);
}

static void do_rollback(struct snap_job *j)
{
	struct run *r = j->r;
	unsigned n = oracle_sectors(r->o);
	bool begun = run_resize_begin(r, j->s->size);
	errint_t err = snapshot_rollback(r->w->im, j->s->name, j->keep ? j->keep->name : NULL);
	run_resize_end(r, begun, err);
	if (!err) {
		for (unsigned k = 0; k < n; k++)
			oracle_ack_durable(r->o, k, j->index[k]);
	} else if (!run_may_fail(r, OP_ROLLBACK, err)) {
		crash_fail("rolling back to snapshot %s: error %d", j->s->name, err);
	}
	if (j->keep)
		end_taking(j, j->keep, err);
	oracle_set_busy(r->o, 0, n, false);
	j->s->busy = false;
}

static void do_reclaim(struct snap_job *j)
{
	bool more;
	errint_t err = snapshot_reclaim(j->r->w->im, 3, &more);

	if (err && !run_may_fail(j->r, OP_RECLAIM, err))
		crash_fail("deleting in the background: error %d", err);
}

static void do_read(struct snap_job *j)
{
	errint_t err = pin(j->r, j->s, j->slot);

	if (err && !run_may_fail(j->r, OP_READ, err))
		crash_fail("reading snapshot %s: error %d", j->s->name, err);
	j->s->busy = false;
}

/* Everything becomes what the snapshot holds, so nobody else may be writing. */
static bool begin_rollback(struct snap_job *j)
{
	struct run *r = j->r;
	unsigned n = oracle_sectors(r->o);

	if (!j->s || oracle_any_busy(r->o))
		return false;
	j->s->busy = true;
	if (rng_chance(&r->rng, 50))
		j->keep = begin_taking(r);
	j->index = sim_calloc(n, sizeof(*j->index));
	for (unsigned k = 0; k < n && !run_stopped(r); k++)
		j->index[k] = oracle_issue(r->o, k, j->s->val[k]);
	oracle_set_busy(r->o, 0, n, true);
	return true;
}

static bool begin(struct snap_job *j, enum op op)
{
	if (op == OP_RECLAIM)
		return true;
	if (op == OP_SNAPSHOT) {
		j->s = begin_taking(j->r);
		return j->s;
	}
	j->s = snap_random(j->r);
	if (op == OP_ROLLBACK)
		return begin_rollback(j);
	if (j->s)
		j->s->busy = true;
	return j->s;
}

void *snapshot_job(struct run *r, enum op op, unsigned slot)
{
	struct snap_job *j = sim_calloc(1, sizeof(*j));

	j->r = r;
	j->slot = slot;
	if (begin(j, op))
		return j;
	free(j);
	return NULL;
}

void snapshot_do(void *arg, enum op op)
{
	struct snap_job *j = arg;

	switch (op) {
	case OP_SNAPSHOT:
		do_create(j);
		break;
	case OP_SNAP_DELETE:
		do_delete(j);
		break;
	case OP_ROLLBACK:
		do_rollback(j);
		break;
	case OP_RECLAIM:
		do_reclaim(j);
		break;
	default:
		do_read(j);
	}
	free(j->index);
	free(j);
}

/* --- after a crash -------------------------------------------------------------------------------
 */

struct verifying {
	const struct oracle *o;
	struct snapset *next;
	const char *when;
};

/* One that is there: give it to the next oracle, as it was found. */
static errint_t verify_one(struct world *w, struct verifying *v, const char *name)
{
	struct snapset *set = oracle_snaps(v->o);
	struct snap *s = snap_named(set, name), *n;
	value *found = sim_calloc(set->sectors, sizeof(*found));

	if (!s)
		crash_fail("%s: there is a snapshot %s, which has been deleted", v->when, name);
	struct reading rd = {w, v->o, s, v->when, 0, found};
	errint_t err = read_snapshot(&rd);
	if (!err && v->next && (n = snap_new(v->next))) {
		memcpy(n->name, s->name, sizeof(n->name));
		n->fate = EXISTS;
		n->exact = true;
		n->size = rd.s->size;
		memcpy(n->val, found, set->sectors * sizeof(*found));
	}
	free(found);
	return err;
}

static errint_t verify_all(struct world *w, void *arg)
{
	struct verifying *v = arg;
	struct snapset *set = oracle_snaps(v->o);
	struct snapshot_info *list, info;
	uint32_t n;
	errint_t err = snapshot_list(w->im, &list, &n);

	for (uint32_t i = 0; i < n && !err; i++)
		if (!list[i].deleting)
			err = verify_one(w, v, list[i].name);
	free(list);
	for (unsigned i = 0; i < MAX_SNAPS && !err; i++)
		if (set->snap[i].fate == EXISTS && snapshot_find(w->im, set->snap[i].name, &info))
			crash_fail("%s: snapshot %s is gone", v->when, set->snap[i].name);
	return err;
}

void snapshot_verify(struct world *w, const struct oracle *o, struct oracle *next, const char *when)
{
	struct verifying v = {o, next ? oracle_snaps(next) : NULL, when};

	if (v.next)
		v.next->names = oracle_snaps(o)->names;
	errint_t err = world_do(w, verify_all, &v);
	if (err)
		crash_fail("%s: reading snapshots: error %d", when, err);
}

/* --- images that begin with a snapshot -----------------------------------------------------------
 */

/* Three quarters of each zone are written before the snapshot is taken. */
value snapshot_value(const struct config *cfg, unsigned k)
{
	const struct zone *z = zone_of(&cfg->zones, k);

	if (!cfg->snapshot || k - z->first >= z->sectors / 4 * 3)
		return 0;
	return 2 * (1 + z->first) + (k / 5 % 3 != 0);
}

static errint_t fill_zones(struct world *w, void *arg)
{
	const struct zones *zones = &w->cfg->zones;
	errint_t err = 0;

	(void)arg;
	for (unsigned i = 0; i < zones->n && !err; i++) {
		const struct zone *z = &zones->zone[i];
		size_t len = z->sectors / 4 * 3 * (size_t)SECTOR_SIZE;
		uint8_t *buf = store_buffer(len);

		for (unsigned s = 0; s < len / SECTOR_SIZE; s++)
			value_fill(buf + s * SECTOR_SIZE, z->first + s,
				   snapshot_value(w->cfg, z->first + s));
		err = engine_write(w->thread[0], buf, z->off, len, false);
		free(buf);
	}
	return err ? err : snapshot_create(w->im, "base", NULL);
}

struct sim_disk *snapshot_base(const struct config *cfg, struct sim_disk *disk)
{
	struct config sound = *cfg;
	struct rng rng = {1};

	sound.broken_rules = 0;
	struct world *w = world_new(&sound, disk, 1);
	if (world_open(w, false) || world_do(w, fill_zones, NULL) || world_close(w))
		crash_fail("cannot make an image with a snapshot");
	disk = sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, &rng);
	world_free(w);
	return disk;
}

void snapshot_oracle(const struct config *cfg, struct oracle *o)
{
	struct snap *s = cfg->snapshot ? snap_new(oracle_snaps(o)) : NULL;

	oracle_set_size(o, cfg->params.size);
	if (s) {
		strcpy(s->name, "base");
		s->fate = EXISTS;
		s->exact = true;
		s->size = cfg->params.size;
	}
	for (unsigned k = 0; k < cfg->zones.sectors; k++) {
		value v = s ? snapshot_value(cfg, k) : backing_value(cfg, k);

		if (s)
			s->val[k] = v;
		if (v)
			oracle_ack_durable(o, k, oracle_issue(o, k, v));
	}
}
