/* SPDX-License-Identifier: MIT */
/*
 * The disk as long as it runs; sim_crash.c is what remains of it after a crash.
 *
 * Two sets of pages: what is persistent and what reads see.  Between them, for each unit, the list
 * of volatile changes.  A change leaves the list when it is made persistent, and takes with it what
 * older changes did to the same sectors: they can no longer come back.
 */
#include "config.h"

#include "tests/lib/sim_disk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sim_disk_impl.h"

struct sim_disk *sim_disk_new(void)
{
	return sim_calloc(1, sizeof(struct sim_disk));
}

static void unit_free(struct unit *u)
{
	for (unsigned i = 0; i < u->n; i++)
		page_put(u->piece[i].page);
	free(u->piece);
	free(u);
}

void sim_disk_free(struct sim_disk *d)
{
	if (!d)
		return;
	for (unsigned b = 0; b < UNIT_BUCKETS; b++) {
		struct unit *next;

		for (struct unit *u = d->bucket[b]; u; u = next) {
			next = u->next;
			unit_free(u);
		}
	}
	pages_free(&d->durable);
	pages_free(&d->visible);
	free(d->length);
	free(d->flight);
	free(d);
}

static struct unit *unit_clone(const struct unit *u)
{
	struct unit *copy = sim_calloc(1, sizeof(*copy));

	*copy = *u;
	copy->cap = u->n;
	copy->piece = sim_calloc(u->n, sizeof(*copy->piece));
	for (unsigned i = 0; i < u->n; i++) {
		copy->piece[i] = u->piece[i];
		page_get(copy->piece[i].page);
	}
	return copy;
}

struct sim_disk *sim_disk_clone(const struct sim_disk *d)
{
	struct sim_disk *copy = sim_disk_new();

	*copy = *d;
	copy->durable = pages_clone(&d->durable);
	copy->visible = pages_clone(&d->visible);
	for (unsigned b = 0; b < UNIT_BUCKETS; b++) {
		struct unit **at = &copy->bucket[b];

		for (const struct unit *u = d->bucket[b]; u; u = u->next) {
			*at = unit_clone(u);
			at = &(*at)->next;
		}
		*at = NULL;
	}
	copy->length = sim_calloc(d->nlengths, sizeof(*d->length));
	copy->flight = sim_calloc(d->nflights, sizeof(*d->flight));
	if (d->nlengths)
		memcpy(copy->length, d->length, d->nlengths * sizeof(*d->length));
	if (d->nflights)
		memcpy(copy->flight, d->flight, d->nflights * sizeof(*d->flight));
	return copy;
}

/* ---- units ------------------------------------------------------------------------------ */

static struct unit **unit_place(struct sim_disk *d, uint64_t index)
{
	struct unit **at = &d->bucket[index % UNIT_BUCKETS];

	while (*at && (*at)->index != index)
		at = &(*at)->next;
	return at;
}

struct unit *sim_disk_unit(const struct sim_disk *d, uint64_t index)
{
	struct unit *u = d->bucket[index % UNIT_BUCKETS];

	while (u && u->index != index)
		u = u->next;
	return u;
}

static struct piece *add_piece(struct sim_disk *d, uint64_t index)
{
	struct unit **at = unit_place(d, index);
	struct unit *u = *at;

	if (!u) {
		*at = u = sim_calloc(1, sizeof(*u));
		u->index = index;
		d->nunits++;
	}
	if (u->n == u->cap) {
		u->cap = u->cap ? 2 * u->cap : 2;
		u->piece = sim_realloc(u->piece, u->cap, sizeof(*u->piece));
	}
	memset(&u->piece[u->n], 0, sizeof(*u->piece));
	return &u->piece[u->n++];
}

static int find_piece(const struct unit *u, sim_op op)
{
	for (unsigned i = 0; u && i < u->n; i++)
		if (u->piece[i].op == op)
			return (int)i;
	return -1;
}

static void remove_piece(struct unit *u, unsigned i)
{
	page_put(u->piece[i].page);
	memmove(u->piece + i, u->piece + i + 1, (u->n - i - 1) * sizeof(*u->piece));
	u->n--;
}

