/* SPDX-License-Identifier: MIT */
/*
 * Owns: the walk over a tree's nodes.
 *
 * The calling thread descends to level 1; what lies below each level-1 node is a job of up to 256
 * leaves, which any thread of a small pool may do, the caller included.  Memory: for each thread
 * one read buffer and the entries of 64 nodes, and the same once more for each level above; with a
 * base, twice the entries.
 *
 * With a base, both trees are descended at once, as long as they differ: each node that is visited
 * is read together with the one that the base has in its place.
 *
 * Invariant: a node is handed to the visitor only after validate_node(), or entry by entry after
 * validate_desc(); whatever is in the cache went through there when it was loaded.
 */
#include "config.h"

#include "image/walk_tree.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/checksum.h"
#include "image/core.h"
#include "image/map.h"

/* Siblings are loaded so many at a time: enough for long reads, few enough for the processor's
 * second-level cache. */
#define BATCH 64u

/* One read covers nodes that are this close together: reading a gap is cheaper than another read.
 */
#define READ_MAX (256u << 10)
#define READ_GAP (64u << 10)

/* How often a walk of a live image looks again for a node that moved while it was being read. */
#define MOVED_RETRIES 16u

struct walk;

struct job {
	uint64_t index; /* of the level-1 node */
	bool in_memory;
	bool base_known;
	struct desc entry[NODE_ENTRIES];
	struct desc base[NODE_ENTRIES]; /* with a base that is known */
};

/* What one thread works with. */
struct walk_thread {
	struct walk *w;
	unsigned worker;
	pthread_t thread;
	uint8_t *bounce;		   /* READ_MAX bytes */
	struct desc (*leaf)[NODE_ENTRIES]; /* entries of BATCH leaves, and of BATCH of the base */
	struct job job;			   /* the one it works on */
};

struct walk {
	/* Constant while threads run. */
	struct image *im;
	struct store *st;
	const struct tree *t;
	const struct tree_visitor *v;
	struct limits lim;
	bool live; /* somebody may change the image meanwhile */

	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t more;
	struct job *ring; /* jobs not yet taken: [head, head + n) modulo cap */
	unsigned cap, head, n;
	bool closing;
	errint_t err; /* the first one */

	unsigned nthreads;
	struct walk_thread thread[WALK_MAX_THREADS];
};

struct tree tree_head(struct image *im)
{
	struct tree t = {.head = true};

	t.root = map_root(im, &t.levels, &t.nclusters);
	return t;
}

struct tree tree_snapshot(const struct geometry *g, const struct disk_snapshot *rec)
{
	return (struct tree){.root = desc_from_disk(&rec->root),
			     .levels = rec->levels,
			     .nclusters = clusters_for(g, le64_get(rec->size))};
}

unsigned tree_walk_threads(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > (long)WALK_MAX_THREADS ? WALK_MAX_THREADS : (unsigned)n;
}

/* --- reading nodes ------------------------------------------------------------------------------
 */

/* One child of the node being expanded, or the node of the base in its place. */
struct child {
	struct desc self;
	struct desc *entry;	 /* out */
	const struct desc *base; /* see struct tree_node */
	uint64_t index;
	bool in_memory, shared;
	bool of_base;
	bool skip; /* damaged, and the visitor wants to go on; of_base: not known */
};

static int by_place(const void *a, const void *b)
{
	uint64_t x = desc_unit((*(struct child *const *)a)->self);
	uint64_t y = desc_unit((*(struct child *const *)b)->self);

	return x < y ? -1 : x > y;
}

static void get_limits(struct image *im, struct limits *lim)
{
	SCOPED_LOCK(&im->lock);
	image_limits(im, lim);
}

static void decode(const struct disk_node *node, struct desc entry[NODE_ENTRIES])
{
	for (unsigned i = 0; i < NODE_ENTRIES; i++)
		entry[i] = desc_from_disk(&node->entry[i]);
}

