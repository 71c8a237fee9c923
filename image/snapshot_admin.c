/* SPDX-License-Identifier: MIT */
/*
 * What users do with snapshots: take, rename, delete, roll back, list.
 *
 * All but the deletion are checkpoints that change the records between the freeze of the map and
 * that of the table, so that record and tree are in force together or not at all.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/log.h"
#include "image/checkpoint.h"
#include "image/snapshot_priv.h"

/* --- names ---------------------------------------------------------------------------------------
 */

static errint_t check_new_name(struct image *im, const char *name)
{
	struct reason why;

	if (validate_snapshot_name(name, strlen(name), &why))
		return log_fail(-EINVAL, "%s: %s", im->st->name, why.text);
	SCOPED_LOCK(&im->lock);
	if (snapshot_by_name(im, name))
		return log_fail(-EEXIST, "%s: there is a snapshot '%s' already", im->st->name,
				name);
	return 0;
}

static void set_name(struct disk_snapshot *r, const char *name)
{
	size_t len = strlen(name);

	assert(len <= SNAP_NAME_MAX);
	memset(r->name, 0, sizeof(r->name));
	memcpy(r->name, name, len);
	r->name_len = le16_make((uint16_t)len);
}

static struct disk_snapshot *any_named(struct image *im, const char *name)
{
	for (uint32_t i = 0; i < im->snaps.n; i++)
		if (!strcmp(im->snaps.rec[i].name, name))
			return &im->snaps.rec[i];
	return NULL;
}

/* Names are unique on disk, but what is being deleted does not keep its name from users. */
static void free_name(struct image *im, const char *name)
{
	struct disk_snapshot *r = any_named(im, name);
	char other[SNAP_NAME_MAX + 1];
	unsigned i = 0;

	if (!r)
		return;
	assert(snapshot_is_zombie(r));
	do
		snprintf(other, sizeof(other), "deleted-%u-%u", le32_get(r->id), i++);
	while (any_named(im, other) || !strcmp(other, name));
	set_name(r, other);
}

/* The snapshot that users call @name.  Lock held. */
static errint_t find(struct image *im, const char *name, struct disk_snapshot **r)
{
	*r = snapshot_by_name(im, name);
	return *r ? 0 : log_fail(-ENOENT, "%s: there is no snapshot '%s'", im->st->name, name);
}

static errint_t check_writable(struct image *im)
{
	return im->read_only
		       ? log_fail(-EROFS, "%s: is open read-only, its snapshots cannot be changed",
				  im->st->name)
		       : 0;
}

/* --- new records ---------------------------------------------------------------------------------
 */

struct addition {
	struct disk_snapshot rec; /* what does not depend on the freeze */
	uint32_t id;
	uint32_t to; /* rollback: id of the snapshot that the head becomes */
};

