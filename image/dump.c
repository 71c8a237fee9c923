/* SPDX-License-Identifier: MIT */
/*
 * Text forms are one field a line, "name: value", with the names of format.h.  Nothing here trusts
 * the bytes: a block that failed validation can be printed as well (of a transaction, as many
 * blocks as it claims must be there), and what comes from the disk as text is printed without
 * control characters.
 */
#include "config.h"

#include "image/dump.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "codecs/codec.h"
#include "image/reason.h"
#include "image/tlv.h"
#include "image/validate.h"

static const char *const incompat_names[] = {"zstd",	    "backing",	    "fall-through",
					     "sealed-csum", "dictionaries", "external-data",
					     "encryption"};
static const char *const ro_compat_names[] = {"branches"};
static const char *const flag_names[] = {"clean", "errors"};
static const char *const backing_names[] = {"none", "raw", "qcow2", "ublk-img"};
static const char *const class_names[] = {"none", "data", "blob", "meta", "mixed"};
static const char *const record_names[] = {"none",   "map",    "range",	  "free",
					   "cursor", "zombie", "dissolve"};

#define POSITION_BITS 56 /* of FREE's a: the level stands above them */
#define COUNT(array)  (sizeof(array) / sizeof(*(array)))

struct names {
	const char *const *name;
	unsigned n;
};
#define NAMES(array) ((struct names){array, COUNT(array)})

/* The name of bit or value @i; @buf is used when it has none. */
static const char *name_of(struct names names, unsigned i, const char *what, char buf[24])
{
	if (i < names.n)
		return names.name[i];
	snprintf(buf, 24, "%s %u", what, i);
	return buf;
}

/* The names of the bits of @mask, separated by ", "; "none" for 0.  Cut at @len. */
static const char *bit_list(uint64_t mask, struct names names, char *buf, size_t len)
{
	size_t used = 0;

	assert(len > 0);
	snprintf(buf, len, "%s", mask ? "" : "none");
	while (mask && used + 1 < len) {
		char other[24];
		unsigned bit = (unsigned)__builtin_ctzll(mask);
		mask &= mask - 1;
		int n = snprintf(buf + used, len - used, "%s%s", name_of(names, bit, "bit", other),
				 mask ? ", " : "");
		used += (size_t)n;
	}
	return buf;
}

const char *dump_incompat(uint64_t mask, char *buf, size_t len)
{
	return bit_list(mask, NAMES(incompat_names), buf, len);
}

void dump_uuid(const uint8_t uuid[16], char buf[37])
{
	char *p = buf;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += snprintf(p, 3, "%02x", uuid[i]);
	}
}

const char *dump_desc(const struct geometry *g, struct desc d, char buf[DUMP_DESC_MAX])
{
	struct extent e;

	switch (desc_type(d)) {
	case DESC_HOLE:
		snprintf(buf, DUMP_DESC_MAX, "hole");
		return buf;
	case DESC_ZERO:
		snprintf(buf, DUMP_DESC_MAX, "zero birth %" PRIu32, d.birth);
		return buf;
	case DESC_RAW:
		snprintf(buf, DUMP_DESC_MAX,
			 "raw unit %" PRIu64 " birth %" PRIu32 " valid %04x zero %04x",
			 desc_unit(d), d.birth, desc_valid(d), desc_zero(d));
		return buf;
	case DESC_ZSTD:
		e = desc_extent(g, d);
		snprintf(buf, DUMP_DESC_MAX,
			 "zstd byte %" PRIu64 " stored %" PRIu64 " birth %" PRIu32
			 " crc %08" PRIx32,
			 e.off, e.len, d.birth, d.aux);
		return buf;
	case DESC_NODE:
		snprintf(buf, DUMP_DESC_MAX,
			 "node unit %" PRIu64 " birth %" PRIu32 " crc %08" PRIx32, desc_unit(d),
			 d.birth, d.aux);
		return buf;
	case DESC_SNAPTAB:
		snprintf(buf, DUMP_DESC_MAX,
			 "snaptab unit %" PRIu64 " units %u birth %" PRIu32 " crc %08" PRIx32,
			 desc_unit(d), desc_snaptab_units(d), d.birth, d.aux);
		return buf;
	}
	snprintf(buf, DUMP_DESC_MAX, "type %u w0 %016" PRIx64 " birth %" PRIu32 " aux %08" PRIx32,
		 (unsigned)desc_type(d), d.w0, d.birth, d.aux);
	return buf;
}

