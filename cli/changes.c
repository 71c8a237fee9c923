/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/changes.h"

#include <assert.h>
#include <stdlib.h>

#include "common/log.h"

static uint64_t end_of(const struct change *e)
{
	return e->off + e->len;
}

errint_t changes_add(struct changes *c, const struct change *e)
{
	struct change *last = c->n ? &c->list[c->n - 1] : NULL;

	assert(!last || end_of(last) <= e->off);
	if (!e->len)
		return 0;
	if (last && last->zero == e->zero && end_of(last) == e->off) {
		last->len += e->len;
		return 0;
	}
	if (c->n == c->room) {
		size_t room = c->room ? 2 * c->room : 64;
		struct change *list = reallocarray(c->list, room, sizeof(*list));

		if (!list)
			return log_err(-ENOMEM, "cannot keep what differs");
		c->list = list;
		c->room = room;
	}
	c->list[c->n++] = *e;
	return 0;
}

errint_t changes_end_with_zeros(struct changes *c, uint64_t from, uint64_t to)
{
	struct changes all = {.list = NULL};
	errint_t err = 0;

	for (size_t i = 0; i <= c->n && !err; i++) {
		const struct change *next = i < c->n ? &c->list[i] : NULL;
		uint64_t at = all.n ? end_of(&all.list[all.n - 1]) : 0;
		uint64_t end = next ? next->off : to;
		struct change gap = {.off = at > from ? at : from, .zero = true};

		if (gap.off < end) {
			gap.len = end - gap.off;
			err = changes_add(&all, &gap);
		}
		if (next && !err)
			err = changes_add(&all, next);
	}
	if (err) {
		changes_free(&all);
		return err;
	}
	changes_free(c);
	*c = all;
	return 0;
}

void changes_total(const struct changes *c, uint64_t *data, uint64_t *zero)
{
	*data = *zero = 0;
	for (size_t i = 0; i < c->n; i++)
		*(c->list[i].zero ? zero : data) += c->list[i].len;
}

void changes_free(struct changes *c)
{
	free(c->list);
	*c = (struct changes){.list = NULL};
}