static errint_t node_damaged(struct walk *w, unsigned level, struct child *c, errint_t err,
			     const char *why)
{
	struct tree_node n = {.level = level, .index = c->index, .self = c->self};

	c->skip = true;
	if (c->of_base) /* whoever walks the base finds that */
		return err == -ENOMEM ? err : 0;
	if (w->v->damaged)
		return w->v->damaged(w->v->arg, &n, err, why);
	if (err != -EBADMSG)
		return err; /* the store has said why */
	return image_damaged(w->im, "node", desc_unit(c->self) << UNIT_SHIFT, why);
}

/* An intact node with entries that are not valid: report them one by one, leaving holes. */
static errint_t pick_entries(struct walk *w, unsigned level, struct child *c)
{
	struct tree_node n = {.level = level, .index = c->index, .self = c->self};

	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		uint64_t cluster = (c->index << NODE_SHIFT | i) << NODE_SHIFT * level;
		struct desc d = c->entry[i];
		struct reason why;
		errint_t err = validate_desc(d, &w->lim, level, c->self.birth, &why);

		if (!err && cluster >= w->t->nclusters && desc_type(d) != DESC_HOLE) {
			snprintf(why.text, sizeof(why.text),
				 "cluster %" PRIu64 " is beyond the last of %" PRIu64, cluster,
				 w->t->nclusters);
			err = -EBADMSG;
		}
		if (!err)
			continue;
		c->entry[i] = desc_hole();
		err = w->v->bad_entry(w->v->arg, &n, i, d, why.text);
		if (err)
			return err;
	}
	return 0;
}

static errint_t descend(struct walk *w, unsigned level, uint64_t index, uint8_t *buf,
			struct desc *self, struct desc entry[NODE_ENTRIES]);

/*
 * The bytes read for @c are no valid node.  On a live image its unit may have been given back since
 * its parent was read: look for it again, as long as that leads somewhere else.
 */
static errint_t take_bad_node(struct walk *w, unsigned level, struct child *c,
			      const struct disk_node *node, const char *why)
{
	decode(node, c->entry);
	if (c->of_base)
		return node_damaged(w, level, c, -EBADMSG, why);
	if (w->v->bad_entry &&
	    checksum_node(w->lim.uuid_seed, level, c->index, node) == c->self.aux)
		return pick_entries(w, level, c);
	if (w->live && w->t->head) {
		CLEANUP(free) uint8_t *buf = store_buffer(UNIT_SIZE);
		struct desc self = c->self;

		if (!buf)
			return log_err(-ENOMEM, "%s: cannot read the map", w->st->name);
		errint_t err = descend(w, level, c->index, buf, &self, c->entry);
		if (err != -EBADMSG) {
			c->self = self;
			return err;
		}
	}
	return node_damaged(w, level, c, -EBADMSG, why);
}

static errint_t take_node(struct walk *w, unsigned level, struct child *c,
			  const struct disk_node *node)
{
	const struct tree *t = c->of_base ? w->v->base : w->t;
	struct reason why;

	if (validate_node(node, c->self, level, c->index, t->nclusters, &w->lim, &why))
		return take_bad_node(w, level, c, node, why.text);
	decode(node, c->entry);
	return 0;
}

/*
 * Find the node at (@level, @index) anew from the root, following what is in memory first.  A hole
 * leaves @entry all holes.  -EBADMSG, with nothing logged, when it is damaged.
 */
static errint_t descend_once(struct walk *w, unsigned level, uint64_t index, uint8_t *buf,
			     struct desc *self, struct desc entry[NODE_ENTRIES])
{
	struct limits lim;
	unsigned levels;
	uint64_t nclusters;
	struct reason why;

	*self = map_root(w->im, &levels, &nclusters);
	get_limits(w->im, &lim);
	for (unsigned l = levels; l-- > level;) {
		uint64_t at = index >> NODE_SHIFT * (l - level);

		if (!map_copy_loaded(w->im, l, at, entry, self)) {
			if (desc_type(*self) != DESC_NODE) {
				memset(entry, 0, sizeof(struct desc) * NODE_ENTRIES);
				*self = desc_hole();
				return 0;
			}
			errint_t err =
				store_read(w->st, buf, UNIT_SIZE, desc_unit(*self) << UNIT_SHIFT);
			const struct disk_node *node = (const struct disk_node *)buf;

			if (!err)
				err = validate_node(node, *self, l, at, nclusters, &lim, &why);
			if (err)
				return err;
			decode(node, entry);
		}
		if (l > level)
			*self = entry[index >> NODE_SHIFT * (l - level - 1) & (NODE_ENTRIES - 1)];
	}
	return 0;
}