static void put_uuid(FILE *out, const char *name, const uint8_t uuid[16])
{
	char buf[37];

	dump_uuid(uuid, buf);
	fprintf(out, "%s: %s\n", name, buf);
}

static void put_desc(FILE *out, const char *name, const struct geometry *g,
		     const struct disk_desc *d)
{
	char buf[DUMP_DESC_MAX];

	fprintf(out, "%s: %s\n", name, dump_desc(g, desc_from_disk(d), buf));
}

void dump_ident(FILE *out, const struct disk_ident *ident)
{
	char creator[sizeof(ident->creator) + 1];

	fprintf(out, "format: %" PRIu32 "\n", le32_get(ident->major));
	fprintf(out, "crc: %08" PRIx32 "\n", le32_get(ident->crc));
	put_uuid(out, "uuid", ident->uuid);
	fprintf(out, "unit_shift: %u\n", ident->unit_shift);
	fprintf(out, "cluster_shift: %u\n", ident->cluster_shift);
	fprintf(out, "region_shift: %u\n", ident->region_shift);
	for (unsigned i = 0; i < SUPER_SLOTS; i++)
		fprintf(out, "super_offset[%u]: %" PRIu64 "\n", i,
			le64_get(ident->super_offset[i]));
	fprintf(out, "creator: %s\n",
		reason_printable(ident->creator, sizeof(ident->creator), creator));
}

static void put_compression(FILE *out, const struct disk_super *sb)
{
	struct disk_tlv_compression c;
	size_t len;
	const uint8_t *data = tlv_find(sb, TLV_COMPRESSION, &len);

	if (!data || len != sizeof(c))
		return;
	memcpy(&c, data, sizeof(c));
	fprintf(out, "compression: %s level %d\n", codec_name(c.codec), c.level);
}

static void put_point(FILE *out, const char *name, const struct disk_point *p)
{
	char text[64], printable[sizeof(p->name) + 1];

	snprintf(text, sizeof(text), "%s.uuid", name);
	put_uuid(out, text, p->uuid);
	fprintf(out, "%s.size: %" PRIu64 "\n", name, le64_get(p->size));
	fprintf(out, "%s.name: %s\n", name, reason_printable(p->name, sizeof(p->name), printable));
}

static void put_content(FILE *out, const struct disk_super *sb)
{
	static const struct {
		uint32_t type;
		const char *name;
	} two[] = {{TLV_DELTA, "delta"}, {TLV_APPLYING, "applying"}};
	struct disk_tlv_content at;
	struct disk_tlv_delta d;
	size_t len;
	const uint8_t *data = tlv_find(sb, TLV_CONTENT, &len);

	if (data && len == sizeof(at)) {
		memcpy(&at, data, sizeof(at));
		fprintf(out, "content.generation: %" PRIu64 "\n", le64_get(at.generation));
		put_point(out, "content.at", &at.at);
	}
	for (unsigned i = 0; i < 2; i++) {
		char name[32];

		data = tlv_find(sb, two[i].type, &len);
		if (!data || len != sizeof(d))
			continue;
		memcpy(&d, data, sizeof(d));
		snprintf(name, sizeof(name), "%s.image", two[i].name);
		put_uuid(out, name, d.image);
		snprintf(name, sizeof(name), "%s.base", two[i].name);
		put_point(out, name, &d.base);
		snprintf(name, sizeof(name), "%s.target", two[i].name);
		put_point(out, name, &d.target);
	}
}

static size_t backing_path_len(const struct disk_backing *b)
{
	size_t len = le16_get(b->path_len);

	return len < sizeof(b->path) ? len : sizeof(b->path);
}

static void put_backing(FILE *out, const struct disk_backing *b)
{
	char path[sizeof(b->path) + 1], buf[24];

	if (b->kind == BACKING_NONE)
		return;
	fprintf(out, "backing.kind: %s\n", name_of(NAMES(backing_names), b->kind, "kind", buf));
	fprintf(out, "backing.size: %" PRIu64 "\n", le64_get(b->size));
	put_uuid(out, "backing.id", b->id);
	fprintf(out, "backing.stamp: %" PRIu64 "\n", le64_get(b->stamp));
	fprintf(out, "backing.limit: %" PRIu64 "\n", le64_get(b->limit));
	fprintf(out, "backing.path: %s\n", reason_printable(b->path, backing_path_len(b), path));
}

