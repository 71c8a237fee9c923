/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/crash/oracle.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/sim_pages.h"

/* ---- zones ------------------------------------------------------------------------------ */

void zones_add(struct zones *z, uint64_t off, uint64_t len)
{
	assert(z->n < MAX_ZONES && off % SIM_SECTOR_SIZE == 0 && len % SIM_SECTOR_SIZE == 0);
	z->zone[z->n++] = (struct zone){off, z->sectors, (unsigned)(len / SIM_SECTOR_SIZE)};
	z->sectors += (unsigned)(len / SIM_SECTOR_SIZE);
}

const struct zone *zone_of(const struct zones *z, unsigned k)
{
	for (unsigned i = 0; i < z->n; i++)
		if (k < z->zone[i].first + z->zone[i].sectors)
			return &z->zone[i];
	abort();
}

uint64_t zone_offset(const struct zones *z, unsigned k)
{
	const struct zone *zone = zone_of(z, k);

	return zone->off + (uint64_t)(k - zone->first) * SIM_SECTOR_SIZE;
}

/* ---- values ----------------------------------------------------------------------------- */

#define SECTOR_MAGIC 0x5ec7012345670000ull

void value_fill(void *sector, unsigned k, value v)
{
	uint64_t words[SIM_SECTOR_SIZE / 8];
	struct rng rng = {(uint64_t)k << 32 | v};

	if (!v) {
		memset(sector, 0, SIM_SECTOR_SIZE);
		return;
	}
	words[0] = SECTOR_MAGIC ^ k;
	words[1] = v;
	for (unsigned i = 2; i < SIM_SECTOR_SIZE / 8; i++)
		words[i] = v & 1 ? 0x0101010101010101ull * (v >> 1 & 0xff) : rng_next(&rng);
	memcpy(sector, words, SIM_SECTOR_SIZE);
}

value value_read(const void *sector, unsigned k)
{
	static const uint8_t zeros[SIM_SECTOR_SIZE];
	uint8_t expected[SIM_SECTOR_SIZE];
	uint64_t words[2];

	memcpy(words, sector, sizeof(words));
	if (words[0] != (SECTOR_MAGIC ^ k) || !words[1] || words[1] >= VALUE_BAD)
		return memcmp(sector, zeros, SIM_SECTOR_SIZE) ? VALUE_BAD : 0;
	value_fill(expected, k, (value)words[1]);
	return memcmp(sector, expected, SIM_SECTOR_SIZE) ? VALUE_BAD : (value)words[1];
}

/* ---- histories -------------------------------------------------------------------------- */

struct history {
	value *val;
	uint32_t base; /* index of val[0] */
	uint32_t n, cap;
	uint32_t acked;	  /* index of the newest acknowledged value */
	uint32_t flushed; /* index of the newest value known to be durable */
	bool busy;
};

struct oracle {
	unsigned sectors;
	unsigned readers, nbusy;
	uint64_t size[2]; /* the one that is durable; the one that was issued last */
	bool resizing;
	struct snapset *snaps;
	struct history h[];
};

struct oracle *oracle_new(unsigned sectors)
{
	struct oracle *o = sim_calloc(1, sizeof(*o) + sectors * sizeof(o->h[0]));

	o->sectors = sectors;
	o->snaps = snapset_new(sectors);
	for (unsigned k = 0; k < sectors; k++)
		oracle_issue(o, k, 0);
	return o;
}

void oracle_free(struct oracle *o)
{
	if (!o)
		return;
	for (unsigned k = 0; k < o->sectors; k++)
		free(o->h[k].val);
	snapset_free(o->snaps);
	free(o);
}

struct snapset *oracle_snaps(const struct oracle *o)
{
	return o->snaps;
}

unsigned oracle_sectors(const struct oracle *o)
{
	return o->sectors;
}

uint32_t oracle_issue(struct oracle *o, unsigned k, value v)
{
	struct history *h = &o->h[k];

	assert(k < o->sectors && v != VALUE_BAD);
	if (h->n == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 2;
		h->val = sim_realloc(h->val, h->cap, sizeof(*h->val));
	}
	h->val[h->n] = v;
	return h->base + h->n++;
}

