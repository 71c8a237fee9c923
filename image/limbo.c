/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/core.h"
#include "image/limbo.h"

errint_t limbo_list_reserve(struct limbo_list *l, size_t n)
{
	size_t cap = l->cap ? l->cap : 64;

	while (cap < l->n + n)
		cap *= 2;
	if (cap == l->cap)
		return 0;
	struct limbo_item *p = realloc(l->item, cap * sizeof(*p));
	if (!p)
		return -ENOMEM;
	l->item = p;
	l->cap = cap;
	return 0;
}

void limbo_list_add(struct limbo_list *l, struct limbo_item item)
{
	assert(l->n < l->cap);
	l->item[l->n++] = item;
}

errint_t limbo_list_move(struct limbo_list *to, struct limbo_list *from)
{
	errint_t err = limbo_list_reserve(to, from->n);

	if (err || !from->n)
		return err;
	memcpy(to->item + to->n, from->item, from->n * sizeof(*from->item));
	to->n += from->n;
	from->n = 0;
	return 0;
}

void limbo_list_drop(struct limbo_list *l, size_t *head)
{
	assert(*head <= l->n);
	if (!*head)
		return;
	memmove(l->item, l->item + *head, (l->n - *head) * sizeof(*l->item));
	l->n -= *head;
	*head = 0;
}

/* Take the oldest item, if nobody can be reading it any more.  Barriers only rise along the list.
 */
static bool take_ready(struct image *im, struct limbo_item *item)
{
	struct limbo_list *l = &im->txns.limbo;

	if (im->txns.limbo_head == l->n)
		return false;
	*item = l->item[im->txns.limbo_head];
	if (!guard_drained(im, item->barrier) && !RULE_BROKEN(im, no_drain))
		return false;
	if (++im->txns.limbo_head == l->n)
		im->txns.limbo_head = l->n = 0;
	return true;
}

static void release(struct image *im, const struct limbo_item *item)
{
	/* Region 0 becomes space for nodes, which stays allocated on the host (A3). */
	bool punch = item->punch && region_of(item->ext.off);
	struct extent e = punch ? alloc_punchable(im, item->ext) : (struct extent){0, 0};

	if (e.len) {
		/* Our hold keeps the pieces from being allocated meanwhile. */
		im->stats.punches++;
		pthread_mutex_unlock(&im->lock);
		errint_t err = store_punch(im->st, e.off, e.len);
		if (err)
			log_debug(LOG_ALLOC,
				  "punching %llu bytes at %llu failed: their space is kept",
				  (unsigned long long)e.len, (unsigned long long)e.off);
		pthread_mutex_lock(&im->lock);
	}
	alloc_release(im, item->ext);
}

void limbo_step(struct image *im)
{
	struct limbo_item item;

	SCOPED_LOCK(&im->lock);
	if (im->txns.limbo_busy)
		return;
	im->txns.limbo_busy = true;
	while (take_ready(im, &item))
		release(im, &item);
	im->txns.limbo_busy = false;
	image_wake(im);
}

errint_t limbo_drain(struct image *im)
{
	errint_t err = txn_commit(im);

	if (err)
		return err;
	pthread_mutex_lock(&im->lock);
	uint64_t barrier = guard_barrier(im);
	while (!guard_drained(im, barrier))
		image_wait(im);
	pthread_mutex_unlock(&im->lock);
	limbo_step(im);
	pthread_mutex_lock(&im->lock);
	while (im->txns.limbo_busy)
		image_wait(im);
	pthread_mutex_unlock(&im->lock);
	return 0;
}
