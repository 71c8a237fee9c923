/* SPDX-License-Identifier: MIT */
/*
 * IDENT and a superblock.  Input: mode, the named fields of the IDENT (136 bytes), the superblock.
 * Mode bit 1: the reserved part of the IDENT follows after it as well.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "image/backing.h"
#include "image/checksum.h"
#include "image/content.h"
#include "image/dump.h"
#include "tests/fuzz/super_input.h"
#include "tests/fuzz/fuzz.h"

static void look_at_ident(struct disk_ident *ident, bool fix)
{
	struct reason why = {""};

	if (fix)
		ident->crc = le32_make(checksum_ident(ident));
	errint_t err = validate_ident(ident, &why);
	fuzz_verdict(err, &why, 0);
	dump_ident(fuzz_null(), ident);
	json_t *json = dump_ident_json(ident);
	fuzz_require(json, "no JSON for an IDENT");
	json_decref(json);
}

/* Sums that later code does without thinking of overflow. */
static void require_sane(const struct disk_super *sb)
{
	uint64_t journal = le64_get(sb->journal_offset) + le64_get(sb->journal_length);

	fuzz_require(journal <= le64_get(sb->phys_regions) * REGION_SIZE,
		     "journal beyond the file");
	fuzz_require(le64_get(sb->size) <= 1ull << 58, "size");
	fuzz_require(le32_get(sb->nsnapshots) <= MAX_SNAPSHOTS, "nsnapshots");
}

/* What each checkpoint does with a superblock leaves it valid, and says the same. */
static void require_rewritable(const struct disk_super *sb, const struct disk_ident *ident)
{
	CLEANUP(free) struct disk_super *again = fuzz_block(sizeof(*again));
	struct content content, then;
	struct backing_ref ref, ref_then;
	struct reason why = {""};

	memcpy(again, sb, sizeof(*again));
	content_load(sb, &content);
	backing_from_super(sb, &ref);
	fuzz_require(backing_to_super(&ref, again), "no room for the backing that was there");
	fuzz_require(content_store(&content, again), "no room for the content that was there");
	again->crc = le32_make(checksum_super(checksum_uuid(ident->uuid), again));
	fuzz_require(!validate_super(again, ident, &why), "a superblock written again is invalid");
	content_load(again, &then);
	backing_from_super(again, &ref_then);
	fuzz_require(!memcmp(&content, &then, sizeof(content)), "the content has changed");
	fuzz_require(!memcmp(&ref, &ref_then, sizeof(ref)), "the backing has changed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t mode = fuzz_u8(&in);
	CLEANUP(free) struct disk_ident *ident = fuzz_block(sizeof(*ident));
	CLEANUP(free) struct disk_super *sb = fuzz_block(sizeof(*sb));
	struct fuzz_input nothing = {data, 0};
	struct reason why = {""};

	fuzz_take(&in, ident, SUPER_IDENT_FIELDS);
	fuzz_take(mode & SUPER_LONG_IDENT ? &in : &nothing, ident->zero2, sizeof(ident->zero2));
	fuzz_take(&in, sb, sizeof(*sb));
	look_at_ident(ident, mode & FUZZ_FIX_CRC);
	if (mode & FUZZ_FIX_CRC) {
		memcpy(sb->uuid, ident->uuid, sizeof(sb->uuid));
		sb->crc = le32_make(checksum_super(checksum_uuid(ident->uuid), sb));
	}
	/* validate_super() is only asked about images with a valid IDENT. */
	if (ident->cluster_shift < CLUSTER_SHIFT_MIN || ident->cluster_shift > CLUSTER_SHIFT_MAX)
		return 0;
	errint_t err = validate_super(sb, ident, &why);
	fuzz_verdict(err, &why, 0);
	if (!err) {
		require_sane(sb);
		require_rewritable(sb, ident);
	}
	dump_super(fuzz_null(), sb);
	json_t *json = dump_super_json(sb);
	fuzz_require(json, "no JSON for a superblock");
	json_decref(json);
	return 0;
}
