/* SPDX-License-Identifier: MIT */
/*
 * The check of images: sound ones are found sound, and each invariant, broken by itself with all
 * checksums made right again, is found broken, as corruption or as a leak.
 */
#include "config.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/bitmap.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sample.h"

/* The cluster after @v that is stored in region @region. */
static uint64_t raw_in_region(struct surgery *s, uint64_t v, uint64_t region)
{
	while (desc_unit(surgery_desc(s, v)) / REGION_UNITS != region)
		v++;
	return v;
}

/* --- sound images -------------------------------------------------------------------------------
 */

static void sound_image_is_sound(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct outcome o;

	(void)state;
	expect(st, 0, 0, NULL);
	run_check(st, (struct check_opts){.data = true, .threads = 2}, &o);
	assert_int_equal(o.res.corruptions + o.res.leaks, 0);
	assert_int_equal(o.res.blobs, BLOBS);
	assert_int_equal(o.res.raw_clusters, RAW_COUNT + 1);
	assert_int_equal(o.res.data_bytes, (BLOBS + RAW_COUNT + 1) * 65536ull);
	/* 3 levels: the root, 2 nodes below, leaves of 256 clusters. */
	uint64_t leaves = 1 + (RAW_FIRST + RAW_COUNT - 1) / 256 - RAW_FIRST / 256 + 1 + 1;
	assert_int_equal(o.res.nodes, 1 + 2 + leaves);
	assert_int_equal(o.res.used_units, le64_get(s.sb.used_units));
	store_close(st);
}

/* Less memory means more passes over the map. */
static void memory_is_bounded(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t reads[2];
	struct outcome o;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t before = mem_store_calls(st, MEM_READ);

		run_check(st, (struct check_opts){.threads = 1, .memory = i}, &o);
		reads[i] = mem_store_calls(st, MEM_READ) - before;
		assert_int_equal(o.res.raw_clusters, RAW_COUNT + 1);
	}
	/* At least the inner nodes once more for each further region. */
	assert_true(le64_get(s.sb.phys_regions) == 3);
	assert_in_range(reads[1] - reads[0], 2 * 3, 2 * o.res.nodes);
	store_close(st);
}

static void every_cluster_size_is_sound(void **state)
{
	struct outcome o;

	(void)state;
	for (uint8_t shift = CLUSTER_SHIFT_MIN; shift <= CLUSTER_SHIFT_MAX; shift++) {
		struct store *st = sample_image_shift(shift);

		expect(st, 0, 0, NULL);
		run_check(st, (struct check_opts){.data = true}, &o);
		assert_int_equal(o.res.corruptions + o.res.leaks, 0);
		assert_int_equal(o.res.blobs, BLOBS);
		store_close(st);
	}
}

static void empty_image_is_sound(void **state)
{
	struct store *st = mem_store_new(SAMPLE_STORE);
	struct image_params params = {.size = SAMPLE_DISK};

	(void)state;
	assert_int_equal(image_create(st, &params), 0);
	expect(st, 0, 0, NULL);
	store_close(st);
}

/* --- I1: superblock copies ----------------------------------------------------------------------
 */

static void damaged_superblock_copy(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	mem_store_flip(st, SUPER_OFFSET + 3 * SUPER_STRIDE + 70);
	expect(st, 1, 0, "superblock copy 3");
	mem_store_flip(st, SUPER_OFFSET + 3 * SUPER_STRIDE + 70);
	mem_store_flip(st, SUPER_OFFSET + 3 * SUPER_STRIDE + 3000);
	expect(st, 1, 0, "superblock copy 3");
	/* A copy that nobody wrote yet has something in it. */
	mem_store_flip(st, SUPER_OFFSET + 3 * SUPER_STRIDE + 3000);
	CLEANUP(free) uint8_t *noise = store_buffer(SECTOR_SIZE);
	noise[100] = 1;
	assert_int_equal(store_write(st, noise, SECTOR_SIZE, SUPER_OFFSET), 0);
	expect(st, 1, 0, "superblock copy 0");
	store_close(st);
}

