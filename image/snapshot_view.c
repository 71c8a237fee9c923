/* SPDX-License-Identifier: MIT */
/* Reading snapshots: their trees, node by node, and views of them. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"
#include "image/snapshot_view.h"
#include "image/snapshot_priv.h"

/* --- trees ---------------------------------------------------------------------------------------
 */

struct snap_tree snap_tree_of(struct image *im, const struct disk_snapshot *r)
{
	if (!r)
		return (struct snap_tree){.head = true,
					  .levels = im->map.levels,
					  .nclusters = clusters_for(&im->geo, im->size)};
	return (struct snap_tree){.root = desc_from_disk(&r->root),
				  .levels = r->levels,
				  .nclusters = clusters_for(&im->geo, le64_get(r->size))};
}

/* Entries of the node @self of a snapshot.  -EAGAIN with @need. */
static errint_t entries_of(struct image *im, const struct snap_tree *t, struct desc self,
			   unsigned level, uint64_t index, const struct desc **entries,
			   struct need *need)
{
	*entries = NULL;
	if (desc_type(self) == DESC_HOLE)
		return 0;
	*entries = frozen_find(im, self, level, index);
	if (*entries)
		return 0;
	need->kind = NEED_FROZEN;
	need->node = (struct node_ref){level, index, self};
	need->nclusters = t->nclusters;
	return -EAGAIN;
}

errint_t snap_node(struct image *im, const struct snap_tree *t, unsigned level, uint64_t index,
		   struct desc *self, bool *dirty, struct need *need)
{
	if (t->head)
		return map_node(im, level, index, self, dirty, need);
	*dirty = false;
	*self = desc_hole();
	if (level >= t->levels || index >> NODE_SHIFT * (t->levels - 1 - level))
		return 0;
	*self = t->root;
	for (unsigned l = t->levels - 1; l > level && desc_type(*self) != DESC_HOLE; l--) {
		const struct desc *entries;
		errint_t err = entries_of(im, t, *self, l, index >> NODE_SHIFT * (l - level),
					  &entries, need);

		if (err)
			return err;
		*self = entries[index >> NODE_SHIFT * (l - 1 - level) & (NODE_ENTRIES - 1)];
	}
	return 0;
}

errint_t snap_leaf(struct image *im, const struct snap_tree *t, uint64_t index,
		   const struct desc **entries, struct need *need)
{
	struct desc self;
	struct node *leaf;
	bool dirty;
	errint_t err;

	*entries = NULL;
	if (t->head) {
		/* Beyond the levels of the head there is nothing. */
		if (index >> NODE_SHIFT * (im->map.levels - 1))
			return 0;
		err = map_leaf(im, index << NODE_SHIFT, false, &leaf, need);
		if (!err && leaf)
			*entries = leaf->entry;
		return err;
	}
	err = snap_node(im, t, 0, index, &self, &dirty, need);
	return err ? err : entries_of(im, t, self, 0, index, entries, need);
}

/* --- views ---------------------------------------------------------------------------------------
 */

/* The one called @name, or, if that is NULL, numbered @id. */
static const struct disk_snapshot *find(struct image *im, const char *name, uint32_t id)
{
	const struct disk_snapshot *r;

	if (name)
		return snapshot_by_name(im, name);
	r = snapshot_by_id(im, id);
	return r && !snapshot_is_zombie(r) ? r : NULL;
}

static errint_t open_view(struct image *im, const char *name, uint32_t id,
			  struct snapshot_view **out)
{
	struct snapshot_view *v = calloc(1, sizeof(*v));

	if (!v)
		return log_err(-ENOMEM, "%s: cannot open a snapshot", im->st->name);
	SCOPED_LOCK(&im->lock);
	const struct disk_snapshot *r = find(im, name, id);
	/* The nodes of what a rollback keeps may not be on disk yet. */
	while (r && im->txns.ckpt_busy && !im->failed) {
		image_wait(im);
		r = find(im, name, id);
	}
	if (!r) {
		free(v);
		return -ENOENT;
	}
	v->im = im;
	v->rec = *r;
	v->tree = snap_tree_of(im, r);
	snapshot_state(im, r)->opens++;
	*out = v;
	return 0;
}

errint_t snapshot_view_open(struct image *im, const char *name, struct snapshot_view **out)
{
	errint_t err = open_view(im, name, 0, out);

	return err == -ENOENT ? log_fail(err, "%s: there is no snapshot '%s'", im->st->name, name)
			      : err;
}

errint_t snapshot_view_open_id(struct image *im, uint32_t id, struct snapshot_view **out)
{
	return open_view(im, NULL, id, out);
}

/* Its number; 0: there is none. */
static uint32_t visible_parent(const struct snapshot_view *v)
{
	const struct disk_snapshot *r;

	SCOPED_LOCK(&v->im->lock);
	/* That record stays as long as it is open, but its parent changes; those that parents name
	 * exist. */
	r = snapshot_by_id(v->im, le32_get(v->rec.id));
	assert(r);
	do {
		uint32_t parent = le32_get(r->parent);

		if (!parent)
			return 0;
		r = snapshot_by_id(v->im, parent);
		assert(r);
	} while (snapshot_is_zombie(r));
	return le32_get(r->id);
}

errint_t snapshot_view_open_parent(const struct snapshot_view *v, struct snapshot_view **out)
{
	errint_t err;

	do {
		uint32_t id = visible_parent(v);

		*out = NULL;
		if (!id)
			return 0;
		err = snapshot_view_open_id(v->im, id, out);
	} while (err == -ENOENT); /* deleted meanwhile: there is one less */
	return err;
}

void snapshot_view_close(struct snapshot_view *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->im->lock);
	struct disk_snapshot *r = snapshot_by_id(v->im, le32_get(v->rec.id));
	assert(r && snapshot_state(v->im, r)->opens);
	snapshot_state(v->im, r)->opens--;
	image_wake(v->im);
	pthread_mutex_unlock(&v->im->lock);
	free(v);
}

uint64_t snapshot_view_size(const struct snapshot_view *v)
{
	return le64_get(v->rec.size);
}

uint32_t snapshot_view_id(const struct snapshot_view *v)
{
	return le32_get(v->rec.id);
}

struct image *snapshot_view_image(const struct snapshot_view *v)
{
	return v->im;
}

errint_t snapshot_lookup(const struct snapshot_view *v, uint64_t vcluster, struct desc *d,
			 struct need *need)
{
	const struct desc *leaf;
	errint_t err = snap_leaf(v->im, &v->tree, vcluster >> NODE_SHIFT, &leaf, need);

	if (!err)
		*d = leaf ? leaf[vcluster & (NODE_ENTRIES - 1)] : desc_hole();
	return err;
}
