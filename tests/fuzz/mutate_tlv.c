/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/fuzz/mutate_tlv.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define MAX_ENTRIES 64u

/* libFuzzer's own. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));

struct entry {
	uint32_t type, len;
	_Alignas(8) uint8_t data[TLV_BYTES];
};

struct list {
	struct entry e[MAX_ENTRIES];
	unsigned n;
};

static void parse(struct list *l, const struct disk_super *sb)
{
	size_t pos = 0;

	for (l->n = 0; l->n < MAX_ENTRIES && pos + sizeof(struct disk_tlv) <= TLV_BYTES; l->n++) {
		struct entry *e = &l->e[l->n];
		struct disk_tlv head;

		memcpy(&head, sb->tlv + pos, sizeof(head));
		pos += sizeof(head);
		*e = (struct entry){le32_get(head.type), le32_get(head.len), {0}};
		if (!e->type || e->len > TLV_BYTES - pos)
			return;
		memcpy(e->data, sb->tlv + pos, e->len);
		pos += (e->len + 7u) & ~7u;
	}
}

static void serialize(const struct list *l, struct disk_super *sb)
{
	size_t pos = 0;

	memset(sb->tlv, 0, TLV_BYTES);
	for (unsigned i = 0; i < l->n; i++) {
		const struct entry *e = &l->e[i];
		const struct disk_tlv head = {le32_make(e->type), le32_make(e->len)};
		size_t padded = (e->len + 7u) & ~7u;

		if (sizeof(head) + padded > TLV_BYTES - pos)
			return;
		memcpy(sb->tlv + pos, &head, sizeof(head));
		memcpy(sb->tlv + pos + sizeof(head), e->data, e->len);
		pos += sizeof(head) + padded;
	}
}

static void fill_point(struct rng *r, struct disk_point *p, uint64_t size)
{
	unsigned len = (unsigned)rng_below(r, 4) * 42;

	memset(p->uuid, (int)rng_below(r, 256), sizeof(p->uuid));
	p->size = le64_make(size);
	p->name_len = le16_make((uint16_t)len);
	memset(p->name, 'n', len);
}

/* One that may stand in @sb, or nearly so. */
static void make(struct rng *r, struct entry *e, const struct disk_super *sb)
{
	static const uint32_t types[] = {TLV_COMPRESSION,
					 TLV_CONTENT,
					 TLV_DELTA,
					 TLV_APPLYING,
					 TLV_COMMITTING,
					 TLV_BACKING_SNAPSHOT,
					 TLV_MUST_UNDERSTAND | 99,
					 99};
	struct disk_tlv_content *c = (void *)e->data;
	struct disk_tlv_delta *d = (void *)e->data;

	*e = (struct entry){.type = types[rng_below(r, sizeof(types) / sizeof(*types))]};
	switch (e->type) {
	case TLV_COMPRESSION:
		e->len = sizeof(struct disk_tlv_compression);
		e->data[0] = (uint8_t)rng_below(r, 3);
		break;
	case TLV_CONTENT:
		e->len = sizeof(*c);
		c->generation = sb->generation;
		fill_point(r, &c->at, le64_get(sb->size));
		break;
	case TLV_DELTA:
	case TLV_APPLYING:
		e->len = sizeof(*d);
		fill_point(r, &d->base, le64_get(sb->size) << rng_below(r, 2));
		fill_point(r, &d->target, le64_get(sb->size));
		break;
	case TLV_BACKING_SNAPSHOT:
		e->len = 16;
		break;
	default: /* of a commit, or unknown: any length */
		e->len = (uint32_t)(e->type == TLV_COMMITTING ? 0 : rng_below(r, TLV_BYTES));
	}
}

static void change(struct rng *r, struct entry *e)
{
	uint32_t len = e->len;

	if (rng_chance(r, 20)) {
		e->len = (uint32_t)rng_below(r, 2 * len + 9);
		if (e->len > TLV_BYTES)
			e->len = len;
	} else if (rng_chance(r, 20)) {
		e->type ^= 1u << rng_below(r, 32);
	} else if (len) {
		size_t at = rng_below(r, len), room = 1 + rng_below(r, len - at);
		size_t done = LLVMFuzzerMutate(e->data + at, room, room);

		memset(e->data + at + done, 0, room - done);
	}
}

void mutate_tlv(struct rng *r, struct disk_super *sb)
{
	static struct list l; /* one thread, and too large for a stack */

	parse(&l, sb);
	unsigned i = (unsigned)rng_below(r, l.n + 1), j = (unsigned)rng_below(r, l.n + 1);
	struct entry e = {0};

	switch (rng_below(r, 5)) {
	case 0: /* remove */
		if (i < l.n)
			l.e[i] = l.e[--l.n];
		break;
	case 1: /* repeat */
		if (i < l.n && l.n < MAX_ENTRIES)
			l.e[l.n++] = l.e[i];
		break;
	case 2: /* exchange */
		if (i < l.n && j < l.n) {
			e = l.e[i];
			l.e[i] = l.e[j];
			l.e[j] = e;
		}
		break;
	case 3:
		if (l.n < MAX_ENTRIES)
			make(r, &l.e[l.n++], sb);
		break;
	default:
		if (i < l.n)
			change(r, &l.e[i]);
	}
	serialize(&l, sb);
}
