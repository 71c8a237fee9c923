/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps in their disk form: bit n is bit n % 8 of byte n / 8.  Positions and counts are in bits.
 * The caller serialises access.
 */
#ifndef COMMON_BITMAP_H
#define COMMON_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool bit_test(const uint8_t *map, size_t n)
{
	return map[n >> 3] >> (n & 7) & 1;
}

static inline void bit_set(uint8_t *map, size_t n)
{
	map[n >> 3] |= (uint8_t)(1u << (n & 7));
}

static inline void bit_clear(uint8_t *map, size_t n)
{
	map[n >> 3] &= (uint8_t) ~(1u << (n & 7));
}

/* True when every bit of [from, from + len) is set / clear; true for len == 0. */
bool bits_all_set(const uint8_t *map, size_t from, size_t len);
bool bits_all_clear(const uint8_t *map, size_t from, size_t len);

void bits_set(uint8_t *map, size_t from, size_t len);
void bits_clear(uint8_t *map, size_t from, size_t len);

/* Number of set bits in [from, from + len). */
size_t bits_count(const uint8_t *map, size_t from, size_t len);

/* First set / clear bit in [from, end), or @end. */
size_t bits_next_set(const uint8_t *map, size_t from, size_t end);
size_t bits_next_clear(const uint8_t *map, size_t from, size_t end);

#endif
