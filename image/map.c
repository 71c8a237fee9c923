/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/checkpoint.h"
#include "image/checksum.h"
#include "image/core.h"

/* --- nodes in memory ------------------------------------------------------------------------- */

static void lru_remove(struct map *m, struct node *n)
{
	if (n->older)
		n->older->newer = n->newer;
	else
		m->oldest = n->newer;
	if (n->newer)
		n->newer->older = n->older;
	else
		m->newest = n->older;
}

static void lru_add(struct map *m, struct node *n)
{
	n->older = m->newest;
	n->newer = NULL;
	if (m->newest)
		m->newest->newer = n;
	else
		m->oldest = n;
	m->newest = n;
}

static void node_used(struct map *m, struct node *n)
{
	if (m->newest == n)
		return;
	lru_remove(m, n);
	lru_add(m, n);
}

static struct node *node_alloc(unsigned level, uint64_t index)
{
	struct node *n = calloc(1, sizeof(*n));

	if (n && level) {
		n->child = calloc(NODE_ENTRIES, sizeof(*n->child));
		if (!n->child) {
			free(n);
			return NULL;
		}
	}
	if (n) {
		n->level = (uint8_t)level;
		n->index = index;
		n->slot = index & (NODE_ENTRIES - 1);
	}
	return n;
}

static void node_free(struct node *n)
{
	free(n->child);
	free(n);
}

static void node_attach(struct map *m, struct node *parent, struct node *n)
{
	n->parent = parent;
	if (parent) {
		assert(!parent->child[n->slot]);
		parent->child[n->slot] = n;
		parent->nchild++;
	} else {
		m->root = n;
	}
	m->nodes++;
	lru_add(m, n);
}

static void node_detach(struct map *m, struct node *n)
{
	assert(!n->dirty && !n->nchild && !n->pins);
	if (n->parent) {
		n->parent->child[n->slot] = NULL;
		n->parent->nchild--;
	} else {
		m->root = NULL;
	}
	m->nodes--;
	lru_remove(m, n);
	node_free(n);
}

static void evict(struct image *im, const struct node *keep)
{
	struct map *m = &im->map;
	struct node *n = m->oldest;

	while (m->nodes > m->max_nodes && n) {
		struct node *next = n->newer;

		if (n != keep && n != m->root && !n->dirty && !n->nchild && !n->pins &&
		    n->frozen <= m->written) {
			node_detach(m, n);
			im->stats.node_evictions++;
		}
		n = next;
	}
}

void map_close(struct image *im)
{
	struct node *next;

	for (struct node *n = im->map.oldest; n; n = next) {
		next = n->newer;
		node_free(n);
	}
}

/* --- looking up ------------------------------------------------------------------------------ */

static uint64_t index_at(uint64_t v, unsigned level)
{
	return v >> NODE_SHIFT * (level + 1);
}

/* The descriptor of the node at @slot of @parent (of the root, for NULL) as on disk. */
static struct desc child_desc(struct image *im, const struct node *parent, unsigned slot)
{
	return parent ? parent->entry[slot] : im->map.root_desc;
}

/* The loaded node at @level above @v; or NULL, with the reason: a hole (0), or a node to be read
 * (-EAGAIN). */
static struct node *descend(struct image *im, uint64_t v, unsigned level, bool make, errint_t *err,
			    struct need *need)
{
	struct node *parent = NULL;

	for (unsigned l = im->map.levels; l-- > level;) {
		uint64_t index = index_at(v, l);
		unsigned slot = index & (NODE_ENTRIES - 1);
		struct node *n = parent ? parent->child[slot] : im->map.root;
		struct desc d = child_desc(im, parent, slot);

		*err = 0;
		if (!n && desc_type(d) == DESC_NODE) {
			need->kind = NEED_NODE;
			need->node = (struct node_ref){l, index, d};
			*err = -EAGAIN;
			return NULL;
		}
		if (!n && !make)
			return NULL;
		if (!n) {
			n = node_alloc(l, index);
			if (!n) {
				*err = -ENOMEM;
				return NULL;
			}
			node_attach(&im->map, parent, n);
		}
		parent = n;
	}
	return parent;
}

