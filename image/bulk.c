/* SPDX-License-Identifier: MIT */
/*
 * Owns: the making of new images, empty (image_create) or full (bulk.h).
 *
 * The order of writes at the end: everything that the superblock names, a sync, the superblock and
 * last the IDENT block, a sync.  A file without IDENT is no image, so what an interruption leaves
 * is recognised as nothing.
 */
#include "config.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "codecs/codec.h"
#include "common/checked.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "image/backing.h"
#include "image/bulk.h"
#include "image/bulk_space.h"
#include "image/bulk_tree.h"
#include "image/checksum.h"
#include "image/content.h"
#include "image/pack.h"
#include "image/tlv.h"

/* The most that a superblock can describe. */
#define MAX_CLUSTERS (1ull << (NODE_SHIFT * MAX_LEVELS))

struct bulk {
	/* constant after bulk_begin() */
	struct store *st;
	struct geometry geo;
	struct image_params params; /* but for bulk_set_size() */
	uint8_t uuid[16];
	char creator[sizeof(((struct disk_ident *)0)->creator)];
	uint32_t uuid_seed;
	bool known; /* what will be in it: */
	struct content content;

	pthread_mutex_t lock; /* protects what follows */
	struct bulk_space space;
	struct bulk_tree tree;
	uint64_t placed, mapped; /* clusters */
	bool blobs;		 /* there is at least one */
};

uint32_t bulk_uuid_seed(const struct bulk *b)
{
	return b->uuid_seed;
}

/* -- parameters ---------------------------------------------------------- */

static errint_t check_size(struct store *st, const struct image_params *p)
{
	struct geometry geo = {p->cluster_shift, p->sector_shift};

	if (p->size & ((1ull << p->sector_shift) - 1))
		return log_fail(-EINVAL, "%s: the size, %llu bytes, is not a multiple of %u",
				st->name, (unsigned long long)p->size, 1u << p->sector_shift);
	if (clusters_for(&geo, p->size) > MAX_CLUSTERS)
		return log_fail(-EINVAL, "%s: the size, %llu bytes, is above the limit of 2^%u",
				st->name, (unsigned long long)p->size,
				NODE_SHIFT * MAX_LEVELS + p->cluster_shift);
	return 0;
}

static errint_t check_codec(struct store *st, const struct image_params *p)
{
	const struct codec *codec;
	int min, max, def;
	errint_t err;

	if (p->codec == CODEC_NONE)
		return 0;
	err = codec_find(p->codec, &codec);
	if (err)
		return err;
	codec_levels(codec, &min, &max, &def);
	if (p->level < min || p->level > max)
		return log_fail(-EINVAL, "%s: %s has levels %d to %d, not %d", st->name,
				codec_name(p->codec), min, max, p->level);
	return 0;
}

/* Fill in defaults and refuse what the format cannot hold. */
static errint_t check_params(struct store *st, struct image_params *p)
{
	errint_t err;

	if (!p->cluster_shift)
		p->cluster_shift = CLUSTER_SHIFT_MIN;
	if (!p->sector_shift)
		p->sector_shift = SECTOR_SHIFT;
	if (p->cluster_shift < CLUSTER_SHIFT_MIN || p->cluster_shift > CLUSTER_SHIFT_MAX)
		return log_fail(-EINVAL, "%s: clusters are 64K, 128K or 256K", st->name);
	if (p->sector_shift != SECTOR_SHIFT && p->sector_shift != UNIT_SHIFT)
		return log_fail(-EINVAL, "%s: logical sectors are 512 or 4096 bytes", st->name);
	err = check_size(st, p);
	return err ? err : check_codec(st, p);
}

static errint_t make_uuid(struct store *st, const uint8_t *wanted, uint8_t uuid[16])
{
	if (wanted) {
		memcpy(uuid, wanted, 16);
		return 0;
	}
	if (getrandom(uuid, 16, 0) != 16)
		return log_errno("%s: cannot make a UUID", st->name);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 4122 version 4 */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	return 0;
}

/* -- begin and end ------------------------------------------------------- */

errint_t bulk_begin(struct store *st, const struct image_params *params, struct bulk **out)
{
	struct image_params p = *params;
	struct bulk *b;
	errint_t err = check_params(st, &p);

	if (err)
		return err;
	b = calloc(1, sizeof(*b));
	if (!b)
		return log_err(-ENOMEM, "%s: cannot make an image", st->name);
	pthread_mutex_init(&b->lock, NULL);
	b->st = st;
	b->params = p;
	b->geo = (struct geometry){p.cluster_shift, p.sector_shift};
	b->known = p.content;
	if (p.content)
		b->content = *p.content;
	if (p.creator)
		strncpy(b->creator, p.creator, sizeof(b->creator) - 1);
	err = make_uuid(st, p.uuid, b->uuid);
	if (!err) {
		b->uuid_seed = checksum_uuid(b->uuid);
		bulk_tree_init(&b->tree, st, &b->space, b->uuid_seed);
		err = bulk_space_init(&b->space, st, &b->geo, b->uuid_seed);
	}
	if (err) {
		bulk_abandon(b);
		return err;
	}
	*out = b;
	return 0;
}