/* A power cut between sectors is not damage: the format provides for it. */
static void torn_superblock_copy(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	CLEANUP(free) uint8_t *zero = store_buffer(SECTOR_SIZE);
	CLEANUP(free) uint8_t *copy = store_buffer(UNIT_SIZE);
	const uint64_t off = SUPER_OFFSET + 2 * SUPER_STRIDE;

	(void)state;
	assert_int_equal(store_read(st, copy, UNIT_SIZE, off), 0);
	/* Nothing stood there before; some sectors have arrived. */
	for (unsigned mask = 0; mask < 256; mask += 5) {
		for (unsigned i = 0; i < UNIT_SECTORS; i++) {
			const uint8_t *sector = mask >> i & 1 ? copy + i * SECTOR_SIZE : zero;

			assert_int_equal(
				store_write(st, sector, SECTOR_SIZE, off + i * SECTOR_SIZE), 0);
		}
		expect(st, 0, 0, NULL);
	}
	store_close(st);
}

static void superblock_copies_that_differ(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	s.sb.session[0] = 1;
	surgery_super_copy(&s, 3);
	struct image_open_opts open = {.read_only = true};
	struct image *im;
	errint_t err = image_open(st, &open, &im);
	/* "That generation is damaged" (R4), and there is no other. */
	if (!err) {
		image_abandon(im);
		expect(st, 1, 0, "both have generation 1");
	} else {
		assert_int_equal(err, -EBADMSG);
	}
	store_close(st);
}

static void superblock_copy_in_wrong_pair(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	surgery_super_copy(&s, 0);
	expect(st, 1, 0, "does not belong there");
	store_close(st);
}

/* --- I1, I6, I10: nodes and descriptors ---------------------------------------------------------
 */

static void damaged_node(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct desc leaf = surgery_node(&s, 0, RAW_FIRST / 256, NULL);

	(void)state;
	mem_store_flip(st, (desc_unit(leaf) << UNIT_SHIFT) + 77);
	expect(st, 1, 0, "crc of the node");
	struct desc inner = surgery_node(&s, 1, 0, NULL);
	mem_store_flip(st, (desc_unit(inner) << UNIT_SHIFT) + 77);
	expect(st, 1, 0, "of level 1");
	store_close(st);
}

static void unreadable_node(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct image_open_opts open = {.read_only = true};
	struct check_opts opts = {.threads = 1};
	struct check_result res;
	struct image *im;
	unsigned found = 0;

	(void)state;
	/* A failed read is a finding and never ends the check; one of many nodes is tried again
	 * node by node, and found good. */
	for (unsigned nth = 1;; nth++) {
		assert_int_equal(image_open(st, &open, &im), 0);
		uint64_t before = mem_store_calls(st, MEM_READ);
		mem_store_fail(st, MEM_READ, nth, -EIO);
		assert_int_equal(check_image(im, &opts, &res), 0);
		image_abandon(im);
		if (mem_store_calls(st, MEM_READ) - before < nth)
			break;
		assert_int_equal(res.leaks, 0);
		found += res.corruptions > 0;
	}
	/* First block, superblocks, tables, zero window, bitmaps. */
	assert_in_range(found, 1 + 4 + 2 + 1 + 3, 20);
	store_close(st);
}

__attribute__((noinline)) static void bad_descriptor(struct desc d, uint64_t vcluster,
						     const char *says)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	surgery_set_desc(&s, vcluster, d);
	expect(st, 1, 0, says);
	store_close(st);
}

