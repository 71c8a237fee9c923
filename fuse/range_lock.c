/* SPDX-License-Identifier: MIT */
/*
 * A list of all holders and waiters in the order in which they came.  They are as many as there are
 * threads that serve a view, a few; so it is searched from its start.
 */
#include "config.h"

#include "fuse/range_lock.h"

#include <assert.h>

#include "common/cleanup.h"

void range_lock_init(struct range_lock *l)
{
	*l = (struct range_lock){.lock = PTHREAD_MUTEX_INITIALIZER,
				 .left = PTHREAD_COND_INITIALIZER};
}

void range_lock_destroy(struct range_lock *l)
{
	assert(!l->oldest);
	pthread_cond_destroy(&l->left);
	pthread_mutex_destroy(&l->lock);
}

/* Is somebody who came before @h in its way? */
static bool must_wait(const struct range_lock *l, const struct range_holder *h)
{
	for (const struct range_holder *o = l->oldest; o != h; o = o->next)
		if ((h->exclusive || o->exclusive) && h->first < o->end && o->first < h->end)
			return true;
	return false;
}

void range_lock(struct range_lock *l, struct range_holder *h, uint64_t first, uint64_t end,
		bool exclusive)
{
	struct range_holder **last;
	SCOPED_LOCK(&l->lock);

	assert(first < end);
	*h = (struct range_holder){.first = first, .end = end, .exclusive = exclusive};
	for (last = &l->oldest; *last; last = &(*last)->next)
		;
	*last = h;
	while (must_wait(l, h))
		pthread_cond_wait(&l->left, &l->lock);
}

void range_unlock(struct range_lock *l, struct range_holder *h)
{
	struct range_holder **at;
	SCOPED_LOCK(&l->lock);

	for (at = &l->oldest; *at != h; at = &(*at)->next)
		assert(*at);
	*at = h->next;
	pthread_cond_broadcast(&l->left);
}
