/* SPDX-License-Identifier: MIT */
/*
 * New images, read back block by block: every block passes its validator, the tree maps exactly
 * what was mapped, and the bitmaps mark exactly what the tree references.
 */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/bitmap.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "image/bulk.h"
#include "image/bulk_tree.h"
#include "image/checksum.h"
#include "image/validate.h"
#include "tests/unit/random.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)

/* -- a store in a file of its own ---------------------------------------- */

static char dir[] = "/tmp/test-bulk.XXXXXX";
static char path[sizeof(dir) + 16];

static struct store *new_store(void)
{
	struct store *st;

	unlink(path);
	assert_int_equal(store_file_open(path, STORE_FILE_CREATE | STORE_FILE_BUFFERED, &st), 0);
	return st;
}

static void ignore_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
}

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/image", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

/* -- reading back -------------------------------------------------------- */

struct image_view {
	struct store *st;
	struct disk_ident ident;
	struct disk_super sb;
	struct limits lim;
	uint64_t nclusters;
	uint64_t nregions;
	struct disk_alloc_entry *entry; /* by region */
	uint8_t **bits;			/* by region: sector bitmaps as referenced; NULL: nothing */
	uint64_t classes[5];
	uint64_t used_units;
	uint64_t end;	      /* byte behind the last one referenced */
	uint64_t clusters[6]; /* by type */
	uint64_t nodes;
};

#define require_valid(call)                                                                        \
	do {                                                                                       \
		struct reason why = {""};                                                          \
		if ((call) != 0)                                                                   \
			fail_msg("%s: %s", #call, why.text);                                       \
	} while (0)

static void *read_blocks(struct image_view *v, uint64_t off, size_t len)
{
	void *buf = store_buffer(len);

	assert_non_null(buf);
	assert_int_equal(store_read(v->st, buf, len, off), 0);
	return buf;
}

static void reference(struct image_view *v, struct extent e)
{
	uint64_t region = e.off / REGION_SIZE, first, end;

	assert_true(e.len > 0 && region < v->nregions);
	assert_int_equal((e.off + e.len - 1) / REGION_SIZE, region);
	assert_int_equal(v->entry[region].in_use, 1);
	if (!v->bits[region])
		v->bits[region] = store_buffer(REGION_UNITS);
	assert_non_null(v->bits[region]);
	blob_owned_sectors(e, &first, &end);
	first -= region * REGION_SECTORS;
	end -= region * REGION_SECTORS;
	assert_true(end > first);
	assert_true(bits_all_clear(v->bits[region], first, end - first));
	bits_set(v->bits[region], first, end - first);
	if (v->end < e.off + e.len)
		v->end = e.off + e.len;
}

typedef void (*visit_fn)(void *arg, uint64_t vcluster, struct desc d);

static void walk(struct image_view *v, struct desc self, unsigned level, uint64_t index,
		 visit_fn visit, void *arg)
{
	CLEANUP(free) struct disk_node *node = NULL;
	uint64_t entries = 0;

	if (desc_type(self) == DESC_HOLE)
		return;
	reference(v, desc_extent(&v->lim.geo, self));
	node = read_blocks(v, desc_unit(self) * UNIT_SIZE, UNIT_SIZE);
	require_valid(validate_node(node, self, level, index, v->nclusters, &v->lim, &why));
	v->nodes++;
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		struct desc d = desc_from_disk(&node->entry[i]);
		uint64_t position = index << NODE_SHIFT | i;

		if (desc_type(d) == DESC_HOLE)
			continue;
		entries++;
		if (level) {
			walk(v, d, level - 1, position, visit, arg);
			continue;
		}
		v->clusters[desc_type(d)]++;
		reference(v, desc_extent(&v->lim.geo, d));
		if (visit)
			visit(arg, position, d);
	}
	assert_true(entries > 0);
}

