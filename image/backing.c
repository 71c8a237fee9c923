/* SPDX-License-Identifier: MIT */
/* The reference to a backing, in superblocks and in memory. */
#include "config.h"

#include "image/backing.h"

#include <string.h>

#include "common/log.h"
#include "image/checkpoint.h"
#include "image/core.h"

/* --- superblocks --------------------------------------------------------------------------------
 */

struct entry {
	uint32_t type, len;
	const uint8_t *data;
	size_t size; /* with head and padding */
};

/* The entry of the list at @pos; false: its end.  The list is validated. */
static bool next_entry(const uint8_t *tlv, size_t pos, struct entry *e)
{
	struct disk_tlv head;

	if (pos + sizeof(head) > TLV_BYTES)
		return false;
	memcpy(&head, tlv + pos, sizeof(head));
	e->type = le32_get(head.type);
	e->len = le32_get(head.len);
	e->data = tlv + pos + sizeof(head);
	e->size = sizeof(head) + ((e->len + 7u) & ~7u);
	return e->type;
}

void backing_from_super(const struct disk_super *sb, struct backing_ref *ref)
{
	const struct disk_backing *b = &sb->backing;
	struct entry e;

	*ref = (struct backing_ref){
		.kind = b->kind,
		.size = le64_get(b->size),
		.stamp = le64_get(b->stamp),
		.limit = le64_get(b->limit),
	};
	memcpy(ref->id, b->id, sizeof(ref->id));
	memcpy(ref->path, b->path, le16_get(b->path_len));
	for (size_t pos = 0; next_entry(sb->tlv, pos, &e); pos += e.size) {
		if (e.type == TLV_BACKING_SNAPSHOT) {
			ref->has_snapshot = true;
			memcpy(ref->snapshot, e.data, sizeof(ref->snapshot));
		}
		ref->committing |= e.type == TLV_COMMITTING;
	}
}

static size_t put_entry(uint8_t *tlv, size_t pos, uint32_t type, const void *data, uint32_t len)
{
	struct disk_tlv head = {le32_make(type), le32_make(len)};

	/* Entries that are kept are those that were there: these two, and a few bytes of others. */
	assert(pos + sizeof(head) + len <= TLV_BYTES);
	memcpy(tlv + pos, &head, sizeof(head));
	if (len)
		memcpy(tlv + pos + sizeof(head), data, len);
	return pos + sizeof(head) + ((len + 7u) & ~7u);
}

/* The list of @sb without what stands in it for the backing; returns where it ends. */
static size_t strip_entries(struct disk_super *sb)
{
	uint8_t kept[TLV_BYTES] = {0};
	size_t end = 0;
	struct entry e;

	for (size_t pos = 0; next_entry(sb->tlv, pos, &e); pos += e.size)
		if (e.type != TLV_BACKING_SNAPSHOT && e.type != TLV_COMMITTING) {
			memcpy(kept + end, sb->tlv + pos, e.size);
			end += e.size;
		}
	memcpy(sb->tlv, kept, sizeof(kept));
	return end;
}

void backing_to_super(const struct backing_ref *ref, struct disk_super *sb)
{
	struct disk_backing *b = &sb->backing;
	uint64_t incompat = le64_get(sb->incompat) & ~INCOMPAT_BACKING;
	size_t len = strlen(ref->path), end = strip_entries(sb);

	*b = (struct disk_backing){.kind = ref->kind};
	if (ref->kind == BACKING_NONE) {
		sb->incompat = le64_make(incompat);
		return;
	}
	assert(len && len <= BACKING_PATH_MAX);
	sb->incompat = le64_make(incompat | INCOMPAT_BACKING);
	b->path_len = le16_make((uint16_t)len);
	b->size = le64_make(ref->size);
	b->stamp = le64_make(ref->stamp);
	b->limit = le64_make(ref->limit);
	memcpy(b->id, ref->id, sizeof(b->id));
	memcpy(b->path, ref->path, len);
	if (ref->has_snapshot)
		end = put_entry(sb->tlv, end, TLV_BACKING_SNAPSHOT, ref->snapshot,
				sizeof(ref->snapshot));
	if (ref->committing)
		put_entry(sb->tlv, end, TLV_COMMITTING, NULL, 0);
}

uint64_t backing_limit(uint64_t size, uint64_t disk)
{
	return size >= disk ? disk : (size + SECTOR_SIZE - 1) & ~(uint64_t)(SECTOR_SIZE - 1);
}

/* --- of an image that is open -------------------------------------------------------------------
 */

void image_get_backing(struct image *im, struct backing_ref *ref)
{
	SCOPED_LOCK(&im->lock);
	*ref = im->backing;
}

static void set_frozen(struct image *im, void *arg)
{
	im->backing_next = arg;
}

errint_t image_set_backing(struct image *im, const struct backing_ref *ref)
{
	struct backing_ref next = *ref;
	struct ckpt_change change = {.freeze = set_frozen, .arg = &next};

	if (im->read_only)
		return log_fail(-EROFS, "%s: is open read-only, its backing cannot be changed",
				im->st->name);
	errint_t err = admin_begin(im);
	if (!err)
		err = checkpoint(im, &change);
	pthread_mutex_lock(&im->lock);
	im->backing_next = NULL;
	/*
	 * Only now: what is logged before the superblock is durable may be replayed on top of the
	 * old one, under which a hole still shows the old backing.
	 */
	if (!err) {
		im->backing = next;
		im->incompat = le64_get(im->super.incompat);
	}
	pthread_mutex_unlock(&im->lock);
	admin_end(im);
	return err;
}

errint_t image_commit_mark(struct image *im, const struct backing_ref *ref)
{
	assert(ref->committing);
	/* [m:commit_no_mark] */
	return RULE_BROKEN(im, commit_no_mark) ? 0 : image_set_backing(im, ref);
}

bool image_breaks_commit_sync(const struct image *im)
{
	/* [m:commit_no_sync] */
	(void)im;
	return RULE_BROKEN(im, commit_no_sync);
}

errint_t image_backing_work_begin(struct image *im, const char *what)
{
	const char *name = im->st->name;
	errint_t err = admin_begin(im);

	pthread_mutex_lock(&im->lock);
	if (!err && im->backing_work)
		err = log_fail(-EBUSY, "%s: a commit or a rebase of it is under way", name);
	if (!err && im->snaps.n)
		err = log_fail(-EBUSY,
			       "%s: has snapshots, which %s would change; delete them, or convert "
			       "the image instead",
			       name, what);
	if (!err)
		im->backing_work = true;
	pthread_mutex_unlock(&im->lock);
	admin_end(im);
	return err;
}

void image_backing_work_end(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	im->backing_work = false;
}

errint_t backing_refuse(struct image *im, const char *what)
{
	SCOPED_LOCK(&im->lock);
	if (im->backing_work)
		return log_fail(-EBUSY,
				"%s: cannot be %s while a commit or a rebase of it is under way",
				im->st->name, what);
	if (im->backing.committing)
		return log_fail(-EBUSY,
				"%s: cannot be %s before the commit that was interrupted is "
				"finished by another `ublk-img commit`",
				im->st->name, what);
	return 0;
}

bool backing_reads_zeros(const struct image *im, uint64_t limit, uint64_t v, struct desc d)
{
	bool shows = v << im->geo.cluster_shift < limit;

	switch (desc_type(d)) {
	case DESC_HOLE:
		return !shows;
	case DESC_ZERO:
		return true;
	case DESC_RAW:
		return !desc_valid(d) && (!shows || desc_zero(d) == 0xffff);
	default:
		return false;
	}
}