errint_t bulk_set_size(struct bulk *b, uint64_t size)
{
	b->params.size = size;
	return check_size(b->st, &b->params);
}

void bulk_abandon(struct bulk *b)
{
	if (!b)
		return;
	bulk_tree_destroy(&b->tree);
	bulk_space_destroy(&b->space);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

static errint_t fill_tlv(const struct bulk *b, struct disk_super *sb)
{
	struct disk_tlv_compression data = {.codec = b->params.codec, .level = b->params.level};
	bool room =
		b->params.codec == CODEC_NONE || tlv_add(sb, TLV_COMPRESSION, &data, sizeof(data));

	if (room && b->known)
		room = content_store(&b->content, sb);
	return room ? 0 : log_fail(-ENOSPC, "%s: the superblock is full", b->st->name);
}

static errint_t fill_super(const struct bulk *b, const struct bulk_space_totals *totals,
			   struct disk_super *sb)
{
	bool zstd = b->blobs || b->params.codec == CODEC_ZSTD;

	sb->magic = le64_make(SUPER_MAGIC);
	sb->flags = le32_make(SUPER_CLEAN);
	memcpy(sb->uuid, b->uuid, sizeof(sb->uuid));
	sb->generation = le64_make(1);
	sb->incompat = le64_make(zstd ? INCOMPAT_ZSTD_BLOBS : 0);
	sb->size = le64_make(b->params.size);
	sb->sector_shift = b->geo.sector_shift;
	sb->levels = b->tree.levels;
	sb->epoch = le32_make(1);
	sb->root = desc_to_disk(b->tree.root);
	sb->next_snapshot = le32_make(1);
	sb->journal_seq = le64_make(1);
	sb->phys_regions = le64_make(div_round_up(totals->length, REGION_SIZE));
	sb->used_units = le64_make(totals->used_units);
	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++)
		sb->root_crc[i] = le32_make(totals->root_crc[i]);
	errint_t err = fill_tlv(b, sb);
	if (!err && b->params.backing && !backing_to_super(b->params.backing, sb))
		err = log_fail(-ENOSPC, "%s: the superblock is full", b->st->name);
	sb->crc = le32_make(checksum_super(b->uuid_seed, sb));
	return err;
}

static void fill_ident(const struct bulk *b, struct disk_ident *ident)
{
	ident->magic = le64_make(IDENT_MAGIC);
	ident->major = le32_make(FORMAT_MAJOR);
	memcpy(ident->uuid, b->uuid, sizeof(ident->uuid));
	ident->unit_shift = UNIT_SHIFT;
	ident->cluster_shift = b->geo.cluster_shift;
	ident->region_shift = REGION_SHIFT;
	for (unsigned i = 0; i < SUPER_SLOTS; i++)
		ident->super_offset[i] = le64_make(SUPER_OFFSET + i * SUPER_STRIDE);
	memcpy(ident->creator, b->creator, sizeof(ident->creator));
	ident->crc = le32_make(checksum_ident(ident));
}

/* Generation 1 goes to slots 2 and 3 (R4). */
static errint_t write_super(struct bulk *b, const struct bulk_space_totals *totals)
{
	CLEANUP(free) struct disk_super *sb = store_buffer(sizeof(*sb));

	if (!sb)
		return log_err(-ENOMEM, "%s: cannot write the superblock", b->st->name);
	errint_t err = fill_super(b, totals, sb);
	if (err)
		return err;
	for (unsigned slot = 2; slot <= 3 && !err; slot++)
		err = store_write(b->st, sb, sizeof(*sb), SUPER_OFFSET + slot * SUPER_STRIDE);
	return err;
}

static errint_t write_ident(struct bulk *b)
{
	CLEANUP(free) struct disk_ident *ident = store_buffer(sizeof(*ident));

	if (!ident)
		return log_err(-ENOMEM, "%s: cannot write the first block", b->st->name);
	fill_ident(b, ident);
	return store_write(b->st, ident, sizeof(*ident), IDENT_OFFSET);
}

static errint_t finish(struct bulk *b)
{
	struct bulk_space_totals totals;
	uint64_t clusters = clusters_for(&b->geo, b->params.size);
	errint_t err = bulk_tree_grow(&b->tree, levels_for(clusters));

	assert(b->placed == b->mapped && b->tree.end <= clusters);
	if (!err)
		err = bulk_tree_finish(&b->tree);
	if (!err)
		err = bulk_space_finish(&b->space, &totals);
	if (!err)
		err = store_truncate(b->st, totals.length);
	if (!err)
		err = store_datasync(b->st);
	if (!err)
		err = write_super(b, &totals);
	if (!err)
		err = fault_point("bulk_finish");
	if (!err)
		err = write_ident(b);
	return err ? err : store_datasync(b->st);
}