static void read_super(struct image_view *v)
{
	struct disk_super *sb;

	for (unsigned slot = 0; slot < SUPER_SLOTS; slot++) {
		sb = read_blocks(v, SUPER_OFFSET + slot * SUPER_STRIDE, UNIT_SIZE);
		if (slot < 2) {
			assert_true(bits_all_clear((uint8_t *)sb, 0, UNIT_SIZE * 8));
		} else {
			require_valid(validate_super(sb, &v->ident, &why));
			assert_true(slot == 2 || !memcmp(sb, &v->sb, sizeof(*sb)));
			v->sb = *sb;
		}
		free(sb);
	}
	assert_int_equal(le64_get(v->sb.generation), 1);
	assert_int_equal(le32_get(v->sb.flags), SUPER_CLEAN);
	v->lim = (struct limits){
		.geo = {v->ident.cluster_shift, v->sb.sector_shift},
		.uuid_seed = checksum_uuid(v->ident.uuid),
		.phys_regions = le64_get(v->sb.phys_regions),
		.epoch = le32_get(v->sb.epoch),
		.zstd = le64_get(v->sb.incompat) & INCOMPAT_ZSTD_BLOBS,
	};
	v->nclusters = clusters_for(&v->lim.geo, le64_get(v->sb.size));
	v->nregions = v->lim.phys_regions;
}

static uint32_t read_group(struct image_view *v, uint64_t group, uint32_t crc)
{
	uint64_t off = group ? group * GROUP_REGIONS * REGION_SIZE + GROUP_TABLE_UNIT * UNIT_SIZE
			     : GROUP0_TABLE;
	CLEANUP(free) struct disk_alloc_block *b = read_blocks(v, off, UNIT_SIZE);
	uint32_t free_units = 0;

	require_valid(validate_alloc_block(b, ALLOC_GROUP, group, crc, &v->lim, &why));
	for (unsigned i = 0; i < GROUP_REGIONS; i++) {
		uint64_t region = group * GROUP_REGIONS + i;

		if (!b->entry[i].in_use)
			continue;
		assert_true(region < v->nregions);
		v->entry[region] = b->entry[i];
		v->classes[b->entry[i].class_]++;
		free_units += le32_get(b->entry[i].free_units);
		v->used_units += REGION_UNITS - le32_get(b->entry[i].free_units);
	}
	return free_units;
}

static void read_alloc(struct image_view *v)
{
	for (unsigned block = 0; block < ALLOC_ROOT_BLOCKS; block++) {
		uint32_t crc = le32_get(v->sb.root_crc[block]);
		CLEANUP(free) struct disk_alloc_block *b = NULL;

		if (block * ALLOC_ENTRIES * GROUP_REGIONS >= v->nregions) {
			assert_int_equal(crc, 0);
			continue;
		}
		b = read_blocks(v, ALLOC_ROOT_OFFSET + block * 2ull * UNIT_SIZE, UNIT_SIZE);
		require_valid(validate_alloc_block(b, ALLOC_ROOT, block, crc, &v->lim, &why));
		for (unsigned i = 0; i < ALLOC_ENTRIES; i++) {
			if (b->entry[i].in_use)
				assert_int_equal(read_group(v, block * ALLOC_ENTRIES + i,
							    le32_get(b->entry[i].crc)),
						 le32_get(b->entry[i].free_units));
		}
	}
	assert_int_equal(v->used_units, le64_get(v->sb.used_units));
}

/* The bitmap of @region marks its reserved units and what was referenced, nothing else. */
static void compare_region(struct image_view *v, uint64_t region)
{
	uint64_t base = region ? region * REGION_SIZE : REGION0_BITMAP;
	bool data = v->entry[region].class_ == CLASS_DATA;
	unsigned blocks = data ? 1 : BITMAP_BLOCKS;
	unsigned reserved = region ? REGION_HEADER_UNITS : REGION0_START / UNIT_SIZE;
	CLEANUP(free) uint8_t *bits = store_buffer(REGION_UNITS);
	CLEANUP(free) uint8_t *want = v->bits[region] ?: store_buffer(REGION_UNITS);

	v->bits[region] = NULL;
	assert_true(bits && want);
	for (unsigned i = 0; i < blocks; i++)
		assert_int_equal(store_read(v->st, bits + i * UNIT_SIZE, UNIT_SIZE,
					    base + i * 2 * UNIT_SIZE),
				 0);
	require_valid(validate_bitmap(bits, region, &v->entry[region], &v->lim, &why));
	assert_true(bits_all_clear(want, 0, reserved * 8));
	memset(want, 0xff, reserved);
	if (!data) {
		assert_memory_equal(bits, want, REGION_UNITS);
		return;
	}
	memset(want, 0xff, cluster_units(&v->lim.geo));
	for (unsigned u = 0; u < REGION_UNITS; u++)
		assert_int_equal(bit_test(bits, u) ? 0xff : 0, want[u]);
}

