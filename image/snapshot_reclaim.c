/* SPDX-License-Identifier: MIT */
/*
 * The deletion of snapshots in the background (docs/format.md section 9).
 *
 * One zombie S at a time, with at most one child D, is walked together with D in the order of its
 * clusters, from its cursor on.  A step is pure computation under the lock: it collects what is to
 * be freed up to a new cursor, and logs that as one group.  So there is nothing between two steps
 * that a crash could tear apart, and D, which may be the head, stands still during each.
 *
 * Never between a freeze and its superblock: what the step frees by comparing S with the frozen
 * tree of the head, a replay on top of the old superblock would free by comparing with another one.
 */
#include "config.h"

#include <stdlib.h>

#include "common/log.h"
#include "image/snapshot_priv.h"

/* Subtrees that one step leaves out before it logs its cursor. */
#define SKIPS 1024u

struct step {
	struct image *im;
	struct need *need;
	uint32_t id;
	uint32_t floor; /* what was born up to it belongs to the parent of S */
	struct snap_tree s, d;
	bool childless;
	uint64_t at, end; /* clusters: where it goes on, and where S ends */
	unsigned n;
	struct disk_record rec[TXN_GROUP_MAX];
};

static void put(struct step *t, enum record_type type, uint64_t a, struct desc d)
{
	assert(t->n < TXN_GROUP_MAX);
	t->rec[t->n++] = (struct disk_record){.type = (uint8_t)type,
					      .x32 = le32_make(t->id),
					      .a = le64_make(a),
					      .b = desc_to_disk(d)};
}

static errint_t put_free(struct step *t, struct desc d, unsigned level, uint64_t index)
{
	if (!alloc_loaded(t->im, d, &t->need->region)) {
		t->need->kind = NEED_REGION;
		return -EAGAIN;
	}
	put(t, REC_FREE, (uint64_t)level << 56 | index, d);
	return 0;
}

/* D's node at the place of S's, and whether it has changed since it was written. */
static errint_t child_node(struct step *t, unsigned level, uint64_t index, struct desc *d,
			   bool *dirty)
{
	*d = desc_hole();
	*dirty = false;
	return t->childless ? 0 : snap_node(t->im, &t->d, level, index, d, dirty, t->need);
}

static bool same_place(struct desc a, struct desc b)
{
	return desc_type(b) == DESC_NODE && desc_unit(a) == desc_unit(b);
}

/* Is nothing to be freed at and below S's node @self? */
static errint_t leave_out(struct step *t, struct desc self, unsigned level, uint64_t index,
			  bool *out)
{
	struct desc d;
	bool dirty;

	*out = desc_type(self) == DESC_HOLE || self.birth <= t->floor;
	if (*out)
		return 0;
	errint_t err = child_node(t, level, index, &d, &dirty);
	*out = !err && !dirty && same_place(self, d);
	return err;
}

static errint_t free_leaf_entries(struct step *t, uint64_t index)
{
	static const struct desc holes[NODE_ENTRIES];
	const struct desc *s, *d = NULL;
	errint_t err = snap_leaf(t->im, &t->s, index, &s, t->need);

	if (!err && !t->childless)
		err = snap_leaf(t->im, &t->d, index, &d, t->need);
	if (!d)
		d = holes;
	for (unsigned i = 0; i < NODE_ENTRIES && !err; i++)
		if (desc_extent(&t->im->geo, s[i]).len && s[i].birth > t->floor &&
		    !desc_same_extent(&t->im->geo, s[i], d[i]))
			err = put_free(t, s[i], 0, index << NODE_SHIFT | i);
	return err;
}

static errint_t free_node(struct step *t, struct desc self, unsigned level, uint64_t index)
{
	struct desc d;
	bool dirty;
	errint_t err = child_node(t, level, index, &d, &dirty);

	/* A node that D has, and has changed, is freed by the next freeze. */
	return err || same_place(self, d) ? err : put_free(t, self, level, index);
}