static void drop_if_empty(struct sim_disk *d, uint64_t index)
{
	struct unit **at = unit_place(d, index);
	struct unit *u = *at;

	if (u && !u->n) {
		*at = u->next;
		unit_free(u);
		d->nunits--;
	}
}

static void apply(struct pages *to, uint64_t index, const struct piece *p)
{
	if (p->mask == PAGE_ALL)
		pages_set(to, index, page_get(p->page));
	else if (p->mask && (p->page || pages_at(to, index)))
		pages_set(to, index, page_merge(pages_at(to, index), p->page, p->mask));
}

/* Make piece @i persistent: older changes of its sectors are history. */
static void persist_piece(struct sim_disk *d, struct unit *u, unsigned i)
{
	uint8_t mask = u->piece[i].mask;

	apply(&d->durable, u->index, &u->piece[i]);
	remove_piece(u, i);
	while (i--) {
		u->piece[i].mask &= (uint8_t)~mask;
		if (!u->piece[i].mask)
			remove_piece(u, i);
	}
}

/* ---- issue ------------------------------------------------------------------------------ */

static struct flight *add_flight(struct sim_disk *d, enum flight_kind kind)
{
	d->flight = sim_realloc(d->flight, d->nflights + 1, sizeof(*d->flight));
	struct flight *f = &d->flight[d->nflights++];
	*f = (struct flight){.op = ++d->next_op, .kind = kind};
	return f;
}

/* The sectors of unit @index that lie in [off, end). */
static uint8_t sector_mask(uint64_t index, uint64_t off, uint64_t end)
{
	uint64_t base = index * PAGE_SIZE;
	unsigned first = off > base ? (unsigned)(off - base) / SIM_SECTOR_SIZE : 0;
	uint64_t last = end < base + PAGE_SIZE ? end - base : PAGE_SIZE;
	unsigned n = (unsigned)((last + SIM_SECTOR_SIZE - 1) / SIM_SECTOR_SIZE);

	return (uint8_t)((PAGE_ALL << first) & (PAGE_ALL >> (PAGE_SECTORS - n)));
}

sim_op sim_disk_issue_write(struct sim_disk *d, const void *buf, size_t len, uint64_t off)
{
	struct flight *f = add_flight(d, FLIGHT_CHANGE);
	const uint8_t *from = buf;

	assert(len && off % SIM_SECTOR_SIZE == 0 && len % SIM_SECTOR_SIZE == 0);
	f->len = off + len;
	f->first = off / PAGE_SIZE;
	f->end = (f->len + PAGE_SIZE - 1) / PAGE_SIZE;
	for (uint64_t i = f->first; i < f->end; i++) {
		uint64_t base = i * PAGE_SIZE, at = off > base ? off : base;
		uint64_t stop = f->len < base + PAGE_SIZE ? f->len : base + PAGE_SIZE;
		struct piece *p = add_piece(d, i);

		p->op = f->op;
		p->mask = sector_mask(i, off, f->len);
		p->page = page_new();
		if (p->mask != PAGE_ALL)
			memset(p->page->data, 0, PAGE_SIZE);
		memcpy(p->page->data + (at - base), from + (at - off), stop - at);
	}
	return f->op;
}

/* Zeros for [off, end), where there is or will be anything else. */
static void add_zeros(struct sim_disk *d, sim_op op, uint64_t off, uint64_t end)
{
	for (uint64_t i = off / PAGE_SIZE; i < (end + PAGE_SIZE - 1) / PAGE_SIZE; i++) {
		if (!pages_at(&d->visible, i) && !sim_disk_unit(d, i))
			continue;
		struct piece *p = add_piece(d, i);
		p->op = op;
		p->mask = sector_mask(i, off, end);
	}
}

sim_op sim_disk_issue_punch(struct sim_disk *d, uint64_t off, uint64_t len)
{
	struct flight *f = add_flight(d, FLIGHT_CHANGE);
	uint64_t end = off + len;

	if (end > d->visible_len)
		end = d->visible_len; /* the length is kept, and nothing lies behind it */
	f->first = off / PAGE_SIZE;
	f->end = end > off ? (end + PAGE_SIZE - 1) / PAGE_SIZE : f->first;
	if (end > off)
		add_zeros(d, f->op, off, end);
	return f->op;
}

