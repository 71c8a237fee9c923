/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/blocks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json_output.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/checksum.h"
#include "image/dump.h"
#include "image/validate.h"

/* What was read; each block aligned for the store. */
struct blocks {
	struct disk_ident ident;
	struct disk_super super[SUPER_SLOTS];
	struct disk_alloc_block alloc;
	struct disk_node node;
	uint8_t txn[TXN_MAX_BLOCKS * UNIT_SIZE];
};
_Static_assert(offsetof(struct blocks, txn) % UNIT_SIZE == 0, "blocks are whole units");

struct verdict {
	errint_t ident, super[SUPER_SLOTS];
	struct reason ident_why, super_why[SUPER_SLOTS];
	int newest; /* sound superblock, or -1 */
};

static uint64_t slot_offset(unsigned slot)
{
	return SUPER_OFFSET + slot * SUPER_STRIDE;
}

static errint_t read_fixed(struct store *st, struct blocks *b, struct verdict *v)
{
	errint_t err = store_read(st, &b->ident, UNIT_SIZE, IDENT_OFFSET);

	memset(v, 0, sizeof(*v));
	v->newest = -1;
	if (err)
		return err;
	v->ident = validate_ident(&b->ident, &v->ident_why);
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		const struct disk_super *sb = &b->super[i];

		err = store_read(st, &b->super[i], UNIT_SIZE, slot_offset(i));
		if (err)
			return err;
		v->super[i] = v->ident ? v->ident : validate_super(sb, &b->ident, &v->super_why[i]);
		if (v->ident)
			v->super_why[i] = (struct reason){"the identification block is damaged"};
		if (v->super[i])
			continue;
		if (v->newest < 0 ||
		    le64_get(sb->generation) > le64_get(b->super[v->newest].generation))
			v->newest = (int)i;
	}
	return 0;
}

static bool is_zero(const void *block, size_t len)
{
	const uint8_t *p = block;

	return !p[0] && !memcmp(p, p + 1, len - 1);
}

static void heading(FILE *out, const char *what, uint64_t offset)
{
	fprintf(out, "\n[%s at byte %" PRIu64 "]\n", what, offset);
}

static void print_fixed(FILE *out, const struct blocks *b, const struct verdict *v)
{
	fprintf(out, "[identification at byte %llu]\n", IDENT_OFFSET);
	if (v->ident)
		fprintf(out, "damaged: %s\n", v->ident_why.text);
	dump_ident(out, &b->ident);
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		char what[32];

		snprintf(what, sizeof(what), "superblock %u", i);
		heading(out, what, slot_offset(i));
		if (is_zero(&b->super[i], UNIT_SIZE)) {
			fprintf(out, "never written\n");
			continue;
		}
		if (i % 2 && !memcmp(&b->super[i], &b->super[i - 1], UNIT_SIZE)) {
			fprintf(out, "as superblock %u\n", i - 1);
			continue;
		}
		if (v->super[i])
			fprintf(out, "damaged: %s\n", v->super_why[i].text);
		dump_super(out, &b->super[i]);
	}
}

static struct limits limits_of(const struct blocks *b, const struct disk_super *sb)
{
	return (struct limits){
		.geo = {.cluster_shift = b->ident.cluster_shift, .sector_shift = sb->sector_shift},
		.uuid_seed = checksum_uuid(b->ident.uuid),
		.phys_regions = le64_get(sb->phys_regions),
		.epoch = le32_get(sb->epoch),
		.zstd = le64_get(sb->incompat) & INCOMPAT_ZSTD_BLOBS,
		.backing = le64_get(sb->incompat) & INCOMPAT_BACKING,
		.head_parent = le32_get(sb->head_parent),
		.next_snapshot = le32_get(sb->next_snapshot),
	};
}

/* The table of @group: its regions that are in use. */
static errint_t print_group(FILE *out, struct store *st, uint64_t group,
			    const struct disk_alloc_entry *e, struct blocks *b)
{
	uint64_t off = GROUP0_TABLE;
	errint_t err;

	if (group)
		off = group * GROUP_REGIONS * REGION_SIZE + GROUP_TABLE_UNIT * UNIT_SIZE;
	off += (e->slots & 1) * UNIT_SIZE;
	err = store_read(st, &b->alloc, UNIT_SIZE, off);
	if (err)
		return err;
	heading(out, "group table", off);
	for (unsigned i = 0; i < ALLOC_ENTRIES; i++)
		if (b->alloc.entry[i].in_use)
			dump_alloc_entry(out, group * GROUP_REGIONS + i, &b->alloc.entry[i]);
	return 0;
}

static errint_t print_alloc(FILE *out, struct store *st, const struct disk_super *sb,
			    struct blocks *b)
{
	uint64_t slots = le64_get(sb->root_slots);

	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++) {
		uint64_t off =
			ALLOC_ROOT_OFFSET + i * 2ull * UNIT_SIZE + (slots >> i & 1) * UNIT_SIZE;
		struct disk_alloc_block root;
		errint_t err;

		if (!super_has_root_block(sb, i))
			continue;
		err = store_read(st, &b->alloc, UNIT_SIZE, off);
		root = b->alloc;
		for (unsigned k = 0; k < ALLOC_ENTRIES && !err; k++)
			if (root.entry[k].in_use)
				err = print_group(out, st, (uint64_t)i * ALLOC_ENTRIES + k,
						  &root.entry[k], b);
		if (err)
			return err;
	}
	return 0;
}

