/* SPDX-License-Identifier: MIT */
/*
 * Little-endian integers as they stand on disk.  Each is a one-member struct, so that using one
 * without le*_get() or filling one without le*_make() does not compile.
 */
#ifndef COMMON_ENDIAN_TYPES_H
#define COMMON_ENDIAN_TYPES_H

#include <endian.h>
#include <stdint.h>

typedef struct {
	uint16_t raw;
} le16;
typedef struct {
	uint32_t raw;
} le32;
typedef struct {
	uint64_t raw;
} le64;

static inline uint16_t le16_get(le16 v)
{
	return le16toh(v.raw);
}
static inline uint32_t le32_get(le32 v)
{
	return le32toh(v.raw);
}
static inline uint64_t le64_get(le64 v)
{
	return le64toh(v.raw);
}

static inline le16 le16_make(uint16_t v)
{
	return (le16){htole16(v)};
}
static inline le32 le32_make(uint32_t v)
{
	return (le32){htole32(v)};
}
static inline le64 le64_make(uint64_t v)
{
	return (le64){htole64(v)};
}

#endif
