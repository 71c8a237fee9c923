/* SPDX-License-Identifier: MIT */
/*
 * Alloc blocks between disk and memory: the root and the group tables are read when the image is
 * opened, bitmaps when somebody needs them; a checkpoint serialises what changed into the slots
 * that are not active.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/alloc_priv.h"
#include "image/checkpoint.h"
#include "image/checksum.h"

uint64_t bitmap_block_offset(uint64_t region, unsigned i, unsigned slot)
{
	uint64_t base = region ? region << REGION_SHIFT : REGION0_BITMAP;

	return base + (2 * i + slot) * (uint64_t)UNIT_SIZE;
}

static uint64_t group_table_offset(uint64_t group, unsigned slot)
{
	uint64_t base = group ? (group * GROUP_REGIONS << REGION_SHIFT) +
					GROUP_TABLE_UNIT * (uint64_t)UNIT_SIZE
			      : GROUP0_TABLE;

	return base + slot * (uint64_t)UNIT_SIZE;
}

static uint64_t root_block_offset(uint64_t block, unsigned slot)
{
	return ALLOC_ROOT_OFFSET + (2 * block + slot) * UNIT_SIZE;
}

/* --- opening --------------------------------------------------------------------------------- */

static errint_t read_alloc_block(struct image *im, uint64_t off, enum alloc_level level,
				 uint64_t index, uint32_t crc, struct disk_alloc_block *b)
{
	struct limits lim;
	struct reason why;
	errint_t err = store_read(im->st, b, sizeof(*b), off);

	if (err)
		return err;
	image_limits(im, &lim);
	err = validate_alloc_block(b, level, index, crc, &lim, &why);
	if (err)
		return image_damaged(im, level == ALLOC_ROOT ? "alloc root block" : "group table",
				     off, why.text);
	return 0;
}

static void region_from_entry(struct region *r, const struct disk_alloc_entry *e)
{
	*r = (struct region){.crc = le32_get(e->crc),
			     .free_units = le32_get(e->free_units),
			     .dead_sectors = le32_get(e->dead_sectors),
			     .slots = e->slots,
			     .in_use = e->in_use,
			     .class_ = e->class_,
			     .longest = REGION_UNITS};
}

static errint_t open_group(struct image *im, uint64_t index, const struct disk_alloc_entry *e,
			   struct disk_alloc_block *block)
{
	struct alloc_group *g = &im->alloc.group[index];
	uint64_t sum = 0;

	g->crc = le32_get(e->crc);
	g->slot = e->slots & 1;
	g->in_use = 1;
	uint64_t off = group_table_offset(index, g->slot);
	errint_t err = read_alloc_block(im, off, ALLOC_GROUP, index, g->crc, block);
	if (err)
		return err;
	g->region = calloc(GROUP_REGIONS, sizeof(*g->region));
	if (!g->region)
		return -ENOMEM;
	for (unsigned i = 0; i < GROUP_REGIONS; i++) {
		struct region *r = &g->region[i];

		region_from_entry(r, &block->entry[i]);
		if (!r->in_use)
			continue;
		sum += r->free_units;
		im->alloc.used_units += REGION_UNITS - r->free_units;
	}
	if (sum != le32_get(e->free_units))
		return image_damaged(im, "group table", off,
				     "its free units are not those of the alloc root");
	return 0;
}

static errint_t open_root_block(struct image *im, unsigned i, struct disk_alloc_block *root,
				struct disk_alloc_block *block)
{
	struct alloc *a = &im->alloc;
	unsigned slot = a->root_slots >> i & 1;
	errint_t err = read_alloc_block(im, root_block_offset(i, slot), ALLOC_ROOT, i,
					a->root_crc[i], root);

	for (unsigned j = 0; !err && j < ALLOC_ENTRIES; j++) {
		uint64_t group = (uint64_t)i * ALLOC_ENTRIES + j;

		if (root->entry[j].in_use)
			err = open_group(im, group, &root->entry[j], block);
	}
	return err;
}