errint_t map_leaf(struct image *im, uint64_t v, bool make, struct node **leaf, struct need *need)
{
	errint_t err = 0;

	assert(!(v >> NODE_SHIFT * im->map.levels));
	*leaf = descend(im, v, 0, make, &err, need);
	if (*leaf)
		node_used(&im->map, *leaf);
	return err;
}

errint_t map_lookup(struct image *im, uint64_t v, struct desc *d, struct need *need)
{
	struct node *leaf;
	errint_t err = map_leaf(im, v, false, &leaf, need);

	if (!err)
		*d = leaf ? leaf->entry[v & (NODE_ENTRIES - 1)] : desc_hole();
	return err;
}

static void mark_dirty(struct image *im, struct node *n)
{
	for (; n && !n->dirty; n = n->parent) {
		n->dirty = true;
		im->map.dirty++;
		im->map.pinned -= n->pins > 0;
	}
}

void map_pin(struct image *im, struct node *leaf)
{
	if (!leaf->pins++)
		im->map.pinned += !leaf->dirty;
}

void map_unpin(struct image *im, struct node *leaf)
{
	assert(leaf->pins > 0);
	if (!--leaf->pins)
		im->map.pinned -= !leaf->dirty;
}

void map_set(struct image *im, struct node *leaf, uint64_t v, struct desc d)
{
	assert(!leaf->level && leaf->index == v >> NODE_SHIFT);
	leaf->entry[v & (NODE_ENTRIES - 1)] = d;
	mark_dirty(im, leaf);
}

bool map_owned(struct image *im, uint64_t v, struct desc d)
{
	return d.birth > snapshot_floor(im, v);
}

bool map_leaf_costs(struct image *im, const struct node *leaf)
{
	return !leaf->dirty &&
	       (!leaf->unit || leaf->birth <= snapshot_floor_node(im, leaf->level, leaf->index));
}

errint_t map_grow(struct image *im, uint64_t clusters)
{
	struct map *m = &im->map;
	unsigned levels = levels_for(clusters);

	while (m->levels < levels) {
		if (m->root || desc_type(m->root_desc) != DESC_HOLE) {
			struct node *top = node_alloc(m->levels, 0);

			if (!top)
				return -ENOMEM;
			top->entry[0] = m->root_desc;
			struct node *old = m->root;
			if (old) {
				top->child[0] = old;
				top->nchild = 1;
				old->parent = top;
			}
			m->root = NULL;
			node_attach(m, NULL, top);
			mark_dirty(im, top);
			m->root_desc = desc_hole();
		}
		m->levels++;
	}
	return 0;
}

/* --- loading --------------------------------------------------------------------------------- */

/* Is @ref still what the tree says?  Returns the parent (NULL for the root) in *parent. */
static bool ref_current(struct image *im, const struct node_ref *ref, struct node **parent)
{
	errint_t err = 0;
	struct need need;
	unsigned slot = ref->index & (NODE_ENTRIES - 1);

	*parent = NULL;
	if (ref->level >= im->map.levels)
		return false;
	if (ref->level + 1u < im->map.levels) {
		*parent = descend(im, ref->index << NODE_SHIFT * (ref->level + 1), ref->level + 1,
				  false, &err, &need);
		if (!*parent)
			return false;
	}
	struct node *n = *parent ? (*parent)->child[slot] : im->map.root;
	return !n && desc_equal(child_desc(im, *parent, slot), ref->desc);
}

static void node_decode(struct node *n, const struct disk_node *disk, struct desc self)
{
	for (unsigned i = 0; i < NODE_ENTRIES; i++)
		n->entry[i] = desc_from_disk(&disk->entry[i]);
	n->unit = desc_unit(self);
	n->birth = self.birth;
	n->crc = self.aux;
}