static errint_t descend(struct walk *w, unsigned level, uint64_t index, uint8_t *buf,
			struct desc *self, struct desc entry[NODE_ENTRIES])
{
	errint_t err = -EBADMSG;

	for (unsigned i = 0; i < MOVED_RETRIES && err == -EBADMSG; i++) {
		struct desc before = *self;

		err = descend_once(w, level, index, buf, self, entry);
		if (err == -EBADMSG && desc_equal(before, *self))
			break; /* still there: it is damaged */
	}
	return err;
}

/* Read @n children, sorted by place, which one read of at most READ_MAX bytes covers. */
static errint_t read_run(struct walk *w, unsigned level, struct child **c, unsigned n,
			 uint8_t *bounce)
{
	uint64_t first = desc_unit(c[0]->self);
	size_t len = (desc_unit(c[n - 1]->self) - first + 1) << UNIT_SHIFT;
	errint_t err = store_read(w->st, bounce, len, first << UNIT_SHIFT);

	if (err && n > 1) { /* find out which of them it is */
		for (unsigned i = 0; i < n; i++) {
			err = read_run(w, level, c + i, 1, bounce);
			if (err)
				return err;
		}
		return 0;
	}
	if (err)
		return node_damaged(w, level, c[0], err, "it cannot be read");
	for (unsigned i = 0; i < n; i++) {
		size_t at = (desc_unit(c[i]->self) - first) << UNIT_SHIFT;

		err = take_node(w, level, c[i], (const struct disk_node *)(bounce + at));
		if (err)
			return err;
	}
	return 0;
}

/* Read the children in @c, which are not in memory. */
static errint_t read_children(struct walk *w, unsigned level, struct child **c, unsigned n,
			      uint8_t *bounce)
{
	bool sorted = true;

	for (unsigned i = 1; i < n; i++)
		sorted &= desc_unit(c[i - 1]->self) <= desc_unit(c[i]->self);
	if (!sorted)
		qsort(c, n, sizeof(struct child *), by_place);
	for (unsigned i = 0, end; i < n; i = end) {
		uint64_t first = desc_unit(c[i]->self);

		for (end = i + 1; end < n; end++) {
			uint64_t last = desc_unit(c[end - 1]->self), next = desc_unit(c[end]->self);

			if (next - last > READ_GAP >> UNIT_SHIFT ||
			    next - first >= READ_MAX >> UNIT_SHIFT)
				break;
		}
		errint_t err = read_run(w, level, c + i, end - i, bounce);
		if (err)
			return err;
	}
	return 0;
}

/* --- the base -----------------------------------------------------------------------------------
 */

static const struct desc no_entries[NODE_ENTRIES];

/* What the base has at (@level, @index), below a node in whose place it has the entries @above.
 * False: not known. */
static bool base_desc(const struct walk *w, unsigned level, uint64_t index,
		      const struct desc *above, struct desc *out)
{
	const struct tree *b = w->v->base;

	*out = desc_hole();
	if (level + 1u == b->levels && !index)
		*out = b->root;
	else if (level + 1u < b->levels && above)
		*out = above[index & (NODE_ENTRIES - 1)];
	return above || level + 1u >= b->levels;
}

/* All that is below is allowed to be there, given that the base may have it. */
static bool within_disk(const struct walk *w, unsigned level, uint64_t index)
{
	return w->v->base->nclusters <= w->t->nclusters ||
	       tree_node_end(level, index) <= w->t->nclusters;
}

/*
 * Compare @c with what the base has in its place; @above are the base's entries in the place of its
 * parent.  False: there is no need to visit it.  @other is the node of the base, HOLE: none that
 * has to be read, for which there is @room.
 */
