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

/* The list is as large as the map then. */
#define LIST_MAX (REGION_SECTORS / sizeof(uint64_t))

#define LEN_BITS 12
#define RADIX	 11
#define KEY_BITS 22 /* granules of a region, at most */

static uint32_t place_first(uint64_t place)
{
	return (uint32_t)(place >> LEN_BITS);
}

static uint32_t place_end(uint64_t place)
{
	return place_first(place) + (uint32_t)(place & ((1u << LEN_BITS) - 1));
}

/* Log2 of the granules of a sector. */
static unsigned sector_bits(const struct geometry *g)
{
	return SECTOR_SHIFT - granule_shift(g);
}

static void map_add(uint8_t *map, unsigned bits, uint64_t place)
{
	uint32_t first = place_first(place), end = place_end(place);
	unsigned mask = (1u << bits) - 1;

	if (first & mask) {
		uint8_t *p = &map[first >> bits];

		if (!(*p & 0xf) || (first & mask) < (*p & 0xfu))
			*p = (uint8_t)((*p & 0xf0) | (first & mask));
	}
	if (end & mask) {
		uint8_t *p = &map[end >> bits];

		if ((end & mask) > *p >> 4)
			*p = (uint8_t)((end & mask) << 4 | (*p & 0xf));
	}
}

static errint_t make_map(struct blob_places *p, unsigned bits)
{
	p->map = calloc(1, REGION_SECTORS);
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
	if (p->n == LIST_MAX)
		return make_map(p, bits);
	uint32_t cap = p->cap ? 2 * p->cap : 1024;
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
	uint64_t place = (e.off & (REGION_SIZE - 1)) >> shift << LEN_BITS | e.len >> shift;

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
	for (unsigned shift = LEN_BITS; shift < LEN_BITS + KEY_BITS; shift += RADIX) {
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

static errint_t compare_list(struct blob_places *p, unsigned bits, uint64_t base, unsigned shift,
			     const uint8_t *seen, void (*overlap)(void *arg, uint64_t off),
			     void *arg)
{
	errint_t err = sort_list(p);
	uint32_t end = 0; /* of all before */

	for (uint32_t i = 0; i < p->n && !err; i++) {
		uint32_t first = place_first(p->list[i]), sector = first >> bits;
		/* Inside a sector in use that no blob before reaches: it is a node's or a
		 * cluster's. */
		bool inside = first & ((1u << bits) - 1) && end <= sector << bits &&
			      bit_test(seen, sector);

		if (first < end || inside)
			overlap(arg, base + ((uint64_t)first << shift));
		if (place_end(p->list[i]) > end)
			end = place_end(p->list[i]);
	}
	return err;
}

static void compare_map(const struct blob_places *p, uint64_t base, unsigned shift,
			const uint8_t *seen, void (*overlap)(void *arg, uint64_t off), void *arg)
{
	for (size_t i = 0; i < REGION_SECTORS; i++) {
		unsigned begins = p->map[i] & 0xf, ends = p->map[i] >> 4;

		if (begins && bit_test(seen, i) && (!ends || ends > begins))
			overlap(arg, base + i * SECTOR_SIZE + ((uint64_t)begins << shift));
	}
}

errint_t blob_places_compare(struct blob_places *p, const struct geometry *g, uint64_t base,
			     const uint8_t *seen, void (*overlap)(void *arg, uint64_t off),
			     void *arg)
{
	if (!p->map)
		return compare_list(p, sector_bits(g), base, granule_shift(g), seen, overlap, arg);
	compare_map(p, base, granule_shift(g), seen, overlap, arg);
	return 0;
}
