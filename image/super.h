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

/* The superblock in @slot; *why when it is not valid.  -ENOTSUP: unknown feature, reason given,
 * nothing logged. */
MUST_CHECK errint_t super_read_slot(struct store *st, const struct disk_ident *ident, unsigned slot,
				    struct disk_super *sb, struct reason *why);

/* The newest valid superblock.  Message logged on failure. */
MUST_CHECK errint_t super_choose(struct store *st, const struct disk_ident *ident,
				 struct disk_super *sb);

/* Seals @sb (CRC) and writes it to its two slots, durably on return.  @dsync is false only in
 * [m:super_no_dsync]. */
MUST_CHECK errint_t super_write(struct store *st, struct disk_super *sb, bool dsync);

static inline uint64_t super_slot_offset(unsigned slot)
{
	return SUPER_OFFSET + slot * SUPER_STRIDE;
}

#endif
