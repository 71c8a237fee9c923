/* SPDX-License-Identifier: MIT */
/*
 * Writes the seed corpora: generate DIRECTORY makes DIRECTORY/TARGET/seed-* for every target.  Run
 * it (make corpus) when the format or a target's input changes, and commit the result.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "engine/engine.h"
#include "image/check.h"
#include "image/checksum.h"
#include "image/snapshot.h"
#include "image/tlv.h"
#include "image/vj_priv.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sparse.h"
#include "tests/lib/blocks.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/vj_box.h"

static const char *directory;

/* A seed under way: begin_seed(), put...(), close_seed(). */
struct seed {
	FILE *f;
	char *text;
	size_t len;
	const char *target, *name;
};

static void begin_seed(struct seed *s, const char *target, const char *name)
{
	*s = (struct seed){.target = target, .name = name};
	s->f = open_memstream(&s->text, &s->len);
	fuzz_require(s->f, "out of memory");
}

static void put(struct seed *s, const void *p, size_t len)
{
	fuzz_require(fwrite(p, 1, len, s->f) == len, "a seed cannot be written");
}

static void put_u8(struct seed *s, uint8_t v)
{
	put(s, &v, 1);
}

static void put_u64(struct seed *s, uint64_t v)
{
	le64 disk = le64_make(v);

	put(s, &disk, sizeof(disk));
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0777) && errno != EEXIST) {
		perror(path);
		exit(1);
	}
}

/* Targets read zeros beyond the end of an input, so zeros at the end are left out. */
static void close_seed(struct seed *s)
{
	CLEANUP(free) char *path = NULL;
	CLEANUP(free) char *dir = NULL;

	fclose(s->f);
	while (s->len && !s->text[s->len - 1])
		s->len--;
	fuzz_require(asprintf(&dir, "%s/%s", directory, s->target) > 0, "out of memory");
	fuzz_require(asprintf(&path, "%s/seed-%s", dir, s->name) > 0, "out of memory");
	make_directory(dir);
	FILE *f = fopen(path, "wb");
	if (!f || fwrite(s->text, 1, s->len, f) != s->len || fclose(f)) {
		perror(path);
		exit(1);
	}
	free(s->text);
}

/* --- blocks ------------------------------------------------------------------------------- */

static void super_seed(const char *name, uint8_t mode, unsigned shift, const struct disk_super *sb)
{
	struct seed s;
	struct disk_ident ident;

	begin_seed(&s, "super", name);
	blocks_ident(&ident, shift);
	put_u8(&s, mode);
	put(&s, &ident, mode & 2 ? sizeof(ident) : offsetof(struct disk_ident, zero2));
	put(&s, sb, sizeof(*sb));
	close_seed(&s);
}

static struct disk_point some_point(const struct disk_super *sb, const char *name)
{
	struct disk_point p = {.size = sb->size, .name_len = le16_make((uint16_t)strlen(name))};

	memset(p.uuid, name[0] ? name[0] : 1, sizeof(p.uuid));
	memcpy(p.name, name, strlen(name));
	return p;
}

/* Make @sb say something more about its disk. */
static void add_fact(struct disk_super *sb, uint32_t type)
{
	const struct disk_tlv_content at = {sb->generation, some_point(sb, "monday")};
	const struct disk_tlv_delta delta = {"of this image", some_point(sb, ""), at.at};
	bool room;

	switch (type) {
	case TLV_CONTENT:
		room = tlv_add(sb, type, &at, sizeof(at));
		break;
	case TLV_DELTA:
	case TLV_APPLYING:
		room = tlv_add(sb, type, &delta, sizeof(delta));
		break;
	case TLV_BACKING_SNAPSHOT:
		sb->backing.kind = BACKING_UBLK_IMG;
		room = tlv_add(sb, type, "sixteen bytes...", 16);
		break;
	default:
		room = tlv_add(sb, type, NULL, 0);
	}
	fuzz_require(room, "no room in the superblock");
}

static void fact_seeds(void)
{
	struct disk_super sb;

	blocks_super(&sb);
	add_fact(&sb, TLV_CONTENT);
	super_seed("content", FUZZ_FIX_CRC, 16, &sb);
	blocks_super(&sb);
	sb.backing.limit = le64_make(1 << 20);
	add_fact(&sb, TLV_APPLYING);
	add_fact(&sb, TLV_BACKING_SNAPSHOT);
	add_fact(&sb, TLV_COMMITTING);
	super_seed("applying-backing", FUZZ_FIX_CRC, 16, &sb);
	blocks_super_fresh(&sb);
	add_fact(&sb, TLV_DELTA);
	super_seed("delta", FUZZ_FIX_CRC, 16, &sb);
}

