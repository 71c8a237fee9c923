/* SPDX-License-Identifier: MIT */
/*
 * Owns: the nodes of an image under construction.
 *
 *  - A position has a node in memory, or one in the file that its parent names, or none: never two.
 *  - A node in memory is newer than what its parent says of it; writing it updates the parent.
 *  - Nodes are written many at a time, in the order of their positions, so that whoever walks the
 *    tree later reads runs.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/bulk_tree.h"
#include "image/checksum.h"

/* Nodes written at once: a run of 1 MiB. */
#define EVICT_NODES 256u

static struct bulk_node_bucket *bucket_of(struct bulk_tree *t, unsigned level, uint64_t index)
{
	uint64_t h = (index ^ (uint64_t)level << 56) * 0x9e3779b97f4a7c15ull;

	return &t->bucket[(h >> 32) % BULK_TREE_BUCKETS];
}

static struct bulk_node *find_cached(struct bulk_tree *t, unsigned level, uint64_t index)
{
	struct bulk_node *n;

	LIST_FOREACH(n, bucket_of(t, level, index), hash)
	{
		if (n->index == index && n->level == level)
			return n;
	}
	return NULL;
}

static void add_node(struct bulk_tree *t, struct bulk_node *n)
{
	LIST_INSERT_HEAD(bucket_of(t, n->level, n->index), n, hash);
	TAILQ_INSERT_HEAD(&t->lru, n, lru);
	t->nnodes++;
}

static void drop_node(struct bulk_tree *t, struct bulk_node *n)
{
	LIST_REMOVE(n, hash);
	TAILQ_REMOVE(&t->lru, n, lru);
	t->nnodes--;
	free(n);
}

/* Fill @n from where its parent says that it is. */
static errint_t read_back(struct bulk_tree *t, struct bulk_node *n, struct desc self)
{
	CLEANUP(free) struct disk_node *buf = store_buffer(sizeof(*buf));
	errint_t err;

	if (!buf)
		return log_err(-ENOMEM, "%s: cannot read a node", t->st->name);
	n->unit = desc_unit(self);
	err = store_read(t->st, buf, sizeof(*buf), n->unit << UNIT_SHIFT);
	if (err)
		return err;
	if (checksum_node(t->uuid_seed, n->level, n->index, buf) != self.aux)
		return log_fail(-EIO, "%s: the node at byte %llu does not read back as written",
				t->st->name, (unsigned long long)n->unit << UNIT_SHIFT);
	n->disk = *buf;
	return 0;
}

/* The node at @index of @level, made when there is none yet. */
static errint_t get_node(struct bulk_tree *t, unsigned level, uint64_t index,
			 struct bulk_node **out)
{
	struct desc self = t->root;
	struct bulk_node *n = find_cached(t, level, index);

	assert(level < t->levels);
	if (n) {
		TAILQ_REMOVE(&t->lru, n, lru);
		TAILQ_INSERT_HEAD(&t->lru, n, lru);
		*out = n;
		return 0;
	}
	if (level + 1u < t->levels) {
		struct bulk_node *parent;
		errint_t err = get_node(t, level + 1, index >> NODE_SHIFT, &parent);

		if (err)
			return err;
		self = desc_from_disk(&parent->disk.entry[index % NODE_ENTRIES]);
	}
	n = calloc(1, sizeof(*n));
	if (!n)
		return log_err(-ENOMEM, "%s: cannot map another cluster", t->st->name);
	n->level = (uint8_t)level;
	n->index = index;
	if (desc_type(self) == DESC_NODE) {
		errint_t err = read_back(t, n, self);
		if (err) {
			free(n);
			return err;
		}
	}
	add_node(t, n);
	*out = n;
	return 0;
}

/* Tell the parent of a node that was just written. */
static errint_t link_node(struct bulk_tree *t, const struct bulk_node *n)
{
	uint32_t crc = checksum_node(t->uuid_seed, n->level, n->index, &n->disk);
	struct desc self = desc_node_make(n->unit, 1, crc);
	struct bulk_node *parent;
	errint_t err;

	if (n->level + 1u == t->levels) {
		t->root = self;
		return 0;
	}
	err = get_node(t, n->level + 1u, n->index >> NODE_SHIFT, &parent);
	if (!err)
		parent->disk.entry[n->index % NODE_ENTRIES] = desc_to_disk(self);
	return err;
}

/* Give the nodes that have no place yet one, next to each other as far as possible. */
static errint_t place_nodes(struct bulk_tree *t, struct bulk_node *const *node, unsigned n)
{
	struct bulk_run run = {0, 0};

	for (unsigned i = 0; i < n; i++) {
		errint_t err;

		if (node[i]->unit)
			continue;
		err = bulk_space_find(t->space, 1, 1, &run);
		if (err)
			return err;
		bulk_space_take(t->space, &run, 1, BULK_NODE);
		node[i]->unit = run.unit;
	}
	return 0;
}

/* Write @n nodes, one write for each run of neighbours. */
static errint_t write_nodes(struct bulk_tree *t, struct bulk_node *const *node, unsigned n,
			    struct disk_node *buf)
{
	unsigned len = 0;

