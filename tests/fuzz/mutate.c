/* SPDX-License-Identifier: MIT */
/*
 * How libFuzzer changes an image: mostly inside one of its units, so that the list of units stays
 * one, and now and then by copying a piece of a unit over another one, which is how extents become
 * shared.  Of superblocks the list of further facts is changed as such.  Not used by the replay of
 * corpora.
 */
#include "config.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_tlv.h"

#define HEADER 9u /* mode, length of the file */
#define PREFIX 6u /* unit, n */
#define UNITS  256u

/* libFuzzer's own. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

struct unit_list {
	struct {
		size_t at, len; /* of the bytes in the input */
	} unit[UNITS];
	unsigned n;
};

static void find_units(struct unit_list *l, const uint8_t *data, size_t size)
{
	size_t at = HEADER;

	l->n = 0;
	while (at + PREFIX < size && l->n < UNITS) {
		size_t len = (data[at + 4] | (size_t)data[at + 5] << 8) % (UNIT_SIZE + 1);
		at += PREFIX;
		if (len > size - at)
			len = size - at;
		if (len) {
			l->unit[l->n].at = at;
			l->unit[l->n++].len = len;
		}
		at += len;
	}
}

/* Sizes of the things that blocks are made of: fields, descriptors, records. */
static size_t some_size(struct rng *r, size_t room)
{
	static const uint16_t sizes[] = {1, 2, 4, 8, 16, 16, 32, 256, 512};
	size_t len = sizes[rng_below(r, sizeof(sizes) / sizeof(*sizes))];

	return len < room ? len : room;
}

static void change_inside(struct rng *r, uint8_t *unit, size_t len)
{
	size_t n = some_size(r, len), at = rng_below(r, len) / n * n;
	size_t room = len - at < n ? len - at : n;
	size_t done = LLVMFuzzerMutate(unit + at, room, room);

	/* It may have become shorter; a unit may not. */
	memset(unit + at + done, 0, room - done);
}

static void copy_piece(struct rng *r, uint8_t *data, const struct unit_list *l)
{
	unsigned from = (unsigned)rng_below(r, l->n), to = (unsigned)rng_below(r, l->n);
	size_t len = l->unit[from].len < l->unit[to].len ? l->unit[from].len : l->unit[to].len;
	size_t n = some_size(r, len);
	size_t a = rng_below(r, l->unit[from].len - n + 1) / n * n;
	size_t b = rng_below(r, l->unit[to].len - n + 1) / n * n;

	memmove(data + l->unit[to].at + b, data + l->unit[from].at + a, n);
}

/* A superblock among the units, or NULL.  It ends early in the input where zeros follow. */
static uint8_t *find_super(struct rng *r, uint8_t *data, const struct unit_list *l, size_t *len)
{
	unsigned from = (unsigned)rng_below(r, l->n);

	for (unsigned i = 0; i < l->n; i++) {
		unsigned u = (from + i) % l->n;
		le64 magic;

		*len = l->unit[u].len;
		if (*len < sizeof(magic))
			continue;
		memcpy(&magic, data + l->unit[u].at, sizeof(magic));
		if (le64_get(magic) == SUPER_MAGIC)
			return data + l->unit[u].at;
	}
	return NULL;
}

/* Returns the new size of the input; the same when there is no superblock, or no room. */
static size_t change_list(struct rng *r, uint8_t *data, size_t size, size_t max,
			  const struct unit_list *l)
{
	struct disk_super sb = {0};
	size_t len;
	uint8_t *at = find_super(r, data, l, &len);

	if (!at || size - len + sizeof(sb) > max)
		return size;
	memcpy(&sb, at, len < sizeof(sb) ? len : sizeof(sb));
	mutate_tlv(r, &sb);
	memmove(at + sizeof(sb), at + len, (size_t)(data + size - (at + len)));
	memcpy(at, &sb, sizeof(sb));
	at[-2] = (uint8_t)(sizeof(sb) & 0xff);
	at[-1] = (uint8_t)(sizeof(sb) >> 8);
	return size - len + sizeof(sb);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	struct rng r = {seed};
	struct unit_list l;

	find_units(&l, data, size);
	if (!l.n || rng_chance(&r, 10))
		return LLVMFuzzerMutate(data, size, max);
	if (rng_chance(&r, 5))
		LLVMFuzzerMutate(data, HEADER, HEADER);
	if (rng_chance(&r, 10))
		return change_list(&r, data, size, max, &l);
	for (uint64_t i = 1 + rng_below(&r, 3); i; i--) {
		unsigned u = (unsigned)rng_below(&r, l.n);
		if (rng_chance(&r, 25))
			copy_piece(&r, data, &l);
		else
			change_inside(&r, data + l.unit[u].at, l.unit[u].len);
	}
	return size;
}
