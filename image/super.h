/* SPDX-License-Identifier: MIT */
/* IDENT and superblocks: choosing the newest, writing the next (docs/format.md section 3, rule R4).
 */
#ifndef IMAGE_SUPER_H
#define IMAGE_SUPER_H

#include "image/format.h"
#include "image/store.h"
#include "image/validate.h"

struct image;

/* Reads and validates IDENT.  -EBADMSG with the message logged: not an image, or a damaged one. */
MUST_CHECK errint_t super_read_ident(struct store *st, struct disk_ident *ident);

/* The superblock in @slot; *why when it is not valid.  -ENOTSUP: intact, of an unknown feature,
 * reason given, nothing logged.  Errors of the store: it has logged them. */
MUST_CHECK errint_t super_read_slot(struct store *st, const struct disk_ident *ident, unsigned slot,
				    struct disk_super *sb, struct reason *why);

/* What the slots say about the superblock in force (R4). */
struct super_choice {
	unsigned slot; /* one that holds it */
	bool single;   /* the other slot of the pair does not */
	/* No newer one was lost.  False when both slots are damaged in which that would stand. */
	bool newest;
};

/* The newest intact superblock.  A slot that cannot be read is as good as damaged.  -ENOTSUP when
 * that superblock has an unknown feature.  Message logged on failure. */
MUST_CHECK errint_t super_choose(struct store *st, const struct disk_ident *ident,
				 struct disk_super *sb, struct super_choice *out);

/* Makes the superblock in force stand in both its slots, durably: before anything is overwritten
 * that only its predecessor needs. */
MUST_CHECK errint_t super_complete(struct store *st, const struct disk_super *sb,
				   const struct super_choice *c);

/* Seals @sb (CRC) and writes it to its two slots, one after the other, durably.  @dsync is false
 * only in [m:super_no_dsync]. */
MUST_CHECK errint_t super_write(struct store *st, struct disk_super *sb, bool dsync);

static inline uint64_t super_slot_offset(unsigned slot)
{
	return SUPER_OFFSET + slot * SUPER_STRIDE;
}

#endif
