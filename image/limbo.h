/* SPDX-License-Identifier: MIT */
/*
 * Limbo: freed extents wait here until the transaction that freed them is durable and everybody who
 * might still read them has left (docs/format.md section 8); then they may be punched, and become
 * free.
 */
#ifndef IMAGE_LIMBO_H
#define IMAGE_LIMBO_H

#include "image/txn.h"

/* Room for @n more items.  im->lock held. */
MUST_CHECK errint_t limbo_list_reserve(struct limbo_list *l, size_t n);
/* There is room.  im->lock held. */
void limbo_list_add(struct limbo_list *l, struct limbo_item item);
/* Move all of @from behind @to; both stay valid.  -ENOMEM leaves both as they were. */
MUST_CHECK errint_t limbo_list_move(struct limbo_list *to, struct limbo_list *from);

/* Forget the first *@head items, which are gone; *head becomes 0. */
void limbo_list_drop(struct limbo_list *l, size_t *head);

/* Release what may be released now.  Lock not held; may block (punching). */
void limbo_step(struct image *im);

/* Commit, wait for all present guards, and release everything freed before the call.  Lock not
 * held; may block. */
MUST_CHECK errint_t limbo_drain(struct image *im);

#endif
