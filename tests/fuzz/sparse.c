/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/fuzz/sparse.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define MAX_UNITS  16384u				  /* 64 MiB of memory */
#define MAX_LENGTH ((uint64_t)SPARSE_OUTSIDE * UNIT_SIZE) /* two groups of regions */

struct sparse {
	struct store st;
	pthread_mutex_t lock;
	uint64_t length;
	size_t n, cap;
	/* Sorted by number. */
	struct sparse_entry {
		uint64_t unit;
		uint8_t *bytes;
	} * entry;
};

static struct sparse *sparse_of(struct store *st)
{
	return (struct sparse *)st;
}

/* Where @unit stands or would stand. */
static size_t position(const struct sparse *s, uint64_t unit)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (s->entry[mid].unit < unit)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static uint8_t *find(const struct sparse *s, uint64_t unit)
{
	size_t i = position(s, unit);

	return i < s->n && s->entry[i].unit == unit ? s->entry[i].bytes : NULL;
}

/* The unit, zeros when it is new; NULL when there is no room. */
static uint8_t *find_or_add(struct sparse *s, uint64_t unit)
{
	uint8_t *bytes = find(s, unit);

	if (bytes || s->n == MAX_UNITS)
		return bytes;
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->entry = realloc(s->entry, s->cap * sizeof(*s->entry));
		fuzz_require(s->entry, "out of memory");
	}
	size_t i = position(s, unit);
	memmove(s->entry + i + 1, s->entry + i, (s->n - i) * sizeof(*s->entry));
	s->entry[i] = (struct sparse_entry){unit, calloc(1, UNIT_SIZE)};
	fuzz_require(s->entry[i].bytes, "out of memory");
	s->n++;
	return s->entry[i].bytes;
}

static bool all_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	return !len || (!b[0] && !memcmp(b, b + 1, len - 1));
}

/* The part of [off, off + len) that lies in one unit. */
static size_t piece(uint64_t off, uint64_t len)
{
	uint64_t room = UNIT_SIZE - off % UNIT_SIZE;

	return (size_t)(len < room ? len : room);
}

static errint_t sparse_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	struct sparse *s = sparse_of(st);
	uint8_t *to = buf;

	SCOPED_LOCK(&s->lock);
	while (len) {
		size_t n = piece(off, len);
		const uint8_t *bytes = find(s, off / UNIT_SIZE);
		if (bytes)
			memcpy(to, bytes + off % UNIT_SIZE, n);
		else
			memset(to, 0, n);
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}

static errint_t sparse_write(struct store *st, const void *buf, size_t len, uint64_t off,
			     bool dsync)
{
	struct sparse *s = sparse_of(st);
	const uint8_t *from = buf;

	(void)dsync;
	SCOPED_LOCK(&s->lock);
	if (off + len > MAX_LENGTH)
		return -ENOSPC;
	if (off + len > s->length)
		s->length = off + len;
	while (len) {
		size_t n = piece(off, len);
		bool skip = all_zero(from, n) && !find(s, off / UNIT_SIZE);
		uint8_t *bytes = skip ? NULL : find_or_add(s, off / UNIT_SIZE);
		if (!skip && !bytes)
			return -ENOSPC;
		if (bytes)
			memcpy(bytes + off % UNIT_SIZE, from, n);
		from += n;
		off += n;
		len -= n;
	}
	return 0;
}

static errint_t sparse_datasync(struct store *st)
{
	(void)st;
	return 0;
}

static errint_t sparse_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct sparse *s = sparse_of(st);

	SCOPED_LOCK(&s->lock);
	for (size_t i = position(s, off / UNIT_SIZE); i < s->n; i++) {
		uint64_t at = s->entry[i].unit * UNIT_SIZE;
		if (at >= off + len)
			break;
		uint64_t from = at > off ? at : off;
		uint64_t end = at + UNIT_SIZE < off + len ? at + UNIT_SIZE : off + len;
		memset(s->entry[i].bytes + (from - at), 0, (size_t)(end - from));
	}
	return 0;
}

static errint_t sparse_allocate(struct store *st, uint64_t off, uint64_t len)
{
	struct sparse *s = sparse_of(st);

	SCOPED_LOCK(&s->lock);
	if (off + len > MAX_LENGTH)
		return -ENOSPC;
	if (off + len > s->length)
		s->length = off + len;
	return 0;
}

static errint_t sparse_truncate(struct store *st, uint64_t len)
{
	struct sparse *s = sparse_of(st);

	SCOPED_LOCK(&s->lock);
	if (len > MAX_LENGTH)
		return -ENOSPC;
	while (s->n && (s->entry[s->n - 1].unit + 1) * UNIT_SIZE > len) {
		struct sparse_entry *last = &s->entry[s->n - 1];
		if (last->unit * UNIT_SIZE < len) {
			memset(last->bytes + len % UNIT_SIZE, 0, UNIT_SIZE - len % UNIT_SIZE);
			break;
		}
		free(last->bytes);
		s->n--;
	}
	s->length = len;
	return 0;
}