static void bad_descriptors(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct desc raw = surgery_desc(&s, RAW_FIRST), blob = surgery_desc(&s, 7);
	struct desc d = raw;

	(void)state;
	store_close(st);
	d.birth = 2; /* the epoch is 1 */
	bad_descriptor(d, RAW_FIRST, "birth");
	d = raw;
	d.w0 += 1;
	bad_descriptor(d, RAW_FIRST, "not a multiple of 16");
	d = raw;
	d.aux = 0x10001;
	bad_descriptor(d, RAW_FIRST, "both valid and zero");
	d = blob;
	d.w0 = (d.w0 & ~((1ull << DESC_GRANULE_BITS) - 1)) |
	       ((desc_granule(d) & ~127ull) + 3616 / 32);
	bad_descriptor(d, 7, "(P2)");
	bad_descriptor(desc_raw_make(desc_unit(raw) + 100 * REGION_UNITS, 1, 1, 0), RAW_FIRST,
		       "unit");
	/* The zero window, and the header of a region. */
	bad_descriptor(desc_raw_make(256, 1, 1, 0), RAW_FIRST, "unit");
	bad_descriptor(desc_raw_make(REGION_UNITS, 1, 1, 0), RAW_FIRST, "unit");
	bad_descriptor((struct desc){1ull << 60 | raw.w0, raw.birth, raw.aux}, RAW_FIRST,
		       "FALLTHROUGH");
}

static void birth_above_parent(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct desc d = surgery_desc(&s, FAR);

	(void)state;
	s.sb.epoch = le32_make(5);
	d.birth = 3; /* below the epoch, above its leaf */
	surgery_set_desc(&s, FAR, d);
	expect(st, 1, 0, "birth");
	store_close(st);
}

static void cluster_beyond_disk(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	s.sb.size = le64_make(FAR * 65536ull);
	surgery_super(&s);
	expect(st, 1, 0, "beyond the last");
	store_close(st);
}

static void blobs_without_feature(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	s.sb.incompat = le64_make(0);
	surgery_super(&s);
	expect(st, BLOBS, 0, "feature bit 0");
	store_close(st);
}

/* --- I3: leaks and missing marks ----------------------------------------------------------------
 */

/* An offset in region @region whose unit nothing uses. */
static uint64_t free_unit(struct surgery *s, uint64_t region)
{
	CLEANUP(free) uint8_t *bits = malloc(REGION_UNITS);
	size_t bytes = surgery_bits(s, region, bits);
	unsigned u = REGION_UNITS - 16;

	while (bytes > UNIT_SIZE ? bits[u] : bit_test(bits, u))
		u -= 16;
	return (region << REGION_SHIFT) + ((uint64_t)u << UNIT_SHIFT);
}

/* Make the file longer by a region. */
static void add_region(struct surgery *s)
{
	uint64_t regions = le64_get(s->sb.phys_regions) + 1;

	assert_int_equal(store_truncate(s->st, regions << REGION_SHIFT), 0);
	s->sb.phys_regions = le64_make(regions);
	surgery_super(s);
}

static void leaked_sectors(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t region = le64_get(s.sb.phys_regions) - 1;

	(void)state;
	assert_int_equal(surgery_entry(&s, region).class_, CLASS_MIXED);
	assert_int_equal(store_truncate(st, (region + 1) << REGION_SHIFT), 0);
	uint64_t off = free_unit(&s, region);
	surgery_mark(&s, off, true);
	expect(st, 0, 1, "1 unit of region");
	surgery_mark(&s, off + SECTOR_SIZE, true);
	expect(st, 0, 1, "1 unit of region");
	surgery_mark(&s, off + UNIT_SIZE, true);
	expect(st, 0, 2, "2 units of region");
	surgery_mark(&s, off + 3 * UNIT_SIZE, true);
	expect(st, 0, 3, "1 unit of region");
	store_close(st);
}

/* A cluster that is unmapped without its space being given back. */
static void leaked_clusters(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	char says[64];

	(void)state;
	uint64_t v = raw_in_region(&s, RAW_FIRST, 1);
	snprintf(says, sizeof(says), "offset 0x%" PRIx64 ": 16 units of region 1 (data)",
		 desc_unit(surgery_desc(&s, v + 3)) << UNIT_SHIFT);
	surgery_set_desc(&s, v + 3, desc_hole());
	expect(st, 0, 16, says);
	surgery_set_desc(&s, v + 4, desc_zero_make(1));
	expect(st, 0, 32, "32 units of region 1");
	store_close(st);
}

