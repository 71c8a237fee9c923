/* SPDX-License-Identifier: MIT */
/*
 * Planning and settling writes: the state machine of docs/format.md section 8.
 *
 * A write to a cluster is DIRECT when its bytes can go to their final place at once: the cluster is
 * raw, owned by the head, and each sub-block is covered whole or stored already.  A hole becomes
 * such a cluster by an allocation, logged first with no sub-block valid (it still reads as before);
 * the bits follow when the data is in place (J4).  Everything else is WRITE_CLUSTER: exclusive,
 * assembled in memory by the engine, published by one record at the end.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "image/core.h"
#include "image/plan_priv.h"

/* Clusters that a writer reserves ahead: 4 MiB. */
#define WINDOW_BYTES (4u << 20)

struct image_writer {
	struct image *im;
	uint64_t unit; /* the window: consecutive clusters, reserved */
	unsigned left;
};

errint_t image_writer_new(struct image *im, struct image_writer **out)
{
	struct image_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->im = im;
	*out = w;
	return 0;
}

void image_writer_free(struct image_writer *w)
{
	if (!w)
		return;
	struct image *im = w->im;
	pthread_mutex_lock(&im->lock);
	if (w->left)
		alloc_release(im, (struct extent){w->unit << UNIT_SHIFT,
						  (uint64_t)w->left << im->geo.cluster_shift});
	image_wake(im);
	pthread_mutex_unlock(&im->lock);
	free(w);
}

/* A reserved cluster, from the window or (without @w) alone.  Lock held. */
static errint_t take_cluster(struct image *im, struct image_writer *w, uint64_t *unit,
			     struct need *need)
{
	unsigned cu = cluster_units(&im->geo), got;
	errint_t err;

	if (im->alloc.meta_short)
		return -ENOSPC; /* also from a window: what it costs is nodes (A3) */
	if (!w) {
		err = alloc_reserve_clusters(im, 1, unit, &got, need);
		im->stats.clusters_allocated += !err;
		return err;
	}
	if (!w->left) {
		err = alloc_reserve_clusters(im, WINDOW_BYTES >> im->geo.cluster_shift, &w->unit,
					     &w->left, need);
		if (err)
			return err;
	}
	*unit = w->unit;
	w->unit += cu;
	w->left--;
	im->stats.clusters_allocated++;
	return 0;
}

/* --- one cluster's part of a request --------------------------------------------------------- */

struct piece {
	uint64_t vcluster;
	uint32_t skip, len; /* bytes within the cluster */
	uint16_t touched;   /* sub-blocks that it touches */
	uint16_t covered;   /* sub-blocks that it covers whole */
};

static struct piece piece_at(struct image *im, uint64_t off, uint64_t len)
{
	uint64_t size = cluster_size(&im->geo);
	unsigned shift = subblock_shift(&im->geo);
	struct piece p = {.vcluster = off >> im->geo.cluster_shift, .skip = off & (size - 1)};
	uint32_t mask = (1u << shift) - 1;

	p.len = (uint32_t)(len < size - p.skip ? len : size - p.skip);
	unsigned t0 = p.skip >> shift, t1 = (p.skip + p.len + mask) >> shift;
	unsigned c0 = (p.skip + mask) >> shift, c1 = (p.skip + p.len) >> shift;
	p.touched = (uint16_t)((1u << t1) - (1u << t0));
	if (c1 > c0)
		p.covered = (uint16_t)((1u << c1) - (1u << c0));
	return p;
}

/* The disk's end may cut the last cluster: what exists of it is all of it. */
static bool piece_full(struct image *im, const struct piece *p)
{
	uint64_t start = p->vcluster << im->geo.cluster_shift;
	uint64_t have = im->size - start;

	return !p->skip && (p->len == cluster_size(&im->geo) || p->len >= have);
}

static bool has_storage(struct desc d)
{
	return desc_type(d) == DESC_RAW && desc_unit(d);
}

/* What a cluster holds when a raw one is put under it without data. */
static struct desc fresh_raw(struct image *im, struct desc old, uint64_t unit)
{
	uint16_t zero = desc_type(old) == DESC_ZERO  ? 0xffff
			: desc_type(old) == DESC_RAW ? desc_zero(old)
						     : 0;

	return desc_raw_make(unit, im->epoch, 0, zero);
}

static bool is_empty(struct desc d)
{
	return desc_type(d) == DESC_HOLE || desc_type(d) == DESC_ZERO ||
	       (desc_type(d) == DESC_RAW && !desc_unit(d));
}

