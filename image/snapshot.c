/* SPDX-License-Identifier: MIT */
/*
 * Owns: the records of the snapshots, and their table on disk.
 *
 * The table is written whole, to a new place, by each checkpoint that finds it changed.  Its run of
 * units is reserved ahead (A3); when a superblock is durable, the run of the table before becomes
 * the reserve, so that two runs take turns for ever.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "image/checkpoint.h"
#include "image/checksum.h"
#include "image/limbo.h"
#include "image/snapshot_priv.h"

#define RECORDS_PER_UNIT (UNIT_SIZE / sizeof(struct disk_snapshot))

/* --- records -------------------------------------------------------------------------------------
 */

struct disk_snapshot *snapshot_by_id(struct image *im, uint32_t id)
{
	for (uint32_t i = 0; id && i < im->snaps.n; i++)
		if (le32_get(im->snaps.rec[i].id) == id)
			return &im->snaps.rec[i];
	return NULL;
}

struct disk_snapshot *snapshot_by_name(struct image *im, const char *name)
{
	for (uint32_t i = 0; i < im->snaps.n; i++) {
		struct disk_snapshot *r = &im->snaps.rec[i];

		/* A name is padded with zeros, and shorter than its field. */
		if (!snapshot_is_zombie(r) && !strcmp(r->name, name))
			return r;
	}
	return NULL;
}

struct snapshot_state *snapshot_state(struct image *im, const struct disk_snapshot *r)
{
	return &im->snaps.state[r - im->snaps.rec];
}

unsigned snapshot_children(struct image *im, uint32_t id)
{
	unsigned n = im->head_parent == id;

	for (uint32_t i = 0; i < im->snaps.n; i++)
		n += le32_get(im->snaps.rec[i].parent) == id;
	return n;
}

/* parent_at() of section 9, for all clusters. */
static void find_floors(struct image *im)
{
	const struct disk_snapshot *p = snapshot_by_id(im, im->head_parent);
	struct snapshots *s = &im->snaps;

	s->floor = p ? le32_get(p->epoch) : 0;
	s->below = p && snapshot_is_zombie(p) ? le64_get(p->cursor) : 0;
	p = s->below ? snapshot_by_id(im, le32_get(p->parent)) : NULL;
	s->floor_below = p ? le32_get(p->epoch) : 0;
}

void snapshot_changed(struct image *im)
{
	im->snaps.dirty = true;
	find_floors(im);
}

errint_t snapshot_room(struct image *im, unsigned more)
{
	struct snapshots *s = &im->snaps;
	uint32_t cap = s->n + more;

	if (cap <= s->cap)
		return 0;
	struct disk_snapshot *rec = realloc(s->rec, cap * sizeof(*rec));
	if (!rec)
		return -ENOMEM;
	s->rec = rec;
	struct snapshot_state *state = realloc(s->state, cap * sizeof(*state));
	if (!state)
		return -ENOMEM;
	s->state = state;
	s->cap = cap;
	return 0;
}

void snapshot_add(struct image *im, const struct disk_snapshot *r)
{
	struct snapshots *s = &im->snaps;

	assert(s->n < s->cap);
	s->rec[s->n] = *r;
	s->state[s->n++] = (struct snapshot_state){.opens = 0};
	snapshot_changed(im);
}

static void remove_record(struct image *im, const struct disk_snapshot *r)
{
	struct snapshots *s = &im->snaps;
	size_t i = (size_t)(r - s->rec), after = s->n - i - 1;

	memmove(&s->rec[i], &s->rec[i + 1], after * sizeof(*s->rec));
	memmove(&s->state[i], &s->state[i + 1], after * sizeof(*s->state));
	s->n--;
}

uint32_t snapshot_floor(struct image *im, uint64_t v)
{
	return v < im->snaps.below ? im->snaps.floor_below : im->snaps.floor;
}

uint32_t snapshot_floor_node(struct image *im, unsigned level, uint64_t index)
{
	uint64_t last = ((index + 1) << NODE_SHIFT * (level + 1)) - 1;

	return snapshot_floor(im, last);
}

const struct disk_snapshot *snapshot_records(struct image *im, uint32_t *n)
{
	*n = im->snaps.n;
	return im->snaps.rec;
}

/* --- opening -------------------------------------------------------------------------------------
 */