/* Read the whole image in @st and check that it is sound in itself. */
static void view_image(struct image_view *v, struct store *st, visit_fn visit, void *arg)
{
	struct disk_ident *ident;
	uint64_t length;

	*v = (struct image_view){.st = st};
	ident = read_blocks(v, IDENT_OFFSET, UNIT_SIZE);
	v->ident = *ident;
	free(ident);
	require_valid(validate_ident(&v->ident, &why));
	read_super(v);
	v->entry = calloc(v->nregions, sizeof(*v->entry));
	v->bits = calloc(v->nregions, sizeof(*v->bits));
	assert_true(v->entry && v->bits);
	read_alloc(v);
	walk(v, desc_from_disk(&v->sb.root), v->sb.levels - 1u, 0, visit, arg);
	for (uint64_t r = 0; r < v->nregions; r++) {
		if (v->entry[r].in_use)
			compare_region(v, r);
		else
			assert_null(v->bits[r]);
	}
	free(v->entry);
	free(v->bits);
	assert_int_equal(store_length(st, &length), 0);
	if (v->end < REGION0_START)
		v->end = REGION0_START;
	assert_int_equal(length, div_round_up(v->end, UNIT_SIZE) * UNIT_SIZE);
	assert_int_equal(v->nregions, div_round_up(length, REGION_SIZE));
}

/* -- empty images -------------------------------------------------------- */

static void create(uint64_t size, unsigned cluster_shift, unsigned codec, struct image_view *v)
{
	struct image_params p = {.size = size,
				 .cluster_shift = (uint8_t)cluster_shift,
				 .codec = (uint8_t)codec,
				 .level = 3,
				 .creator = "test-bulk"};
	struct store *st = new_store();

	assert_int_equal(image_create(st, &p), 0);
	view_image(v, st, NULL, NULL);
	assert_true(store_usage(st) < MIB);
	store_close(st);
}

static void test_create(void **state)
{
	static const uint64_t size[] = {0,	 512,	  65536,    16 * MIB,  16 * MIB + 512,
					1 * GIB, 1 * TIB, 64 * TIB, 1ull << 56};
	(void)state;
	for (unsigned i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
		struct image_view v;

		create(size[i], 0, CODEC_NONE, &v);
		assert_int_equal(le64_get(v.sb.size), size[i]);
		assert_int_equal(v.ident.cluster_shift, 16);
		assert_int_equal(v.sb.sector_shift, 9);
		assert_int_equal(v.nregions, 1);
		assert_int_equal(v.used_units, 512);
		assert_false(v.lim.zstd);
		assert_string_equal(v.ident.creator, "test-bulk");
	}
}

static void test_create_with_codec(void **state)
{
	struct image_view v;
	struct disk_tlv head;
	struct disk_tlv_compression data;

	(void)state;
	create(1 * GIB, 18, CODEC_ZSTD, &v);
	assert_true(v.lim.zstd);
	assert_int_equal(v.ident.cluster_shift, 18);
	memcpy(&head, v.sb.tlv, sizeof(head));
	memcpy(&data, v.sb.tlv + sizeof(head), sizeof(data));
	assert_int_equal(le32_get(head.type), TLV_COMPRESSION);
	assert_int_equal(le32_get(head.len), sizeof(data));
	assert_int_equal(data.codec, CODEC_ZSTD);
	assert_int_equal(data.level, 3);
}

static void test_uuid(void **state)
{
	static const uint8_t fixed[16] = "0123456789abcde";
	struct image_params p = {.size = MIB, .uuid = fixed};
	struct image_view v, a, b;
	struct store *st = new_store();

	(void)state;
	assert_int_equal(image_create(st, &p), 0);
	view_image(&v, st, NULL, NULL);
	store_close(st);
	assert_memory_equal(v.ident.uuid, fixed, 16);
	create(MIB, 0, CODEC_NONE, &a);
	create(MIB, 0, CODEC_NONE, &b);
	assert_memory_not_equal(a.ident.uuid, b.ident.uuid, 16);
}