/* Put a raw cluster under an empty entry.  Two reserved records come with it. */
static errint_t allocate_under(struct image *im, struct image_writer *w, struct node *leaf,
			       uint64_t v, struct desc *d, struct need *need)
{
	uint64_t unit;
	errint_t err = take_cluster(im, w, &unit, need);

	if (err)
		return err;
	struct desc fresh = fresh_raw(im, *d, unit);
	err = txn_log_map(im, leaf, v, fresh);
	if (!err)
		*d = fresh;
	return err;
}

/* --- DIRECT ---------------------------------------------------------------------------------- */

static void add_direct(struct write_plan *p, const struct piece *c, struct desc d)
{
	uint64_t off = (desc_unit(d) << UNIT_SHIFT) + c->skip;
	struct seg *last = p->nsegs ? &p->seg[p->nsegs - 1] : NULL;

	if (last && last->file_off + last->len == off)
		last->len += c->len;
	else
		p->seg[p->nsegs++] = (struct seg){.kind = SEG_FILE, .len = c->len, .file_off = off};
	p->len += c->len;
}

static void add_fill(struct image *im, struct write_plan *p, const struct piece *c,
		     struct node *leaf, struct desc d)
{
	uint16_t bits = c->covered & (uint16_t)~desc_valid(d);

	if (!bits)
		return;
	p->fill[p->nfills].vcluster = c->vcluster;
	p->fill[p->nfills].leaf = leaf;
	p->fill[p->nfills].before = d;
	p->fill[p->nfills].bits = bits;
	p->nfills++;
	map_pin(im, leaf);
}

/* Record the sub-blocks that became valid.  -EAGAIN: the storage under them was replaced. */
static errint_t settle_fill(struct image *im, struct write_plan *p, unsigned i)
{
	struct node *leaf = p->fill[i].leaf;
	uint64_t v = p->fill[i].vcluster;
	struct desc d = leaf->entry[v & (NODE_ENTRIES - 1)];
	uint16_t valid = desc_valid(d) | p->fill[i].bits;

	if (!has_storage(d) || !desc_same_extent(&im->geo, d, p->fill[i].before))
		return -EAGAIN;
	if (valid == desc_valid(d))
		return 0;
	p->reserved--;
	return txn_log_map(
		im, leaf, v,
		desc_raw_make(desc_unit(d), d.birth, valid, desc_zero(d) & (uint16_t)~valid));
}

enum verdict { VERDICT_DIRECT, VERDICT_CLUSTER };

/*
 * Can the sub-blocks of @c that are only partly covered be written in place?  Where the host's
 * direct I/O takes only larger blocks than the piece has, something must be read, changed and
 * written back, which is for one writer at a time.
 */
static bool parts_are_writable(struct image *im, const struct piece *c, struct desc d)
{
	uint16_t partly = c->touched & (uint16_t)~c->covered;

	return !(partly & (uint16_t)~desc_valid(d)) && (c->skip | c->len) % im->st->align == 0;
}

/* What is to be done with @c, whose entry is @d. */
static enum verdict judge(struct image *im, const struct piece *c, struct desc d, unsigned flags)
{
	if (flags & WRITE_COMPRESS && im->codec != CODEC_NONE && piece_full(im, c))
		return VERDICT_CLUSTER;
	if (is_empty(d))
		return VERDICT_DIRECT; /* after an allocation; parts are judged again then */
	if (has_storage(d) && map_owned(im, c->vcluster, d) && parts_are_writable(im, c, d))
		return VERDICT_DIRECT;
	return VERDICT_CLUSTER;
}

/*
 * Add one cluster to a DIRECT plan.  Returns -EAGAIN with a need; or 0 with *verdict, CLUSTER
 * meaning that the cluster wants a plan of its own.  Lock held.
 */
static errint_t try_direct(struct image *im, struct image_writer *w, const struct piece *c,
			   unsigned flags, struct write_plan *p, enum verdict *verdict,
			   struct need *need)
{
	struct node *leaf;
	struct desc d;