errint_t map_load(struct image *im, const struct node_ref *ref)
{
	CLEANUP(free) struct disk_node *disk = store_buffer(UNIT_SIZE);
	struct node *n = node_alloc(ref->level, ref->index);
	struct node *parent;
	struct limits lim;
	struct reason why;

	if (!disk || !n) {
		if (n)
			node_free(n);
		return -ENOMEM;
	}
	uint64_t off = desc_unit(ref->desc) << UNIT_SHIFT;
	errint_t err = store_read(im->st, disk, UNIT_SIZE, off);
	pthread_mutex_lock(&im->lock);
	image_limits(im, &lim);
	uint64_t clusters = clusters_for(&im->geo, im->size);
	bool current = ref_current(im, ref, &parent);
	pthread_mutex_unlock(&im->lock);
	if (!err)
		err = validate_node(disk, ref->desc, ref->level, ref->index, clusters, &lim, &why);

	pthread_mutex_lock(&im->lock);
	if (!err && current && ref_current(im, ref, &parent)) {
		node_decode(n, disk, ref->desc);
		node_attach(&im->map, parent, n);
		im->stats.node_loads++;
		evict(im, n);
		n = NULL;
	}
	pthread_mutex_unlock(&im->lock);
	if (n)
		node_free(n);
	if (!current)
		return 0; /* it was replaced meanwhile, and its unit perhaps reused: the caller asks
			     again */
	return err == -EBADMSG ? image_damaged(im, "map node", off, why.text) : err;
}

/* --- checkpoint ------------------------------------------------------------------------------ */

struct freeze {
	struct image *im;
	struct ckpt_buf *buf;
	struct extent *old;
	unsigned nold;
};

static bool node_empty(const struct node *n)
{
	for (unsigned i = 0; i < NODE_ENTRIES; i++)
		if (n->entry[i].w0)
			return false;
	return true;
}

/* The old place @old of @n belongs to the head alone: nobody needs it once the new superblock is
 * durable. */
static void free_old_place(struct freeze *f, const struct node *n, struct desc old)
{
	struct image *im = f->im;

	if (!desc_unit(old) || old.birth <= snapshot_floor_node(im, n->level, n->index))
		return;
	errint_t err = alloc_clear(im, old, true);
	if (err) {
		image_fail(im, err, "the space of a map node was not marked used");
		return;
	}
	if (RULE_BROKEN(im, node_reuse_early))
		alloc_release(im, desc_extent(&im->geo, old));
	else
		f->old[f->nold++] = desc_extent(&im->geo, old);
}

static void place_node(struct freeze *f, struct node *n)
{
	struct image *im = f->im;
	struct need need;
	uint64_t unit;
	errint_t err = alloc_reserve_meta(im, 1, &unit, &need);

	if (!err)
		err = alloc_set(im, desc_node_make(unit, im->epoch, 0));
	if (err) {
		/* alloc_meta_reserve() saw to it that this cannot happen. */
		image_fail(im, -EIO, "no space reserved for a map node");
		return;
	}
	n->unit = unit;
	n->birth = im->epoch;
	n->frozen = im->map.freezes;
	struct disk_node *disk = ckpt_block(f->buf, unit << UNIT_SHIFT);
	for (unsigned i = 0; i < NODE_ENTRIES; i++)
		disk->entry[i] = desc_to_disk(n->entry[i]);
	n->crc = checksum_node(im->uuid_seed, n->level, n->index, disk);
}

