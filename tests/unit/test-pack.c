/* SPDX-License-Identifier: MIT */
/*
 * The layout of a batch against the packing rules themselves: every property that docs/format.md
 * section 4.1 states is recomputed here from the positions, byte by byte and sector by sector.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/pack.h"

#define MAX_SECTORS (64 * 512 + 64) /* 64 blobs of 256 KiB and their gaps */

static struct geometry geometry_of(unsigned shift)
{
	return (struct geometry){.cluster_shift = (uint8_t)shift, .sector_shift = SECTOR_SHIFT};
}

static uint32_t max_frame(const struct geometry *g)
{
	return BLOB_MAX_GRANULES << granule_shift(g);
}

/* Which blob (from 1) owns each sector of the batch, and that nobody owns one twice. */
static void claim_sectors(uint8_t *owner, const struct pack_blob *b, unsigned id)
{
	uint64_t first, end;

	blob_owned_sectors((struct extent){b->at, b->stored}, &first, &end);
	assert_true(end > first); /* P1 */
	assert_true(end <= MAX_SECTORS);
	for (uint64_t s = first; s < end; s++) {
		assert_int_equal(owner[s], 0);
		owner[s] = (uint8_t)id;
	}
}

static bool owns_in_unit(const uint8_t *owner, uint32_t unit, unsigned id)
{
	for (unsigned s = 0; s < UNIT_SECTORS; s++)
		if (owner[unit * UNIT_SECTORS + s] == id)
			return true;
	return false;
}

static void verify_blob(const struct geometry *g, const struct pack_blob *b)
{
	const uint32_t granule = 1u << granule_shift(g);

	assert_int_equal(b->at % granule, 0);
	assert_int_equal(b->stored % granule, 0);
	assert_in_range(b->stored / granule, 1, BLOB_MAX_GRANULES);
	assert_true(b->stored >= b->len);
	assert_true(b->stored - b->len < SECTOR_SIZE + granule); /* zeros behind a frame, 4 */
	if (b->at % UNIT_SIZE)
		assert_true(b->at % UNIT_SIZE <= UNIT_SIZE - SECTOR_SIZE); /* P2 */
}

static void verify_layout(const struct geometry *g, const struct pack_blob *blob, unsigned n,
			  uint32_t total)
{
	static uint8_t owner[MAX_SECTORS];
	uint32_t end = 0;
	uint64_t bytes = 0;

	memset(owner, 0, sizeof(owner));
	for (unsigned i = 0; i < n; i++) {
		verify_blob(g, &blob[i]);
		assert_true(blob[i].at >= end); /* P3, and in order */
		end = blob[i].at + blob[i].stored;
		bytes += blob[i].len;
		claim_sectors(owner, &blob[i], i + 1);
	}
	for (unsigned i = 0; i < n; i++) {
		uint32_t last = (blob[i].at + blob[i].stored - 1) / UNIT_SIZE;

		for (uint32_t u = blob[i].at / UNIT_SIZE; u <= last; u++)
			assert_true(owns_in_unit(owner, u, i + 1));
	}
	assert_int_equal(total % UNIT_SIZE, 0);
	assert_true(total >= end && total - end < UNIT_SIZE);
	/* A gap of less than a sector before it and less than a sector and a granule after it. */
	assert_true(total <=
		    bytes + n * (2ull * SECTOR_SIZE + (1u << granule_shift(g))) + UNIT_SIZE);
}

static void random_sizes(void **state)
{
	struct pack_blob blob[PACK_MAX_BLOBS];
	uint64_t waste = 0, bytes = 0;

	(void)state;
	srandom(2);
	for (unsigned round = 0; round < 6000; round++) {
		struct geometry g = geometry_of(16 + round % 3);
		unsigned n = 1 + (unsigned)random() % PACK_MAX_BLOBS;
		/* Tiny frames exercise P1, whole ones the bounds. */
		uint32_t limit = round % 4 ? max_frame(&g) : 1 + (uint32_t)random() % 1200;
		uint32_t total;

		for (unsigned i = 0; i < n; i++)
			blob[i] = (struct pack_blob){.len = 1 + (uint32_t)random() % limit};
		total = pack_layout(&g, blob, n);
		verify_layout(&g, blob, n, total);
		if (limit != max_frame(&g))
			continue;
		for (unsigned i = 0; i < n; i++)
			bytes += blob[i].len;
		waste += total;
	}
	waste -= bytes;
	print_message("large frames: %.3f %% above their exact size\n",
		      100.0 * (double)waste / (double)bytes);
	assert_true(waste * 100 < bytes); /* below 1 % */
}