static void leaked_blob(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct extent e = desc_extent(&s.geo, surgery_desc(&s, 30));
	uint64_t first, end;

	(void)state;
	blob_owned_sectors(e, &first, &end);
	surgery_set_desc(&s, 30, desc_hole());
	expect(st, 0, (end - 1) / UNIT_SECTORS - first / UNIT_SECTORS + 1, "nothing refers to");
	store_close(st);
}

static void missing_marks(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct extent e = desc_extent(&s.geo, surgery_desc(&s, 30));
	uint64_t first, end;

	(void)state;
	blob_owned_sectors(e, &first, &end);
	surgery_mark(&s, first << SECTOR_SHIFT, false);
	expect(st, 1, 0, "cluster 30 (disk offset 0x1e0000)");
	surgery_mark(&s, (end - 1) << SECTOR_SHIFT, false);
	expect(st, 1, 0, "2 of its");
	/* A raw cluster in the same region, and a leaf. */
	uint64_t v = raw_in_region(&s, RAW_FIRST, 0);
	surgery_mark(&s, (desc_unit(surgery_desc(&s, v)) << UNIT_SHIFT) + 65535, false);
	expect(st, 2, 0, "the first at");
	surgery_mark(&s, desc_unit(surgery_node(&s, 0, FAR / 256, NULL)) << UNIT_SHIFT, false);
	expect(st, 3, 0, "node 781 of level 0");
	store_close(st);
}

/* In a region by units a cluster is all used or all free: the last of the region is given back. */
static void missing_cluster(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	CLEANUP(free) uint8_t *bits = malloc(REGION_UNITS);
	uint64_t v = raw_in_region(&s, RAW_FIRST, 1) + 9;
	uint64_t unit = desc_unit(surgery_desc(&s, v));

	(void)state;
	surgery_bits(&s, 1, bits);
	bits_clear(bits, unit % REGION_UNITS, 16);
	surgery_set_bits(&s, 1, bits);
	expect(st, 1, 0, "16 of its 16 units");
	store_close(st);
}

/* --- I4, I5: used twice -------------------------------------------------------------------------
 */

static void cluster_used_twice(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t v = raw_in_region(&s, RAW_FIRST, 1);
	struct desc d = surgery_desc(&s, v);

	(void)state;
	/* The same extent at another position; what was there is lost. */
	surgery_set_desc(&s, v + 10, d);
	expect(st, 1, 16, "used by something else as well");
	surgery_set_desc(&s, v + 300, d);
	expect(st, 2, 32, "used by something else as well");
	store_close(st);
}

static void blob_used_twice(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	/* A position that had nothing: no leak. */
	surgery_set_desc(&s, 250, surgery_desc(&s, 30));
	expect(st, 1, 0, "used by something else as well");
	store_close(st);
}

/* Copy the leaf of FAR to @unit, and let its parent name that. */
static void move_leaf(struct surgery *s, uint64_t unit)
{
	CLEANUP(free) struct disk_node *n = store_buffer(UNIT_SIZE);
	struct desc leaf = surgery_node(s, 0, FAR / 256, n);

	assert_int_equal(store_write(s->st, n, UNIT_SIZE, unit << UNIT_SHIFT), 0);
	surgery_node(s, 1, FAR / 65536, n);
	n->entry[FAR / 256 % 256] = desc_to_disk(desc_node_make(unit, leaf.birth, leaf.aux));
	surgery_set_node(s, 1, FAR / 65536, n);
}

static void node_over_data(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t v = raw_in_region(&s, RAW_FIRST, 0);

	(void)state;
	/* The old place of the node is lost. */
	move_leaf(&s, desc_unit(surgery_desc(&s, v)) + 3);
	expect(st, 1, 1, "used by something else as well");
	store_close(st);
}