static bool compare_base(const struct walk *w, unsigned level, const struct desc *above,
			 struct child *c, struct child *other, struct desc *room)
{
	*other = (struct child){.index = c->index, .entry = room, .of_base = true};
	bool known = base_desc(w, level, c->index, above, &other->self);
	c->shared = known ? desc_equal(c->self, other->self) : c->self.birth <= w->v->floor;
	c->base = known ? no_entries : NULL;
	return !c->shared || c->in_memory || !within_disk(w, level, c->index);
}

/* The entries of the base in the place of our root's parent; *out is NULL when that is not known.
 */
static errint_t base_above_root(struct walk_thread *t, struct desc *room, const struct desc **out)
{
	const struct tree *b = t->w->v->base;
	struct child c = {.entry = room, .of_base = true};
	struct child *todo = &c;

	*out = no_entries;
	c.self = b->root;
	for (unsigned l = b->levels - 1u; l >= t->w->t->levels; l--) {
		if (desc_type(c.self) != DESC_NODE) {
			*out = no_entries;
			return 0;
		}
		errint_t err = read_children(t->w, l, &todo, 1, t->bounce);
		*out = c.skip ? NULL : room;
		if (err || c.skip)
			return err;
		c.self = room[0];
	}
	return 0;
}

/* --- descending ---------------------------------------------------------------------------------
 */

/* *below: what is below is to be visited as well. */
static errint_t visit(struct walk_thread *t, unsigned level, const struct child *c, bool *below)
{
	const struct tree_visitor *v = t->w->v;
	struct tree_node n = {.level = level,
			      .index = c->index,
			      .self = c->self,
			      .in_memory = c->in_memory,
			      .shared = c->shared,
			      .entry = c->entry,
			      .base = c->base};

	*below = !v->enter || v->enter(v->arg, t->worker, &n);
	return *below ? v->node(v->arg, t->worker, &n) : 0;
}

static bool wanted(const struct walk *w, unsigned level, uint64_t index)
{
	return tree_node_first(level, index) < w->v->end &&
	       tree_node_end(level, index) > w->v->first;
}

/*
 * The next children, from slot *@slot on and at most BATCH, of the node @parent at @level that are
 * to be visited: those in memory as they are there, the others read.  @room has space for the
 * entries of all, and behind that for those of the base.  Returns their number in *n and where to
 * go on in *slot.
 */
static errint_t load_children(struct walk_thread *t, unsigned level, const struct child *parent,
			      struct desc (*room)[NODE_ENTRIES], unsigned *slot,
			      struct child *child, unsigned *n)
{
	struct walk *w = t->w;
	struct child other[BATCH], *todo[2 * BATCH];
	const bool base = w->v->base;
	unsigned ntodo = 0;

	for (*n = 0; *slot < NODE_ENTRIES && *n < BATCH; ++*slot) {
		uint64_t at = parent->index << NODE_SHIFT | *slot;

		if (!parent->in_memory && desc_type(parent->entry[*slot]) != DESC_NODE)
			continue;
		if (!wanted(w, level - 1, at))
			continue;
		struct child *c = &child[*n];
		*c = (struct child){.self = parent->entry[*slot], .entry = room[*n], .index = at};
		/* What is loaded has loaded ancestors: below a node on disk there is none. */
		c->in_memory = parent->in_memory &&
			       map_copy_loaded(w->im, level - 1, at, c->entry, &c->self);
		if (!c->in_memory && desc_type(c->self) != DESC_NODE)
			continue;
		if (base &&
		    !compare_base(w, level - 1, parent->base, c, &other[*n], room[BATCH + *n]))
			continue;
		if (!c->in_memory)
			todo[ntodo++] = c;
		if (base && desc_type(other[*n].self) == DESC_NODE)
			todo[ntodo++] = &other[*n];
		++*n;
	}
	errint_t err = read_children(w, level - 1, todo, ntodo, t->bounce);
	for (unsigned i = 0; base && i < *n; i++)
		if (desc_type(other[i].self) == DESC_NODE)
			child[i].base = other[i].skip ? NULL : other[i].entry;
	return err;
}