/* Every distance of the first blob's end from a unit's end meets every small second blob. */
static void every_start(void **state)
{
	(void)state;
	for (unsigned shift = 16; shift <= 18; shift++) {
		struct geometry g = geometry_of(shift);
		uint32_t granule = 1u << granule_shift(&g);

		for (uint32_t a = 1; a <= UNIT_SIZE + granule; a += granule / 2)
			for (uint32_t b = 1; b <= SECTOR_SIZE + granule; b += granule / 2) {
				struct pack_blob blob[] = {{.len = a}, {.len = b}, {.len = a}};

				verify_layout(&g, blob, 3, pack_layout(&g, blob, 3));
			}
	}
}

static void expect(unsigned shift, uint32_t len0, uint32_t len1, uint32_t at1, uint32_t stored1,
		   uint32_t total)
{
	struct geometry g = geometry_of(shift);
	struct pack_blob blob[] = {{.len = len0}, {.len = len1}};

	assert_int_equal(pack_layout(&g, blob, 2), total);
	assert_int_equal(blob[0].at, 0);
	assert_int_equal(blob[1].at, at1);
	assert_int_equal(blob[1].stored, stored1);
}

static void directed(void **state)
{
	(void)state;
	/* Rounded to granules, packed without a gap. */
	expect(16, 1, 1000, 32, 1024, 4096);
	expect(17, 1, 1000, 64, 1024, 4096);
	expect(18, 1, 1000, 128, 1024, 4096);
	/* Lengthened to own the next sector: [32, 544) contains byte 512. */
	expect(16, 1, 1, 32, 512, 4096);
	expect(18, 1, 1, 128, 512, 4096);
	/* Ends with the sector: one granule more. */
	expect(16, 32, 480, 32, 512, 4096);
	/* At a sector's first byte nothing needs lengthening. */
	expect(16, 512, 1, 512, 32, 4096);
	/* The last sector's first byte is the last place to start in a unit... */
	expect(16, 3584, 100, 3584, 128, 4096);
	/* ...one granule further is too far, as is the last granule. */
	expect(16, 3585, 100, 4096, 128, 8192);
	expect(16, 4064, 100, 4096, 128, 8192);
	expect(18, 3600, 100, 4096, 128, 8192);
	/* A unit's end is no gap. */
	expect(16, 4096, 100, 4096, 128, 8192);
	/* Directly before the last sector: owned by lengthening, within the unit. */
	expect(16, 3552, 1, 3552, 64, 4096);
	/* The largest frame stays within its limit. */
	expect(16, 61440, 61440, 61440, 61440, 122880);
}

static void empty(void **state)
{
	struct geometry g = geometry_of(16);

	(void)state;
	assert_int_equal(pack_layout(&g, NULL, 0), 0);
}

/* The engine lays a batch out again as it grows: earlier blobs must stay where they are. */
static void grows_in_place(void **state)
{
	struct geometry g = geometry_of(17);
	struct pack_blob blob[PACK_MAX_BLOBS], before[PACK_MAX_BLOBS];

	(void)state;
	srandom(3);
	for (unsigned i = 0; i < PACK_MAX_BLOBS; i++)
		blob[i] = (struct pack_blob){.len = 1 + (uint32_t)random() % 5000};
	for (unsigned n = 1; n <= PACK_MAX_BLOBS; n++) {
		memcpy(before, blob, sizeof(blob));
		pack_layout(&g, blob, n);
		assert_memory_equal(before, blob, (n - 1) * sizeof(*blob));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directed),	  cmocka_unit_test(every_start),
		cmocka_unit_test(random_sizes),	  cmocka_unit_test(empty),
		cmocka_unit_test(grows_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