static void test_bad_params(void **state)
{
	static const struct image_params bad[] = {
		{.size = 513},
		{.size = 512, .sector_shift = 12},
		{.size = MIB, .sector_shift = 10},
		{.size = MIB, .cluster_shift = 15},
		{.size = MIB, .cluster_shift = 19},
		{.size = (1ull << 56) + 512},
		{.size = UINT64_MAX - 511},
		{.size = MIB, .codec = CODEC_ZSTD, .level = 100},
		{.size = MIB, .codec = 77},
	};
	struct store *st = new_store();
	uint64_t length;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(image_create(st, &bad[i]), -EINVAL);
	assert_int_equal(store_length(st, &length), 0);
	assert_int_equal(length, 0);
	store_close(st);
}

/* -- images with content ------------------------------------------------- */

/* What the test mapped. */
struct expected {
	struct desc *desc; /* by vcluster; hole: nothing */
	uint64_t n;
	uint64_t seen;
};

static void compare_desc(void *arg, uint64_t vcluster, struct desc d)
{
	struct expected *e = arg;

	assert_true(vcluster < e->n);
	assert_true(desc_equal(d, e->desc[vcluster]));
	e->seen++;
}

/* Place and map @n blobs of the lengths in @blob, remembering them. */
static void add_blobs(struct bulk *b, const struct geometry *geo, struct bulk_blob *blob,
		      unsigned n, struct expected *e)
{
	while (n) {
		struct bulk_place place;

		assert_int_equal(bulk_place_blobs(b, blob, n, &place), 0);
		assert_in_range(place.n, 1, n);
		assert_int_equal(place.file_off % UNIT_SIZE, 0);
		for (unsigned i = 0; i < place.n; i++) {
			uint64_t at = place.file_off + blob[i].at;

			assert_true(blob[i].at + blob[i].stored <= place.len);
			blob[i].crc = (uint32_t)blob[i].vcluster * 7 + 1;
			e->desc[blob[i].vcluster] = desc_zstd_make(
				at >> granule_shift(geo), blob[i].stored >> granule_shift(geo), 1,
				blob[i].crc);
		}
		assert_int_equal(bulk_map_blobs(b, blob, place.n, place.file_off), 0);
		blob += place.n;
		n -= place.n;
	}
}

static void add_raw(struct bulk *b, const struct geometry *geo, uint64_t vcluster, unsigned n,
		    struct expected *e)
{
	while (n) {
		struct bulk_place place;

		assert_int_equal(bulk_place_raw(b, n, &place), 0);
		assert_in_range(place.n, 1, n);
		assert_int_equal(place.len, place.n * cluster_size(geo));
		for (unsigned i = 0; i < place.n; i++)
			e->desc[vcluster + i] = desc_raw_make(
				(place.file_off + i * cluster_size(geo)) / UNIT_SIZE, 1, 0xffff, 0);
		assert_int_equal(bulk_map_raw(b, vcluster, place.n, place.file_off), 0);
		vcluster += place.n;
		n -= place.n;
	}
}

/* A random mixture from @first on: holes, runs of raw clusters, blobs of all lengths. */
static void add_mixture(struct bulk *b, const struct geometry *geo, uint64_t first, uint64_t end,
			uint64_t *r, struct expected *e)
{
	const uint32_t most = BLOB_MAX_GRANULES << granule_shift(geo);
	struct bulk_blob blob[BULK_MAX_BLOBS];

	for (uint64_t v = first; v < end;) {
		unsigned n = 1 + (unsigned)random_below(r, 40);
		unsigned kind = (unsigned)random_below(r, 4);

		if (n > end - v)
			n = (unsigned)(end - v);
		if (kind == 0) {
			add_raw(b, geo, v, n, e);
		} else if (kind < 3) {
			for (unsigned i = 0; i < n; i++)
				blob[i] = (struct bulk_blob){
					.vcluster = v + i,
					.len = 1 + (uint32_t)random_below(r, most)};
			add_blobs(b, geo, blob, n, e);
		}
		v += n;
	}
}