	for (unsigned i = 0; i < n; i++) {
		errint_t err;

		buf[len++] = node[i]->disk;
		if (i + 1 < n && node[i + 1]->unit == node[i]->unit + 1)
			continue;
		err = store_write(t->st, buf, (size_t)len * UNIT_SIZE,
				  (node[i]->unit + 1 - len) << UNIT_SHIFT);
		if (err)
			return err;
		len = 0;
	}
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct bulk_node *x = *(const struct bulk_node *const *)a;
	const struct bulk_node *y = *(const struct bulk_node *const *)b;

	return (x->index > y->index) - (x->index < y->index);
}

/* Write @n nodes of one level and take them out of memory. */
static errint_t evict(struct bulk_tree *t, struct bulk_node **node, unsigned n)
{
	CLEANUP(free) struct disk_node *buf = store_buffer((size_t)n * UNIT_SIZE);
	errint_t err;

	if (!buf)
		return log_err(-ENOMEM, "%s: cannot write nodes", t->st->name);
	qsort(node, n, sizeof(*node), by_index);
	err = place_nodes(t, node, n);
	if (!err)
		err = write_nodes(t, node, n, buf);
	for (unsigned i = 0; !err && i < n; i++)
		err = link_node(t, node[i]);
	for (unsigned i = 0; !err && i < n; i++)
		drop_node(t, node[i]);
	return err;
}

/* Evict the nodes that were not used for longest, all of one level. */
static errint_t make_room(struct bulk_tree *t)
{
	struct bulk_node *node[EVICT_NODES], *n;
	unsigned count = 0, most = t->max_nodes / 4 + 1;
	unsigned level = TAILQ_LAST(&t->lru, bulk_node_list)->level;

	TAILQ_FOREACH_REVERSE(n, &t->lru, bulk_node_list, lru)
	{
		if (count == EVICT_NODES || count == most)
			break;
		if (n->level == level)
			node[count++] = n;
	}
	return evict(t, node, count);
}

void bulk_tree_init(struct bulk_tree *t, struct store *st, struct bulk_space *space,
		    uint32_t uuid_seed)
{
	memset(t, 0, sizeof(*t));
	t->st = st;
	t->space = space;
	t->uuid_seed = uuid_seed;
	t->levels = 1;
	t->max_nodes = BULK_TREE_NODES;
	t->root = desc_hole();
	TAILQ_INIT(&t->lru);
}

void bulk_tree_destroy(struct bulk_tree *t)
{
	struct bulk_node *n;

	while ((n = TAILQ_FIRST(&t->lru)))
		drop_node(t, n);
}

/* Put another level on top.  A root that is still in memory finds its parent when it is written. */
static errint_t add_level(struct bulk_tree *t)
{
	struct desc below = t->root;
	struct bulk_node *top;
	errint_t err;

	t->root = desc_hole();
	t->levels++;
	if (desc_type(below) == DESC_HOLE)
		return 0;
	err = get_node(t, t->levels - 1u, 0, &top);
	if (!err)
		top->disk.entry[0] = desc_to_disk(below);
	return err;
}

errint_t bulk_tree_grow(struct bulk_tree *t, unsigned levels)
{
	assert(levels <= MAX_LEVELS);
	while (t->levels < levels) {
		errint_t err = add_level(t);
		if (err)
			return err;
	}
	return 0;
}

errint_t bulk_tree_map(struct bulk_tree *t, uint64_t vcluster, struct desc d)
{
	struct bulk_node *leaf;
	struct disk_desc *entry;
	errint_t err = bulk_tree_grow(t, levels_for(vcluster + 1));

	if (err)
		return err;
	if (t->end < vcluster + 1)
		t->end = vcluster + 1;
	while (t->nnodes >= t->max_nodes) {
		err = make_room(t);
		if (err)
			return err;
	}
	err = get_node(t, 0, vcluster >> NODE_SHIFT, &leaf);
	if (err)
		return err;
	entry = &leaf->disk.entry[vcluster % NODE_ENTRIES];
	assert(desc_type(desc_from_disk(entry)) == DESC_HOLE);
	*entry = desc_to_disk(d);
	return 0;
}

/* Write all nodes of one level. */
static errint_t finish_level(struct bulk_tree *t, unsigned level)
{
	CLEANUP(free) struct bulk_node **node = calloc(t->nnodes + 1, sizeof(struct bulk_node *));
	struct bulk_node *n;
	unsigned count = 0;

	if (!node)
		return log_err(-ENOMEM, "%s: cannot write the map", t->st->name);
	TAILQ_FOREACH(n, &t->lru, lru)
	{
		if (n->level == level)
			node[count++] = n;
	}
	qsort(node, count, sizeof(struct bulk_node *), by_index);
	for (unsigned i = 0; i < count; i += EVICT_NODES) {
		unsigned batch = count - i < EVICT_NODES ? count - i : EVICT_NODES;
		errint_t err = evict(t, node + i, batch);
		if (err)
			return err;
	}
	return 0;
}

errint_t bulk_tree_finish(struct bulk_tree *t)
{
	for (unsigned level = 0; level < t->levels; level++) {
		errint_t err = finish_level(t, level);
		if (err)
			return err;
	}
	assert(!t->nnodes);
	return 0;
}
