/* SPDX-License-Identifier: MIT */
/*
 * Invariants:
 *
 * - T1. A record is in the open transaction exactly when its change is in memory and not yet in a
 *   closed one.
 * - T2. One transaction is closed and not durable at the most; T + 1 is never written before T is
 * durable.
 * - T3. Whatever is reserved fits: open.n + reserved records into one transaction, and one block
 * for each reserved record into the journal, since each may end up in a transaction of its own.
 * - T4. What a transaction frees stays held until it is durable.
 * - T5. Each record that is reserved has a slot of the volatile journal, if there is one.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "image/checksum.h"
#include "image/core.h"
#include "image/limbo.h"
#include "image/vj_priv.h"

errint_t txn_open(struct image *im, uint64_t seq)
{
	struct txns *t = &im->txns;

	t->open.seq = seq;
	t->durable_seq = seq - 1;
	t->open.cap = t->closing.cap = TXN_FULL_RECORDS;
	t->open.rec = malloc(t->open.cap * sizeof(*t->open.rec));
	t->closing.rec = malloc(t->closing.cap * sizeof(*t->closing.rec));
	t->last_commit_ms = t->last_ckpt_ms = clock_ms();
	return t->open.rec && t->closing.rec ? 0 : -ENOMEM;
}

void txn_close(struct image *im)
{
	struct txns *t = &im->txns;

	free(t->open.rec);
	free(t->closing.rec);
	free(t->open.frees.item);
	free(t->closing.frees.item);
	free(t->limbo.item);
}

/* --- reserving ------------------------------------------------------------------------------- */

static bool journal_has_room(struct image *im, unsigned more)
{
	unsigned reserved = im->txns.reserved + more;
	uint64_t blocks = txn_blocks(im->txns.open.n + reserved) + reserved + 1ull; /* T3 */

	return blocks << UNIT_SHIFT <= journal_free(im);
}

/* Do @n more fit into one transaction (T3) and into the volatile journal (T5)? */
static bool open_has_room(struct image *im, unsigned n)
{
	unsigned reserved = im->txns.reserved + n;

	return im->txns.open.n + reserved <= TXN_FULL_RECORDS &&
	       (!im->vj || reserved <= vj_room(im->vj));
}

/* Others have to log or give back what they reserved, or a round has to end. */
static errint_t need_room(struct image *im, struct need *need)
{
	if (!im->txns.open.n)
		return need_event(im, need);
	need->kind = NEED_COMMIT;
	return -EAGAIN;
}

errint_t txn_reserve(struct image *im, unsigned n, unsigned nfrees, struct need *need)
{
	struct txns *t = &im->txns;

	if (im->failed)
		return im->failed;
	if (!open_has_room(im, n))
		return need_room(im, need);
	if (!journal_has_room(im, n) || im->map.dirty + im->map.pinned >= im->dirty_cap) {
		/* An empty ring cannot become emptier: others have to log or give back first. */
		if (!t->open.n && im->journal.head == im->journal.start && !im->map.dirty)
			return need_event(im, need);
		need->kind = NEED_CHECKPOINT;
		need->checkpoints = im->stats.checkpoints;
		return -EAGAIN;
	}
	errint_t err = limbo_list_reserve(&t->open.frees, t->reserved + n + nfrees);
	if (!err)
		t->reserved += n;
	return err;
}

void txn_unreserve(struct image *im, unsigned n)
{
	assert(im->txns.reserved >= n);
	im->txns.reserved -= n;
	if (n)
		image_wake(im);
}

errint_t txn_prepare(struct image *im, uint64_t v, unsigned count, bool make, struct node **leaf,
		     struct need *need)
{
	errint_t err = map_leaf(im, v, make, leaf, need);

	assert((v + count - 1) >> NODE_SHIFT == v >> NODE_SHIFT);
	for (unsigned i = 0; !err && *leaf && i < count; i++) {
		struct desc old = (*leaf)->entry[(v + i) & (NODE_ENTRIES - 1)];

		if (!alloc_loaded(im, old, &need->region)) {
			need->kind = NEED_REGION;
			err = -EAGAIN;
		}
	}
	return err;
}