/* Two neighbours in the interior of a sector: the next begins earlier, or this one ends later, with
 * the same sectors owned as before. */
static uint64_t tight_neighbour(struct surgery *s, bool by_end)
{
	for (uint64_t v = 0; v + 1 < BLOBS; v++) {
		struct extent a = desc_extent(&s->geo, surgery_desc(s, v));
		struct extent b = desc_extent(&s->geo, surgery_desc(s, v + 1));
		uint64_t end = a.off + a.len,
			 room = by_end ? SECTOR_SIZE - end % SECTOR_SIZE : b.off % SECTOR_SIZE;

		if (end == b.off && end % SECTOR_SIZE && room > 32)
			return v;
	}
	fail_msg("no two blobs meet inside a sector");
	return 0;
}

static void blobs_overlap(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t v = tight_neighbour(&s, false);
	struct desc d = surgery_desc(&s, v + 1);

	(void)state;
	d = desc_zstd_make(desc_granule(d) - 1, desc_granules(d) + 1, 1, d.aux);
	surgery_set_desc(&s, v + 1, d);
	expect(st, 1, 0, "has not ended");
	store_close(st);

	st = sample_image(&s);
	v = tight_neighbour(&s, true);
	d = surgery_desc(&s, v);
	d = desc_zstd_make(desc_granule(d), desc_granules(d) + 1, 1, d.aux);
	surgery_set_desc(&s, v, d);
	expect(st, 1, 0, "has not ended");
	store_close(st);
}

/* --- I7: counts ---------------------------------------------------------------------------------
 */

static void wrong_counts(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct disk_alloc_entry good = surgery_entry(&s, 1), e = good;

	(void)state;
	e.free_units = le32_make(le32_get(e.free_units) + 16);
	surgery_set_entry(&s, 1, &e);
	expect(st, 1, 0, "region 1 at offset 0x8000000");
	surgery_set_entry(&s, 1, &good);
	expect(st, 0, 0, NULL);
	good = e = surgery_entry(&s, 0);
	e.dead_sectors = le32_make(le32_get(e.dead_sectors) + 1);
	surgery_set_entry(&s, 0, &e);
	expect(st, 1, 0, "region 0 at offset 0x0");
	surgery_set_entry(&s, 0, &good);
	expect(st, 0, 0, NULL);
	store_close(st);
}

static void wrong_sums(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	s.sb.used_units = le64_make(le64_get(s.sb.used_units) + 1);
	surgery_super(&s);
	expect_refused(st);
	store_close(st);
}

static void damaged_alloc_blocks(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	mem_store_flip(st, GROUP0_TABLE + 100);
	expect_refused(st);
	mem_store_flip(st, GROUP0_TABLE + 100);
	mem_store_flip(st, ALLOC_ROOT_OFFSET + 4000);
	expect_refused(st);
	mem_store_flip(st, ALLOC_ROOT_OFFSET + 4000);
	mem_store_flip(st, REGION0_BITMAP + 8 * UNIT_SIZE);
	expect(st, 1, 0, "its bitmap is damaged");
	mem_store_flip(st, REGION_SIZE + 9);
	expect(st, 2, 0, "region 1");
	store_close(st);
}

static void reserved_units_free(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	surgery_mark(&s, REGION_SIZE + 15 * UNIT_SIZE, false);
	expect(st, 1, 0, "region 1");
	surgery_mark(&s, ZERO_WINDOW_OFFSET, false);
	expect(st, 2, 0, "region 0");
	store_close(st);
}

/* --- A1, I9: places -----------------------------------------------------------------------------
 */

static void wrong_class(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct disk_alloc_entry e = surgery_entry(&s, 1);
	uint64_t clusters = (REGION_UNITS - le32_get(e.free_units)) / 16 - 1;

	(void)state;
	e.class_ = CLASS_META;
	surgery_set_entry(&s, 1, &e);
	expect(st, clusters, 0, "of class meta");
	store_close(st);
}

