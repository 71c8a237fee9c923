/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>

#include "common/cleanup.h"
#include "image/core.h"
#include "image/frozen.h"

struct frozen_node {
	struct frozen_node *next;	   /* of its bucket */
	struct frozen_node *older, *newer; /* by use */
	struct desc self;
	unsigned level;
	uint64_t index;
	struct desc entry[NODE_ENTRIES];
};

static struct frozen_node **bucket_of(struct frozen *f, struct desc self)
{
	return &f->bucket[desc_unit(self) * 0x9e3779b97f4a7c15ull >> 56];
}

static void use_remove(struct frozen *f, struct frozen_node *n)
{
	*(n->older ? &n->older->newer : &f->oldest) = n->newer;
	*(n->newer ? &n->newer->older : &f->newest) = n->older;
}

static void use_add(struct frozen *f, struct frozen_node *n)
{
	n->older = f->newest;
	n->newer = NULL;
	*(f->newest ? &f->newest->newer : &f->oldest) = n;
	f->newest = n;
}

static void drop(struct frozen *f, struct frozen_node *n)
{
	struct frozen_node **at = bucket_of(f, n->self);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	use_remove(f, n);
	f->n--;
	free(n);
}

static struct frozen_node *find(struct frozen *f, struct desc self, unsigned level, uint64_t index)
{
	for (struct frozen_node *n = *bucket_of(f, self); n; n = n->next)
		if (desc_equal(n->self, self) && n->level == level && n->index == index)
			return n;
	return NULL;
}

const struct desc *frozen_find(struct image *im, struct desc self, unsigned level, uint64_t index)
{
	struct frozen *f = &im->frozen;
	struct frozen_node *n = find(f, self, level, index);

	if (!n)
		return NULL;
	if (n != f->newest) {
		use_remove(f, n);
		use_add(f, n);
	}
	return n->entry;
}

errint_t frozen_load(struct image *im, const struct node_ref *ref, uint64_t nclusters)
{
	CLEANUP(free) struct disk_node *disk = store_buffer(UNIT_SIZE);
	CLEANUP(free) struct frozen_node *n = calloc(1, sizeof(*n));
	uint64_t off = desc_unit(ref->desc) << UNIT_SHIFT;
	struct limits lim;
	struct reason why;

	if (!disk || !n)
		return -ENOMEM;
	errint_t err = store_read(im->st, disk, UNIT_SIZE, off);
	if (err)
		return err;
	pthread_mutex_lock(&im->lock);
	image_limits(im, &lim);
	pthread_mutex_unlock(&im->lock);
	err = validate_node(disk, ref->desc, ref->level, ref->index, nclusters, &lim, &why);
	if (err)
		return image_damaged(im, "map node of a snapshot", off, why.text);
	n->self = ref->desc;
	n->level = ref->level;
	n->index = ref->index;
	for (unsigned i = 0; i < NODE_ENTRIES; i++)
		n->entry[i] = desc_from_disk(&disk->entry[i]);

	SCOPED_LOCK(&im->lock);
	struct frozen *f = &im->frozen;
	im->stats.node_loads++;
	if (find(f, n->self, n->level, n->index))
		return 0; /* somebody else was quicker */
	while (f->n >= f->max) {
		drop(f, f->oldest);
		im->stats.node_evictions++;
	}
	struct frozen_node **at = bucket_of(f, n->self);
	n->next = *at;
	use_add(f, n);
	f->n++;
	*at = steal_pointer(&n);
	return 0;
}

void frozen_forget(struct image *im, struct desc self)
{
	struct frozen_node *next;

	for (struct frozen_node *n = *bucket_of(&im->frozen, self); n; n = next) {
		next = n->next;
		if (desc_unit(n->self) == desc_unit(self))
			drop(&im->frozen, n);
	}
}

void frozen_close(struct image *im)
{
	while (im->frozen.oldest)
		drop(&im->frozen, im->frozen.oldest);
}