static errint_t prepare_record(struct image *im, struct addition *a, const char *name)
{
	struct timespec now;

	a->rec = (struct disk_snapshot){.id = le32_make(0)};
	if (getrandom(a->rec.uuid, sizeof(a->rec.uuid), 0) != sizeof(a->rec.uuid))
		return log_errno("%s: cannot make a uuid", im->st->name);
	clock_gettime(CLOCK_REALTIME, &now);
	a->rec.ctime_ns = le64_make((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	if (name)
		set_name(&a->rec, name);
	SCOPED_LOCK(&im->lock);
	if (im->snaps.n >= MAX_SNAPSHOTS)
		return log_fail(-ENOSPC,
				"%s: has %u snapshots, those being deleted included, and no more "
				"are possible",
				im->st->name, MAX_SNAPSHOTS);
	if (im->epoch >= UINT32_MAX - 1 || im->snaps.next_id >= UINT32_MAX - 1)
		return log_fail(-ENOSPC, "%s: has used up its numbers for snapshots; convert it",
				im->st->name);
	return snapshot_room(im, 1);
}

/* The head, just frozen, becomes a record. */
static void add_head(struct image *im, struct addition *a)
{
	struct disk_snapshot *r = &a->rec;

	a->id = im->snaps.next_id++;
	r->id = le32_make(a->id);
	r->parent = le32_make(im->head_parent);
	r->epoch = le32_make(im->epoch++);
	r->size = le64_make(im->size);
	r->backing_limit = le64_make(im->backing.limit);
	r->levels = im->map.levels;
	r->root = desc_to_disk(im->map.root_desc);
	free_name(im, r->name);
	snapshot_add(im, r);
}

/* --- taking --------------------------------------------------------------------------------------
 */

static void create_frozen(struct image *im, void *arg)
{
	struct addition *a = arg;

	add_head(im, a);
	im->head_parent = a->id;
	snapshot_changed(im);
	/* What writers do from now on has a birth above the snapshot's. */
	im->gate_closed = false;
	image_wake(im);
}

/* Nobody is kept waiting for a checkpoint that is under way. */
static errint_t close_gate_soon(struct image *im)
{
	pthread_mutex_lock(&im->lock);
	while (im->txns.ckpt_busy && !im->failed)
		image_wait(im);
	pthread_mutex_unlock(&im->lock);
	return RULE_BROKEN(im, no_snap_drain) ? 0 : admin_close_gate(im);
}

/* Errors of writing have had their message. */
static errint_t change_records(struct image *im, const struct ckpt_change *change)
{
	errint_t err = checkpoint(im, change);

	return err == -ENOSPC ? log_fail(err,
					 "%s: has no space for what changing its snapshots "
					 "writes; delete some of them",
					 im->st->name)
			      : err;
}

static errint_t create(struct image *im, const char *name, bool last, uint32_t *id)
{
	struct addition a = {.to = 0};
	struct ckpt_change change = {
		.frozen = create_frozen, .arg = &a, .snapshots = 1, .clean = last};
	struct content content;
	errint_t err = check_new_name(im, name);

	image_get_content(im, &content);
	if (!err && content.state == CONTENT_APPLYING)
		err = log_fail(-EINVAL,
			       "%s: is between two snapshots, because `ublk-img apply` was "
			       "interrupted; repeat that first",
			       im->st->name);
	if (!err)
		err = backing_refuse(im, "given a snapshot");
	if (!err)
		err = prepare_record(im, &a, name);
	if (!err)
		err = close_gate_soon(im);
	if (!err)
		err = change_records(im, &change);
	if (!err && id)
		*id = a.id;
	return err;
}

errint_t snapshot_create(struct image *im, const char *name, uint32_t *id)
{
	errint_t err = check_writable(im);

	if (err)
		return err;
	err = admin_begin(im);
	if (!err)
		err = create(im, name, false, id);
	admin_end(im);
	return err;
}

struct at_rest {
	const char *name;
	uint32_t *id;
};

static errint_t create_at_rest(struct image *im, void *arg)
{
	const struct at_rest *a = arg;

	return create(im, a->name, true, a->id);
}

errint_t snapshot_create_at_rest(struct store *st, const struct image_open_opts *opts,
				 const char *name, uint32_t *id)
{
	struct at_rest a = {name, id};
	const struct image_first first = {create_at_rest, &a};
	struct image_open_opts with = *opts;
	struct image *im;

	assert(!opts->read_only && !st->read_only && !opts->recover);
	with.first = &first;
	errint_t err = image_open(st, &with, &im);
	return err ? err : image_close(im);
}

/* --- renaming ------------------------------------------------------------------------------------
 */

struct renaming {
	uint32_t id;
	const char *to;
};

static void rename_frozen(struct image *im, void *arg)
{
	const struct renaming *n = arg;
	struct disk_snapshot *r = snapshot_by_id(im, n->id);

	assert(r);
	free_name(im, n->to);
	set_name(r, n->to);
	snapshot_changed(im);
}

static errint_t rename_to(struct image *im, const char *name, const char *to)
{
	struct renaming n = {.to = to};
	/* No record is added, but the table is written. */
	struct ckpt_change change = {.frozen = rename_frozen, .arg = &n, .snapshots = 1};
	struct disk_snapshot *r;

	pthread_mutex_lock(&im->lock);
	errint_t err = find(im, name, &r);
	n.id = err ? 0 : le32_get(r->id);
	pthread_mutex_unlock(&im->lock);
	if (err || !strcmp(name, to))
		return err;
	err = check_new_name(im, to);
	return err ? err : change_records(im, &change);
}

errint_t snapshot_rename(struct image *im, const char *name, const char *to)
{
	errint_t err = check_writable(im);

	if (err)
		return err;
	err = admin_begin(im);
	if (!err)
		err = rename_to(im, name, to);
	admin_end(im);
	return err;
}

/* --- deleting ------------------------------------------------------------------------------------
 */

static errint_t log_zombie(struct image *im, const char *name, uint32_t *id)
{
	struct need need = {0};
	struct disk_snapshot *r;
	errint_t err;

	do {
		SCOPED_LOCK(&im->lock);
		err = im->failed ? im->failed : find(im, name, &r);
		if (!err) {
			struct disk_record rec = {.type = REC_ZOMBIE, .x32 = r->id};

			*id = le32_get(r->id);
			err = txn_log_group(im, &rec, 1, &need);
		}
		if (!err && RULE_BROKEN(im, zombie_volatile))
			snapshot_state(im, r)->zombie_durable = true;
	} while (image_again(im, &err, &need));
	return err;
}

/* The table changes from now on: there has to be space for it. */
static errint_t reserve_table(struct image *im)
{
	errint_t err = snapshot_reserve(im, 0);

	if (err)
		return err;
	SCOPED_LOCK(&im->lock);
	return im->snaps.run.units
		       ? 0
		       : log_fail(-ENOSPC, "%s: no space for the table of snapshots", im->st->name);
}

static errint_t delete_named(struct image *im, const char *name)
{
	uint32_t id = 0;
	errint_t err = reserve_table(im);

	if (!err)
		err = log_zombie(im, name, &id);
	/* W5: what the deletion frees is the head's to overwrite in place at once. */
	if (!err)
		err = txn_commit(im);
	if (err)
		return err;
	SCOPED_LOCK(&im->lock);
	struct disk_snapshot *r = snapshot_by_id(im, id);
	if (r)
		snapshot_state(im, r)->zombie_durable = true;
	return 0;
}

errint_t snapshot_delete(struct image *im, const char *name)
{
	errint_t err = check_writable(im);

	if (err)
		return err;
	err = admin_begin(im);
	if (!err)
		err = delete_named(im, name);
	admin_end(im);
	return err;
}

/* --- rolling back --------------------------------------------------------------------------------
 */

static void rollback_frozen(struct image *im, void *arg)
{
	struct addition *a = arg;

	add_head(im, a);
	const struct disk_snapshot *to = snapshot_by_id(im, a->to);
	assert(to);
	map_replace(im, desc_from_disk(&to->root), to->levels);
	im->size = le64_get(to->size);
	im->backing.limit = le64_get(to->backing_limit);
	image_size_changed(im);
	im->head_parent = a->to;
	im->content.state = CONTENT_UNKNOWN;
	if (snapshot_children(im, a->to) > 1)
		im->ro_compat |= ROCOMPAT_BRANCHES;
	snapshot_changed(im);
	/* [m:rollback_ungate] */
	if (RULE_BROKEN(im, rollback_ungate))
		im->gate_closed = false;
	image_wake(im);
}

static errint_t find_target(struct image *im, struct addition *a, const char *name)
{
	struct disk_snapshot *r;

	SCOPED_LOCK(&im->lock);
	errint_t err = find(im, name, &r);
	a->to = err ? 0 : le32_get(r->id);
	return err;
}

static errint_t roll_back(struct image *im, const char *name, const char *keep)
{
	struct addition a = {.to = 0};
	struct ckpt_change change = {.frozen = rollback_frozen, .arg = &a, .snapshots = 1};
	errint_t err = find_target(im, &a, name);

	if (!err && keep)
		err = check_new_name(im, keep);
	if (!err)
		err = prepare_record(im, &a, keep);
	if (err)
		return err;
	if (!keep) {
		char hidden[SNAP_NAME_MAX + 1];

		/* Nobody has a name for it. */
		snprintf(hidden, sizeof(hidden), "rolled-back-%u", im->snaps.next_id);
		a.rec.flags = le32_make(SNAP_ZOMBIE);
		for (unsigned i = 0; any_named(im, hidden); i++)
			snprintf(hidden, sizeof(hidden), "rolled-back-%u-%u", im->snaps.next_id, i);
		set_name(&a.rec, hidden);
	}
	err = close_gate_soon(im);
	if (!err)
		err = change_records(im, &change);
	if (err)
		return err;
	SCOPED_LOCK(&im->lock);
	if (!keep)
		snapshot_state(im, snapshot_by_id(im, a.id))->zombie_durable = true;
	return 0;
}

errint_t snapshot_rollback(struct image *im, const char *name, const char *keep)
{
	errint_t err = check_writable(im);

	if (err)
		return err;
	err = admin_begin(im);
	if (!err)
		err = roll_back(im, name, keep);
	admin_end(im);
	return err;
}

/* --- listing -------------------------------------------------------------------------------------
 */

static void fill_info(struct image *im, const struct disk_snapshot *r, struct snapshot_info *info)
{
	*info = (struct snapshot_info){
		.id = le32_get(r->id),
		.parent = le32_get(r->parent),
		.epoch = le32_get(r->epoch),
		.deleting = snapshot_is_zombie(r),
		.current = im->head_parent == le32_get(r->id),
		.size = le64_get(r->size),
		.done = le64_get(r->cursor),
		.end = 1ull << NODE_SHIFT * r->levels,
		.ctime_ns = le64_get(r->ctime_ns),
		.opens = snapshot_state(im, r)->opens,
	};
	memcpy(info->uuid, r->uuid, sizeof(info->uuid));
	memcpy(info->name, r->name, sizeof(info->name));
}

static int by_epoch(const void *a, const void *b)
{
	const struct snapshot_info *x = a, *y = b;

	return x->epoch < y->epoch ? -1 : x->epoch > y->epoch;
}

errint_t snapshot_list(struct image *im, struct snapshot_info **list, uint32_t *n)
{
	SCOPED_LOCK(&im->lock);
	*n = im->snaps.n;
	*list = calloc(*n + 1ul, sizeof(**list));
	if (!*list)
		return -ENOMEM;
	for (uint32_t i = 0; i < *n; i++)
		fill_info(im, &im->snaps.rec[i], &(*list)[i]);
	qsort(*list, *n, sizeof(**list), by_epoch);
	return 0;
}

errint_t snapshot_find(struct image *im, const char *name, struct snapshot_info *info)
{
	SCOPED_LOCK(&im->lock);
	const struct disk_snapshot *r = snapshot_by_name(im, name);

	if (!r)
		return -ENOENT;
	fill_info(im, r, info);
	return 0;
}

errint_t snapshot_find_id(struct image *im, uint32_t id, struct snapshot_info *info)
{
	SCOPED_LOCK(&im->lock);
	const struct disk_snapshot *r = snapshot_by_id(im, id);

	if (!r || snapshot_is_zombie(r))
		return -ENOENT;
	fill_info(im, r, info);
	return 0;
}