static errint_t read_table(struct image *im, struct desc d, uint32_t n)
{
	size_t len = (size_t)desc_snaptab_units(d) << UNIT_SHIFT;
	CLEANUP(free) struct disk_snapshot *rec = store_buffer(len);
	struct limits lim;
	struct reason why;

	if (!rec)
		return -ENOMEM;
	errint_t err = store_read(im->st, rec, len, desc_unit(d) << UNIT_SHIFT);
	if (err)
		return err;
	image_limits(im, &lim);
	err = validate_snapshots(rec, n, len, d.aux, &lim, &why);
	if (err)
		return image_damaged(im, "snapshot table", desc_unit(d) << UNIT_SHIFT, why.text);
	err = snapshot_room(im, n);
	for (uint32_t i = 0; i < n && !err; i++) {
		snapshot_add(im, &rec[i]);
		im->snaps.state[i].zombie_durable = snapshot_is_zombie(&rec[i]);
	}
	return err;
}

errint_t snapshot_open(struct image *im)
{
	struct snapshots *s = &im->snaps;
	errint_t err = 0;

	s->table = desc_from_disk(&im->super.snaptab);
	s->next_id = le32_get(im->super.next_snapshot);
	/* validate_super() saw that there are no records without a table. */
	if (desc_type(s->table) != DESC_HOLE)
		err = read_table(im, s->table, le32_get(im->super.nsnapshots));
	s->dirty = false;
	return err;
}

void snapshot_close(struct image *im)
{
	free(im->snaps.rec);
	free(im->snaps.state);
	frozen_close(im);
}

/* --- applying records ----------------------------------------------------------------------------
 */

static const char *apply_free(struct image *im, const struct disk_record *r, enum apply_from from)
{
	struct desc d = desc_from_disk(&r->b);
	bool hold = txn_holds_freed(im, from);

	if (alloc_clear(im, d, hold))
		return "what it frees is not in use";
	if (hold)
		limbo_list_add(&im->txns.open.frees,
			       (struct limbo_item){desc_extent(&im->geo, d), 0, true});
	if (desc_type(d) == DESC_NODE)
		frozen_forget(im, d);
	return NULL;
}

static const char *apply_zombie(struct image *im, struct disk_snapshot *s, enum apply_from from)
{
	if (snapshot_is_zombie(s))
		return "its snapshot is being deleted already";
	s->flags = le32_make(le32_get(s->flags) | SNAP_ZOMBIE);
	/* What is replayed is durable before anybody can go on with it. */
	snapshot_state(im, s)->zombie_durable |= from != APPLY_LOG;
	snapshot_changed(im);
	return NULL;
}

static const char *apply_cursor(struct image *im, struct disk_snapshot *s, uint64_t cursor)
{
	if (cursor <= le64_get(s->cursor) || cursor > 1ull << NODE_SHIFT * s->levels)
		return "its cursor does not advance within the snapshot's disk";
	for (uint32_t i = 0; i < im->snaps.n; i++)
		if (&im->snaps.rec[i] != s && le64_get(im->snaps.rec[i].cursor))
			return "another deletion is under way";
	s->cursor = le64_make(cursor);
	snapshot_changed(im);
	return NULL;
}

static const char *apply_dissolve(struct image *im, struct disk_snapshot *s)
{
	uint32_t id = le32_get(s->id), parent = le32_get(s->parent);

	if (le64_get(s->cursor) != 1ull << NODE_SHIFT * s->levels)
		return "its snapshot has not been deleted to its end";
	for (uint32_t i = 0; i < im->snaps.n; i++)
		if (le32_get(im->snaps.rec[i].parent) == id)
			im->snaps.rec[i].parent = le32_make(parent);
	if (im->head_parent == id)
		im->head_parent = parent;
	remove_record(im, s);
	snapshot_changed(im);
	return NULL;
}

const char *snapshot_apply(struct image *im, const struct disk_record *r, enum apply_from from)
{
	uint32_t id = le32_get(r->x32);
	struct disk_snapshot *s = snapshot_by_id(im, id);

	if (!s)
		return "there is no snapshot of that id";
	if (r->type == REC_ZOMBIE)
		return apply_zombie(im, s, from);
	if (!snapshot_is_zombie(s))
		return "its snapshot is not being deleted";
	if (snapshot_children(im, id) > 1 && !RULE_BROKEN(im, branch_free))
		return "its snapshot has two children";
	switch (r->type) {
	case REC_FREE:
		return apply_free(im, r, from);
	case REC_CURSOR:
		return apply_cursor(im, s, le64_get(r->a));
	default:
		assert(r->type == REC_DISSOLVE);
		return apply_dissolve(im, s);
	}
}

/* --- the table -----------------------------------------------------------------------------------
 */

static unsigned units_for(uint32_t records)
{
	return (unsigned)((records + RECORDS_PER_UNIT - 1) / RECORDS_PER_UNIT);
}

static unsigned table_units(const struct snapshots *s)
{
	return desc_type(s->table) == DESC_HOLE ? 0 : desc_snaptab_units(s->table);
}

