/* SPDX-License-Identifier: MIT */
/* The list of further facts in a superblock (docs/format.md section 3.2).  Pure functions. */
#ifndef IMAGE_TLV_H
#define IMAGE_TLV_H

#include <stdbool.h>
#include <stddef.h>

#include "image/format.h"

/* The data of the entry of @type, *len bytes of it; NULL: there is none.  Of a superblock that was
 * not validated it is at least within the list. */
const uint8_t *tlv_find(const struct disk_super *sb, uint32_t type, size_t *len);

/* Takes the entry of @type out, if there is one; the others keep their order. */
void tlv_remove(struct disk_super *sb, uint32_t type);

/* Appends an entry; false, with nothing changed, when there is no room. */
bool tlv_add(struct disk_super *sb, uint32_t type, const void *data, size_t len);

#endif
