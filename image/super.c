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
	if (err) {
		snprintf(why->text, sizeof(why->text), "slot %u cannot be read", slot);
		return err;
	}
	memcpy(sb, buf, sizeof(*sb));
	err = validate_super(sb, ident, why);
	/* Of unknown features or not: where its generation stands is settled for good. */
	if ((!err || err == -ENOTSUP) && (le64_get(sb->generation) & 1) != slot / 2) {
		snprintf(why->text, sizeof(why->text),
			 "generation at 32: %llu does not belong into slot %u",
			 (unsigned long long)le64_get(sb->generation), slot);
		err = -EBADMSG;
	}
	return err;
}

/* What stands in the slots. */
struct slots {
	struct disk_super sb[SUPER_SLOTS];
	errint_t state[SUPER_SLOTS]; /* 0 intact, -ENOTSUP intact but unusable, others damaged */
	bool zero[SUPER_SLOTS];	     /* never written */
	struct reason why[SUPER_SLOTS];
};

static bool intact(const struct slots *s, unsigned i)
{
	return !s->state[i] || s->state[i] == -ENOTSUP;
}

static uint64_t generation(const struct slots *s, unsigned i)
{
	return le64_get(s->sb[i].generation);
}

static bool all_zero(const struct disk_super *sb)
{
	const uint8_t *b = (const uint8_t *)sb;

	return !b[0] && !memcmp(b, b + 1, sizeof(*sb) - 1);
}

static errint_t read_slots(struct store *st, const struct disk_ident *ident, struct slots *s)
{
	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		s->state[i] = super_read_slot(st, ident, i, &s->sb[i], &s->why[i]);
		if (s->state[i] == -ENOMEM)
			return s->state[i];
		s->zero[i] = s->state[i] == -EBADMSG && all_zero(&s->sb[i]);
	}
	for (unsigned i = 0; i < SUPER_SLOTS; i += 2) {
		/* R4: copies of one generation that differ make it worthless. */
		if (!intact(s, i) || !intact(s, i + 1) ||
		    generation(s, i) != generation(s, i + 1) ||
		    !memcmp(&s->sb[i], &s->sb[i + 1], sizeof(s->sb[i])))
			continue;
		snprintf(s->why[i].text, sizeof(s->why[i].text),
			 "the copies of generation %llu differ",
			 (unsigned long long)generation(s, i));
		s->why[i + 1] = s->why[i];
		s->state[i] = s->state[i + 1] = -EBADMSG;
	}
	return 0;
}

/* The reason of a slot in which there is something rather than of one that was never written; the
 * error of reading when nothing could be read. */
static errint_t none_intact(struct store *st, const struct slots *s)
{
	const char *why = "no copy is there";
	errint_t err = s->state[0];

	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		if (s->state[i] == -EBADMSG)
			err = -EBADMSG;
		if (!s->zero[i])
			why = s->why[i].text;
	}
	return log_fail(err, "%s: no superblock is intact: %s", st->name, why);
}

/*
 * R4: the other pair holds the generation before @best, in its second slot at least, since the next
 * one goes there only when it is durable in the first.  If neither slot does, both are damaged, and
 * may have held the next one.
 */
static bool is_newest(const struct slots *s, unsigned best)
{
	unsigned other = 2 * !(best / 2);
	uint64_t before = generation(s, best) - 1;

	if (!before)
		return s->zero[other + 1];
	for (unsigned i = other; i < other + 2; i++)
		if (intact(s, i) && generation(s, i) == before)
			return true;
	return false;
}

errint_t super_choose(struct store *st, const struct disk_ident *ident, struct disk_super *sb,
		      struct super_choice *out)
{
	CLEANUP(free) struct slots *s = calloc(1, sizeof(*s));
	unsigned best = SUPER_SLOTS;

	if (!s)
		return -ENOMEM;
	errint_t err = read_slots(st, ident, s);
	if (err)
		return err;
	for (unsigned i = 0; i < SUPER_SLOTS; i++)
		if (intact(s, i) && (best == SUPER_SLOTS || generation(s, i) > generation(s, best)))
			best = i;
	if (best == SUPER_SLOTS)
		return none_intact(st, s);
	if (s->state[best])
		return log_fail(s->state[best], "%s: cannot be used: %s", st->name,
				s->why[best].text);
	unsigned twin = best ^ 1;
	*sb = s->sb[best];
	*out = (struct super_choice){
		.slot = best,
		.newest = is_newest(s, best),
		.single = !intact(s, twin) || generation(s, twin) != generation(s, best),
	};
	return 0;
}

static errint_t write_slot(struct store *st, const struct disk_super *buf, unsigned slot,
			   bool dsync)
{
	return dsync ? store_write_dsync(st, buf, UNIT_SIZE, super_slot_offset(slot))
		     : store_write(st, buf, UNIT_SIZE, super_slot_offset(slot));
}

errint_t super_complete(struct store *st, const struct disk_super *sb, const struct super_choice *c)
{
	if (!c->single)
		return 0;
	CLEANUP(free) struct disk_super *buf = store_buffer(UNIT_SIZE);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, sb, sizeof(*buf));
	return write_slot(st, buf, c->slot ^ 1, true);
}

errint_t super_write(struct store *st, struct disk_super *sb, bool dsync)
{
	CLEANUP(free) struct disk_super *buf = store_buffer(UNIT_SIZE);
	unsigned slot = 2 * (le64_get(sb->generation) & 1);

	if (!buf)
		return -ENOMEM;
	sb->crc = le32_make(checksum_super(checksum_uuid(sb->uuid), sb));
	memcpy(buf, sb, sizeof(*sb));
	errint_t err = write_slot(st, buf, slot, dsync);
	return err ? err : write_slot(st, buf, slot + 1, dsync);
}
