/* SPDX-License-Identifier: MIT */
/*
 * Owns: where the blobs of a region begin and end.
 *
 * Blobs come in the order of the disk, which is mostly that of the file: a list that needs no
 * sorting, or little.  A region full of very small ones would make the list larger than a map with
 * a byte for each sector; in that byte fit both positions that matter, because of two blobs without
 * a sector in common only one can end and only one can begin in the interior of a sector.
 */
#include "config.h"

#include "image/check_blobs.h"

#include <stdlib.h>
#include <string.h>

#include "common/bitmap.h"
#include "common/cleanup.h"

struct blob_map {
	/* By sector: where a blob begins (low nibble) and where one ends (high) in its interior, in
	 * granules; 0: nowhere. */
	uint8_t edge[REGION_SECTORS];
	uint8_t owned[REGION_SECTORS / 8];
};

/* The list is about as large as the map then. */
#define LIST_MAX (1u << 15)

#define FIRST_SHIFT 32
#define RADIX	    11
#define KEY_BITS    22 /* granules of a region, at most */

static uint32_t place_first(uint64_t place)
{
	return (uint32_t)(place >> FIRST_SHIFT);
}

static uint32_t place_end(uint64_t place)
{
	return (uint32_t)place;
}

/* Log2 of the granules of a sector. */
static unsigned sector_bits(const struct geometry *g)
{
	return SECTOR_SHIFT - granule_shift(g);
}

static void map_add(struct blob_map *map, unsigned bits, uint64_t place)
{
	uint32_t first = place_first(place), end = place_end(place);
	unsigned mask = (1u << bits) - 1;
	size_t owned = (first + mask) >> bits;

	bits_set(map->owned, owned, ((end + mask) >> bits) - owned);
	if (first & mask) {
		uint8_t *p = &map->edge[first >> bits];

		if (!(*p & 0xf) || (first & mask) < (*p & 0xfu))
			*p = (uint8_t)((*p & 0xf0) | (first & mask));
	}
	if (end & mask) {
		uint8_t *p = &map->edge[end >> bits];

		if ((end & mask) > *p >> 4)
			*p = (uint8_t)((end & mask) << 4 | (*p & 0xf));
	}
}

static errint_t make_map(struct blob_places *p, unsigned bits)
{
	p->map = calloc(1, sizeof(*p->map));
	if (!p->map)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->n; i++)
		map_add(p->map, bits, p->list[i]);
	free(p->list);
	p->list = NULL;
	p->n = 0;
	return 0;
}

static errint_t make_room(struct blob_places *p, unsigned bits)
{
	uint32_t cap = p->cap ? 2 * p->cap : 256;

	if (cap > LIST_MAX)
		return make_map(p, bits);
	uint64_t *list = realloc(p->list, cap * sizeof(*list));
	if (!list)
		return -ENOMEM;
	p->list = list;
	p->cap = cap;
	return 0;
}

errint_t blob_places_add(struct blob_places *p, const struct geometry *g, struct extent e)
{
	const unsigned shift = granule_shift(g);
	uint64_t off = e.off & (REGION_SIZE - 1);
	uint64_t place = off >> shift << FIRST_SHIFT | (off + e.len) >> shift;

	if (!p->map && p->n == p->cap) {
		errint_t err = make_room(p, sector_bits(g));
		if (err)
			return err;
	}
	if (p->map)
		map_add(p->map, sector_bits(g), place);
	else
		p->list[p->n++] = place;
	return 0;
}

void blob_places_free(struct blob_places *p)
{
	free(p->list);
	free(p->map);
}

/* Sort by first granule. */
static errint_t sort_list(struct blob_places *p)
{
	uint32_t n = p->n, i = 1;

	while (i < n && p->list[i - 1] <= p->list[i])
		i++;
	if (i >= n)
		return 0;
	CLEANUP(free) uint64_t *scratch = malloc(n * sizeof(*scratch));
	CLEANUP(free) uint32_t *at = malloc(sizeof(*at) << RADIX);
	if (!scratch || !at)
		return -ENOMEM;
	uint64_t *from = p->list, *to = scratch;
	for (unsigned shift = FIRST_SHIFT; shift < FIRST_SHIFT + KEY_BITS; shift += RADIX) {
		uint32_t sum = 0;

		memset(at, 0, sizeof(*at) << RADIX);
		for (i = 0; i < n; i++)
			at[from[i] >> shift & ((1u << RADIX) - 1)]++;
		for (i = 0; i < 1u << RADIX; i++) {
			uint32_t count = at[i];

			at[i] = sum;
			sum += count;
		}
		for (i = 0; i < n; i++)
			to[at[from[i] >> shift & ((1u << RADIX) - 1)]++] = from[i];
		uint64_t *swap = from;
		from = to;
		to = swap;
	}
	/* Two rounds: all is back where it was. */
	_Static_assert(KEY_BITS == 2 * RADIX, "an even number of rounds");
	assert(from == p->list);
	return 0;
}

static errint_t compare_list(struct blob_places *p, uint64_t base, unsigned shift,
			     void (*overlap)(void *arg, uint64_t off), void *arg)
{
	errint_t err = sort_list(p);
	uint32_t end = 0; /* of all before */

	for (uint32_t i = 0; i < p->n && !err; i++) {
		uint32_t first = place_first(p->list[i]);

		if (first < end)
			overlap(arg, base + ((uint64_t)first << shift));
		if (place_end(p->list[i]) > end)
			end = place_end(p->list[i]);
	}
	return err;
}

static void compare_map(const struct blob_map *map, uint64_t base, unsigned shift,
			void (*overlap)(void *arg, uint64_t off), void *arg)
{
	for (size_t i = 0; i < REGION_SECTORS; i++) {
		unsigned begins = map->edge[i] & 0xf, ends = map->edge[i] >> 4;

		if (begins && bit_test(map->owned, i) && (!ends || ends > begins))
			overlap(arg, base + i * SECTOR_SIZE + ((uint64_t)begins << shift));
	}
}

errint_t blob_places_compare(struct blob_places *p, const struct geometry *g, uint64_t base,
			     void (*overlap)(void *arg, uint64_t off), void *arg)
{
	if (!p->map)
		return compare_list(p, base, granule_shift(g), overlap, arg);
	compare_map(p->map, base, granule_shift(g), overlap, arg);
	return 0;
}