static void super_seeds(void)
{
	struct disk_super sb;

	blocks_super_fresh(&sb);
	super_seed("fresh", FUZZ_FIX_CRC, 16, &sb);
	super_seed("fresh-as-is", 0, 16, &sb);
	blocks_super(&sb);
	super_seed("everything", FUZZ_FIX_CRC, 16, &sb);
	super_seed("everything-as-is", 0, 16, &sb);
	super_seed("long-ident", FUZZ_FIX_CRC | 2, 18, &sb);
	sb.incompat = le64_make(INCOMPAT_ZSTD_BLOBS | INCOMPAT_ENCRYPT);
	super_seed("encrypted", FUZZ_FIX_CRC, 16, &sb);
	blocks_super(&sb);
	sb.phys_regions = le64_make(MAX_REGIONS);
	sb.levels = MAX_LEVELS;
	sb.sector_shift = 12;
	sb.size = le64_make(1ull << 56);
	sb.epoch = le32_make(UINT32_MAX);
	super_seed("largest", FUZZ_FIX_CRC, 16, &sb);
	fact_seeds();
}

static void node_seed(const char *name, uint8_t mode, uint8_t level, uint64_t index,
		      const struct disk_node *node)
{
	struct seed s;

	begin_seed(&s, "node", name);
	put_u8(&s, mode);
	put_u8(&s, level);
	put_u64(&s, index);
	put_u64(&s, UINT64_MAX);
	put(&s, node, sizeof(*node));
	close_seed(&s);
}

static void node_seeds(void)
{
	struct disk_node node;

	for (unsigned shift = CLUSTER_SHIFT_MIN; shift <= CLUSTER_SHIFT_MAX; shift++) {
		struct limits lim = blocks_limits(shift);
		char name[16];
		blocks_leaf(&node, &lim.geo);
		snprintf(name, sizeof(name), "leaf-%u", shift);
		node_seed(name, (uint8_t)(FUZZ_FIX_CRC | (shift - 16) << 1), 0, 77, &node);
	}
	node_seed("leaf-as-is", 0, 0, 77, &node);
	blocks_inner(&node);
	node_seed("inner", FUZZ_FIX_CRC, 1, 3, &node);
	node_seed("top", FUZZ_FIX_CRC, 4, 0, &node);
	memset(&node, 0, sizeof(node));
	node_seed("empty", FUZZ_FIX_CRC, 0, 0, &node);
}

static void snapshot_seed(const char *name, uint8_t mode, uint32_t n)
{
	struct seed s;
	size_t len = blocks_snapshots_len(n);
	CLEANUP(free) struct disk_snapshot *rec = fuzz_block(len);
	le16 count = le16_make((uint16_t)(n - 1));

	begin_seed(&s, "snapshots", name);
	put_u8(&s, mode);
	put(&s, &count, sizeof(count));
	put_u64(&s, n + 1);
	blocks_snapshots(rec, n);
	if (!(mode & 8)) /* half of each shows its backing */
		for (uint32_t i = 0; i < n; i++)
			rec[i].backing_limit = le64_make(le64_get(rec[i].size) / 2 & ~511ull);
	put(&s, rec, len);
	close_seed(&s);
}

static void name_seed(const char *name, const char *text)
{
	struct seed s;

	begin_seed(&s, "snapshots", name);
	put_u8(&s, 4);
	put(&s, text, strlen(text));
	close_seed(&s);
}

static void snapshot_seeds(void)
{
	snapshot_seed("four", FUZZ_FIX_CRC | 8, 4);
	snapshot_seed("four-backed", FUZZ_FIX_CRC, 4);
	snapshot_seed("four-as-is", 0, 4);
	snapshot_seed("seventeen", FUZZ_FIX_CRC, 17);
	name_seed("name", "before the update");
	name_seed("name-utf8", "\xe6\x97\xa5\xe6\x9c\xac \xc3\xa4 \xf0\x9f\x98\x80");
	name_seed("name-dots", "..");
}

static void alloc_block_seed(const char *name, uint8_t mode, const struct disk_alloc_block *b)
{
	struct seed s;

	begin_seed(&s, "alloc", name);
	put_u8(&s, mode);
	put_u64(&s, 0);
	put(&s, b, sizeof(*b));
	close_seed(&s);
}