/* One leaf, or one subtree that is left out, and all nodes that end where it does. */
static errint_t advance(struct step *t)
{
	struct desc path[MAX_LEVELS];
	unsigned level = t->s.levels;
	uint64_t index = 0;
	bool out = false;
	errint_t err = 0;

	while (!err && !out && level--) {
		bool dirty;

		index = t->at >> NODE_SHIFT * (level + 1);
		err = snap_node(t->im, &t->s, level, index, &path[level], &dirty, t->need);
		if (!err)
			err = leave_out(t, path[level], level, index, &out);
		if (!err && !out && !level) {
			err = free_leaf_entries(t, index);
			break;
		}
	}
	if (err)
		return err;
	t->at = (index + 1) << NODE_SHIFT * (level + 1);
	for (level += out; !err && level < t->s.levels; level++) {
		index = (t->at - 1) >> NODE_SHIFT * (level + 1);
		if ((index + 1) << NODE_SHIFT * (level + 1) != t->at)
			break;
		err = free_node(t, path[level], level, index);
	}
	return err;
}

static errint_t try_step(struct step *t)
{
	errint_t err = 0;

	for (unsigned i = 0; i < SKIPS && !err && !t->n && t->at < t->end; i++)
		err = advance(t);
	if (err)
		return err;
	put(t, REC_CURSOR, t->at, desc_hole());
	if (t->at == t->end)
		put(t, REC_DISSOLVE, 0, desc_hole());
	return txn_log_group(t->im, t->rec, t->n, t->need);
}

/* The zombie to go on with, or NULL. */
static const struct disk_snapshot *choose(struct image *im)
{
	struct snapshots *s = &im->snaps;
	const struct disk_snapshot *first = NULL;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct disk_snapshot *r = &s->rec[i];

		if (le64_get(r->cursor))
			return r;
		if (!first && snapshot_is_zombie(r) && s->state[i].zombie_durable &&
		    !s->state[i].opens &&
		    (snapshot_children(im, le32_get(r->id)) <= 1 || RULE_BROKEN(im, branch_free)))
			first = r;
	}
	return first;
}

static void find_child(struct step *t)
{
	struct image *im = t->im;

	t->childless = false;
	t->d = snap_tree_of(im, NULL);
	if (im->head_parent == t->id)
		return;
	for (uint32_t i = 0; i < im->snaps.n; i++) {
		if (le32_get(im->snaps.rec[i].parent) == t->id) {
			t->d = snap_tree_of(im, &im->snaps.rec[i]);
			return;
		}
	}
	t->childless = true;
}

/* Lock held.  *done: there was nothing to do, or it cannot be done now. */
static errint_t one_step(struct step *t, bool *done)
{
	struct image *im = t->im;
	const struct disk_snapshot *z = choose(im), *p;
	/* A closed gate: a rollback is about to exchange the head. */
	bool excluded = (im->txns.ckpt_busy || im->gate_closed) && !RULE_BROKEN(im, walk_in_ckpt);

	*done = im->failed || !z || excluded;
	if (*done)
		return im->failed;
	p = snapshot_by_id(im, le32_get(z->parent));
	t->id = le32_get(z->id);
	t->floor = p ? le32_get(p->epoch) : 0;
	t->s = snap_tree_of(im, z);
	t->at = le64_get(z->cursor);
	t->end = 1ull << NODE_SHIFT * z->levels;
	t->n = 0;
	find_child(t);
	return try_step(t);
}

errint_t snapshot_reclaim(struct image *im, unsigned steps, bool *more)
{
	CLEANUP(free) struct step *t = calloc(1, sizeof(*t));
	errint_t err = t ? 0 : -ENOMEM;
	bool done = im->read_only;

	*more = false;
	while (steps-- && !err && !done) {
		struct need need = {0};

		t->im = im;
		t->need = &need;
		do {
			pthread_mutex_lock(&im->lock);
			err = one_step(t, &done);
			pthread_mutex_unlock(&im->lock);
		} while (image_again(im, &err, &need));
	}
	pthread_mutex_lock(&im->lock);
	*more = !err && !done && choose(im);
	pthread_mutex_unlock(&im->lock);
	return err;
}
