/* SPDX-License-Identifier: MIT */
/*
 * JSON forms.  Integers above 2^63 - 1, which JSON libraries do not agree about, are strings, as
 * are checksums (hexadecimal).  A field of a block that failed validation is printed as it is.
 */
#include "config.h"

#include "image/dump.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "image/reason.h"

/* An object under construction: once something failed, the rest does nothing. */
struct object {
	json_t *json;
	bool failed;
};

static void set(struct object *o, const char *name, json_t *value)
{
	if (o->failed)
		json_decref(value);
	else if (json_object_set_new(o->json, name, value))
		o->failed = true;
}

static void set_u64(struct object *o, const char *name, uint64_t v)
{
	char text[24];

	if (v <= INT64_MAX) {
		set(o, name, json_integer((json_int_t)v));
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64, v);
	set(o, name, json_string(text));
}

static void set_hex(struct object *o, const char *name, uint32_t v)
{
	char text[16];

	snprintf(text, sizeof(text), "%08" PRIx32, v);
	set(o, name, json_string(text));
}

static void set_uuid(struct object *o, const char *name, const uint8_t uuid[16])
{
	char text[37];

	dump_uuid(uuid, text);
	set(o, name, json_string(text));
}

/* Text from the disk, up to a NUL: as it is when it is UTF-8, else what can be printed of it. */
static void set_text(struct object *o, const char *name, const char *disk, size_t len)
{
	char text[BACKING_PATH_MAX + 1];
	json_t *value = json_stringn(disk, strnlen(disk, len));

	assert(len <= BACKING_PATH_MAX);
	set(o, name, value ? value : json_string(reason_printable(disk, len, text)));
}

static void set_desc(struct object *o, const char *name, const struct disk_desc *d)
{
	static const struct geometry any = {CLUSTER_SHIFT_MIN, SECTOR_SHIFT};
	char text[DUMP_DESC_MAX];

	set(o, name, json_string(dump_desc(&any, desc_from_disk(d), text)));
}

static json_t *finish(struct object *o)
{
	if (!o->failed)
		return o->json;
	json_decref(o->json);
	return NULL;
}

static struct object begin(void)
{
	json_t *json = json_object();

	return (struct object){json, !json};
}

json_t *dump_ident_json(const struct disk_ident *ident)
{
	struct object o = begin();

	set_u64(&o, "format", le32_get(ident->major));
	set_hex(&o, "crc", le32_get(ident->crc));
	set_uuid(&o, "uuid", ident->uuid);
	set_u64(&o, "unit_shift", ident->unit_shift);
	set_u64(&o, "cluster_shift", ident->cluster_shift);
	set_u64(&o, "region_shift", ident->region_shift);
	json_t *offsets = json_array();
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		uint64_t v = le64_get(ident->super_offset[i]);
		if (json_array_append_new(offsets, v > INT64_MAX ? json_null()
								 : json_integer((json_int_t)v)))
			o.failed = true;
	}
	set(&o, "super_offset", offsets);
	set_text(&o, "creator", ident->creator, sizeof(ident->creator));
	return finish(&o);
}

static json_t *backing_json(const struct disk_backing *b)
{
	struct object o = begin();
	size_t len = le16_get(b->path_len);

	set_u64(&o, "kind", b->kind);
	set_u64(&o, "size", le64_get(b->size));
	set_uuid(&o, "id", b->id);
	set_u64(&o, "stamp", le64_get(b->stamp));
	set_u64(&o, "limit", le64_get(b->limit));
	set_text(&o, "path", b->path, len < sizeof(b->path) ? len : sizeof(b->path));
	return finish(&o);
}

/* One object for each alloc root block that is in use. */
static json_t *roots_json(const struct disk_super *sb)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++) {
		uint32_t crc = le32_get(sb->root_crc[i]);
		unsigned slot = le64_get(sb->root_slots) >> i & 1;
		if (!super_has_root_block(sb, i))
			continue;
		struct object o = begin();
		set_u64(&o, "block", i);
		set_u64(&o, "slot", slot);
		set_hex(&o, "crc", crc);
		if (json_array_append_new(list, finish(&o))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static void set_state(struct object *o, const struct disk_super *sb)
{
	set_u64(o, "size", le64_get(sb->size));
	set_u64(o, "sector_shift", sb->sector_shift);
	set_u64(o, "levels", sb->levels);
	set_u64(o, "epoch", le32_get(sb->epoch));
	set_u64(o, "head_parent", le32_get(sb->head_parent));
	set_desc(o, "root", &sb->root);
	set_desc(o, "snaptab", &sb->snaptab);
	set_u64(o, "nsnapshots", le32_get(sb->nsnapshots));
	set_u64(o, "next_snapshot", le32_get(sb->next_snapshot));
	set_u64(o, "journal_offset", le64_get(sb->journal_offset));
	set_u64(o, "journal_length", le64_get(sb->journal_length));
	set_u64(o, "journal_pos", le64_get(sb->journal_pos));
	set_u64(o, "journal_seq", le64_get(sb->journal_seq));
	set_hex(o, "journal_chain", le32_get(sb->journal_chain));
	set_u64(o, "phys_regions", le64_get(sb->phys_regions));
	set_u64(o, "used_units", le64_get(sb->used_units));
	set(o, "alloc_root", roots_json(sb));
}

json_t *dump_super_json(const struct disk_super *sb)
{
	struct object o = begin();

	set_hex(&o, "crc", le32_get(sb->crc));
	set_u64(&o, "flags", le32_get(sb->flags));
	set_uuid(&o, "uuid", sb->uuid);
	set_u64(&o, "generation", le64_get(sb->generation));
	set_u64(&o, "incompat", le64_get(sb->incompat));
	set_u64(&o, "ro_compat", le64_get(sb->ro_compat));
	set_u64(&o, "compat", le64_get(sb->compat));
	set_state(&o, sb);
	set_uuid(&o, "session", sb->session);
	if (sb->backing.kind != BACKING_NONE)
		set(&o, "backing", backing_json(&sb->backing));
	return finish(&o);
}