/* Visit the children of a level-1 node: leaves. */
static errint_t visit_leaves(struct walk_thread *t, const struct child *parent)
{
	struct child child[BATCH];
	errint_t err = 0;
	bool below;

	for (unsigned slot = 0, n; slot < NODE_ENTRIES && !err;) {
		err = load_children(t, 1, parent, t->leaf, &slot, child, &n);
		for (unsigned i = 0; i < n && !err; i++)
			err = child[i].skip ? 0 : visit(t, 0, &child[i], &below);
	}
	return err;
}

static void walk_failed(struct walk *w, errint_t err)
{
	SCOPED_LOCK(&w->lock);
	if (!w->err)
		w->err = err;
}

static void pop_job(struct walk *w, struct job *out)
{
	assert(w->n > 0);
	*out = w->ring[w->head];
	w->head = (w->head + 1) % w->cap;
	w->n--;
}

static void run_job(struct walk_thread *t)
{
	struct job *job = &t->job;
	const struct child node = {.index = job->index,
				   .in_memory = job->in_memory,
				   .entry = job->entry,
				   .base = job->base_known ? job->base : NULL};
	errint_t err = visit_leaves(t, &node);

	if (err)
		walk_failed(t->w, err);
}

/* Hand a level-1 node to the pool; while that is full, the caller does its share. */
static errint_t submit(struct walk_thread *t, const struct child *c)
{
	struct walk *w = t->w;

	if (w->nthreads == 1)
		return visit_leaves(t, c);
	pthread_mutex_lock(&w->lock);
	bool full = w->n == w->cap;
	if (full)
		pop_job(w, &t->job);
	struct job *job = &w->ring[(w->head + w->n++) % w->cap];
	job->index = c->index;
	job->in_memory = c->in_memory;
	memcpy(job->entry, c->entry, sizeof(job->entry));
	job->base_known = c->base;
	if (c->base)
		memcpy(job->base, c->base, sizeof(job->base));
	errint_t err = w->err;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	if (full && !err)
		run_job(t);
	return err;
}

/* Entries of BATCH nodes, and of BATCH of the base. */
static size_t room_bytes(const struct walk *w)
{
	return (w->v->base ? 2 : 1) * BATCH * sizeof(struct desc[NODE_ENTRIES]);
}

/* Visit the node @c of @level, whose entries are at hand, and all below. */
static errint_t visit_subtree(struct walk_thread *t, unsigned level, const struct child *c)
{
	CLEANUP(free) struct desc(*room)[NODE_ENTRIES] = NULL;
	struct child child[BATCH];
	bool below;
	errint_t err = visit(t, level, c, &below);

	if (err || !level || !below)
		return err;
	if (level == 1)
		return submit(t, c);
	room = malloc(room_bytes(t->w));
	if (!room)
		return log_err(-ENOMEM, "%s: cannot read the map", t->w->st->name);
	for (unsigned slot = 0, n; slot < NODE_ENTRIES && !err;) {
		err = load_children(t, level, c, room, &slot, child, &n);
		for (unsigned i = 0; i < n && !err; i++)
			err = child[i].skip ? 0 : visit_subtree(t, level - 1, &child[i]);
	}
	return err;
}

static errint_t walk_from_root(struct walk_thread *t)
{
	struct walk *w = t->w;
	CLEANUP(free) struct desc(*room)[NODE_ENTRIES] = malloc(2 * sizeof(*room));
	struct child root = {.self = w->t->root}, other = {.self = desc_hole()};
	struct child *todo[2];
	const struct desc *above = NULL;
	unsigned level = w->t->levels - 1u, n = 0;

	if (!wanted(w, level, 0))
		return 0;
	if (!room)
		return log_err(-ENOMEM, "%s: cannot read the map", w->st->name);
	errint_t err = w->v->base ? base_above_root(t, room[1], &above) : 0;
	if (err)
		return err;
	root.entry = room[0];
	root.in_memory = w->t->head && map_copy_loaded(w->im, level, 0, room[0], &root.self);
	if (!root.in_memory && desc_type(root.self) != DESC_NODE)
		return 0;
	if (w->v->base && !compare_base(w, level, above, &root, &other, room[1]))
		return 0;
	if (!root.in_memory)
		todo[n++] = &root;
	if (desc_type(other.self) == DESC_NODE)
		todo[n++] = &other;
	err = read_children(w, level, todo, n, t->bounce);
	if (desc_type(other.self) == DESC_NODE)
		root.base = other.skip ? NULL : room[1];
	return err || root.skip ? err : visit_subtree(t, level, &root);
}