/* --- logging --------------------------------------------------------------------------------- */

bool txn_holds_freed(struct image *im, enum apply_from from)
{
	(void)im;
	return from == APPLY_LOG || (from == APPLY_VJ && !RULE_BROKEN(im, vj_free_early));
}

/* The one function that changes map and bitmaps, at run time and at replay alike (J3). */
static errint_t apply_map(struct image *im, struct node *leaf, uint64_t v, struct desc d,
			  enum apply_from from)
{
	struct desc old = leaf->entry[v & (NODE_ENTRIES - 1)];
	struct extent was = desc_extent(&im->geo, old);
	bool hold = txn_holds_freed(im, from);
	errint_t err = 0;

	if (!desc_same_extent(&im->geo, old, d)) {
		err = alloc_set(im, d);
		bool owned = map_owned(im, v, old);
		if (!err && was.len && owned) {
			err = alloc_clear(im, old, hold);
			im->stats.clusters_freed++;
		}
		if (!err && was.len && owned && hold) {
			/* A hole, or a blob in place of a raw cluster: the disk shrinks. */
			bool shrinks = desc_type(d) == DESC_HOLE || desc_type(d) == DESC_ZERO ||
				       (desc_type(d) == DESC_ZSTD && desc_type(old) == DESC_RAW);

			if (RULE_BROKEN(im, reuse_early))
				alloc_release(im, was);
			else
				limbo_list_add(&im->txns.open.frees,
					       (struct limbo_item){was, 0, shrinks});
		}
	}
	if (!err)
		map_set(im, leaf, v, d);
	return err;
}

/* Records that have been applied join the open transaction (J1): one group (J2). */
static void add_records(struct image *im, const struct disk_record *rec, unsigned n)
{
	struct txns *t = &im->txns;

	assert(t->reserved >= n && t->open.n + n <= t->open.cap);
	assert(!(le32_get(im->super.flags) & SUPER_CLEAN));
	t->reserved -= n;
	im->stats.records += n;
	memcpy(&t->open.rec[t->open.n], rec, n * sizeof(*rec));
	t->open.n += n;
	if (im->vj)
		vj_publish(im, t->open.seq, rec, n);
}

static uint32_t old_crc(const struct node *leaf, uint64_t v)
{
	struct disk_desc old = desc_to_disk(leaf->entry[v & (NODE_ENTRIES - 1)]);

	return checksum_desc(&old);
}

/* J6: the record that @v -> @d may replace: the last one, when it concerns the same extent. */
static struct disk_record *same_extent_record(struct image *im, const struct node *leaf, uint64_t v,
					      struct desc d)
{
	struct txn *t = &im->txns.open;
	struct disk_record *r = t->n ? &t->rec[t->n - 1] : NULL;

	if (!r || r->type != REC_MAP || le64_get(r->a) != v ||
	    !desc_same_extent(&im->geo, desc_from_disk(&r->b), d) ||
	    !desc_same_extent(&im->geo, leaf->entry[v & (NODE_ENTRIES - 1)], d))
		return NULL;
	return r;
}

errint_t txn_log_map(struct image *im, struct node *leaf, uint64_t v, struct desc d)
{
	struct disk_record *last = same_extent_record(im, leaf, v, d);
	const struct disk_record rec = {.type = REC_MAP,
					.x32 = le32_make(old_crc(leaf, v)),
					.a = le64_make(v),
					.b = desc_to_disk(d)};
	errint_t err = apply_map(im, leaf, v, d, APPLY_LOG);

	if (err)
		return image_fail(im, err, "the map and the bitmaps disagree");
	if (!last) {
		add_records(im, &rec, 1);
		return 0;
	}
	last->b = rec.b;
	if (im->vj) /* which only grows: V3 */
		vj_publish(im, im->txns.open.seq, &rec, 1);
	txn_unreserve(im, 1);
	return 0;
}