	if (excl_held(im, c->vcluster, 1))
		return need_event(im, need);
	errint_t err = txn_prepare(im, c->vcluster, 1, true, &leaf, need);
	if (err)
		return err;
	d = leaf->entry[c->vcluster & (NODE_ENTRIES - 1)];
	*verdict = judge(im, c, d, flags);
	if (*verdict == VERDICT_CLUSTER)
		return 0;
	bool fresh = is_empty(d);
	unsigned records = fresh ? 2 : c->covered & (uint16_t)~desc_valid(d) ? 1 : 0;
	if (records) {
		err = txn_reserve(im, records, 0, need);
		if (err)
			return err;
	}
	if (fresh) {
		err = allocate_under(im, w, leaf, c->vcluster, &d, need);
		if (err) {
			txn_unreserve(im, err == im->failed ? 0 : records);
			return err;
		}
		records = 1;
	}
	if (!parts_are_writable(im, c, d)) {
		*verdict = VERDICT_CLUSTER;
		txn_unreserve(im, records);
		return 0;
	}
	unsigned fills = p->nfills;
	repack_touch(im, c->vcluster, 1);
	add_direct(p, c, d);
	add_fill(im, p, c, leaf, d);
	if (p->nfills > fills)
		p->reserved += records;
	else
		txn_unreserve(im, records);
	if (p->nfills > fills && RULE_BROKEN(im, log_before_data))
		return settle_fill(im, p, fills);
	return 0;
}

/* --- CLUSTER --------------------------------------------------------------------------------- */

static void source_span(struct image *im, struct write_plan *p, struct desc d, uint32_t skip,
			uint32_t len)
{
	bool fits = plan_add_cluster(im, &p->source, im->backing.limit, p->vcluster, d, skip, len);

	assert(fits); /* a cluster has 16 sub-blocks, a plan has more segments */
	(void)fits;
}

/*
 * The piece covers sub-blocks of an owned raw cluster that are not stored, in part: they are
 * completed in place.  The span is the sub-blocks that the piece touches.
 */
static void plan_span(struct image *im, struct write_plan *p, const struct piece *c, struct desc d)
{
	unsigned shift = subblock_shift(&im->geo);
	uint32_t from = c->skip >> shift << shift;
	uint32_t to = (c->skip + c->len + (1u << shift) - 1) >> shift << shift;

	p->span_len = to - from;
	p->skip = c->skip - from;
	p->target = (desc_unit(d) << UNIT_SHIFT) + from;
	p->after = desc_raw_make(desc_unit(d), d.birth, desc_valid(d) | c->touched,
				 desc_zero(d) & (uint16_t)~c->touched);
	source_span(im, p, d, from, p->span_len);
}

static void plan_whole(struct image *im, struct write_plan *p, const struct piece *c, struct desc d,
		       unsigned flags)
{
	p->span_len = (uint32_t)cluster_size(&im->geo);
	p->skip = c->skip;
	p->may_zero = true;
	p->full = piece_full(im, c);
	p->may_pack = p->full && flags & WRITE_COMPRESS && im->codec != CODEC_NONE;
	p->after = desc_hole();
	if (!p->full)
		source_span(im, p, d, 0, p->span_len);
}

/*
 * Completing a sub-block writes bytes that the request does not have.  A write of just these bytes
 * may be in flight, planned before the marker was there: let it land, and be recorded, first.
 */
static void wait_for_older(struct image *im)
{
	uint64_t barrier = guard_barrier(im);

	while (!guard_drained(im, barrier))
		image_wait(im);
}

/* May [@off, @off + @len) be written now?  Lock held. */
static errint_t writable(struct image *im, uint64_t off, uint64_t len, struct need *need)
{
	if (im->read_only)
		return -EROFS;
	if (im->failed)
		return im->failed;
	errint_t err = plan_check_range(im, off, len);
	if (!err && im->gate_closed)
		err = need_event(im, need);
	return err;
}

/* Give back what try_cluster() took.  Lock held. */
static void drop_cluster(struct image *im, uint64_t v)
{
	excl_drop(im, v);
	txn_unreserve(im, 1);
}

/* Is the piece part of a cluster that the head can complete in its place? */
static bool is_span(struct image *im, const struct node *leaf, const struct piece *c)
{
	struct desc d = leaf->entry[c->vcluster & (NODE_ENTRIES - 1)];

	return has_storage(d) && map_owned(im, c->vcluster, d) && !piece_full(im, c);
}

/* Lock held, dropped where older writers are waited for.  On success the exclusive marker, a
 * record, a pin and a guard are held. */
static errint_t try_cluster(struct image *im, const struct piece *c, unsigned flags,
			    struct write_plan *p, struct need *need)
{
	struct node *leaf;
	errint_t err = txn_prepare(im, c->vcluster, 1, true, &leaf, need);