/* The descriptors of a superblock are no compressed extents, so the cluster size does not matter.
 */
static const struct geometry any_geometry = {CLUSTER_SHIFT_MIN, SECTOR_SHIFT};

static void put_identity(FILE *out, const struct disk_super *sb)
{
	char bits[512];

	fprintf(out, "crc: %08" PRIx32 "\n", le32_get(sb->crc));
	fprintf(out, "flags: %s\n",
		bit_list(le32_get(sb->flags), NAMES(flag_names), bits, sizeof(bits)));
	put_uuid(out, "uuid", sb->uuid);
	fprintf(out, "generation: %" PRIu64 "\n", le64_get(sb->generation));
	fprintf(out, "incompat: %s\n", dump_incompat(le64_get(sb->incompat), bits, sizeof(bits)));
	fprintf(out, "ro_compat: %s\n",
		bit_list(le64_get(sb->ro_compat), NAMES(ro_compat_names), bits, sizeof(bits)));
	fprintf(out, "compat: %s\n",
		bit_list(le64_get(sb->compat), (struct names){NULL, 0}, bits, sizeof(bits)));
}

static void put_state(FILE *out, const struct disk_super *sb)
{
	fprintf(out, "size: %" PRIu64 "\n", le64_get(sb->size));
	fprintf(out, "sector_shift: %u\n", sb->sector_shift);
	fprintf(out, "levels: %u\n", sb->levels);
	fprintf(out, "epoch: %" PRIu32 "\n", le32_get(sb->epoch));
	fprintf(out, "head_parent: %" PRIu32 "\n", le32_get(sb->head_parent));
	put_desc(out, "root", &any_geometry, &sb->root);
	put_desc(out, "snaptab", &any_geometry, &sb->snaptab);
	fprintf(out, "nsnapshots: %" PRIu32 "\n", le32_get(sb->nsnapshots));
	fprintf(out, "next_snapshot: %" PRIu32 "\n", le32_get(sb->next_snapshot));
	fprintf(out, "journal_offset: %" PRIu64 "\n", le64_get(sb->journal_offset));
	fprintf(out, "journal_length: %" PRIu64 "\n", le64_get(sb->journal_length));
	fprintf(out, "journal_pos: %" PRIu64 "\n", le64_get(sb->journal_pos));
	fprintf(out, "journal_seq: %" PRIu64 "\n", le64_get(sb->journal_seq));
	fprintf(out, "journal_chain: %08" PRIx32 "\n", le32_get(sb->journal_chain));
	fprintf(out, "phys_regions: %" PRIu64 "\n", le64_get(sb->phys_regions));
	fprintf(out, "used_units: %" PRIu64 "\n", le64_get(sb->used_units));
}

void dump_super(FILE *out, const struct disk_super *sb)
{
	put_identity(out, sb);
	put_state(out, sb);
	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++) {
		if (super_has_root_block(sb, i))
			fprintf(out, "root[%u]: slot %u crc %08" PRIx32 "\n", i,
				(unsigned)(le64_get(sb->root_slots) >> i & 1),
				le32_get(sb->root_crc[i]));
	}
	put_uuid(out, "session", sb->session);
	put_backing(out, &sb->backing);
	put_compression(out, sb);
	put_content(out, sb);
}

void dump_snapshot(FILE *out, const struct disk_snapshot *rec)
{
	size_t len = le16_get(rec->name_len);
	char name[sizeof(rec->name) + 1];

	if (len > sizeof(rec->name))
		len = sizeof(rec->name);
	fprintf(out, "id: %" PRIu32 "\n", le32_get(rec->id));
	fprintf(out, "name: %s\n", reason_printable(rec->name, len, name));
	fprintf(out, "parent: %" PRIu32 "\n", le32_get(rec->parent));
	fprintf(out, "epoch: %" PRIu32 "\n", le32_get(rec->epoch));
	fprintf(out, "flags: %s\n", le32_get(rec->flags) & SNAP_ZOMBIE ? "zombie" : "none");
	fprintf(out, "cursor: %" PRIu64 "\n", le64_get(rec->cursor));
	fprintf(out, "size: %" PRIu64 "\n", le64_get(rec->size));
	fprintf(out, "levels: %u\n", rec->levels);
	put_desc(out, "root", &any_geometry, &rec->root);
	fprintf(out, "ctime_ns: %" PRIu64 "\n", le64_get(rec->ctime_ns));
	put_uuid(out, "uuid", rec->uuid);
}

