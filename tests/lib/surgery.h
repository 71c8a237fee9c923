/* SPDX-License-Identifier: MIT */
/*
 * Changing one thing inside an image that nobody has open, with every checksum above it made right
 * again: only what a test means to break is broken.  All that is changed stays at its place and in
 * its active slot.  The functions assert that the image is in order as far as they look.
 */
#ifndef TESTS_LIB_SURGERY_H
#define TESTS_LIB_SURGERY_H

#include "image/desc.h"
#include "image/store.h"

struct surgery {
	struct store *st;
	struct geometry geo;
	uint32_t uuid_seed;
	unsigned slot;	      /* one of those that hold the newest superblock */
	struct disk_super sb; /* it; written back by surgery_super() */
};

void surgery_begin(struct surgery *s, struct store *st);

/* Write s->sb, with its checksum, over every copy of its generation. */
void surgery_super(struct surgery *s);
/* Write s->sb, with its checksum, to one slot. */
void surgery_super_copy(struct surgery *s, unsigned slot);

/* Where the node at (@level, @index) is; HOLE: nowhere.  @node, its contents, may be NULL. */
struct desc surgery_node(struct surgery *s, unsigned level, uint64_t index, struct disk_node *node);
/* Overwrite it in place, and fix the CRCs up to the superblock. */
void surgery_set_node(struct surgery *s, unsigned level, uint64_t index,
		      const struct disk_node *node);

/* The descriptor of a cluster, whose leaf must exist. */
struct desc surgery_desc(struct surgery *s, uint64_t vcluster);
void surgery_set_desc(struct surgery *s, uint64_t vcluster, struct desc d);

/* The entry of a region in its group table. */
struct disk_alloc_entry surgery_entry(struct surgery *s, uint64_t region);
/* Change it; the sums above follow. */
void surgery_set_entry(struct surgery *s, uint64_t region, const struct disk_alloc_entry *e);

/* The bitmap of a region; @bits is 32 KiB.  Returns the number of bytes: 4 KiB or 32 KiB. */
size_t surgery_bits(struct surgery *s, uint64_t region, uint8_t *bits);
/* Write it, with CRCs and counts. */
void surgery_set_bits(struct surgery *s, uint64_t region, const uint8_t *bits);

/* Set or clear one bit of the map: the unit or sector that holds the byte at @off. */
void surgery_mark(struct surgery *s, uint64_t off, bool used);

#endif
