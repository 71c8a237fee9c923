/* SPDX-License-Identifier: MIT */
/*
 * Runs of bits, up to 64 at a time.
 *
 * No byte outside the run's own bytes is read or written, and none is written whose bits do not
 * change hands: the map may end right behind the run.
 */
#include <config.h>

#include "common/bitmap.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

/* The bits of a run that lie in the 8 bytes from its first byte on. */
struct piece {
	uint64_t bits; /* right-aligned, zero above @len */
	unsigned len;  /* 1..64 */
};

static inline uint64_t low_mask(unsigned len)
{
	return ~UINT64_C(0) >> (64 - len);
}

/* The first piece of [from, end); from < end.  Only the first piece of a run can be shorter than 64
 * bits without ending it, because the next one begins on a byte. */
static inline struct piece piece_load(const uint8_t *map, size_t from, size_t end)
{
	unsigned shift = from & 7;
	unsigned len = end - from < 64 - shift ? (unsigned)(end - from) : 64 - shift;
	uint64_t word = 0;

	assert(from < end);
	if (len + shift == 64)
		memcpy(&word, map + (from >> 3), sizeof(word));
	else
		memcpy(&word, map + (from >> 3), (shift + len + 7) / 8);
	return (struct piece){le64toh(word) >> shift & low_mask(len), len};
}

/* First bit in [from, end) that differs from the bits of @flip (all ones or all zeros), or @end. */
static inline size_t next_differing(const uint8_t *map, size_t from, size_t end, uint64_t flip)
{
	while (from < end) {
		struct piece piece = piece_load(map, from, end);
		uint64_t differing = (piece.bits ^ flip) & low_mask(piece.len);

		if (differing)
			return from + (size_t)__builtin_ctzll(differing);
		from += piece.len;
	}
	return end;
}

size_t bits_next_set(const uint8_t *map, size_t from, size_t end)
{
	return next_differing(map, from, end, 0);
}

size_t bits_next_clear(const uint8_t *map, size_t from, size_t end)
{
	return next_differing(map, from, end, ~UINT64_C(0));
}

bool bits_all_set(const uint8_t *map, size_t from, size_t len)
{
	assert(len <= SIZE_MAX - from);
	return bits_next_clear(map, from, from + len) == from + len;
}

bool bits_all_clear(const uint8_t *map, size_t from, size_t len)
{
	assert(len <= SIZE_MAX - from);
	return bits_next_set(map, from, from + len) == from + len;
}

size_t bits_count(const uint8_t *map, size_t from, size_t len)
{
	size_t end = from + len, count = 0;

	assert(len <= SIZE_MAX - from);
	while (from < end) {
		struct piece piece = piece_load(map, from, end);

		/* Bitmaps of space are mostly full or empty, and without the processor's
		 * instruction counting is a call. */
		if (piece.bits == ~UINT64_C(0))
			count += 64;
		else if (piece.bits)
			count += (size_t)__builtin_popcountll(piece.bits);
		from += piece.len;
	}
	return count;
}

/* The bits of a byte from @first up to and without @end; 0 <= first < end <= 8. */
static inline uint8_t byte_mask(size_t first, size_t end)
{
	return (uint8_t)(0xffu << first & 0xffu >> (8 - end));
}

static inline void byte_fill(uint8_t *byte, uint8_t mask, bool value)
{
	*byte = (uint8_t)(value ? *byte | mask : *byte & ~mask);
}

static void fill(uint8_t *map, size_t from, size_t len, bool value)
{
	size_t end = from + len;
	size_t first = from >> 3, last = end >> 3; /* last: the byte that holds bit @end */

	assert(len <= SIZE_MAX - from);
	if (!len)
		return;
	if (first == last) {
		byte_fill(map + first, byte_mask(from & 7, end & 7), value);
		return;
	}
	if (from & 7)
		byte_fill(map + first++, byte_mask(from & 7, 8), value);
	memset(map + first, value ? 0xff : 0, last - first);
	if (end & 7)
		byte_fill(map + last, byte_mask(0, end & 7), value);
}

void bits_set(uint8_t *map, size_t from, size_t len)
{
	fill(map, from, len, true);
}

void bits_clear(uint8_t *map, size_t from, size_t len)
{
	fill(map, from, len, false);
}