errint_t alloc_open(struct image *im)
{
	struct alloc *a = &im->alloc;
	CLEANUP(free) struct disk_alloc_block *buf = store_buffer(2 * UNIT_SIZE);

	if (!buf)
		return -ENOMEM;
	a->root_slots = le64_get(im->super.root_slots);
	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++)
		a->root_crc[i] = le32_get(im->super.root_crc[i]);
	errint_t err = alloc_set_regions(im, le64_get(im->super.phys_regions));
	for (unsigned i = 0; !err && i < ALLOC_ROOT_BLOCKS; i++) {
		if (super_has_root_block(&im->super, i))
			err = open_root_block(im, i, buf, buf + 1);
	}
	if (!err &&
	    (!a->ngroups || !a->group[0].region || a->group[0].region[0].class_ != CLASS_MIXED))
		err = image_damaged(im, "group table", GROUP0_TABLE,
				    "region 0 is not in use as MIXED");
	if (!err && a->used_units != le64_get(im->super.used_units))
		err = image_damaged(im, "superblock", SUPER_OFFSET,
				    "used units are not those of the group tables");
	return err;
}

void alloc_close(struct image *im)
{
	struct alloc *a = &im->alloc;

	for (uint64_t g = 0; g < a->ngroups; g++) {
		for (unsigned i = 0; a->group[g].region && i < GROUP_REGIONS; i++)
			free(a->group[g].region[i].bits);
		free(a->group[g].region);
	}
	free(a->group);
	free(a->busy);
}

uint64_t alloc_regions(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	return im->alloc.nregions;
}

/* --- bitmaps --------------------------------------------------------------------------------- */

bool alloc_loaded(struct image *im, struct desc d, uint64_t *region)
{
	struct extent e = desc_extent(&im->geo, d);

	if (!e.len)
		return true;
	*region = region_of(e.off);
	if (*region >= im->alloc.nregions)
		return true; /* impossible in a live image; replay finds out */
	struct region *r = region_get(im, *region);

	return !r || !r->in_use || r->bits;
}

static void entry_from_region(struct disk_alloc_entry *e, const struct region *r)
{
	*e = (struct disk_alloc_entry){.crc = le32_make(r->crc),
				       .free_units = le32_make(r->free_units),
				       .slots = r->slots,
				       .in_use = r->in_use,
				       .class_ = r->class_,
				       .dead_sectors = le32_make(r->dead_sectors)};
}

/* Read the active blocks of a bitmap and check them against @e. */
static errint_t read_bitmap(struct image *im, uint64_t region, const struct disk_alloc_entry *e,
			    uint8_t *bits, struct reason *why)
{
	size_t bytes = bits_bytes(e->class_);
	struct limits lim;
	errint_t err = 0;

	if (bytes == UNIT_SIZE) {
		err = store_read(im->st, bits, UNIT_SIZE,
				 bitmap_block_offset(region, 0, e->slots & 1));
	} else {
		/* One read for both slots of all blocks is cheaper than eight. */
		err = store_read(im->st, bits, 2 * bytes, bitmap_block_offset(region, 0, 0));
		for (unsigned i = 0; !err && i < BITMAP_BLOCKS; i++)
			memmove(bits + i * (size_t)UNIT_SIZE,
				bits + (2 * i + (e->slots >> i & 1)) * (size_t)UNIT_SIZE,
				UNIT_SIZE);
	}
	if (err)
		return err;
	pthread_mutex_lock(&im->lock);
	image_limits(im, &lim);
	pthread_mutex_unlock(&im->lock);
	return validate_bitmap(bits, region, e, &lim, why);
}

static void block_crcs(struct image *im, uint64_t region, struct region_bits *b, uint8_t class_)
{
	for (unsigned i = 0; i < bits_bytes(class_) / UNIT_SIZE; i++)
		b->block_crc[i] =
			checksum_alloc(im->uuid_seed, ALLOC_BITMAP, region * BITMAP_BLOCKS + i,
				       b->map + i * (size_t)UNIT_SIZE);
}

/*
 * The bitmap of @region as it is now.  One that is not in memory does not change on disk, unless it
 * was loaded, changed and forgotten while it was being read, which alloc.trims tells.
 */