/* --- threads ------------------------------------------------------------------------------------
 */

/* Take jobs until there are no more to come. */
static void work_off(struct walk_thread *t)
{
	struct walk *w = t->w;

	for (;;) {
		pthread_mutex_lock(&w->lock);
		while (!w->n && !w->closing)
			pthread_cond_wait(&w->more, &w->lock);
		bool any = w->n > 0, stop = w->err != 0;
		if (any)
			pop_job(w, &t->job);
		pthread_mutex_unlock(&w->lock);
		if (!any)
			return;
		if (!stop)
			run_job(t);
	}
}

static void *walk_worker(void *arg)
{
	work_off(arg);
	return NULL;
}

static errint_t thread_prepare(struct walk *w, unsigned i)
{
	struct walk_thread *t = &w->thread[i];

	*t = (struct walk_thread){.w = w, .worker = i};
	t->bounce = aligned_alloc(UNIT_SIZE, READ_MAX);
	t->leaf = malloc(room_bytes(w));
	if (!t->bounce || !t->leaf)
		return log_err(-ENOMEM, "%s: cannot read the map", w->st->name);
	return 0;
}

static errint_t walk_prepare(struct walk *w, unsigned threads)
{
	errint_t err = thread_prepare(w, 0);

	w->nthreads = 1;
	if (err || threads == 1 || w->t->levels < 3)
		return err; /* at most one level-1 node: nothing to share */
	w->cap = 2 * threads;
	w->ring = malloc(w->cap * sizeof(*w->ring));
	if (!w->ring)
		return log_err(-ENOMEM, "%s: cannot read the map", w->st->name);
	for (unsigned i = 1; i < threads; i++) {
		struct walk_thread *t = &w->thread[i];

		err = thread_prepare(w, i);
		/* Fewer threads than asked for do as well, but for the caller's. */
		if (err || pthread_create(&t->thread, NULL, walk_worker, t)) {
			free(t->bounce);
			free(t->leaf);
			return err;
		}
		w->nthreads++;
	}
	return 0;
}

/* Let the threads finish, help them, free everything. */
static void walk_end(struct walk *w)
{
	if (w->ring) {
		pthread_mutex_lock(&w->lock);
		w->closing = true;
		pthread_cond_broadcast(&w->more);
		pthread_mutex_unlock(&w->lock);
		work_off(&w->thread[0]);
	}
	for (unsigned i = 1; i < w->nthreads; i++)
		pthread_join(w->thread[i].thread, NULL);
	for (unsigned i = 0; i < w->nthreads; i++) {
		free(w->thread[i].bounce);
		free(w->thread[i].leaf);
	}
	free(w->ring);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
}

errint_t tree_walk(struct image *im, const struct tree *t, const struct tree_visitor *v)
{
	struct image_info info;
	struct walk *w = calloc(1, sizeof(*w));

	assert(v->threads >= 1 && v->threads <= WALK_MAX_THREADS);
	assert(t->levels >= 1 && t->levels <= MAX_LEVELS);
	if (!w)
		return log_err(-ENOMEM, "cannot read the map");
	image_get_info(im, &info);
	get_limits(im, &w->lim);
	w->im = im;
	w->st = image_store(im);
	w->t = t;
	w->v = v;
	w->live = !info.read_only;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	errint_t err = walk_prepare(w, v->threads);
	if (!err)
		err = walk_from_root(&w->thread[0]);
	if (err)
		walk_failed(w, err);
	walk_end(w);
	err = w->err;
	free(w);
	return err;
}