/* A blob where only clusters may be: at the place of one, too. */
static void blob_in_data_region(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	surgery_set_desc(&s, 250, desc_zstd_make((REGION_SIZE + MIB) / 32, 100, 1, 0));
	expect(st, 2, 0, "of class data");
	store_close(st);
}

static void node_in_data_region(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t v = raw_in_region(&s, RAW_FIRST, 1);

	(void)state;
	move_leaf(&s, desc_unit(surgery_desc(&s, v)));
	/* The class, the cluster used twice, the old place of the node. */
	expect(st, 2, 1, "of class data");
	store_close(st);
}

static void region_not_in_use(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	uint64_t region = le64_get(s.sb.phys_regions);

	(void)state;
	add_region(&s);
	expect(st, 0, 0, NULL);
	surgery_set_desc(&s, 300 + RAW_FIRST + RAW_COUNT - 256,
			 desc_raw_make(region * REGION_UNITS + 160, 1, 0xffff, 0));
	struct outcome o;
	run_check(st, (struct check_opts){.threads = 1}, &o);
	assert_int_equal(o.res.corruptions, 1);
	assert_non_null(strstr(o.text, "which is not in use"));
	store_close(st);
}

static void zero_window_written(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);

	(void)state;
	CLEANUP(free) uint8_t *sector = store_buffer(SECTOR_SIZE);
	sector[57] = 1;
	assert_int_equal(store_write(st, sector, SECTOR_SIZE, ZERO_WINDOW_OFFSET + 12288), 0);
	expect(st, 1, 0, "offset 0x103039");
	store_close(st);
}

static void truncated_file(void **state)
{
	struct surgery s;
	struct store *st = sample_image(&s);
	struct image_open_opts open = {.read_only = true};
	uint64_t length;
	struct image *im;

	(void)state;
	assert_int_equal(store_length(st, &length), 0);
	assert_int_equal(store_truncate(st, length - UNIT_SIZE), 0);
	errint_t err = image_open(st, &open, &im);
	if (err) {
		assert_int_equal(err, -EBADMSG);
	} else {
		struct outcome o;

		image_abandon(im);
		run_check(st, (struct check_opts){0}, &o);
		assert_true(o.res.corruptions > 0);
	}
	store_close(st);
}

static void ignore_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sound_image_is_sound),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(every_cluster_size_is_sound),
		cmocka_unit_test(empty_image_is_sound),
		cmocka_unit_test(damaged_superblock_copy),
		cmocka_unit_test(torn_superblock_copy),
		cmocka_unit_test(superblock_copies_that_differ),
		cmocka_unit_test(superblock_copy_in_wrong_pair),
		cmocka_unit_test(damaged_node),
		cmocka_unit_test(unreadable_node),
		cmocka_unit_test(bad_descriptors),
		cmocka_unit_test(birth_above_parent),
		cmocka_unit_test(cluster_beyond_disk),
		cmocka_unit_test(blobs_without_feature),
		cmocka_unit_test(leaked_sectors),
		cmocka_unit_test(leaked_clusters),
		cmocka_unit_test(leaked_blob),
		cmocka_unit_test(missing_marks),
		cmocka_unit_test(missing_cluster),
		cmocka_unit_test(cluster_used_twice),
		cmocka_unit_test(blob_used_twice),
		cmocka_unit_test(node_over_data),
		cmocka_unit_test(blobs_overlap),
		cmocka_unit_test(wrong_counts),
		cmocka_unit_test(wrong_sums),
		cmocka_unit_test(damaged_alloc_blocks),
		cmocka_unit_test(reserved_units_free),
		cmocka_unit_test(wrong_class),
		cmocka_unit_test(blob_in_data_region),
		cmocka_unit_test(node_in_data_region),
		cmocka_unit_test(region_not_in_use),
		cmocka_unit_test(zero_window_written),
		cmocka_unit_test(truncated_file),
	};

	if (!getenv("UBLK_IMG_TEST_VERBOSE"))
		log_set_sink(ignore_message, NULL);
	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