static errint_t current_bits(struct image *im, uint64_t region, uint8_t *bits,
			     struct disk_alloc_entry *e, bool *in_memory)
{
	for (;;) {
		struct reason why;

		pthread_mutex_lock(&im->lock);
		struct region *r = region_get(im, region);
		uint64_t trims = im->alloc.trims;
		*in_memory = !r || !r->in_use || r->bits;
		memset(e, 0, sizeof(*e));
		if (r && r->in_use)
			entry_from_region(e, r);
		if (r && r->bits)
			memcpy(bits, r->bits->map, bits_bytes(r->class_));
		pthread_mutex_unlock(&im->lock);
		if (*in_memory)
			return 0;

		errint_t err = read_bitmap(im, region, e, bits, &why);
		pthread_mutex_lock(&im->lock);
		bool stable = trims == im->alloc.trims;
		pthread_mutex_unlock(&im->lock);
		if (stable)
			return err == -EBADMSG
				       ? image_damaged(im, "bitmap",
						       bitmap_block_offset(region, 0, 0), why.text)
				       : err;
	}
}

errint_t alloc_back_header(struct image *im, uint64_t region)
{
	uint64_t len = region ? REGION_HEADER_UNITS * UNIT_SIZE : ZERO_WINDOW_OFFSET;

	return im->read_only ? 0 : store_allocate(im->st, region << REGION_SHIFT, len);
}

/* A bitmap that is brought into memory will be changed, and then written.  Once for each region:
 * allocating makes the host wait for all that is in flight. */
static errint_t back_once(struct image *im, uint64_t region)
{
	pthread_mutex_lock(&im->lock);
	struct region *r = region_get(im, region);
	bool done = r->headed;
	pthread_mutex_unlock(&im->lock);
	errint_t err = done ? 0 : alloc_back_header(im, region);

	SCOPED_LOCK(&im->lock);
	r->headed |= !err;
	return err;
}

errint_t alloc_load(struct image *im, uint64_t region)
{
	struct disk_alloc_entry e;
	bool in_memory;
	CLEANUP(free) uint8_t *buf = store_buffer(ALLOC_BITS_ROOM);
	if (!buf)
		return -ENOMEM;
	errint_t err = current_bits(im, region, buf, &e, &in_memory);
	if (err || in_memory)
		return err;
	err = back_once(im, region);
	if (err)
		return err;

	size_t bytes = bits_bytes(e.class_);
	CLEANUP(free) struct region_bits *b = malloc(sizeof(*b) + bytes);
	if (!b)
		return -ENOMEM;
	memcpy(b->map, buf, bytes);
	block_crcs(im, region, b, e.class_);

	SCOPED_LOCK(&im->lock);
	struct region *r = region_get(im, region);
	/* Whoever was quicker may have changed it already: then the caller finds out and asks
	 * again. */
	if (!r->bits && r->in_use && r->crc == le32_get(e.crc) && r->slots == e.slots) {
		r->bits = steal_pointer(&b);
		r->hint = r->low = reserved_units(&im->geo, region, r->class_);
	}
	return 0;
}

errint_t alloc_copy_bits(struct image *im, uint64_t region, uint8_t *bits,
			 struct disk_alloc_entry *entry, bool *by_sector)
{
	bool in_memory;
	errint_t err = current_bits(im, region, bits, entry, &in_memory);

	*by_sector = class_by_sector(entry->class_);
	return err;
}

/* --- checkpoint ------------------------------------------------------------------------------ */

/* Moving a node dirties one block of the region that it leaves and one of that which it enters. */
unsigned alloc_freeze_blocks(struct image *im, unsigned nodes)
{
	struct alloc *a = &im->alloc;
	unsigned dirty = 0, clean = 0;

	for (uint64_t g = 0; g < a->ngroups; g++) {
		unsigned in_use = 0;

		for (unsigned i = 0; a->group[g].region && i < GROUP_REGIONS; i++) {
			const struct region *r = &a->group[g].region[i];
			unsigned n = (unsigned)__builtin_popcount(r->dirty);

			dirty += n;
			in_use |= r->in_use;
			if (r->in_use && (r->class_ == CLASS_META || r->class_ == CLASS_MIXED))
				clean += (unsigned)(bits_bytes(r->class_) / UNIT_SIZE) - n;
		}
		dirty += in_use; /* the group's table */
	}
	return dirty + (clean < 2 * nodes ? clean : 2 * nodes) + ALLOC_ROOT_BLOCKS;
}

static uint32_t freeze_block(struct image *im, struct ckpt_buf *buf, uint64_t off,
			     enum alloc_level level, uint64_t index, const void *block)
{
	memcpy(ckpt_block(buf, off), block, UNIT_SIZE);
	return checksum_alloc(im->uuid_seed, level, index, block);
}