static struct bulk *begin(struct store *st, unsigned cluster_shift, uint64_t clusters,
			  struct expected *e)
{
	struct image_params p = {.size = clusters << cluster_shift,
				 .cluster_shift = (uint8_t)cluster_shift,
				 .codec = CODEC_ZSTD,
				 .level = 3};
	struct bulk *b;

	*e = (struct expected){.desc = calloc(clusters, sizeof(struct desc)), .n = clusters};
	assert_non_null(e->desc);
	assert_int_equal(bulk_begin(st, &p, &b), 0);
	return b;
}

/* Finish @b and see that @st holds exactly what is expected. */
static void finish(struct bulk *b, struct store *st, struct expected *e, struct image_view *v)
{
	uint64_t mapped = 0;

	assert_int_equal(bulk_finish(b), 0);
	view_image(v, st, compare_desc, e);
	for (uint64_t i = 0; i < e->n; i++)
		mapped += desc_type(e->desc[i]) != DESC_HOLE;
	assert_int_equal(e->seen, mapped);
	free(e->desc);
	store_close(st);
}

static void test_mixture(void **state)
{
	(void)state;
	for (unsigned shift = 16; shift <= 18; shift++) {
		const struct geometry geo = {(uint8_t)shift, 9};
		uint64_t r = shift;
		struct store *st = new_store();
		uint64_t clusters = GIB >> shift;
		struct image_view v;
		struct expected e;
		struct bulk *b = begin(st, shift, clusters, &e);

		add_mixture(b, &geo, 0, clusters, &r, &e);
		finish(b, st, &e, &v);
		assert_int_equal(v.classes[CLASS_MIXED], v.nregions);
		/* Hardly a unit is left free below the end. */
		assert_true(v.end / UNIT_SIZE - v.used_units < v.end / UNIT_SIZE / 400);
	}
}

/* Nothing but raw clusters: whole regions of class DATA, the group table's region skipped. */
static void test_many_regions(void **state)
{
	const struct geometry geo = {16, 9};
	const uint64_t clusters = 258 * REGION_SIZE >> 16;
	struct store *st = new_store();
	struct image_view v;
	struct expected e;
	struct bulk *b = begin(st, 16, clusters, &e);

	(void)state;
	for (uint64_t c = 0; c < clusters; c += 128)
		add_raw(b, &geo, c, 128, &e);
	finish(b, st, &e, &v);
	assert_int_equal(v.entry ? v.classes[CLASS_NONE] : 0, 0);
	assert_true(v.classes[CLASS_DATA] >= 256);
	assert_int_equal(v.classes[CLASS_DATA] + v.classes[CLASS_MIXED], v.nregions - 1);
	assert_true(v.nregions > 257);
}

static void test_large_clusters_data(void **state)
{
	const struct geometry geo = {18, 9};
	const uint64_t clusters = 4 * REGION_SIZE >> 18;
	struct store *st = new_store();
	struct image_view v;
	struct expected e;
	struct bulk *b = begin(st, 18, clusters, &e);

	(void)state;
	for (uint64_t c = 0; c < clusters; c += 64)
		add_raw(b, &geo, c, 64, &e);
	finish(b, st, &e, &v);
	assert_true(v.classes[CLASS_DATA] >= 2);
}

/* A size that is known only at the end, as from a pipe. */
static void test_late_size(void **state)
{
	const struct geometry geo = {16, 9};
	const uint64_t size[] = {70000ull << 16, 1ull << 45, 0};
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct image_params p = {.codec = CODEC_ZSTD, .level = 1};
		struct store *st = new_store();
		struct expected e = {calloc(70000, sizeof(struct desc)), 70000, 0};
		struct image_view v;
		struct bulk *b;
		uint64_t r = i;

		assert_int_equal(bulk_begin(st, &p, &b), 0);
		if (size[i])
			add_mixture(b, &geo, 0, 70000, &r, &e);
		assert_int_equal(bulk_set_size(b, size[i] + 1), -EINVAL);
		assert_int_equal(bulk_set_size(b, size[i]), 0);
		finish(b, st, &e, &v);
		assert_int_equal(le64_get(v.sb.size), size[i]);
		assert_int_equal(v.sb.levels, levels_for(size[i] >> 16));
	}
}

struct part {
	struct bulk *b;
	struct expected *e;
	uint64_t first, end;
};