static errint_t sparse_length(struct store *st, uint64_t *len)
{
	struct sparse *s = sparse_of(st);

	SCOPED_LOCK(&s->lock);
	*len = s->length;
	return 0;
}

static uint64_t sparse_usage(struct store *st)
{
	return sparse_of(st)->n * (uint64_t)UNIT_SIZE;
}

static errint_t sparse_lock(struct store *st, enum store_lock how, bool quiet)
{
	(void)st, (void)how, (void)quiet;
	return 0;
}

static errint_t sparse_identity(struct store *st, struct store_identity *id)
{
	(void)st;
	*id = (struct store_identity){1, 3};
	return 0;
}

static void sparse_close(struct store *st)
{
	struct sparse *s = sparse_of(st);

	for (size_t i = 0; i < s->n; i++)
		free(s->entry[i].bytes);
	free(s->entry);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static const struct store_ops sparse_ops = {
	.kind = "sparse",
	.read = sparse_read,
	.write = sparse_write,
	.datasync = sparse_datasync,
	.punch = sparse_punch,
	.allocate = sparse_allocate,
	.truncate = sparse_truncate,
	.length = sparse_length,
	.usage = sparse_usage,
	.lock = sparse_lock,
	.identity = sparse_identity,
	.close = sparse_close,
};

/* The next unit of the list; false at its end. */
static bool next_entry(struct fuzz_input *in, uint64_t *unit, uint8_t bytes[UNIT_SIZE])
{
	le32 number;
	le16 n;

	if (!in->size)
		return false;
	fuzz_take(in, &number, sizeof(number));
	fuzz_take(in, &n, sizeof(n));
	*unit = le32_get(number);
	memset(bytes, 0, UNIT_SIZE);
	fuzz_take(in, bytes, le16_get(n) % (UNIT_SIZE + 1));
	return true;
}

struct store *sparse_new(struct fuzz_input *in)
{
	struct sparse *s = calloc(1, sizeof(*s));
	uint8_t scratch[UNIT_SIZE];
	uint64_t unit;

	fuzz_require(s, "out of memory");
	s->st = (struct store){.ops = &sparse_ops, .name = "image", .align = SECTOR_SIZE};
	pthread_mutex_init(&s->lock, NULL);
	s->length = fuzz_u64(in) % (MAX_LENGTH + 1);
	while (next_entry(in, &unit, scratch)) {
		bool inside = (unit + 1) * UNIT_SIZE <= MAX_LENGTH;
		uint8_t *bytes = inside ? find_or_add(s, unit) : NULL;

		if (bytes)
			memcpy(bytes, scratch, UNIT_SIZE);
	}
	return &s->st;
}

void sparse_outside(struct fuzz_input in, uint8_t *out, unsigned n)
{
	uint8_t scratch[UNIT_SIZE];
	uint64_t unit;

	memset(out, 0, n * (size_t)UNIT_SIZE);
	fuzz_u64(&in);
	while (next_entry(&in, &unit, scratch))
		if (unit >= SPARSE_OUTSIDE && unit - SPARSE_OUTSIDE < n)
			memcpy(out + (unit - SPARSE_OUTSIDE) * UNIT_SIZE, scratch, UNIT_SIZE);
}

uint8_t *sparse_unit(struct store *st, uint64_t unit)
{
	return find(sparse_of(st), unit);
}

void sparse_save_unit(FILE *out, uint64_t unit, const uint8_t *bytes)
{
	size_t len = UNIT_SIZE;

	while (len && !bytes[len - 1])
		len--;
	if (!len)
		return;
	le32 number = le32_make((uint32_t)unit);
	le16 n = le16_make((uint16_t)len);
	fwrite(&number, sizeof(number), 1, out);
	fwrite(&n, sizeof(n), 1, out);
	fwrite(bytes, len, 1, out);
}

void sparse_save(struct store *st, FILE *out)
{
	const size_t chunk = 1u << 20;
	CLEANUP(free) uint8_t *buf = store_buffer(chunk);
	uint64_t len = 0;

	fuzz_require(buf && !store_length(st, &len), "the image cannot be read");
	le64 disk = le64_make(len);
	fwrite(&disk, sizeof(disk), 1, out);
	for (uint64_t off = 0; off < len; off += chunk) {
		fuzz_require(!store_read(st, buf, chunk, off), "the image cannot be read");
		for (size_t i = 0; i < chunk && off + i < len; i += UNIT_SIZE)
			sparse_save_unit(out, (off + i) / UNIT_SIZE, buf + i);
	}
}