void dump_alloc_entry(FILE *out, uint64_t region, const struct disk_alloc_entry *e)
{
	char buf[24];

	fprintf(out, "region %" PRIu64 ": ", region);
	if (!e->in_use) {
		fprintf(out, "never used\n");
		return;
	}
	fprintf(out,
		"%s, %" PRIu32 " units free, longest run 2^%u, %" PRIu32
		" dead sectors, slots %02x, crc %08" PRIx32 "\n",
		name_of(NAMES(class_names), e->class_, "class", buf), le32_get(e->free_units),
		e->run_log2, le32_get(e->dead_sectors), e->slots, le32_get(e->crc));
}

static void put_record(FILE *out, const struct geometry *g, unsigned i, const struct disk_record *r)
{
	char desc[DUMP_DESC_MAX], buf[24];
	uint64_t a = le64_get(r->a);
	uint32_t x = le32_get(r->x32);

	fprintf(out, "record %u: %s ", i, name_of(NAMES(record_names), r->type, "type", buf));
	dump_desc(g, desc_from_disk(&r->b), desc);
	switch ((enum record_type)r->type) {
	case REC_MAP:
		fprintf(out, "cluster %" PRIu64 " replaces %08" PRIx32 " by %s\n", a, x, desc);
		return;
	case REC_RANGE:
		fprintf(out, "clusters %" PRIu64 " + %" PRIu32 " become %s\n", a, x, desc);
		return;
	case REC_FREE:
		fprintf(out, "level %u index %" PRIu64 " of snapshot %" PRIu32 ": %s\n",
			(unsigned)(a >> POSITION_BITS), a & (((uint64_t)1 << POSITION_BITS) - 1), x,
			desc);
		return;
	case REC_CURSOR:
		fprintf(out, "snapshot %" PRIu32 " next cluster %" PRIu64 "\n", x, a);
		return;
	case REC_ZOMBIE:
	case REC_DISSOLVE:
		fprintf(out, "snapshot %" PRIu32 "\n", x);
		return;
	}
	fprintf(out, "x32 %" PRIu32 " a %" PRIu64 " b %s\n", x, a, desc);
}

void dump_txn(FILE *out, const struct geometry *g, const struct disk_txn *txn)
{
	uint32_t nblocks = le32_get(txn->nblocks), n = le32_get(txn->nrecords);

	fprintf(out, "sequence: %" PRIu64 "\n", le64_get(txn->sequence));
	fprintf(out, "crc: %08" PRIx32 "\n", le32_get(txn->crc));
	fprintf(out, "prev_crc: %08" PRIx32 "\n", le32_get(txn->prev_crc));
	fprintf(out, "sb_gen: %" PRIu64 "\n", le64_get(txn->sb_gen));
	fprintf(out, "nblocks: %" PRIu32 "\n", nblocks);
	fprintf(out, "nrecords: %" PRIu32 "\n", n);
	if (nblocks < 1 || nblocks > TXN_MAX_BLOCKS || n > nblocks * TXN_BLOCK_RECORDS - 2)
		return;
	for (unsigned i = 0; i < n; i++)
		put_record(out, g, i, txn_record(txn, i));
}

void dump_node(FILE *out, const struct geometry *g, unsigned level, uint64_t index,
	       const struct disk_node *node)
{
	char buf[DUMP_DESC_MAX];

	fprintf(out, "level: %u\n", level);
	fprintf(out, "index: %" PRIu64 "\n", index);
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		struct desc d = desc_from_disk(&node->entry[i]);
		if (!desc_equal(d, desc_hole()))
			fprintf(out, "entry %u: %s\n", i, dump_desc(g, d, buf));
	}
}