static void *run_part(void *arg)
{
	const struct geometry geo = {16, 9};
	struct part *p = arg;
	uint64_t r = p->first;

	for (uint64_t c = p->first; c < p->end; c += 1024)
		add_mixture(p->b, &geo, c, c + 256, &r, p->e);
	return NULL;
}

static void test_threads(void **state)
{
	struct store *st = new_store();
	struct image_view v;
	struct expected e;
	struct bulk *b = begin(st, 16, 32768, &e);
	struct part part[4];
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		part[i] = (struct part){b, &e, i * 256ull, 32768};
		assert_int_equal(pthread_create(&thread[i], NULL, run_part, &part[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	finish(b, st, &e, &v);
}

/* A cache of very few nodes, clusters in random order all over a five-level tree. */
static void test_small_cache(void **state)
{
	const struct geometry geo = {16, 9};
	const unsigned n = 2000;
	struct store *st = new_store();
	CLEANUP(free) struct bulk_tree *t = malloc(sizeof(*t));
	uint64_t r = 5;
	struct bulk_space space;
	uint64_t *where = calloc(n, sizeof(*where));

	(void)state;
	assert_true(t && where);
	assert_int_equal(bulk_space_init(&space, st, &geo, 99), 0);
	bulk_tree_init(t, st, &space, 99);
	t->max_nodes = 6;
	for (unsigned i = 0; i < n; i++) {
		where[i] = (uint64_t)random_below(&r, 64) << 34 |
			   (uint64_t)random_below(&r, 8) << 14 | i;
		assert_int_equal(bulk_tree_map(t, where[i], desc_raw_make(16 * i, 1, 0xffff, 0)),
				 0);
		assert_true(t->nnodes <= 6 + 5);
	}
	assert_int_equal(bulk_tree_grow(t, 5), 0);
	assert_int_equal(bulk_tree_finish(t), 0);
	for (unsigned i = 0; i < n; i++) {
		struct desc d = t->root;

		for (unsigned level = 5; level-- > 0;) {
			CLEANUP(free) struct disk_node *node = store_buffer(UNIT_SIZE);
			uint64_t index = where[i] >> (NODE_SHIFT * (level + 1));

			assert_int_equal(desc_type(d), DESC_NODE);
			assert_int_equal(store_read(st, node, UNIT_SIZE, desc_unit(d) * UNIT_SIZE),
					 0);
			assert_int_equal(checksum_node(99, level, index, node), d.aux);
			d = desc_from_disk(&node->entry[where[i] >> (NODE_SHIFT * level) & 0xff]);
		}
		assert_int_equal(desc_unit(d), 16 * i);
	}
	free(where);
	bulk_tree_destroy(t);
	bulk_space_destroy(&space);
	store_close(st);
}

/* What a failure leaves is no image, and abandoning frees everything. */
static void test_failure(void **state)
{
	const struct geometry geo = {16, 9};
	uint64_t r = 1;
	struct store *st = new_store();
	struct disk_ident *ident = store_buffer(UNIT_SIZE);
	struct reason why;
	struct expected e;
	struct bulk *b = begin(st, 16, 512, &e);

	(void)state;
	add_mixture(b, &geo, 0, 512, &r, &e);
	assert_int_equal(fault_set("bulk_finish:1:28"), 0);
	assert_int_equal(bulk_finish(b), -ENOSPC);
	assert_int_equal(fault_set(NULL), 0);
	assert_int_equal(store_read(st, ident, UNIT_SIZE, 0), 0);
	assert_int_equal(validate_ident(ident, &why), -EBADMSG);
	free(e.desc);
	b = begin(st, 16, 512, &e);
	add_mixture(b, &geo, 0, 512, &r, &e);
	bulk_abandon(b);
	bulk_abandon(NULL);
	free(e.desc);
	free(ident);
	store_close(st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_create_with_codec),
		cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_bad_params),
		cmocka_unit_test(test_mixture),
		cmocka_unit_test(test_many_regions),
		cmocka_unit_test(test_large_clusters_data),
		cmocka_unit_test(test_late_size),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_small_cache),
		cmocka_unit_test(test_failure),
	};

	log_set_sink(ignore_message, NULL);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
