/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/checksum.h"
#include "image/super.h"

errint_t super_read_ident(struct store *st, struct disk_ident *ident)
{
	CLEANUP(free) struct disk_ident *buf = store_buffer(UNIT_SIZE);
	struct reason why;

	if (!buf)
		return -ENOMEM;
	errint_t err = store_read(st, buf, UNIT_SIZE, IDENT_OFFSET);
	if (err)
		return err;
	if (le64_get(buf->magic) != IDENT_MAGIC)
		return log_fail(-EBADMSG, "%s: not a ublk-img image", st->name);
	err = validate_ident(buf, &why);
	if (err)
		return log_fail(err, "%s: the image's identification block is damaged: %s",
				st->name, why.text);
	memcpy(ident, buf, sizeof(*ident));
	return 0;
}

errint_t super_read_slot(struct store *st, const struct disk_ident *ident, unsigned slot,
			 struct disk_super *sb, struct reason *why)
{
	CLEANUP(free) struct disk_super *buf = store_buffer(UNIT_SIZE);

	if (!buf)
		return -ENOMEM;
	errint_t err = store_read(st, buf, UNIT_SIZE, super_slot_offset(slot));
	if (err)
		return err;
	memcpy(sb, buf, sizeof(*sb));
	err = validate_super(sb, ident, why);
	if (!err && (le64_get(sb->generation) & 1) != slot / 2) {
		snprintf(why->text, sizeof(why->text),
			 "generation at 32: %llu does not belong into slot %u",
			 (unsigned long long)le64_get(sb->generation), slot);
		err = -EBADMSG;
	}
	return err;
}

errint_t super_choose(struct store *st, const struct disk_ident *ident, struct disk_super *sb)
{
	CLEANUP(free) struct disk_super *slot = calloc(SUPER_SLOTS, sizeof(*slot));
	struct reason why = {"no copy is there"};
	errint_t state[SUPER_SLOTS];
	int best = -1;

	if (!slot)
		return -ENOMEM;
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		struct reason w;

		state[i] = super_read_slot(st, ident, i, &slot[i], &w);
		if (state[i] == -ENOTSUP)
			return log_fail(state[i], "%s: cannot be used: %s", st->name, w.text);
		if (state[i] && state[i] != -EBADMSG)
			return state[i];
		if (state[i] && le64_get(slot[i].magic))
			why = w;
	}
	for (unsigned i = 0; i < SUPER_SLOTS; i += 2) {
		/* R4: copies of one generation that differ make it worthless. */
		if (!state[i] && !state[i + 1] &&
		    le64_get(slot[i].generation) == le64_get(slot[i + 1].generation) &&
		    memcmp(&slot[i], &slot[i + 1], sizeof(slot[i]))) {
			snprintf(why.text, sizeof(why.text), "the copies of generation %llu differ",
				 (unsigned long long)le64_get(slot[i].generation));
			state[i] = state[i + 1] = -EBADMSG;
		}
	}
	for (unsigned i = 0; i < SUPER_SLOTS; i++)
		if (!state[i] &&
		    (best < 0 || le64_get(slot[i].generation) > le64_get(slot[best].generation)))
			best = (int)i;
	if (best < 0)
		return log_fail(-EBADMSG, "%s: no superblock is intact: %s", st->name, why.text);
	memcpy(sb, &slot[best], sizeof(*sb));
	return 0;
}

errint_t super_write(struct store *st, struct disk_super *sb, bool dsync)
{
	CLEANUP(free) struct disk_super *buf = store_buffer(UNIT_SIZE);
	errint_t err = 0;

	if (!buf)
		return -ENOMEM;
	sb->crc = le32_make(checksum_super(checksum_uuid(sb->uuid), sb));
	memcpy(buf, sb, sizeof(*sb));
	for (unsigned i = 0; !err && i < 2; i++) {
		unsigned slot = 2 * (le64_get(sb->generation) & 1) + i;

		err = dsync ? store_write_dsync(st, buf, UNIT_SIZE, super_slot_offset(slot))
			    : store_write(st, buf, UNIT_SIZE, super_slot_offset(slot));
	}
	return err;
}