static void freeze_region(struct image *im, struct ckpt_buf *buf, uint64_t region, struct region *r)
{
	if (region && region_empty(im, region, r) && !r->busy) { /* A4 */
		im->alloc.used_units -= REGION_UNITS - r->free_units;
		free(r->bits);
		*r = (struct region){0};
		if (region < im->alloc.search[CLASS_NONE])
			im->alloc.search[CLASS_NONE] = region;
		return;
	}
	for (unsigned i = 0; i < bits_bytes(r->class_) / UNIT_SIZE; i++) {
		if (!(r->dirty >> i & 1))
			continue;
		if (!RULE_BROKEN(im, bm_inplace))
			r->slots ^= (uint8_t)(1u << i);
		r->bits->block_crc[i] = freeze_block(
			im, buf, bitmap_block_offset(region, i, r->slots >> i & 1), ALLOC_BITMAP,
			region * BITMAP_BLOCKS + i, r->bits->map + i * (size_t)UNIT_SIZE);
	}
	r->crc = class_by_sector(r->class_) ? checksum_combine(r->bits->block_crc)
					    : r->bits->block_crc[0];
	r->dirty = 0;
}

static void freeze_group(struct image *im, struct ckpt_buf *buf, uint64_t index)
{
	struct alloc_group *g = &im->alloc.group[index];
	struct disk_alloc_block block;

	for (unsigned i = 0; i < GROUP_REGIONS; i++) {
		if (g->region[i].dirty)
			freeze_region(im, buf, index * GROUP_REGIONS + i, &g->region[i]);
		entry_from_region(&block.entry[i], &g->region[i]);
	}
	if (!RULE_BROKEN(im, bm_inplace))
		g->slot ^= 1;
	g->crc = freeze_block(im, buf, group_table_offset(index, g->slot), ALLOC_GROUP, index,
			      &block);
	g->dirty = false;
}

static void freeze_root_block(struct image *im, struct ckpt_buf *buf, unsigned i)
{
	struct alloc *a = &im->alloc;
	struct disk_alloc_block block;

	memset(&block, 0, sizeof(block));
	for (unsigned j = 0; j < ALLOC_ENTRIES; j++) {
		uint64_t group = (uint64_t)i * ALLOC_ENTRIES + j;
		uint64_t sum = 0;

		if (group >= a->ngroups || !a->group[group].in_use)
			continue;
		const struct alloc_group *g = &a->group[group];
		for (unsigned k = 0; k < GROUP_REGIONS; k++)
			sum += g->region[k].in_use ? g->region[k].free_units : 0;
		block.entry[j] = (struct disk_alloc_entry){.crc = le32_make(g->crc),
							   .free_units = le32_make((uint32_t)sum),
							   .slots = g->slot,
							   .in_use = 1};
	}
	if (!RULE_BROKEN(im, bm_inplace))
		a->root_slots ^= 1ull << i;
	a->root_crc[i] = freeze_block(im, buf, root_block_offset(i, a->root_slots >> i & 1),
				      ALLOC_ROOT, i, &block);
}

void alloc_freeze(struct image *im, struct ckpt_buf *buf)
{
	struct alloc *a = &im->alloc;

	for (uint64_t g = 0; g < a->ngroups; g++)
		if (a->group[g].dirty)
			freeze_group(im, buf, g);
	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++)
		if (a->root_dirty >> i & 1)
			freeze_root_block(im, buf, i);
	a->root_dirty = 0;
}

/* Bitmaps kept in memory at the most while they are idle. */
#define IDLE_BYTES (8u << 20)

void alloc_trim(struct image *im)
{
	struct alloc *a = &im->alloc;
	size_t kept = 0;

	a->trims++;
	for (uint64_t g = 0; g < a->ngroups; g++) {
		for (unsigned i = 0; a->group[g].region && i < GROUP_REGIONS; i++) {
			struct region *r = &a->group[g].region[i];

			if (!r->bits)
				continue;
			kept += bits_bytes(r->class_);
			if (kept <= IDLE_BYTES || r->dirty || r->busy)
				continue;
			kept -= bits_bytes(r->class_);
			free(r->bits);
			r->bits = NULL;
		}
	}
}