static void bitmap_seed(const char *name, uint64_t region, enum region_class class_, unsigned shift)
{
	CLEANUP(free) uint8_t *bits = fuzz_block(REGION_SECTORS / 8);
	struct limits lim = blocks_limits(shift);
	struct seed s;
	struct disk_alloc_entry e;

	begin_seed(&s, "alloc", name);
	blocks_bitmap(bits, region, class_, &lim, &e);
	put_u8(&s, (uint8_t)(FUZZ_FIX_CRC | 4 | 8 | (shift - 16) << 4));
	put_u64(&s, region);
	put(&s, &e, sizeof(e));
	put_u8(&s, 0);
	/* What matters is at its start; the rest is left zero. */
	put(&s, bits, 600);
	close_seed(&s);
}

static void alloc_seeds(void)
{
	struct disk_alloc_block b;

	blocks_group(&b);
	alloc_block_seed("group", FUZZ_FIX_CRC, &b);
	alloc_block_seed("group-as-is", 0, &b);
	blocks_root(&b);
	alloc_block_seed("root", FUZZ_FIX_CRC | 2, &b);
	bitmap_seed("bitmap-first", 0, CLASS_MIXED, 16);
	bitmap_seed("bitmap-mixed", 9, CLASS_MIXED, 16);
	bitmap_seed("bitmap-blob", 9, CLASS_BLOB, 17);
	bitmap_seed("bitmap-data", 256, CLASS_DATA, 18);
	bitmap_seed("bitmap-meta", 9, CLASS_META, 16);
}

static void journal_seed(const char *name, uint8_t mode, unsigned nrecords)
{
	size_t len = (size_t)txn_blocks(nrecords) * UNIT_SIZE;
	CLEANUP(free) struct disk_txn *txn = fuzz_block(len);
	struct seed s;

	begin_seed(&s, "journal", name);
	blocks_txn(txn, nrecords);
	put_u8(&s, mode);
	put(&s, txn, len);
	close_seed(&s);
}

static void journal_seeds(void)
{
	journal_seed("one", FUZZ_FIX_CRC | 4, 1);
	journal_seed("all-types", FUZZ_FIX_CRC | 6, 7);
	journal_seed("full-block", FUZZ_FIX_CRC | 4, 126);
	journal_seed("two-blocks", FUZZ_FIX_CRC | 4, 130);
	journal_seed("as-is", 4, 7);
}

/* --- images ------------------------------------------------------------------------------- */

enum ending { CLOSE, CRASH };

/* What a seed image goes through before it is saved. */
struct story {
	const char *name;
	uint8_t mode, cluster_shift, sector_shift, codec;
	uint64_t size;
	uint64_t places[4]; /* written there, some sectors each; 0 ends but for the first */
	bool whole;	    /* whole clusters of repetitive bytes instead */
	enum ending ending;
	uint64_t grow, shrink; /* afterwards; 0: not */
	bool snapshot;	       /* taken before the last write */
	bool deleting;	       /* and one before that, whose deletion has begun */
	uint32_t fact;	       /* what its superblocks say besides; 0: nothing */
	bool backing;	       /* it has one, which is nowhere */
};

#define READ_ONLY (FUZZ_FIX_CRC | 2 | 4)
#define USED	  (READ_ONLY | 8)
#define ALL_USED  (USED | 16)
#define ROLLED	  (ALL_USED | 32)