void oracle_ack(struct oracle *o, unsigned k, uint32_t index)
{
	struct history *h = &o->h[k];

	assert(index < h->base + h->n);
	if (index > h->acked)
		h->acked = index;
}

static void set_flushed(struct oracle *o, unsigned k, uint32_t index)
{
	struct history *h = &o->h[k];

	if (index > h->flushed)
		h->flushed = index;
	if (o->readers || h->flushed == h->base)
		return;
	uint32_t gone = h->flushed - h->base;
	memmove(h->val, h->val + gone, (h->n - gone) * sizeof(*h->val));
	h->base += gone;
	h->n -= gone;
}

void oracle_ack_durable(struct oracle *o, unsigned k, uint32_t index)
{
	oracle_ack(o, k, index);
	set_flushed(o, k, index);
}

uint32_t oracle_acked(const struct oracle *o, unsigned k)
{
	return o->h[k].acked;
}

bool oracle_allows(const struct oracle *o, unsigned k, value v, uint32_t from)
{
	const struct history *h = &o->h[k];

	for (uint32_t i = from > h->base ? from - h->base : 0; i < h->n; i++)
		if (h->val[i] == v)
			return true;
	return false;
}

bool oracle_allows_after_crash(const struct oracle *o, unsigned k, value v)
{
	return oracle_allows(o, k, v, o->h[k].flushed);
}

uint32_t *oracle_flush_begin(const struct oracle *o)
{
	uint32_t *acked = sim_calloc(o->sectors, sizeof(*acked));

	for (unsigned k = 0; k < o->sectors; k++)
		acked[k] = o->h[k].acked;
	return acked;
}

void oracle_flush_end(struct oracle *o, uint32_t *acked)
{
	for (unsigned k = 0; k < o->sectors; k++)
		set_flushed(o, k, acked[k]);
	free(acked);
}

void oracle_set_size(struct oracle *o, uint64_t size)
{
	o->size[0] = o->size[1] = size;
	o->resizing = false;
}

void oracle_issue_size(struct oracle *o, uint64_t size)
{
	assert(!o->resizing); /* else a size that may be on disk would be forgotten */
	o->size[1] = size;
	o->resizing = true;
}

void oracle_ack_size(struct oracle *o)
{
	assert(o->resizing);
	oracle_set_size(o, o->size[1]);
}

void oracle_drop_size(struct oracle *o)
{
	assert(o->resizing);
	oracle_set_size(o, o->size[0]);
}

bool oracle_allows_size(const struct oracle *o, uint64_t size)
{
	return size == o->size[0] || size == o->size[1];
}

uint64_t oracle_min_size(const struct oracle *o)
{
	return o->size[0] < o->size[1] ? o->size[0] : o->size[1];
}

bool oracle_busy(const struct oracle *o, unsigned k, unsigned n)
{
	for (unsigned i = k; i < k + n; i++)
		if (o->h[i].busy)
			return true;
	return false;
}

void oracle_set_busy(struct oracle *o, unsigned k, unsigned n, bool busy)
{
	for (unsigned i = k; i < k + n; i++) {
		assert(o->h[i].busy != busy);
		o->h[i].busy = busy;
	}
	o->nbusy += busy ? n : -n;
}

bool oracle_any_busy(const struct oracle *o)
{
	return o->nbusy;
}

void oracle_read_begin(struct oracle *o)
{
	o->readers++;
}

void oracle_read_end(struct oracle *o)
{
	assert(o->readers);
	o->readers--;
}

const char *oracle_describe(const struct oracle *o, unsigned k, char *buf, size_t size)
{
	const struct history *h = &o->h[k];
	size_t at = 0;

	buf[0] = '\0';
	for (uint32_t i = 0; i < h->n && at + 32 < size; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%" PRIu32 "%s%s", i ? " " : "",
				       h->val[i], h->base + i == h->flushed ? "(flushed)" : "",
				       h->base + i == h->acked ? "(acknowledged)" : "");
	return buf;
}
