/* SPDX-License-Identifier: MIT */
/*
 * Sparse contents of a simulated disk: reference-counted 4 KiB pages in reference-counted chunks,
 * so that a copy of a disk costs an array of chunk pointers and pages are shared until written.
 *
 * A running test is the only user; running out of memory ends it.
 */
#ifndef TESTS_LIB_SIM_PAGES_H
#define TESTS_LIB_SIM_PAGES_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE	4096u
#define PAGE_SECTORS	8u
#define PAGE_ALL	0xffu /* mask of all sectors of a page */
#define SIM_SECTOR_SIZE 512u

/* Constant once it is shared.  NULL stands for a page of zeros. */
struct page {
	unsigned refs;
	_Alignas(64) uint8_t data[PAGE_SIZE];
};

struct page *page_new(void); /* contents undefined */
struct page *page_get(struct page *p);
void page_put(struct page *p);

/* A new page: @base with the sectors in @mask replaced by those of @over. */
struct page *page_merge(const struct page *base, const struct page *over, uint8_t mask);

struct pages {
	struct chunk **chunk;
	size_t nchunks;
};

void pages_free(struct pages *t);
struct pages pages_clone(const struct pages *t);

/* The page at @index, NULL for zeros; borrowed. */
struct page *pages_at(const struct pages *t, uint64_t index);

/* Put @p, whose reference is taken over, at @index. */
void pages_set(struct pages *t, uint64_t index, struct page *p);

/* Drop every page from @index on. */
void pages_cut(struct pages *t, uint64_t index);

/* calloc() and realloc() that end the program instead of failing. */
void *sim_calloc(size_t n, size_t size);
void *sim_realloc(void *p, size_t n, size_t size);

#endif