errint_t txn_log_range(struct image *im, struct node *leaf, uint64_t v, unsigned count,
		       struct desc d)
{
	assert(count && count <= RANGE_MAX);
	for (unsigned i = 0; i < count; i++) {
		errint_t err = apply_map(im, leaf, v + i, d, APPLY_LOG);

		if (err)
			return image_fail(im, err, "the map and the bitmaps disagree");
	}
	const struct disk_record rec = {.type = REC_RANGE,
					.x32 = le32_make(count),
					.a = le64_make(v),
					.b = desc_to_disk(d)};
	add_records(im, &rec, 1);
	return 0;
}

/* Room for all in the transaction that is open now: unlike what is reserved for later, they need no
 * units of their own. */
static errint_t group_reserve(struct image *im, unsigned n, struct need *need)
{
	struct txns *t = &im->txns;
	uint64_t blocks = txn_blocks(t->open.n + t->reserved + n) + t->reserved + 1ull;

	if (im->failed)
		return im->failed;
	if (!open_has_room(im, n))
		return need_room(im, need);
	if (blocks << UNIT_SHIFT > journal_free(im)) {
		if (!t->open.n && im->journal.head == im->journal.start)
			return need_event(im, need);
		need->kind = NEED_CHECKPOINT;
		need->checkpoints = im->stats.checkpoints;
		return -EAGAIN;
	}
	errint_t err = limbo_list_reserve(&t->open.frees, t->reserved + n);
	if (!err)
		t->reserved += n;
	return err;
}

errint_t txn_log_group(struct image *im, const struct disk_record *rec, unsigned n,
		       struct need *need)
{
	errint_t err = group_reserve(im, n, need);

	assert(n <= TXN_GROUP_MAX);
	if (err)
		return err;
	for (unsigned i = 0; i < n; i++) {
		const char *why = snapshot_apply(im, &rec[i], APPLY_LOG);

		if (why)
			return image_fail(im, -EBADMSG, why);
	}
	add_records(im, rec, n);
	return 0;
}

errint_t txn_replay_map(struct image *im, struct node *leaf, uint64_t v, struct desc d,
			enum apply_from from)
{
	if (d.birth > im->epoch)
		im->epoch = d.birth;
	return apply_map(im, leaf, v, d, from);
}

errint_t txn_replay_room(struct image *im)
{
	return limbo_list_reserve(&im->txns.open.frees, 1);
}

errint_t txn_release_replayed(struct image *im)
{
	struct limbo_list *l = &im->txns.open.frees;
	uint64_t barrier = guard_barrier(im);

	assert(!im->txns.open.n);
	for (size_t i = 0; i < l->n; i++)
		l->item[i].barrier = barrier;
	return limbo_list_move(&im->txns.limbo, l);
}

/* --- committing ------------------------------------------------------------------------------ */

errint_t txn_close_open(struct image *im, uint64_t *pos)
{
	struct txns *t = &im->txns;
	struct txn closed = t->open;

	assert(t->commit_busy && !t->closing.n && !t->closing.frees.n);
	*pos = im->journal.head;
	if (!closed.n)
		return 0;
	/* The new open transaction must be able to remember what is reserved already. */
	errint_t err = limbo_list_reserve(&t->closing.frees, t->reserved);
	if (err)
		return err;
	t->open = t->closing;
	t->open.seq = closed.seq + 1;
	t->closing = closed;
	if (im->vj) {
		t->closing.vj_end = im->vj->head;
		if (RULE_BROKEN(im, vj_retire_early))
			vj_retire(im->vj, t->closing.vj_end);
	}
	im->journal.head += (uint64_t)txn_blocks(closed.n) << UNIT_SHIFT;
	assert(im->journal.head - im->journal.start <= im->journal.length);
	return 0;
}