sim_op sim_disk_issue_truncate(struct sim_disk *d, uint64_t len)
{
	struct flight *f = add_flight(d, FLIGHT_TRUNCATE);

	f->len = len;
	if (len < d->visible_len) {
		f->first = len / PAGE_SIZE;
		f->end = (d->visible_len + PAGE_SIZE - 1) / PAGE_SIZE;
		add_zeros(d, f->op, len, d->visible_len);
	}
	return f->op;
}

sim_op sim_disk_issue_sync(struct sim_disk *d)
{
	struct flight *f = add_flight(d, FLIGHT_SYNC);

	f->covers = d->order;
	return f->op;
}

/* ---- completion ------------------------------------------------------------------------- */

static struct flight take_flight(struct sim_disk *d, sim_op op)
{
	for (size_t i = 0; i < d->nflights; i++) {
		struct flight f = d->flight[i];

		if (f.op != op)
			continue;
		memmove(d->flight + i, d->flight + i + 1,
			(d->nflights - i - 1) * sizeof(*d->flight));
		d->nflights--;
		return f;
	}
	assert(!"no such operation in flight");
	abort();
}

static void set_length(struct sim_disk *d, uint64_t len, uint64_t order)
{
	if (len == d->visible_len)
		return;
	d->visible_len = len;
	d->length = sim_realloc(d->length, d->nlengths + 1, sizeof(*d->length));
	d->length[d->nlengths++] = (struct length){order, len};
}

/* The change to this unit has happened: visible, and behind all that happened before it. */
static void complete_piece(struct sim_disk *d, struct unit *u, unsigned i, uint64_t order)
{
	struct piece p = u->piece[i];

	p.order = order;
	while (i > 0 && !u->piece[i - 1].order) {
		u->piece[i] = u->piece[i - 1];
		i--;
	}
	u->piece[i] = p;
	apply(&d->visible, u->index, &p);
}

static struct flight complete(struct sim_disk *d, sim_op op)
{
	struct flight f = take_flight(d, op);
	uint64_t order = ++d->order;

	assert(f.kind != FLIGHT_SYNC);
	if (f.kind == FLIGHT_TRUNCATE || f.len > d->visible_len)
		set_length(d, f.len, order);
	for (uint64_t i = f.first; i < f.end; i++) {
		struct unit *u = sim_disk_unit(d, i);
		int k = find_piece(u, op);

		if (k >= 0)
			complete_piece(d, u, (unsigned)k, order);
	}
	return f;
}

static void persist_unit(struct sim_disk *d, struct unit *u, uint64_t covers)
{
	unsigned i = 0;

	while (i < u->n && u->piece[i].order && u->piece[i].order <= covers) {
		if (u->piece[i].lost) {
			i++;
			continue;
		}
		unsigned left = u->n - i - 1;
		persist_piece(d, u, i);
		i = u->n - left;
	}
}

static void persist_lengths(struct sim_disk *d, uint64_t covers)
{
	size_t n = 0;

	while (n < d->nlengths && d->length[n].order <= covers)
		d->durable_len = d->length[n++].len;
	if (n)
		memmove(d->length, d->length + n, (d->nlengths - n) * sizeof(*d->length));
	d->nlengths -= n;
}

static void complete_sync(struct sim_disk *d, sim_op op)
{
	uint64_t covers = take_flight(d, op).covers;

	for (unsigned b = 0; b < UNIT_BUCKETS; b++) {
		struct unit *next;

		for (struct unit *u = d->bucket[b]; u; u = next) {
			next = u->next;
			persist_unit(d, u, covers);
			drop_if_empty(d, u->index);
		}
	}
	persist_lengths(d, covers);
}

void sim_disk_complete(struct sim_disk *d, sim_op op)
{
	for (size_t i = 0; i < d->nflights; i++)
		if (d->flight[i].op == op && d->flight[i].kind == FLIGHT_SYNC) {
			complete_sync(d, op);
			return;
		}
	complete(d, op);
}

