/* SPDX-License-Identifier: MIT */
/* What a power loss or the death of the process leaves of a simulated disk. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_disk_impl.h"

/* The image's layout, as far as classes of data need it (docs/format.md section 3). */
#define LAYOUT_SUPER	    0x10000u
#define LAYOUT_SUPER_END    0x50000u
#define LAYOUT_REGION	    (128ull << 20)
#define LAYOUT_HEADER_UNITS 16u

/* Sectors that keep the change when a unit is torn in a complete enumeration: begun, interrupted,
 * and out of order. */
#define TORN_MASK 0x2du

const char *sim_loss_name(enum sim_loss how)
{
	static const char *const names[SIM_LOSSES] = {
		[SIM_LOSS_NONE_KEPT] = "none kept",
		[SIM_LOSS_ALL_KEPT] = "all kept",
		[SIM_LOSS_ONE_KEPT] = "one kept",
		[SIM_LOSS_ALL_BUT_ONE] = "all but one",
		[SIM_LOSS_META_KEPT] = "metadata kept",
		[SIM_LOSS_DATA_KEPT] = "data kept",
		[SIM_LOSS_JOURNAL_KEPT] = "journal kept",
		[SIM_LOSS_SUPER_KEPT] = "superblock kept",
		[SIM_LOSS_RANDOM] = "random",
	};

	return names[how];
}

enum sim_class sim_disk_classify(const struct sim_disk *d, uint64_t off)
{
	if (off >= LAYOUT_SUPER && off < LAYOUT_SUPER_END)
		return SIM_SUPER;
	if (off >= d->journal_off && off < d->journal_off + d->journal_len)
		return SIM_JOURNAL;
	if (off < LAYOUT_REGION || off % LAYOUT_REGION / PAGE_SIZE < LAYOUT_HEADER_UNITS)
		return SIM_META;
	return SIM_DATA;
}

static enum sim_class unit_class(const struct sim_disk *d, const struct unit *u)
{
	return sim_disk_classify(d, u->index * PAGE_SIZE);
}

/* The unit after its first @n volatile changes. */
static void put_version(const struct sim_disk *d, struct pages *to, const struct unit *u,
			unsigned n)
{
	struct page *p = page_get(pages_at(&d->durable, u->index));

	for (unsigned i = 0; i < n; i++) {
		struct page *merged = page_merge(p, u->piece[i].page, u->piece[i].mask);

		page_put(p);
		p = merged;
	}
	pages_set(to, u->index, p);
}

/* Sector s of the unit after its first version[s] volatile changes. */
static void put_torn(const struct sim_disk *d, struct pages *to, const struct unit *u,
		     const unsigned version[PAGE_SECTORS])
{
	struct page *p = page_merge(pages_at(&d->durable, u->index), NULL, 0);

	for (unsigned s = 0; s < PAGE_SECTORS; s++)
		for (unsigned i = 0; i < version[s]; i++) {
			const struct piece *c = &u->piece[i];
			uint8_t *at = p->data + s * SIM_SECTOR_SIZE;

			if (!(c->mask >> s & 1))
				continue;
			if (c->page)
				memcpy(at, c->page->data + s * SIM_SECTOR_SIZE, SIM_SECTOR_SIZE);
			else
				memset(at, 0, SIM_SECTOR_SIZE);
		}
	pages_set(to, u->index, p);
}

/* A disk at rest that holds @contents. */
static struct sim_disk *disk_of(const struct sim_disk *d, struct pages contents, uint64_t len)
{
	struct sim_disk *image = sim_disk_new();

	pages_cut(&contents, (len + PAGE_SIZE - 1) / PAGE_SIZE);
	image->durable = contents;
	image->visible = pages_clone(&contents);
	image->durable_len = image->visible_len = len;
	image->next_op = d->next_op;
	image->journal_off = d->journal_off;
	image->journal_len = d->journal_len;
	return image;
}

/* The length with everything in flight. */
static uint64_t newest_length(const struct sim_disk *d)
{
	uint64_t len = d->visible_len;

	for (size_t i = 0; i < d->nflights; i++)
		if (d->flight[i].len > len)
			len = d->flight[i].len;
	return len;
}

/* ---- at random -------------------------------------------------------------------------- */

struct loss {
	const struct sim_disk *d;
	enum sim_loss how;
	struct rng *rng;
	uint64_t picked; /* ONE_KEPT, ALL_BUT_ONE: the number of the unit */
	unsigned keep;	 /* RANDOM: per cent of units that keep anything */
};