static const struct story stories[] = {
	{.name = "empty", .mode = USED, .size = 1ull << 30, .places = {UINT64_MAX}},
	{.name = "empty-as-is", .mode = 4, .size = 1ull << 30, .places = {UINT64_MAX}},
	{.name = "tiny", .mode = USED, .size = 512, .places = {0, UINT64_MAX}},
	{.name = "large", .mode = READ_ONLY, .size = 1ull << 46, .places = {0, 1ull << 45}},
	{.name = "raw", .mode = USED, .size = 1ull << 30, .places = {0, 65536, 20 << 20}},
	{.name = "raw-256k",
	 .mode = USED,
	 .cluster_shift = 18,
	 .size = 1ull << 30,
	 .places = {0, 300000 / 512 * 512}},
	{.name = "sectors-4k",
	 .mode = READ_ONLY,
	 .sector_shift = 12,
	 .size = 1 << 20,
	 .places = {0, 65536}},
	{.name = "crashed",
	 .mode = READ_ONLY,
	 .size = 1ull << 30,
	 .places = {0, 65536, 1 << 20},
	 .ending = CRASH},
	{.name = "crashed-used",
	 .mode = USED,
	 .size = 1ull << 30,
	 .places = {4096, 1 << 24},
	 .ending = CRASH},
	{.name = "zstd",
	 .mode = READ_ONLY,
	 .codec = CODEC_ZSTD,
	 .size = 1ull << 30,
	 .places = {0, 65536, 1 << 20},
	 .whole = true},
	{.name = "zstd-used",
	 .mode = USED,
	 .codec = CODEC_ZSTD,
	 .size = 1ull << 28,
	 .places = {0, 65536, 1 << 20, 40 << 20},
	 .whole = true},
	{.name = "zstd-crashed",
	 .mode = READ_ONLY,
	 .codec = CODEC_ZSTD,
	 .size = 1ull << 28,
	 .places = {0, 1 << 20},
	 .whole = true,
	 .ending = CRASH},
	{.name = "zstd-256k",
	 .mode = READ_ONLY,
	 .cluster_shift = 18,
	 .codec = CODEC_ZSTD,
	 .size = 1ull << 30,
	 .places = {0, 1 << 20},
	 .whole = true},
	{.name = "zstd-as-is",
	 .mode = 4,
	 .codec = CODEC_ZSTD,
	 .size = 1ull << 28,
	 .places = {0, 1 << 20},
	 .whole = true},
	{.name = "grown", .mode = READ_ONLY, .size = 1 << 20, .places = {0}, .grow = 1ull << 33},
	{.name = "shrunk",
	 .mode = USED,
	 .size = 1ull << 30,
	 .places = {0, 512 << 20},
	 .shrink = 1 << 20},
	{.name = "snapshot",
	 .mode = READ_ONLY,
	 .size = 1ull << 30,
	 .places = {0, 1 << 20},
	 .snapshot = true},
	{.name = "snapshot-used",
	 .mode = ALL_USED,
	 .size = 1ull << 30,
	 .places = {0, 1 << 20},
	 .snapshot = true},
	{.name = "snapshots-deleting",
	 .mode = ALL_USED,
	 .size = 1ull << 30,
	 .places = {0, 65536, 1 << 20},
	 .ending = CRASH,
	 .snapshot = true,
	 .deleting = true},
	{.name = "snapshots-rolled-back",
	 .mode = ROLLED,
	 .codec = CODEC_ZSTD,
	 .size = 1ull << 28,
	 .places = {0, 1 << 20},
	 .snapshot = true},
	{.name = "content",
	 .mode = ALL_USED,
	 .size = 1ull << 30,
	 .places = {0},
	 .fact = TLV_CONTENT},
	{.name = "applying",
	 .mode = ALL_USED,
	 .size = 1ull << 30,
	 .places = {0, 65536},
	 .fact = TLV_APPLYING},
	{.name = "delta",
	 .mode = READ_ONLY,
	 .size = 1ull << 30,
	 .places = {UINT64_MAX},
	 .fact = TLV_DELTA},
	{.name = "backing",
	 .mode = ALL_USED,
	 .size = 1ull << 30,
	 .places = {0, 1 << 20},
	 .fact = TLV_BACKING_SNAPSHOT,
	 .backing = true},
	{.name = "committing",
	 .mode = ALL_USED,
	 .size = 1ull << 30,
	 .places = {0},
	 .fact = TLV_COMMITTING,
	 .backing = true},
};

static void write_place(struct engine_thread *t, const struct story *story, uint64_t off)
{
	size_t len = story->whole ? 1u << (story->cluster_shift ? story->cluster_shift : 16) : 4096;
	CLEANUP(free) uint8_t *buf = calloc(1, len);

	fuzz_require(buf, "out of memory");
	if (story->whole)
		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)(off / 65536 + i % 37);
	else
		memcpy(buf, "not zero", 8);
	if (len > story->size - off)
		len = (size_t)(story->size - off);
	fuzz_require(!engine_write(t, buf, off, len, false), "a seed image cannot be written");
}

static bool is_last(const struct story *story, unsigned i)
{
	return i == 3 || !story->places[i + 1] || story->places[i + 1] == UINT64_MAX;
}