/* Reads ring bytes [pos, pos + len), whole units that may wrap. */
static errint_t read_ring(struct store *st, const struct disk_super *sb, uint64_t pos, uint8_t *buf,
			  uint64_t len)
{
	uint64_t start = le64_get(sb->journal_offset), ring = le64_get(sb->journal_length);
	uint64_t at = pos % ring, first = ring - at < len ? ring - at : len;
	errint_t err = store_read(st, buf, first, start + at);

	if (!err && first < len)
		err = store_read(st, buf + first, len - first, start);
	return err;
}

/* Reads the transaction that may be at @pos: as many blocks as its first one says, of the @room
 * bytes that there can be. */
static errint_t read_txn(struct store *st, const struct disk_super *sb, uint64_t pos, uint64_t room,
			 struct blocks *b, size_t *len)
{
	const struct disk_txn *txn = (const struct disk_txn *)b->txn;
	errint_t err = read_ring(st, sb, pos, b->txn, UNIT_SIZE);
	uint32_t n = le32_get(txn->nblocks);

	*len = UNIT_SIZE;
	if (err || le32_get(txn->magic) != JOURNAL_MAGIC || n < 2 || n > TXN_MAX_BLOCKS ||
	    n > room / UNIT_SIZE)
		return err;
	*len = n * (size_t)UNIT_SIZE;
	return read_ring(st, sb, pos, b->txn, *len);
}

static errint_t print_journal(FILE *out, struct store *st, const struct disk_super *sb,
			      struct blocks *b)
{
	const struct disk_txn *txn = (const struct disk_txn *)b->txn;
	const struct limits lim = limits_of(b, sb);
	uint64_t ring = le64_get(sb->journal_length), pos = le64_get(sb->journal_pos), done = 0;
	uint64_t seq = le64_get(sb->journal_seq);
	uint32_t chain = le32_get(sb->journal_chain);

	while (done < ring) {
		struct reason why = {""};
		size_t len;
		errint_t err = read_txn(st, sb, pos, ring - done, b, &len);

		if (err)
			return err;
		err = validate_txn(txn, len, seq, chain, &lim, &why);
		if (err == -ENODATA)
			break;
		heading(out, "transaction", le64_get(sb->journal_offset) + pos % ring);
		if (err) {
			fprintf(out, "damaged: %s\n", why.text);
			break;
		}
		dump_txn(out, &lim.geo, txn);
		chain = le32_get(txn->crc);
		seq++;
		pos += len;
		done += len;
	}
	return 0;
}

static errint_t print_root(FILE *out, struct store *st, const struct disk_super *sb,
			   struct blocks *b)
{
	const struct limits lim = limits_of(b, sb);
	struct desc root = desc_from_disk(&sb->root);
	struct extent e = desc_extent(&lim.geo, root);
	uint64_t nclusters = clusters_for(&lim.geo, le64_get(sb->size));
	struct reason why;
	errint_t err;

	if (desc_type(root) != DESC_NODE)
		return 0;
	err = store_read(st, &b->node, UNIT_SIZE, e.off);
	if (err)
		return err;
	heading(out, "root node", e.off);
	if (validate_node(&b->node, root, sb->levels - 1u, 0, nclusters, &lim, &why))
		fprintf(out, "damaged: %s\n", why.text);
	dump_node(out, &lim.geo, sb->levels - 1u, 0, &b->node);
	return 0;
}

static errint_t read_blocks(struct store *st, struct blocks **b, struct verdict *v)
{
	*b = store_buffer(sizeof(**b));
	if (!*b)
		return log_err(-ENOMEM, "%s: cannot read its blocks", st->name);
	return read_fixed(st, *b, v);
}

errint_t blocks_print(FILE *out, struct store *st)
{
	CLEANUP(free) struct blocks *b = NULL;
	const struct disk_super *sb;
	struct verdict v;
	errint_t err = read_blocks(st, &b, &v);

	if (err)
		return err;
	print_fixed(out, b, &v);
	if (v.newest < 0)
		return 0;
	sb = &b->super[v.newest];
	err = print_alloc(out, st, sb, b);
	if (!err)
		err = print_journal(out, st, sb, b);
	if (!err)
		err = print_root(out, st, sb, b);
	return err;
}

errint_t blocks_json(json_t *doc, struct store *st)
{
	CLEANUP(free) struct blocks *b = NULL;
	json_t *supers = json_array(), *block;
	struct verdict v;
	errint_t err = read_blocks(st, &b, &v);

	for (unsigned i = 0; i < SUPER_SLOTS && !err; i++) {
		block = dump_super_json(&b->super[i]);
		json_put_u64(block, "offset", slot_offset(i));
		json_put_text(block, "damage", v.super[i] ? v.super_why[i].text : "");
		json_array_append_new(supers, block);
	}
	if (!err) {
		block = dump_ident_json(&b->ident);
		json_put_u64(block, "offset", IDENT_OFFSET);
		json_put_text(block, "damage", v.ident ? v.ident_why.text : "");
		json_put(doc, "identification", block);
	}
	json_put(doc, "superblocks", supers);
	return err;
}
