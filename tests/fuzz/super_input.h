/* SPDX-License-Identifier: MIT */
/* Where things stand in an input of fuzz-super: mode, IDENT up to zero2 or all of it, superblock.
 */
#ifndef TESTS_FUZZ_SUPER_INPUT_H
#define TESTS_FUZZ_SUPER_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "image/format.h"

#define SUPER_IDENT_FIELDS offsetof(struct disk_ident, zero2)
#define SUPER_LONG_IDENT   2u

static inline size_t super_at(uint8_t mode)
{
	return 1 + (mode & SUPER_LONG_IDENT ? sizeof(struct disk_ident) : SUPER_IDENT_FIELDS);
}

#endif