/* Before place @i is written. */
static void take_snapshots(struct image *im, const struct story *story, unsigned i)
{
	errint_t err = 0;

	if (story->deleting && i == 1)
		err = snapshot_create(im, "to be deleted", NULL);
	if (!err && story->snapshot && is_last(story, i))
		err = snapshot_create(im, "first", NULL);
	fuzz_require(!err, "a seed's snapshot cannot be taken");
}

static void write_places(struct image *im, const struct story *story)
{
	struct engine *engine;
	struct engine_thread *t;
	errint_t err = engine_new(im, NULL, &engine);

	fuzz_require(!err, "no engine");
	err = engine_thread_new(engine, &t);
	fuzz_require(!err, "no engine");
	for (unsigned i = 0; i < 4; i++) {
		if (story->places[i] == UINT64_MAX || (i && !story->places[i]))
			break;
		take_snapshots(im, story, i);
		write_place(t, story, story->places[i]);
		/* Several transactions, the last of them with a discard. */
		fuzz_require(!engine_flush(t), "flush");
	}
	if (story->size > 1 << 20)
		fuzz_require(!engine_discard(t, 65536, 65536) && !engine_flush(t), "discard");
	engine_thread_free(t);
	engine_free(engine);
}

static void live(struct store *st, const struct story *story)
{
	struct image_open_opts opts = {.journal_length = JOURNAL_MIN};
	struct image *im;
	errint_t err = image_open(st, &opts, &im);

	fuzz_require(!err, "a seed image cannot be opened");
	write_places(im, story);
	if (story->grow || story->shrink) {
		err = image_resize(im, story->grow ? story->grow : story->shrink, story->shrink);
		fuzz_require(!err, "a seed image cannot be resized");
	}
	if (story->deleting) {
		bool more;

		err = snapshot_delete(im, "to be deleted");
		err = err ? err : snapshot_reclaim(im, 1, &more);
		err = err ? err : image_flush(im);
		fuzz_require(!err, "a seed's snapshot cannot be deleted");
	}
	if (story->ending == CRASH) {
		image_abandon(im);
		return;
	}
	err = image_close(im);
	fuzz_require(!err, "a seed image cannot be closed");
}

static void edit_super(struct disk_super *sb, const struct story *story)
{
	static const char path[] = "base.raw";

	if (story->backing) {
		sb->incompat = le64_make(le64_get(sb->incompat) | INCOMPAT_BACKING);
		sb->backing = (struct disk_backing){
			.kind = BACKING_RAW,
			.path_len = le16_make(sizeof(path) - 1),
			.size = le64_make(1 << 20),
			.stamp = le64_make(1),
			.limit = le64_make(1 << 20),
		};
		memcpy(sb->backing.path, path, sizeof(path) - 1);
	}
	add_fact(sb, story->fact);
	sb->crc = le32_make(checksum_super(checksum_uuid(sb->uuid), sb));
}

/* In every copy of the superblock. */
static void edit_supers(struct store *st, const struct story *story)
{
	CLEANUP(free) struct disk_super *sb = store_buffer(sizeof(*sb));
	errint_t err = 0;

	fuzz_require(sb, "out of memory");
	for (unsigned i = 0; !err && i < SUPER_SLOTS; i++) {
		uint64_t off = SUPER_OFFSET + i * SUPER_STRIDE;

		err = store_read(st, sb, sizeof(*sb), off);
		if (err || le64_get(sb->magic) != SUPER_MAGIC)
			continue;
		edit_super(sb, story);
		err = store_write(st, sb, sizeof(*sb), off);
	}
	fuzz_require(!err, "the superblocks cannot be edited");
}

/* A seed that is refused would test little. */
static void require_sound(struct store *st)
{
	struct image_open_opts open = {
		.read_only = true, .accept_delta = true, .accept_applying = true};
	struct check_opts opts = {.data = true, .threads = 1};
	struct check_result res;
	struct image *im;
	errint_t err = image_open(st, &open, &im);

	fuzz_require(!err, "a seed image is refused");
	err = check_image(im, &opts, &res);
	fuzz_require(!err && !res.corruptions && !res.leaks, "a seed image is damaged");
	image_abandon(im);
}