void sim_disk_complete_dsync(struct sim_disk *d, sim_op op)
{
	struct flight f = complete(d, op);

	assert(f.kind == FLIGHT_CHANGE);
	for (uint64_t i = f.first; i < f.end; i++) {
		struct unit *u = sim_disk_unit(d, i);
		int k = find_piece(u, op);

		if (k < 0)
			continue;
		persist_piece(d, u, (unsigned)k);
		drop_if_empty(d, i);
	}
	if (f.len > d->durable_len)
		d->durable_len = f.len;
}

void sim_disk_cancel(struct sim_disk *d, sim_op op)
{
	struct flight f = take_flight(d, op);

	for (uint64_t i = f.first; i < f.end; i++) {
		struct unit *u = sim_disk_unit(d, i);
		int k = find_piece(u, op);

		if (k < 0)
			continue;
		remove_piece(u, (unsigned)k);
		drop_if_empty(d, i);
	}
}

void sim_disk_fail(struct sim_disk *d, sim_op op, struct rng *rng)
{
	struct flight f = {0};

	for (size_t i = 0; i < d->nflights; i++)
		if (d->flight[i].op == op)
			f = d->flight[i];
	assert(f.op == op && f.kind == FLIGHT_CHANGE);
	for (uint64_t i = f.first; i < f.end; i++) {
		struct unit *u = sim_disk_unit(d, i);
		int k = find_piece(u, op);

		if (k >= 0)
			u->piece[k].mask &= (uint8_t)rng_next(rng);
	}
	complete(d, op);
}

/* Lose any part of the volatile changes up to number @last. */
static void lose(struct sim_disk *d, uint64_t last, struct rng *rng)
{
	for (unsigned b = 0; b < UNIT_BUCKETS; b++)
		for (struct unit *u = d->bucket[b]; u; u = u->next)
			for (unsigned i = 0; i < u->n; i++)
				if (u->piece[i].order && u->piece[i].order <= last &&
				    rng_chance(rng, 50))
					u->piece[i].lost = true;
}

void sim_disk_fail_sync(struct sim_disk *d, sim_op op, struct rng *rng)
{
	lose(d, take_flight(d, op).covers, rng);
}

void sim_disk_lose(struct sim_disk *d, struct rng *rng)
{
	lose(d, UINT64_MAX, rng);
}

/* ---- reading ---------------------------------------------------------------------------- */

void sim_disk_read(const struct sim_disk *d, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;

	while (len) {
		uint64_t in = off % PAGE_SIZE;
		size_t n = PAGE_SIZE - in < len ? PAGE_SIZE - in : len;
		const struct page *p = pages_at(&d->visible, off / PAGE_SIZE);

		if (p)
			memcpy(to, p->data + in, n);
		else
			memset(to, 0, n);
		to += n;
		off += n;
		len -= n;
	}
}

uint64_t sim_disk_length(const struct sim_disk *d)
{
	return d->visible_len;
}

size_t sim_disk_volatile_units(const struct sim_disk *d)
{
	return d->nunits;
}

size_t sim_disk_in_flight(const struct sim_disk *d)
{
	return d->nflights;
}

void sim_disk_set_journal(struct sim_disk *d, uint64_t off, uint64_t len)
{
	d->journal_off = off;
	d->journal_len = len;
}

void sim_disk_dump(const struct sim_disk *d)
{
	fprintf(stderr, "disk: length %" PRIu64 " (persistent %" PRIu64 "), %zu in flight\n",
		d->visible_len, d->durable_len, d->nflights);
	for (unsigned b = 0; b < UNIT_BUCKETS; b++)
		for (const struct unit *u = d->bucket[b]; u; u = u->next) {
			fprintf(stderr, "  unit %" PRIu64 ":", u->index);
			for (unsigned i = 0; i < u->n; i++)
				fprintf(stderr, " op %" PRIu64 " mask %02x%s%s", u->piece[i].op,
					u->piece[i].mask, u->piece[i].order ? "" : " in flight",
					u->piece[i].lost ? " lost" : "");
			fputc('\n', stderr);
		}
}