/* How many of the unit's changes survive. */
static unsigned choose_version(const struct loss *l, const struct unit *u, uint64_t number)
{
	enum sim_class class = unit_class(l->d, u);

	switch (l->how) {
	case SIM_LOSS_NONE_KEPT:
		return 0;
	case SIM_LOSS_ALL_KEPT:
		return u->n;
	case SIM_LOSS_ONE_KEPT:
		return number == l->picked ? u->n : 0;
	case SIM_LOSS_ALL_BUT_ONE:
		return number == l->picked ? 0 : u->n;
	case SIM_LOSS_META_KEPT:
		return class != SIM_DATA ? u->n : 0;
	case SIM_LOSS_DATA_KEPT:
		return class == SIM_DATA ? u->n : 0;
	case SIM_LOSS_JOURNAL_KEPT:
		if (class == SIM_JOURNAL)
			return u->n;
		break;
	case SIM_LOSS_SUPER_KEPT:
		if (class == SIM_SUPER)
			return u->n;
		break;
	case SIM_LOSS_RANDOM:
	case SIM_LOSSES:
		break;
	}
	return rng_chance(l->rng, l->keep) ? (unsigned)rng_below(l->rng, u->n + 1) : 0;
}

static uint64_t choose_length(const struct loss *l)
{
	const struct sim_disk *d = l->d;
	uint64_t newest = newest_length(d);

	if (l->how == SIM_LOSS_NONE_KEPT)
		return d->durable_len;
	if (l->how != SIM_LOSS_RANDOM)
		return newest;
	size_t i = rng_below(l->rng, d->nlengths + 2);
	return i == 0 ? d->durable_len : i == 1 ? newest : d->length[i - 2].len;
}

struct sim_disk *sim_disk_power_loss(const struct sim_disk *d, enum sim_loss how, struct rng *rng)
{
	struct pages contents = pages_clone(&d->durable);
	struct loss l = {.d = d, .how = how, .rng = rng};
	uint64_t number = 0;

	l.picked = d->nunits ? rng_below(rng, d->nunits) : 0;
	l.keep = (unsigned)rng_below(rng, 101);
	for (unsigned b = 0; b < UNIT_BUCKETS; b++)
		for (const struct unit *u = d->bucket[b]; u; u = u->next, number++) {
			unsigned n = choose_version(&l, u, number);

			if (n && how != SIM_LOSS_ALL_KEPT && rng_chance(rng, 12)) {
				unsigned version[PAGE_SECTORS];

				for (unsigned s = 0; s < PAGE_SECTORS; s++)
					version[s] = (unsigned)rng_below(rng, u->n + 1);
				put_torn(d, &contents, u, version);
			} else if (n) {
				put_version(d, &contents, u, n);
			}
		}
	return disk_of(d, contents, choose_length(&l));
}

/* Leave only the sectors in @mask of every unit of the change. */
static void cut_change(struct sim_disk *d, const struct flight *f, struct rng *rng, uint8_t mask)
{
	for (uint64_t i = f->first; i < f->end; i++) {
		struct unit *u = sim_disk_unit(d, i);

		for (unsigned k = 0; u && k < u->n; k++)
			if (u->piece[k].op == f->op)
				u->piece[k].mask &= rng ? (uint8_t)rng_next(rng) : mask;
	}
}

/*
 * What a failed sync has lost is still visible to the process that asked for it.  The next one sees
 * what the device really has: the change, which a later sync can then make persistent, or not.
 */
static void settle_lost(struct sim_disk *d, struct rng *rng)
{
	for (unsigned b = 0; b < UNIT_BUCKETS; b++)
		for (struct unit *u = d->bucket[b]; u; u = u->next) {
			bool any = false;

			for (unsigned i = 0; i < u->n; i++) {
				if (!u->piece[i].lost)
					continue;
				any = true;
				u->piece[i].lost = false;
				if (rng_chance(rng, 50))
					u->piece[i].mask = 0;
			}
			if (any)
				put_version(d, &d->visible, u, u->n);
		}
}

/* A change in flight whose process is dead. */
static void settle_flight(struct sim_disk *d, const struct flight *f, struct rng *rng)
{
	unsigned fate = (unsigned)rng_below(rng, 100);

	if (f->kind == FLIGHT_SYNC || fate < 40) {
		sim_disk_cancel(d, f->op);
		return;
	}
	if (f->kind == FLIGHT_CHANGE && fate < 55)
		cut_change(d, f, rng, 0);
	sim_disk_complete(d, f->op);
}

struct sim_disk *sim_disk_process_death(const struct sim_disk *d, struct rng *rng)
{
	struct sim_disk *image = sim_disk_clone(d);

	while (image->nflights) {
		struct flight f = image->flight[rng_below(rng, image->nflights)];

		settle_flight(image, &f, rng);
	}
	settle_lost(image, rng);
	return image;
}

struct sim_disk *sim_disk_process_death_late(const struct sim_disk *d)
{
	struct sim_disk *image = sim_disk_clone(d);