/* Post-order: the CRC of a child stands in its parent. */
static struct desc freeze_node(struct freeze *f, struct node *n)
{
	for (unsigned i = 0; n->nchild && i < NODE_ENTRIES; i++)
		if (n->child[i] && n->child[i]->dirty)
			n->entry[i] = freeze_node(f, n->child[i]);
	struct desc old = desc_node_make(n->unit, n->birth, n->crc);
	if (RULE_BROKEN(f->im, node_reuse_early))
		free_old_place(f, n, old);
	n->unit = 0;
	if (!node_empty(n))
		place_node(f, n);
	if (!RULE_BROKEN(f->im, node_reuse_early))
		free_old_place(f, n, old);
	n->dirty = false;
	f->im->map.dirty--;
	f->im->map.pinned += n->pins > 0;
	return n->unit ? desc_node_make(n->unit, n->birth, n->crc) : desc_hole();
}

static bool needs_region(struct image *im, const struct node *n, uint64_t *region)
{
	if (n->unit && !alloc_loaded(im, desc_node_make(n->unit, n->birth, n->crc), region))
		return true;
	for (unsigned i = 0; n->nchild && i < NODE_ENTRIES; i++)
		if (n->child[i] && n->child[i]->dirty && needs_region(im, n->child[i], region))
			return true;
	return false;
}

bool map_freeze_needs(struct image *im, uint64_t *region)
{
	return im->map.root && im->map.root->dirty && needs_region(im, im->map.root, region);
}

void map_freeze(struct image *im, struct ckpt_buf *buf, struct extent *old, unsigned *nold)
{
	struct map *m = &im->map;
	struct freeze f = {.im = im, .buf = buf, .old = old};

	m->freezes++;
	if (m->root && m->root->dirty)
		m->root_desc = freeze_node(&f, m->root);
	assert(!m->dirty || im->failed);
	*nold = f.nold;
	evict(im, NULL);
}

void map_replace(struct image *im, struct desc root, unsigned levels)
{
	struct map *m = &im->map;
	struct node *next;

	assert(!m->dirty && !m->pinned);
	for (struct node *n = m->oldest; n; n = next) {
		next = n->newer;
		node_free(n);
	}
	m->root = m->oldest = m->newest = NULL;
	m->nodes = 0;
	m->root_desc = root;
	m->levels = (uint8_t)levels;
}

/* --- comparing with snapshots ---------------------------------------------------------------- */

errint_t map_node(struct image *im, unsigned level, uint64_t index, struct desc *self, bool *dirty,
		  struct need *need)
{
	struct map *m = &im->map;
	struct node *parent = NULL;
	errint_t err = 0;

	*self = desc_hole();
	*dirty = false;
	if (level >= m->levels || index >> NODE_SHIFT * (m->levels - 1 - level))
		return 0;
	if (level + 1u < m->levels) {
		parent = descend(im, index << NODE_SHIFT * (level + 1), level + 1, false, &err,
				 need);
		if (!parent)
			return err;
	}
	unsigned slot = index & (NODE_ENTRIES - 1);
	struct node *n = parent ? parent->child[slot] : m->root;
	*dirty = n && n->dirty;
	if (!n)
		*self = child_desc(im, parent, slot);
	else if (n->unit)
		*self = desc_node_make(n->unit, n->birth, n->crc);
	return 0;
}

/* --- for walk.c and check.c ------------------------------------------------------------------ */

bool map_copy_loaded(struct image *im, unsigned level, uint64_t index,
		     struct desc out[NODE_ENTRIES], struct desc *self)
{
	errint_t err = 0;
	struct need need;

	SCOPED_LOCK(&im->lock);
	if (level >= im->map.levels)
		return false;
	struct node *n = descend(im, index << NODE_SHIFT * (level + 1), level, false, &err, &need);
	if (!n)
		return false;
	memcpy(out, n->entry, sizeof(n->entry));
	*self = n->unit ? desc_node_make(n->unit, n->birth, n->crc) : desc_hole();
	return true;
}

struct desc map_root(struct image *im, unsigned *levels, uint64_t *nclusters)
{
	SCOPED_LOCK(&im->lock);
	*levels = im->map.levels;
	*nclusters = clusters_for(&im->geo, im->size);
	return im->map.root_desc;
}