static struct extent run_extent(struct table_run r)
{
	return (struct extent){r.unit << UNIT_SHIFT, (uint64_t)r.units << UNIT_SHIFT};
}

static void release_run(struct image *im, struct table_run *r)
{
	if (r->units)
		alloc_release(im, run_extent(*r));
	*r = (struct table_run){0, 0};
}

/* Which run is too short for a table of @units?  The spare one keeps the turns going when the table
 * grows. */
static struct table_run *missing_run(struct snapshots *s, unsigned units)
{
	if (s->run.units < units)
		return &s->run;
	if (table_units(s) < units && s->spare.units < units)
		return &s->spare;
	return NULL;
}

errint_t snapshot_reserve(struct image *im, unsigned more)
{
	struct snapshots *s = &im->snaps;

	for (;;) {
		pthread_mutex_lock(&im->lock);
		unsigned units = units_for(s->n + more);
		s->short_run = missing_run(s, units);
		bool complete = !s->short_run;
		pthread_mutex_unlock(&im->lock);
		if (complete)
			return 0;
		struct table_run got = {.units = units};
		errint_t err = alloc_reserve_run(im, units, &got.unit);

		SCOPED_LOCK(&im->lock);
		/* Enough for now, and until the reserve is complete no data is allocated. */
		if (err == -ENOSPC && !more && (s->run.units >= units || !s->dirty))
			return 0;
		if (err)
			return err;
		/* Snapshots may have gone meanwhile. */
		struct table_run *r = missing_run(s, units);
		if (!r)
			r = &s->spare;
		release_run(im, r);
		*r = got;
	}
}

bool snapshot_freeze_ready(struct image *im, unsigned more, uint64_t *region)
{
	struct snapshots *s = &im->snaps;
	unsigned units = units_for(s->n + more);

	*region = UINT64_MAX;
	if (!s->dirty && !more)
		return true;
	if (s->run.units < units)
		return false;
	return alloc_loaded(im, s->table, region) &&
	       (!units || alloc_loaded(im, desc_snaptab_make(s->run.unit, units, 1, 0), region));
}

unsigned snapshot_freeze_blocks(struct image *im, unsigned more)
{
	return im->snaps.dirty || more ? units_for(im->snaps.n + more) + 2 : 0;
}

static void free_old_table(struct image *im)
{
	struct snapshots *s = &im->snaps;

	if (desc_type(s->table) == DESC_HOLE)
		return;
	assert(!s->old.len);
	errint_t err = alloc_clear(im, s->table, true);
	if (err)
		image_fail(im, err, "the space of the snapshot table was not marked used");
	else
		s->old = desc_extent(&im->geo, s->table);
}

static void write_table(struct image *im, struct ckpt_buf *buf)
{
	struct snapshots *s = &im->snaps;
	unsigned units = units_for(s->n);
	uint8_t *first = NULL;

	assert(s->run.units >= units);
	for (unsigned i = 0; i < units; i++) {
		uint8_t *block = ckpt_block(buf, (s->run.unit + i) << UNIT_SHIFT);

		memset(block, 0, UNIT_SIZE);
		if (!i)
			first = block;
	}
	memcpy(first, s->rec, s->n * sizeof(*s->rec));
	uint32_t crc = checksum_snaptab(im->uuid_seed, first, (size_t)units << UNIT_SHIFT);
	s->table = desc_snaptab_make(s->run.unit, units, im->epoch, crc);
	errint_t err = alloc_set(im, s->table);
	if (err)
		image_fail(im, err, "the space reserved for the snapshot table is in use");
	struct table_run rest = {s->run.unit + units, s->run.units - units};
	release_run(im, &rest);
	s->run = (struct table_run){0, 0};
}

void snapshot_freeze(struct image *im, struct ckpt_buf *buf)
{
	struct snapshots *s = &im->snaps;

	if (!s->dirty)
		return;
	free_old_table(im);
	s->table = desc_hole();
	if (s->n)
		write_table(im, buf);
	s->dirty = false;
}

void snapshot_retire(struct image *im)
{
	struct snapshots *s = &im->snaps;

	if (!s->old.len)
		return;
	struct table_run old = {s->old.off >> UNIT_SHIFT, (unsigned)(s->old.len >> UNIT_SHIFT)};
	s->old = (struct extent){0, 0};
	if (s->run.units || s->spare.units)
		release_run(im, &old);
	else
		s->run = old;
	if (!s->run.units) {
		s->run = s->spare;
		s->spare = (struct table_run){0, 0};
	}
	if (!s->n)
		release_run(im, &s->run);
}