	/* Zeros cost no data, but a node perhaps (A3). */
	if (!err && im->alloc.meta_short && map_leaf_costs(im, leaf))
		err = -ENOSPC;
	if (!err)
		err = txn_reserve(im, 1, 0, need);
	if (err)
		return err;
	err = excl_take(im, c->vcluster, need);
	if (err) {
		txn_unreserve(im, 1);
		return err;
	}
	bool span = is_span(im, leaf, c);
	if (span) {
		wait_for_older(im);
		/* While we waited the gate may have been closed, the disk made smaller, a snapshot
		 * taken, the head exchanged: nothing that was known holds. */
		err = writable(im, p->off, c->len, need);
		if (!err)
			err = txn_prepare(im, c->vcluster, 1, true, &leaf, need);
		if (!err && !is_span(im, leaf, c))
			err = need_event(im, need); /* dropping the marker is one */
	}
	if (err) {
		drop_cluster(im, c->vcluster);
		return err;
	}
	const struct desc *d = &leaf->entry[c->vcluster & (NODE_ENTRIES - 1)];
	map_pin(im, leaf);
	*p = (struct write_plan){.off = p->off,
				 .len = c->len,
				 .how = WRITE_CLUSTER,
				 .reserved = 1,
				 .vcluster = c->vcluster,
				 .before = *d,
				 .leaf = leaf};
	if (span)
		plan_span(im, p, c, *d);
	else
		plan_whole(im, p, c, *d, flags);
	p->guard = guard_enter(im);
	return 0;
}

/* --- planning -------------------------------------------------------------------------------- */

/* All that is looked at of a DIRECT plan; it is large, and made for each request. */
static void begin_direct(struct write_plan *p, uint64_t off)
{
	p->off = off;
	p->len = 0;
	p->how = WRITE_DIRECT;
	p->durable_in_place = p->dsync = false;
	p->nsegs = p->nfills = p->reserved = 0;
	p->leaf = NULL;
}

/* Plan clusters from the beginning of the request as long as they are DIRECT.  Lock held. */
static errint_t try_direct_run(struct image *im, struct image_writer *w, uint64_t off, uint32_t len,
			       unsigned flags, struct write_plan *p, enum verdict *verdict,
			       struct need *need)
{
	errint_t err = 0;

	begin_direct(p, off);
	*verdict = VERDICT_DIRECT;
	while (!err && p->len < len && p->nsegs < PLAN_CLUSTERS && p->nfills < PLAN_CLUSTERS) {
		struct piece c = piece_at(im, off + p->len, len - p->len);

		err = try_direct(im, w, &c, flags, p, verdict, need);
		if (*verdict == VERDICT_CLUSTER)
			break;
	}
	if (!p->len)
		return err;
	/* What is planned goes out; what stopped the run is met again by the next plan. */
	*verdict = VERDICT_DIRECT;
	/* What makes the bytes readable may itself not be durable yet: then FUA needs a commit. */
	p->durable_in_place = !p->nfills && !im->txns.open.n && !im->txns.closing.n;
	p->guard = guard_enter(im);
	return 0;
}

static errint_t try_write(struct image *im, struct image_writer *w, uint64_t off, uint32_t len,
			  unsigned flags, enum image_mode mode, struct write_plan *p,
			  struct need *need)
{
	enum verdict verdict;
	errint_t err = writable(im, off, len, need);

	if (!err)
		err = try_direct_run(im, w, off, len, flags, p, &verdict, need);
	if (err || verdict == VERDICT_DIRECT)
		return err;
	if (mode == IMAGE_NOWAIT)
		return -EAGAIN;
	struct piece c = piece_at(im, off, len);
	return try_cluster(im, &c, flags, p, need);
}

errint_t plan_write(struct image *im, struct image_writer *w, uint64_t off, uint32_t len,
		    unsigned flags, enum image_mode mode, struct write_plan *p)
{
	struct need need = {0};
	errint_t err;

	do {
		pthread_mutex_lock(&im->lock);
		err = try_write(im, w, off, len, flags, mode, p, &need);
		pthread_mutex_unlock(&im->lock);
	} while (mode == IMAGE_MAY_BLOCK && image_again(im, &err, &need));
	return err;
}