static void image_seed(const struct story *story)
{
	struct image_params params = {
		.size = story->size,
		.cluster_shift = story->cluster_shift,
		.sector_shift = story->sector_shift,
		.codec = story->codec,
		.level = story->codec ? 3 : 0,
		.creator = BLOCKS_CREATOR,
		.uuid = blocks_uuid,
	};
	struct store *st = mem_store_new(1ull << 30);
	struct seed s;
	errint_t err = image_create(st, &params);

	fuzz_require(!err, "a seed image cannot be created");
	if (story->places[0] != UINT64_MAX)
		live(st, story);
	if (story->fact)
		edit_supers(st, story);
	require_sound(st);
	begin_seed(&s, "image", story->name);
	put_u8(&s, story->mode);
	sparse_save(st, s.f);
	close_seed(&s);
	store_close(st);
}

/* --- volatile journals -------------------------------------------------------------------- */

#define VJ_FIX	(FUZZ_FIX_CRC | 2 | 4 | 8)
#define VJ_USED (VJ_FIX | 16)

/* What a process does before it dies. */
struct vj_story {
	const char *name;
	uint8_t mode;
	bool nothing, flush, snapshot;
	uint8_t codec;
};

static const struct vj_story vj_stories[] = {
	{.name = "written", .mode = VJ_FIX},
	{.name = "written-used", .mode = VJ_USED, .flush = true},
	{.name = "zstd", .mode = VJ_USED, .codec = CODEC_ZSTD},
	{.name = "deleting", .mode = VJ_USED, .snapshot = true},
	{.name = "empty", .mode = VJ_USED, .nothing = true},
	{.name = "as-is", .mode = 4},
	{.name = "short", .mode = VJ_FIX | 32},
};

static void die_writing(struct image *im, const struct vj_story *story)
{
	const struct story writes = {.size = 1ull << 28, .whole = story->codec};
	struct engine_thread *t = NULL;
	struct engine *e;
	bool more;
	errint_t err = engine_new(im, NULL, &e);

	err = err ? err : engine_thread_new(e, &t);
	fuzz_require(!err, "no engine");
	write_place(t, &writes, 0);
	if (story->flush)
		err = engine_flush(t);
	if (story->snapshot)
		err = snapshot_create(im, "first", NULL);
	write_place(t, &writes, 0);
	write_place(t, &writes, 40 << 20);
	err = err ? err : engine_discard(t, 0, 65536);
	if (story->snapshot) {
		err = err ? err : snapshot_delete(im, "first");
		err = err ? err : snapshot_reclaim(im, 5, &more);
	}
	fuzz_require(!err, "a volatile journal cannot be filled");
	engine_thread_free(t);
	engine_free(e);
}

static void vj_live(struct store *st, const struct vj_box *box, const struct vj_story *story)
{
	const struct image_open_opts opts = {.journal_length = JOURNAL_MIN,
					     .vj_shift = VJ_SHIFT_MIN};
	struct image *im;
	errint_t err = image_open(st, &opts, &im);

	err = err ? err : image_vj_start(im, vj_box_dir(box), 7);
	fuzz_require(!err, "no volatile journal");
	if (!story->nothing)
		die_writing(im, story);
	image_abandon(im);
}

static void vj_seed(const struct vj_story *story)
{
	const struct image_params params = {.size = 1ull << 28,
					    .codec = story->codec,
					    .level = story->codec ? 3 : 0,
					    .creator = BLOCKS_CREATOR,
					    .uuid = blocks_uuid};
	struct store *st = mem_store_new(1ull << 30);
	struct vj_box *box = vj_box_new(blocks_uuid);
	struct seed s;

	fuzz_require(!image_create(st, &params), "a seed image cannot be created");
	vj_live(st, box, story);
	struct vj_copy *vj = vj_box_take(box);
	fuzz_require(vj, "the volatile journal is gone");
	begin_seed(&s, "vj", story->name);
	put_u8(&s, story->mode);
	sparse_save(st, s.f);
	for (size_t at = 0; at < vj->len; at += UNIT_SIZE)
		sparse_save_unit(s.f, SPARSE_OUTSIDE + at / UNIT_SIZE, vj->bytes + at);
	close_seed(&s);
	vj_copy_free(vj);
	vj_box_free(box);
	store_close(st);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: generate DIRECTORY\n");
		return 2;
	}
	directory = argv[1];
	make_directory(directory);
	super_seeds();
	node_seeds();
	snapshot_seeds();
	alloc_seeds();
	journal_seeds();
	for (size_t i = 0; i < sizeof(stories) / sizeof(*stories); i++)
		image_seed(&stories[i]);
	for (size_t i = 0; i < sizeof(vj_stories) / sizeof(*vj_stories); i++)
		vj_seed(&vj_stories[i]);
	return 0;
}
