/* SPDX-License-Identifier: MIT */
/* The reference to a backing, in superblocks and in memory. */
#include "config.h"

#include "image/backing.h"

#include <string.h>

#include "common/log.h"
#include "image/checkpoint.h"
#include "image/core.h"
#include "image/tlv.h"

/* --- superblocks --------------------------------------------------------------------------------
 */

void backing_from_super(const struct disk_super *sb, struct backing_ref *ref)
{
	const struct disk_backing *b = &sb->backing;
	const uint8_t *snapshot;
	size_t len;

	*ref = (struct backing_ref){
		.kind = b->kind,
		.size = le64_get(b->size),
		.stamp = le64_get(b->stamp),
		.limit = le64_get(b->limit),
	};
	memcpy(ref->id, b->id, sizeof(ref->id));
	memcpy(ref->path, b->path, le16_get(b->path_len));
	snapshot = tlv_find(sb, TLV_BACKING_SNAPSHOT, &len);
	ref->has_snapshot = snapshot;
	if (snapshot)
		memcpy(ref->snapshot, snapshot, sizeof(ref->snapshot));
	ref->committing = tlv_find(sb, TLV_COMMITTING, &len);
}

bool backing_to_super(const struct backing_ref *ref, struct disk_super *sb)
{
	struct disk_backing *b = &sb->backing;
	uint64_t incompat = le64_get(sb->incompat) & ~INCOMPAT_BACKING;
	size_t len = strlen(ref->path);
	bool room = true;

	tlv_remove(sb, TLV_BACKING_SNAPSHOT);
	tlv_remove(sb, TLV_COMMITTING);
	*b = (struct disk_backing){.kind = ref->kind};
	if (ref->kind == BACKING_NONE) {
		sb->incompat = le64_make(incompat);
		return true;
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
		room = tlv_add(sb, TLV_BACKING_SNAPSHOT, ref->snapshot, sizeof(ref->snapshot));
	if (ref->committing)
		room = tlv_add(sb, TLV_COMMITTING, NULL, 0) && room;
	return room;
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

/* What other entries the superblock has is not ours to decide. */
static errint_t check_room(struct image *im, const struct backing_ref *ref)
{
	struct disk_super sb;

	pthread_mutex_lock(&im->lock);
	sb = im->super;
	pthread_mutex_unlock(&im->lock);
	return backing_to_super(ref, &sb)
		       ? 0
		       : log_fail(-ENOSPC, "%s: its superblock has no room for this backing",
				  im->st->name);
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
		err = check_room(im, ref);
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