errint_t bulk_finish(struct bulk *b)
{
	errint_t err = finish(b);

	bulk_abandon(b);
	return err;
}

errint_t image_create(struct store *st, const struct image_params *params)
{
	struct bulk *b;
	errint_t err = bulk_begin(st, params, &b);

	return err ? err : bulk_finish(b);
}

/* -- clusters ------------------------------------------------------------ */

/* Lay out as many blobs as fit into @room bytes; returns their number, *len bytes long. */
static unsigned layout(const struct bulk *b, struct bulk_blob *blob, unsigned n, uint64_t room,
		       uint32_t *len)
{
	struct pack_blob pack[BULK_MAX_BLOBS];

	assert(n <= BULK_MAX_BLOBS);
	for (unsigned i = 0; i < n; i++)
		pack[i] = (struct pack_blob){.len = blob[i].len};
	*len = pack_layout(&b->geo, pack, n);
	for (unsigned i = 0; i < n; i++) {
		blob[i].at = pack[i].at;
		blob[i].stored = pack[i].stored;
	}
	/* A blob's place does not depend on those behind it. */
	while (*len > room && n > 1) {
		n--;
		*len = (blob[n - 1].at + blob[n - 1].stored + UNIT_SIZE - 1) & ~(UNIT_SIZE - 1);
	}
	return n;
}

errint_t bulk_place_blobs(struct bulk *b, struct bulk_blob *blob, unsigned n,
			  struct bulk_place *place)
{
	SCOPED_LOCK(&b->lock);
	struct bulk_run run;
	uint32_t first;
	errint_t err;

	assert(n > 0);
	layout(b, blob, 1, UINT64_MAX, &first);
	err = bulk_space_find(&b->space, first >> UNIT_SHIFT, 1, &run);
	if (err)
		return err;
	place->n = layout(b, blob, n, (uint64_t)run.len << UNIT_SHIFT, &place->len);
	place->file_off = run.unit << UNIT_SHIFT;
	bulk_space_take(&b->space, &run, place->len >> UNIT_SHIFT, BULK_BLOB);
	for (unsigned i = 0; i < place->n; i++)
		bulk_space_own(&b->space,
			       (struct extent){place->file_off + blob[i].at, blob[i].stored});
	b->placed += place->n;
	b->blobs = true;
	return fault_point("bulk_place");
}

errint_t bulk_map_blobs(struct bulk *b, const struct bulk_blob *blob, unsigned n, uint64_t file_off)
{
	SCOPED_LOCK(&b->lock);
	const unsigned shift = granule_shift(&b->geo);

	for (unsigned i = 0; i < n; i++) {
		struct desc d = desc_zstd_make((file_off + blob[i].at) >> shift,
					       blob[i].stored >> shift, 1, blob[i].crc);
		errint_t err = bulk_tree_map(&b->tree, blob[i].vcluster, d);
		if (err)
			return err;
	}
	b->mapped += n;
	return 0;
}

errint_t bulk_place_raw(struct bulk *b, unsigned n, struct bulk_place *place)
{
	SCOPED_LOCK(&b->lock);
	const uint32_t cu = cluster_units(&b->geo);
	struct bulk_run run;
	errint_t err;

	assert(n > 0 && n <= BULK_MAX_BLOBS);
	err = bulk_space_find(&b->space, cu, cu, &run);
	if (err)
		return err;
	place->n = run.len / cu < n ? run.len / cu : n;
	place->file_off = run.unit << UNIT_SHIFT;
	place->len = place->n * cu << UNIT_SHIFT;
	bulk_space_take(&b->space, &run, place->n * cu, BULK_RAW);
	b->placed += place->n;
	return fault_point("bulk_place");
}

errint_t bulk_map_raw(struct bulk *b, uint64_t vcluster, unsigned n, uint64_t file_off)
{
	SCOPED_LOCK(&b->lock);

	for (unsigned i = 0; i < n; i++) {
		uint64_t unit = (file_off >> UNIT_SHIFT) + (uint64_t)i * cluster_units(&b->geo);
		errint_t err =
			bulk_tree_map(&b->tree, vcluster + i, desc_raw_make(unit, 1, 0xffff, 0));
		if (err)
			return err;
	}
	b->mapped += n;
	return 0;
}

errint_t bulk_map_zero(struct bulk *b, uint64_t vcluster, uint64_t n)
{
	errint_t err = 0;

	for (uint64_t i = 0; i < n && !err; i++) {
		SCOPED_LOCK(&b->lock);

		err = bulk_tree_map(&b->tree, vcluster + i, desc_zero_make(1));
	}
	return err;
}