/* [m:punch_early] */
static void punch_closing(struct image *im)
{
	struct limbo_list *l = &im->txns.closing.frees;

	for (size_t i = 0; i < l->n; i++) {
		pthread_mutex_lock(&im->lock);
		struct extent e = alloc_punchable(im, l->item[i].ext);
		pthread_mutex_unlock(&im->lock);
		if (e.len && store_punch(im->st, e.off, e.len))
			break;
	}
}

/* What T freed goes into limbo: T is durable. */
static errint_t closed_durable(struct image *im)
{
	struct txns *t = &im->txns;

	if (!t->closing.n)
		return 0;
	uint64_t barrier = guard_barrier(im);
	for (size_t i = 0; i < t->closing.frees.n; i++)
		t->closing.frees.item[i].barrier = barrier;
	limbo_list_drop(&t->limbo, &t->limbo_head);
	errint_t err = limbo_list_move(&t->limbo, &t->closing.frees);
	if (err)
		return err;
	t->durable_seq = t->closing.seq;
	if (im->vj && t->closing.vj_end > im->vj->tail)
		vj_retire(im->vj, t->closing.vj_end);
	im->stats.commits++;
	im->stats.dsync_writes++;
	im->stats.journal_blocks += txn_blocks(t->closing.n);
	t->closing.n = 0;
	return 0;
}

static errint_t sync_data(struct image *im)
{
	errint_t err = image_sync_begin(im);

	return err ? err
		   : image_sync_end(im, store_datasync(im->st), "data could not be made durable");
}

static errint_t write_txn(struct image *im, uint64_t pos, uint64_t gen)
{
	const struct txn *t = &im->txns.closing;
	errint_t err = image_sync_begin(im);

	return err ? err
		   : image_sync_end(im, journal_write(im, pos, t->seq, gen, t->rec, t->n),
				    "a transaction could not be made durable");
}

errint_t txn_write_closed(struct image *im, uint64_t pos)
{
	struct txn *t = &im->txns.closing;
	errint_t err = 0;

	if (RULE_BROKEN(im, punch_early))
		punch_closing(im);
	if (!RULE_BROKEN(im, no_data_sync) || !t->n)
		err = sync_data(im);
	pthread_mutex_lock(&im->lock);
	uint64_t gen = le64_get(im->super.generation);
	im->stats.datasyncs++;
	pthread_mutex_unlock(&im->lock);
	if (!err && t->n)
		err = write_txn(im, pos, gen);

	SCOPED_LOCK(&im->lock);
	if (!err)
		err = closed_durable(im);
	im->txns.last_commit_ms = clock_ms();
	return err ? image_fail(im, err, "a transaction could not be made durable") : 0;
}

/* One round: everything logged or written before it began is durable at its end. */
static errint_t commit_round(struct image *im)
{
	struct txns *t = &im->txns;
	uint64_t round = ++t->rounds_begun;
	uint64_t pos;

	t->commit_busy = true;
	errint_t err = txn_close_open(im, &pos);
	if (!err) {
		pthread_mutex_unlock(&im->lock);
		err = txn_write_closed(im, pos);
		pthread_mutex_lock(&im->lock);
	}
	t->commit_busy = false;
	if (!err)
		t->rounds_done = round;
	image_wake(im);
	return err;
}

errint_t txn_commit(struct image *im)
{
	struct txns *t = &im->txns;
	errint_t err = 0;

	pthread_mutex_lock(&im->lock);
	/* A round that has begun already may have synced before our data was written. */
	uint64_t want = t->rounds_begun + 1;
	if (RULE_BROKEN(im, flush_stale_sync) && t->commit_busy)
		want = t->rounds_begun;
	while (!err && t->rounds_done < want) {
		if (im->failed)
			err = im->failed;
		else if (t->commit_busy)
			image_wait(im);
		else
			err = commit_round(im);
	}
	pthread_mutex_unlock(&im->lock);
	if (!err)
		limbo_step(im);
	return err;
}