	image->late = image->next_op + 1;
	return image;
}

bool sim_disk_late(const struct sim_disk *d)
{
	for (size_t i = 0; i < d->nflights; i++)
		if (d->flight[i].op < d->late)
			return true;
	return false;
}

bool sim_disk_land(struct sim_disk *d, struct rng *rng)
{
	size_t first = d->nflights ? rng_below(rng, d->nflights) : 0;

	for (size_t i = 0; i < d->nflights; i++) {
		struct flight f = d->flight[(first + i) % d->nflights];

		if (f.op >= d->late)
			continue;
		settle_flight(d, &f, rng);
		return true;
	}
	return false;
}

/* ---- all of them ------------------------------------------------------------------------ */

static int by_place(const void *a, const void *b)
{
	const struct unit *x = *(const struct unit *const *)a, *y = *(const struct unit *const *)b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static const struct unit **sorted_units(const struct sim_disk *d)
{
	const struct unit **list = sim_calloc(d->nunits, sizeof(*list));
	size_t n = 0;

	for (unsigned b = 0; b < UNIT_BUCKETS; b++)
		for (const struct unit *u = d->bucket[b]; u; u = u->next)
			list[n++] = u;
	assert(n == d->nunits);
	qsort(list, n, sizeof(*list), by_place);
	return list;
}

static bool same_changes(const struct unit *a, const struct unit *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (a->piece[i].op != b->piece[i].op)
			return false;
	return true;
}

/* How many outcomes unit @i of the sorted list has of its own: 1 when it goes with the one before,
 * as the parts of one data write do. */
static unsigned unit_options(const struct sim_disk *d, const struct unit **list, size_t i)
{
	if (unit_class(d, list[i]) != SIM_DATA)
		return list[i]->n + 2;
	if (i && list[i - 1]->index + 1 == list[i]->index && same_changes(list[i - 1], list[i]) &&
	    unit_class(d, list[i - 1]) == SIM_DATA)
		return 1;
	return list[i]->n + 1;
}

uint64_t sim_disk_power_outcomes(const struct sim_disk *d, uint64_t limit)
{
	const struct unit **list = sorted_units(d);
	uint64_t count = newest_length(d) != d->durable_len ? 2 : 1;

	for (size_t i = 0; i < d->nunits && count; i++) {
		count *= unit_options(d, list, i);
		if (count > limit)
			count = 0;
	}
	free(list);
	return count;
}

struct sim_disk *sim_disk_power_outcome(const struct sim_disk *d, uint64_t which)
{
	const struct unit **list = sorted_units(d);
	struct pages contents = pages_clone(&d->durable);
	uint64_t len = d->durable_len;
	unsigned choice = 0;

	if (newest_length(d) != d->durable_len) {
		len = which % 2 ? newest_length(d) : d->durable_len;
		which /= 2;
	}
	for (size_t i = 0; i < d->nunits; i++) {
		const struct unit *u = list[i];
		unsigned options = unit_options(d, list, i);

		if (options > 1) {
			choice = (unsigned)(which % options);
			which /= options;
		}
		if (choice <= u->n) {
			put_version(d, &contents, u, choice);
		} else {
			unsigned version[PAGE_SECTORS];

			for (unsigned s = 0; s < PAGE_SECTORS; s++)
				version[s] = TORN_MASK >> s & 1 ? u->n : 0;
			put_torn(d, &contents, u, version);
		}
	}
	free(list);
	return disk_of(d, contents, len);
}

/* Cancelled, done, or (metadata) torn. */
static unsigned flight_options(const struct sim_disk *d, const struct flight *f)
{
	if (f->kind == FLIGHT_SYNC)
		return 1;
	if (f->kind == FLIGHT_TRUNCATE || f->first == f->end)
		return 2;
	return sim_disk_classify(d, f->first * PAGE_SIZE) == SIM_DATA ? 2 : 3;
}

uint64_t sim_disk_death_outcomes(const struct sim_disk *d, uint64_t limit)
{
	uint64_t count = 1;

	for (size_t i = 0; i < d->nflights; i++) {
		count *= flight_options(d, &d->flight[i]);
		if (count > limit)
			return 0;
	}
	return count;
}

struct sim_disk *sim_disk_death_outcome(const struct sim_disk *d, uint64_t which)
{
	struct sim_disk *image = sim_disk_clone(d);

	for (size_t i = 0; i < d->nflights; i++) {
		const struct flight *f = &d->flight[i];
		unsigned options = flight_options(d, f);
		unsigned choice = (unsigned)(which % options);

		which /= options;
		if (choice == 2)
			cut_change(image, f, NULL, TORN_MASK);
		if (choice)
			sim_disk_complete(image, f->op);
		else
			sim_disk_cancel(image, f->op);
	}
	return image;
}