errint_t plan_write_target(struct image *im, struct image_writer *w, struct write_plan *p)
{
	struct need need = {.guarded = true};
	uint64_t unit;
	errint_t err;

	assert(p->how == WRITE_CLUSTER);
	if (!p->may_zero || p->target)
		return 0;
	do {
		pthread_mutex_lock(&im->lock);
		err = im->failed ? im->failed : take_cluster(im, w, &unit, &need);
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	if (err)
		return err;
	p->target = unit << UNIT_SHIFT;
	p->after = desc_raw_make(unit, 0, 0xffff, 0);
	return 0;
}

/* --- settling -------------------------------------------------------------------------------- */

/* Lock held. */
static void release_plan(struct image *im, struct write_plan *p)
{
	for (unsigned i = 0; i < p->nfills; i++)
		map_unpin(im, p->fill[i].leaf);
	p->nfills = 0;
	if (p->leaf) {
		map_unpin(im, p->leaf);
		excl_drop(im, p->vcluster);
	}
	txn_unreserve(im, p->reserved);
	p->reserved = 0;
	if (p->dsync)
		im->dsyncs[p->dsync_side]--;
	p->dsync = false;
	guard_leave(im, p->guard);
	/* What was reserved or pinned is used or given back: others may be waiting for that. */
	image_wake(im);
}

errint_t settle_write(struct image *im, struct write_plan *p)
{
	errint_t err = 0;

	assert(p->how == WRITE_DIRECT);
	SCOPED_LOCK(&im->lock);
	for (unsigned i = 0; i < p->nfills && (!err || err == -EAGAIN); i++) {
		errint_t e = im->failed ? im->failed : settle_fill(im, p, i);

		err = e ? e : err;
	}
	release_plan(im, p);
	return err;
}

/* Publish p->after.  Lock held. */
static errint_t publish(struct image *im, struct write_plan *p)
{
	errint_t err = im->failed;

	assert(p->how == WRITE_CLUSTER && p->reserved);
	if (!err) {
		/* Nobody replaces the storage while we hold the marker; fills that were in flight
		 * may have set bits, which only a full overwrite does not wait for. */
		assert(desc_same_extent(&im->geo, p->leaf->entry[p->vcluster & (NODE_ENTRIES - 1)],
					p->before));
		p->reserved--;
		err = txn_log_map(im, p->leaf, p->vcluster, p->after);
	}
	return err;
}

errint_t settle_copy(struct image *im, struct write_plan *p)
{
	SCOPED_LOCK(&im->lock);
	if (p->may_zero)
		p->after.birth = im->epoch;
	assert(p->target);
	errint_t err = publish(im, p);
	release_plan(im, p);
	return err;
}

errint_t settle_zero(struct image *im, struct write_plan *p)
{
	SCOPED_LOCK(&im->lock);
	assert(p->may_zero && !p->target);
	p->after = desc_empty(im, p->vcluster);
	bool already = desc_type(p->before) == desc_type(p->after);
	errint_t err = already ? im->failed : publish(im, p);
	release_plan(im, p);
	return err;
}

errint_t settle_blob(struct image *im, struct write_plan *p, uint64_t file_off, uint32_t stored,
		     uint32_t crc)
{
	unsigned shift = granule_shift(&im->geo);

	SCOPED_LOCK(&im->lock);
	assert(p->may_pack && !p->target);
	assert(file_off % (1u << shift) == 0 && stored % (1u << shift) == 0);
	p->after = desc_zstd_make(file_off >> shift, stored >> shift, im->epoch, crc);
	im->stats.blobs_written++;
	errint_t err = publish(im, p);
	release_plan(im, p);
	return err;
}

void plan_write_cancel(struct image *im, struct write_plan *p)
{
	SCOPED_LOCK(&im->lock);
	if (p->how == WRITE_CLUSTER && p->may_zero && p->target) {
		alloc_release(im, (struct extent){p->target, cluster_size(&im->geo)});
		image_wake(im);
	}
	release_plan(im, p);
}

void plan_write_dsync(struct image *im, struct write_plan *p)
{
	SCOPED_LOCK(&im->lock);
	assert(p->how == WRITE_DIRECT && p->durable_in_place && !p->dsync);
	p->dsync = true;
	p->dsync_side = im->dsync_side;
	im->dsyncs[p->dsync_side]++;
}

void plan_write_sync_failed(struct image *im, struct write_plan *p, errint_t err)
{
	pthread_mutex_lock(&im->lock);
	image_fail(im, err, "a write could not be made durable");
	pthread_mutex_unlock(&im->lock);
	plan_write_cancel(im, p);
}
