/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/sim_pages.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_PAGES 512u

struct chunk {
	unsigned refs;
	struct page *page[CHUNK_PAGES];
};

static void *checked(void *p)
{
	if (!p) {
		fputs("simulated disk: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *sim_calloc(size_t n, size_t size)
{
	return checked(calloc(n ? n : 1, size));
}

void *sim_realloc(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		abort();
	return checked(realloc(p, bytes));
}

struct page *page_new(void)
{
	struct page *p = checked(aligned_alloc(_Alignof(struct page), sizeof(*p)));

	p->refs = 1;
	return p;
}

struct page *page_get(struct page *p)
{
	if (p)
		p->refs++;
	return p;
}

void page_put(struct page *p)
{
	if (!p)
		return;
	assert(p->refs > 0);
	if (!--p->refs)
		free(p);
}

struct page *page_merge(const struct page *base, const struct page *over, uint8_t mask)
{
	struct page *p = page_new();

	for (unsigned s = 0; s < PAGE_SECTORS; s++) {
		const struct page *from = mask >> s & 1 ? over : base;
		uint8_t *to = p->data + s * SIM_SECTOR_SIZE;

		if (from)
			memcpy(to, from->data + s * SIM_SECTOR_SIZE, SIM_SECTOR_SIZE);
		else
			memset(to, 0, SIM_SECTOR_SIZE);
	}
	return p;
}

static void chunk_put(struct chunk *c)
{
	if (!c || --c->refs)
		return;
	for (unsigned i = 0; i < CHUNK_PAGES; i++)
		page_put(c->page[i]);
	free(c);
}

void pages_free(struct pages *t)
{
	for (size_t i = 0; i < t->nchunks; i++)
		chunk_put(t->chunk[i]);
	free(t->chunk);
	*t = (struct pages){0};
}

struct pages pages_clone(const struct pages *t)
{
	struct pages copy = {sim_calloc(t->nchunks, sizeof(*copy.chunk)), t->nchunks};

	for (size_t i = 0; i < t->nchunks; i++) {
		copy.chunk[i] = t->chunk[i];
		if (copy.chunk[i])
			copy.chunk[i]->refs++;
	}
	return copy;
}

struct page *pages_at(const struct pages *t, uint64_t index)
{
	uint64_t c = index / CHUNK_PAGES;

	if (c >= t->nchunks || !t->chunk[c])
		return NULL;
	return t->chunk[c]->page[index % CHUNK_PAGES];
}

static struct chunk *own_chunk(struct pages *t, uint64_t c)
{
	if (c >= t->nchunks) {
		size_t n = c + 16;

		t->chunk = sim_realloc(t->chunk, n, sizeof(*t->chunk));
		memset(t->chunk + t->nchunks, 0, (n - t->nchunks) * sizeof(*t->chunk));
		t->nchunks = n;
	}
	struct chunk *old = t->chunk[c];
	if (old && old->refs == 1)
		return old;
	struct chunk *own = sim_calloc(1, sizeof(*own));
	own->refs = 1;
	if (old) {
		for (unsigned i = 0; i < CHUNK_PAGES; i++)
			own->page[i] = page_get(old->page[i]);
		old->refs--;
	}
	return t->chunk[c] = own;
}

void pages_set(struct pages *t, uint64_t index, struct page *p)
{
	if (!p && !pages_at(t, index))
		return;
	struct page **place = &own_chunk(t, index / CHUNK_PAGES)->page[index % CHUNK_PAGES];
	page_put(*place);
	*place = p;
}

void pages_cut(struct pages *t, uint64_t index)
{
	for (uint64_t c = index / CHUNK_PAGES; c < t->nchunks; c++) {
		uint64_t first = c * CHUNK_PAGES;

		if (first >= index) {
			chunk_put(t->chunk[c]);
			t->chunk[c] = NULL;
			continue;
		}
		for (uint64_t i = index; i < first + CHUNK_PAGES; i++)
			pages_set(t, i, NULL);
	}
}
