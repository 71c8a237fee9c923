/* SPDX-License-Identifier: MIT */
/* Places of blobs against a map of every byte's granule: few of them (a list), many (a map). */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/bitmap.h"
#include "common/cleanup.h"
#include "image/check_blobs.h"
#include "tests/lib/rng.h"

#define BASE (7ull << REGION_SHIFT)

static void count_overlap(void *arg, uint64_t off)
{
	unsigned *n = arg;

	assert_int_equal(off >> REGION_SHIFT, 7);
	++*n;
}

struct region {
	struct geometry g;
	struct blob_places places;
	uint8_t *seen;	   /* owned sectors */
	uint8_t *granules; /* covered, a byte each */
	unsigned added, overlaps;
};

static struct region new_region(uint8_t shift)
{
	struct region r = {.g = {shift, 9}};

	r.seen = calloc(1, REGION_SECTORS / 8);
	r.granules = calloc(1, REGION_SIZE >> granule_shift(&r.g));
	assert_true(r.seen && r.granules);
	return r;
}

static void free_region(struct region *r)
{
	blob_places_free(&r->places);
	free(r->seen);
	free(r->granules);
}

/* Add a blob if it would own sectors, and those alone, as the caller of blob_places_add() does. */
static void add(struct region *r, uint64_t first, uint64_t granules)
{
	unsigned shift = granule_shift(&r->g);
	struct extent e = {BASE + (first << shift), granules << shift};
	uint64_t from, end;

	blob_owned_sectors(e, &from, &end);
	from -= BASE >> SECTOR_SHIFT;
	end -= BASE >> SECTOR_SHIFT;
	if (from >= end || end > REGION_SECTORS || !bits_all_clear(r->seen, from, end - from))
		return;
	bits_set(r->seen, from, end - from);
	r->added++;
	/* One overlap for two blobs: they share a sector only. */
	r->overlaps += memchr(r->granules + first, 1, granules) != NULL;
	memset(r->granules + first, 1, granules);
	assert_int_equal(blob_places_add(&r->places, &r->g, e), 0);
}

static void compare(struct region *r)
{
	unsigned found = 0;

	assert_int_equal(blob_places_compare(&r->places, &r->g, BASE, count_overlap, &found), 0);
	/* A blob that overlaps on both sides counts once as it is added, or makes two pairs. */
	assert_true(found >= r->overlaps && found <= 2 * r->overlaps);
	assert_int_equal(found > 0, r->overlaps > 0);
}

/* Back to back with a gap here and there, added in the order of the file or not. */
static void packed(uint8_t shift, uint64_t max_len, bool shuffled, bool broken)
{
	struct region r = new_region(shift);
	struct rng rng = {shift + max_len};
	const uint64_t sector = SECTOR_SIZE >> granule_shift(&r.g);
	const uint64_t end = REGION_SIZE >> granule_shift(&r.g);
	CLEANUP(free) uint64_t *first = malloc(end * sizeof(*first));
	CLEANUP(free) uint64_t *len = malloc(end * sizeof(*len));
	unsigned n = 0;

	for (uint64_t at = 2048; at + max_len + sector < end; n++) {
		first[n] = at;
		len[n] = sector + rng_below(&rng, max_len);
		at += len[n] + (rng_chance(&rng, 10) ? rng_below(&rng, 3 * sector) : 0);
	}
	for (unsigned i = 0; shuffled && i < n; i++) {
		unsigned j = (unsigned)rng_below(&rng, n);
		uint64_t f = first[i], l = len[i];

		first[i] = first[j], len[i] = len[j];
		first[j] = f, len[j] = l;
	}
	for (unsigned i = 0; i < n; i++) {
		if (broken && rng_permille(&rng, 5))
			len[i]++;
		if (broken && rng_permille(&rng, 5))
			first[i]--;
		add(&r, first[i], len[i]);
	}
	assert_true(r.added > n / 2);
	assert_int_equal(r.overlaps > 0, broken);
	compare(&r);
	/* Small blobs are too many for a list. */
	assert_int_equal(r.places.map != NULL, r.added > 32768);
	free_region(&r);
}

static void list_and_map_find_overlaps(void **state)
{
	static const uint64_t max_len[] = {1, 40, 1000};

	(void)state;
	for (uint8_t shift = CLUSTER_SHIFT_MIN; shift <= CLUSTER_SHIFT_MAX; shift++)
		for (unsigned i = 0; i < 3; i++)
			for (unsigned how = 0; how < 4; how++)
				packed(shift, max_len[i], how & 1, how & 2);
}

static void nothing_overlaps_nothing(void **state)
{
	struct region r = new_region(16);

	(void)state;
	compare(&r);
	free_region(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_overlaps_nothing),
		cmocka_unit_test(list_and_map_find_overlaps),
	};

	return cmocka_run_group_tests_name("check-blobs", tests, NULL, NULL);
}
