/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>

#include "common/log.h"
#include "image/checksum.h"
#include "image/core.h"
#include "image/parallel.h"
#include "image/replay.h"

static errint_t refuse(struct image *im, const struct replay_place *at, const char *why)
{
	if (at->from == APPLY_VJ)
		return log_fail(-EBADMSG, "%s: volatile journal, slot %llu: %s", im->st->name,
				(unsigned long long)at->number, why);
	return log_fail(-EBADMSG, "%s: journal transaction %llu, record %u: %s", im->st->name,
			(unsigned long long)at->number, at->record, why);
}

/* txn_prepare() until it needs nothing.  The image is not shared yet, but the lock is what its
 * functions expect. */
static errint_t prepare(struct image *im, uint64_t v, struct desc d, struct node **leaf)
{
	struct need need = {0};
	errint_t err;

	do {
		pthread_mutex_lock(&im->lock);
		err = txn_prepare(im, v, 1, true, leaf, &need);
		if (!err && !alloc_loaded(im, d, &need.region)) {
			need.kind = NEED_REGION;
			err = -EAGAIN;
		}
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	return err;
}

static errint_t replay_map(struct image *im, const struct replay_place *at, uint64_t v,
			   struct desc d, const struct disk_record *verify)
{
	struct node *leaf;
	struct extent e = desc_extent(&im->geo, d);

	if (v >= clusters_for(&im->geo, im->size))
		return refuse(im, at, "the cluster lies beyond the end of the disk");
	if (e.len && region_of(e.off + e.len - 1) >= im->alloc.nregions)
		return refuse(im, at, "the extent lies beyond the end of the file");
	errint_t err = prepare(im, v, d, &leaf);
	if (!err)
		err = txn_replay_room(im);
	if (err)
		return err;

	SCOPED_LOCK(&im->lock);
	struct disk_desc old = desc_to_disk(leaf->entry[v & (NODE_ENTRIES - 1)]);
	if (verify && le32_get(verify->x32) != checksum_desc(&old))
		return refuse(im, at, "it replaces another entry than the tree holds");
	if (txn_replay_map(im, leaf, v, d, at->from))
		return refuse(im, at, "its space is in use, or of another class");
	return 0;
}

/* FREE, CURSOR, ZOMBIE, DISSOLVE. */
static errint_t replay_snapshot(struct image *im, const struct replay_place *at,
				const struct disk_record *r)
{
	struct desc d = desc_from_disk(&r->b);
	struct extent e = desc_extent(&im->geo, d);
	struct need need = {.kind = NEED_REGION};
	const char *why = NULL;
	errint_t err = txn_replay_room(im);

	if (err)
		return err;
	if (e.len && region_of(e.off + e.len - 1) >= im->alloc.nregions)
		return refuse(im, at, "the extent lies beyond the end of the file");
	do {
		pthread_mutex_lock(&im->lock);
		err = alloc_loaded(im, d, &need.region) ? 0 : -EAGAIN;
		if (!err)
			why = snapshot_apply(im, r, at->from);
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	if (!err && why)
		err = refuse(im, at, why);
	return err;
}

errint_t replay_record(struct image *im, const struct replay_place *at, const struct disk_record *r)
{
	struct desc d = desc_from_disk(&r->b);
	uint64_t a = le64_get(r->a);
	errint_t err = 0;

	switch (r->type) {
	case REC_MAP:
		return replay_map(im, at, a, d, r);
	case REC_RANGE:
		for (uint32_t n = 0; !err && n < le32_get(r->x32); n++)
			err = replay_map(im, at, a + n, d, NULL);
		return err;
	default:
		return replay_snapshot(im, at, r);
	}
}

/* --- reading ahead ------------------------------------------------------------------------------
 */

#define AHEAD_MIN 32u /* leaves for which threads are worth their while */

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

struct ahead {
	struct image *im;
	const uint64_t *leaf;
};

static errint_t read_leaf(void *arg, unsigned worker, uint64_t i)
{
	const struct ahead *a = arg;
	struct need need = {0};
	struct node *leaf;
	errint_t err;

	(void)worker;
	do {
		pthread_mutex_lock(&a->im->lock);
		err = map_leaf(a->im, a->leaf[i] << NODE_SHIFT, false, &leaf, &need);
		pthread_mutex_unlock(&a->im->lock);
	} while (image_again(a->im, &err, &need));
	return err;
}

errint_t replay_prepare(struct image *im, uint64_t n, const void *arg,
			const struct disk_record *(*get)(const void *arg, uint64_t i))
{
	uint64_t clusters = clusters_for(&im->geo, im->size), m = 0, unique = 0;
	CLEANUP(free) uint64_t *leaf = NULL;
	struct ahead a = {.im = im};

	if (n < AHEAD_MIN || im->wait)
		return 0;
	leaf = malloc(n * sizeof(*leaf));
	if (!leaf)
		return -ENOMEM;
	for (uint64_t i = 0; i < n; i++) {
		const struct disk_record *r = get(arg, i);

		if (r && (r->type == REC_MAP || r->type == REC_RANGE) && le64_get(r->a) < clusters)
			leaf[m++] = le64_get(r->a) >> NODE_SHIFT;
	}
	qsort(leaf, m, sizeof(*leaf), by_number);
	for (uint64_t i = 0; i < m; i++)
		if (!i || leaf[i] != leaf[i - 1])
			leaf[unique++] = leaf[i];
	/* What does not fit into the cache would only be read twice. */
	if (unique > im->map.max_nodes / 4 * 3)
		unique = im->map.max_nodes / 4 * 3;
	if (unique < AHEAD_MIN)
		return 0;
	a.leaf = leaf;
	return parallel_for(OPEN_THREADS, unique, &a, read_leaf);
}

/* --- the journal --------------------------------------------------------------------------------
 */

static const struct disk_record *record_of(const void *arg, uint64_t i)
{
	return txn_record(arg, (unsigned)i);
}

static errint_t apply(struct image *im)
{
	const struct disk_txn *t = im->journal.buf;
	errint_t err = replay_prepare(im, le32_get(t->nrecords), t, record_of);

	for (unsigned i = 0; !err && i < le32_get(t->nrecords); i++) {
		const struct replay_place at = {APPLY_JOURNAL, le64_get(t->sequence), i};

		err = replay_record(im, &at, txn_record(t, i));
	}
	return err;
}

/* Was the superblock that was durable when @t was written newer than any that is left?  *known:
 * the newest one known of, raised, so that each is mentioned once. */
static errint_t superblock_lost(struct image *im, const struct disk_txn *t, uint64_t *known)
{
	uint64_t have = le64_get(im->super.generation);

	if (le64_get(t->sb_gen) <= *known)
		return 0;
	*known = le64_get(t->sb_gen);
	if (im->read_only) {
		log_warn("%s: superblock generation %llu was lost; showing generation %llu",
			 im->st->name, (unsigned long long)le64_get(t->sb_gen),
			 (unsigned long long)have);
		return 0;
	}
	return log_fail(
		-EBADMSG,
		"%s: superblock generation %llu was durable and is lost; open the image read-only to "
		"save what generation %llu holds",
		im->st->name, (unsigned long long)le64_get(t->sb_gen), (unsigned long long)have);
}

/* What cannot be read proves nothing.  A reader goes on, a writer does not. */
static errint_t unproven(const struct image *im, errint_t err)
{
	return im->read_only && err != -ENOMEM ? 0 : err;
}

/*
 * Nothing was written after a superblock that is CLEAN.  The first transaction that a later writer
 * wrote stands where the journal of that superblock ends: is one there that knows of a newer
 * superblock?
 */
static errint_t check_clean(struct image *im)
{
	struct journal *j = &im->journal;
	uint64_t known = le64_get(im->super.generation);
	size_t len;
	errint_t err = journal_read(im, j->head, j->length, &len);

	if (err)
		return unproven(im, err);
	return journal_newer(im, len, le64_get(im->super.journal_seq) - 1)
		       ? superblock_lost(im, j->buf, &known)
		       : 0;
}

/* Step 5.  What can still be read is shown. */
static errint_t check_rest(struct image *im, uint64_t last)
{
	uint64_t newer;
	errint_t err = journal_scan(im, im->journal.head, last, &newer);

	if (err)
		return unproven(im, err);
	if (!newer)
		return 0;
	if (im->read_only) {
		log_warn(
			"%s: the journal is damaged: transaction %llu is intact, but not all before it; what they changed is missing from what is shown",
			im->st->name, (unsigned long long)newer);
		return 0;
	}
	return log_fail(
		-EBADMSG,
		"%s: the journal is damaged: transaction %llu is intact, but not all before it; open the image read-only to save what is there",
		im->st->name, (unsigned long long)newer);
}

errint_t replay_journal(struct image *im, uint64_t *next_seq)
{
	struct journal *j = &im->journal;
	uint64_t known = le64_get(im->super.generation);
	struct limits lim;
	struct reason why;

	*next_seq = le64_get(im->super.journal_seq);
	if (!j->length)
		return 0;
	if (le32_get(im->super.flags) & SUPER_CLEAN)
		return check_clean(im);
	image_limits(im, &lim);
	for (;;) {
		size_t len;
		errint_t err = journal_read(im, j->head, journal_free(im), &len);

		if (!err)
			err = validate_txn(j->buf, len, *next_seq, j->chain, &lim, &why);
		if (err == -ENODATA)
			break;
		if (err == -EBADMSG)
			return image_damaged(im, "journal transaction",
					     j->offset + j->head % j->length, why.text);
		if (!err)
			err = superblock_lost(im, j->buf, &known);
		if (!err)
			err = apply(im);
		if (err)
			return err;
		j->chain = le32_get(j->buf->crc);
		j->head += len;
		++*next_seq;
		im->replayed++;
	}
	return check_rest(im, *next_seq - 1);
}
