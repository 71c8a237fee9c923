/* SPDX-License-Identifier: MIT */
/* Opening, closing and resizing an image, and the waiting that the other files ask for. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/checked.h"
#include "common/clock.h"
#include "common/log.h"
#include "image/checkpoint.h"
#include "image/checksum.h"
#include "image/core.h"
#include "image/discard.h"
#include "image/limbo.h"
#include "image/replay.h"
#include "image/super.h"
#include "image/tlv.h"
#include "image/vj_priv.h"

/* Default limits (docs/format.md section 15). */
#define DIRTY_CAP   4096u
#define CACHE_NODES 6144u /* about 25 MiB of nodes */

/* Between the transaction that a replay did not find and the first one of a new writer, which no
 * leftover can then be taken to follow (section 7, open, step 7). */
#define SEQUENCE_GAP 1000u

/* --- waiting, needs, failing ----------------------------------------------------------------- */

void image_limits(struct image *im, struct limits *lim)
{
	*lim = (struct limits){
		.geo = im->geo,
		.uuid_seed = im->uuid_seed,
		.phys_regions =
			im->alloc.nregions ? im->alloc.nregions : le64_get(im->super.phys_regions),
		.epoch = im->epoch,
		.zstd = im->incompat & INCOMPAT_ZSTD_BLOBS,
		.backing = im->incompat & INCOMPAT_BACKING,
		.head_parent = im->head_parent,
		.next_snapshot = le32_get(im->super.next_snapshot),
	};
}

void image_wake(struct image *im)
{
	im->events++;
	if (im->waiters)
		pthread_cond_broadcast(&im->changed);
}

void image_wait(struct image *im)
{
	if (im->wait) {
		pthread_mutex_unlock(&im->lock);
		im->wait->wait(im->wait->arg);
		pthread_mutex_lock(&im->lock);
		return;
	}
	im->waiters++;
	pthread_cond_wait(&im->changed, &im->lock);
	im->waiters--;
}

errint_t need_event(struct image *im, struct need *need)
{
	need->kind = NEED_EVENT;
	need->events = im->events;
	return -EAGAIN;
}

/* A checkpoint, unless one was completed meanwhile. */
static errint_t checkpoint_since(struct image *im, uint64_t done)
{
	pthread_mutex_lock(&im->lock);
	while (im->txns.ckpt_busy)
		image_wait(im);
	bool again = im->stats.checkpoints == done;
	pthread_mutex_unlock(&im->lock);
	return again ? checkpoint(im, NULL) : 0;
}

errint_t image_satisfy(struct image *im, struct need *need)
{
	switch (need->kind) {
	case NEED_NODE:
		return map_load(im, &need->node);
	case NEED_FROZEN:
		return frozen_load(im, &need->node, need->nclusters);
	case NEED_REGION:
		return alloc_load(im, need->region);
	case NEED_SPACE:
		return alloc_more(im, need);
	case NEED_COMMIT:
		return txn_commit(im);
	case NEED_CHECKPOINT:
		return checkpoint_since(im, need->checkpoints);
	case NEED_EVENT: {
		SCOPED_LOCK(&im->lock);
		while (im->events == need->events && !im->failed)
			image_wait(im);
		return 0;
	}
	case NEED_NOTHING:
		break;
	}
	assert(!"a need is named");
	return -EINVAL;
}

bool image_again(struct image *im, errint_t *err, struct need *need)
{
	if (*err != -EAGAIN)
		return false;
	*err = image_satisfy(im, need);
	return !*err;
}

errint_t image_fail(struct image *im, errint_t err, const char *what)
{
	if (im->vj && im->vj->live)
		vj_poison(im->vj); /* before anybody can know (V6) */
	if (!im->failed) {
		log_err(err, "%s: %s; the image refuses further writes until it is opened again",
			im->st->name, what);
		im->failed = -EIO;
		im->damaged |= err == -EBADMSG;
	}
	image_wake(im);
	return im->failed;
}

errint_t image_sync_begin(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	while (im->sync_busy && !im->failed)
		image_wait(im);
	im->sync_busy |= !im->failed;
	return im->failed;
}

errint_t image_sync_end(struct image *im, errint_t err, const char *what)
{
	SCOPED_LOCK(&im->lock);
	unsigned side = im->dsync_side;

	if (err && im->vj)
		vj_poison(im->vj); /* that of a recovery as well: the host has told it, once */
	if (err)
		err = image_fail(im, err, what);
	/*
	 * The host tells of lost data once.  If a write with DSYNC that had begun before our sync
	 * ended was told, we were not: it will fail-stop the image when it is released, which it
	 * comes to whatever others do.
	 */
	im->dsync_side = !side;
	while (im->dsyncs[side] && !im->failed)
		image_wait(im);
	im->sync_busy = false;
	image_wake(im);
	return im->failed;
}

errint_t image_damaged(struct image *im, const char *what, uint64_t off, const char *why)
{
	SCOPED_LOCK(&im->lock);
	im->damaged = true;
	return log_fail(-EBADMSG, "%s: %s at offset %llu is damaged: %s", im->st->name, what,
			(unsigned long long)off, why);
}

/* --- opening --------------------------------------------------------------------------------- */

static void apply_super(struct image *im)
{
	const struct disk_super *sb = &im->super;

	im->geo.sector_shift = sb->sector_shift;
	im->incompat = le64_get(sb->incompat);
	im->ro_compat = le64_get(sb->ro_compat);
	im->compat = le64_get(sb->compat);
	im->size = le64_get(sb->size);
	im->epoch = le32_get(sb->epoch);
	im->head_parent = le32_get(sb->head_parent);
	im->map.levels = sb->levels;
	im->map.root_desc = desc_from_disk(&sb->root);
	backing_from_super(sb, &im->backing);
}

static void find_compression(struct image *im)
{
	struct disk_tlv_compression c;
	size_t len;
	const uint8_t *data = tlv_find(&im->super, TLV_COMPRESSION, &len);

	if (!data)
		return;
	memcpy(&c, data, sizeof(c));
	im->codec = c.codec;
	im->level = c.level;
}

static errint_t read_superblock(struct image *im, struct super_choice *c)
{
	struct disk_ident ident;
	errint_t err = super_read_ident(im->st, &ident);

	if (err)
		return err;
	memcpy(im->uuid, ident.uuid, sizeof(im->uuid));
	im->uuid_seed = checksum_uuid(im->uuid);
	im->geo.cluster_shift = ident.cluster_shift;
	memcpy(im->creator, ident.creator, sizeof(ident.creator));
	err = super_choose(im->st, &ident, &im->super, c);
	if (err)
		return err;
	apply_super(im);
	find_compression(im);
	content_load(&im->super, &im->content);
	return 0;
}

/* R4: what is on disk may be older than what was once durable. */
static errint_t check_newest(struct image *im)
{
	unsigned long long have = le64_get(im->super.generation);

	if (im->read_only) {
		log_warn(
			"%s: a newer superblock may have been lost; showing generation %llu, which may be older than what was written last",
			im->st->name, have);
		return 0;
	}
	return log_fail(
		-EBADMSG,
		"%s: both places of the superblock after generation %llu are damaged, so newer data may have been lost; open the image read-only, as `ublk-img convert` does, to save what generation %llu holds",
		im->st->name, have, have);
}

/* What the superblock says must agree with the mode in which the image is opened. */
static errint_t check_mode(struct image *im, bool force)
{
	const char *name = im->st->name;

	if (im->read_only)
		return 0;
	if (im->ro_compat & ~ROCOMPAT_KNOWN)
		return log_fail(
			-ENOTSUP,
			"%s: written by %s, whose features (mask %llx) this version can only read; open it read-only",
			name, im->creator, (unsigned long long)(im->ro_compat & ~ROCOMPAT_KNOWN));
	if (le32_get(im->super.flags) & SUPER_ERRORS && !force)
		return log_fail(
			-EBADMSG,
			"%s: damage was found in this image; it is opened read-only unless forced (see `ublk-img check`)",
			name);
	im->damaged = le32_get(im->super.flags) & SUPER_ERRORS;
	return 0;
}

/* What is no disk is not taken for one (rules D2, D3), and what was known of a disk is so no more
 * once somebody may write to it (D1). */
static errint_t check_content(struct image *im, const struct image_open_opts *opts)
{
	struct content *c = &im->content;
	char base[POINT_TEXT_MAX], target[POINT_TEXT_MAX];

	point_text(&c->base, base);
	point_text(&c->target, target);
	if (c->state == CONTENT_DELTA && !(opts->accept_delta && im->read_only))
		return log_fail(
			-EINVAL,
			"%s: is no whole disk but a delta, with only what changed from %s to %s; `ublk-img apply` brings a copy of the disk from the one to the other",
			im->st->name, base, target);
	if (c->state == CONTENT_APPLYING && !opts->accept_applying)
		return log_fail(
			-EINVAL,
			"%s: holds neither %s nor %s: `ublk-img apply`, from the one to the other, was interrupted; repeat it with the same delta",
			im->st->name, base, target);
	if (c->state == CONTENT_AT && !im->read_only && !im->keeps_content)
		c->state = CONTENT_UNKNOWN;
	return 0;
}

static errint_t truncated(struct image *im, uint64_t length, const char *what, uint64_t need)
{
	return log_fail(
		-EBADMSG,
		"%s: truncated image: %llu bytes long, but %s %llu; restore the missing end from a copy",
		im->st->name, (unsigned long long)length, what, (unsigned long long)need);
}

/* R3: the last unit that is in use lies within the file. */
static errint_t check_length(struct image *im, uint64_t length)
{
	struct alloc *a = &im->alloc;
	CLEANUP(free) uint8_t *bits = store_buffer(ALLOC_BITS_ROOM);
	struct disk_alloc_entry e;
	uint64_t region = a->nregions;
	bool by_sector;

	if (!bits)
		return -ENOMEM;
	while (region-- > 0) {
		errint_t err = alloc_copy_bits(im, region, bits, &e, &by_sector);
		unsigned last = REGION_UNITS;

		if (err)
			return err;
		if (!e.in_use)
			continue;
		while (last &&
		       !(by_sector ? bits[last - 1] : bits[(last - 1) / 8] >> (last - 1) % 8 & 1))
			last--;
		uint64_t need = (region << REGION_SHIFT) + last * (uint64_t)UNIT_SIZE;
		if (length >= need)
			return 0;
		return truncated(im, length, "in use up to byte", need);
	}
	return 0;
}

static errint_t read_metadata(struct image *im, uint64_t *next_seq)
{
	uint64_t length;
	errint_t err = store_length(im->st, &length);
	uint64_t regions = le64_get(im->super.phys_regions);

	if (!err && regions > div_round_up(length, REGION_SIZE))
		err = truncated(im, length, "it had more than", (regions - 1) << REGION_SHIFT);
	if (!err)
		err = alloc_open(im);
	if (!err)
		err = check_length(im, length);
	if (!err) {
		/* A5: what grew after the checkpoint is there for the journal's records. */
		regions = div_round_up(length, REGION_SIZE);

		SCOPED_LOCK(&im->lock);
		err = alloc_set_regions(im, regions < MAX_REGIONS ? regions : MAX_REGIONS);
	}
	if (!err)
		err = snapshot_open(im);
	if (!err)
		err = journal_open(im);
	if (!err)
		err = replay_journal(im, next_seq);
	return err;
}

/* A cap that a disk of @size bytes has use for.  It never falls: what is dirty may be that much. */
static void raise_dirty_cap(struct image *im, uint64_t size)
{
	uint64_t n = clusters_for(&im->geo, size);
	uint64_t cap = 1; /* one more than there are is never reached */

	for (unsigned l = 0; l < im->map.levels; l++) {
		n = div_round_up(n, NODE_ENTRIES);
		cap += n;
	}
	if (cap > DIRTY_CAP)
		cap = DIRTY_CAP;
	if (!im->fixed_cap && im->dirty_cap < cap)
		im->dirty_cap = (unsigned)cap;
	if (im->dirty_cap < 2 * MAX_LEVELS)
		im->dirty_cap = 2 * MAX_LEVELS;
}

void image_size_changed(struct image *im)
{
	raise_dirty_cap(im, im->size);
}

/* R3: a file may end at its last used unit, and is made whole before anything is allocated behind
 * that.  A device is as long as it is. */
static errint_t make_whole(struct image *im)
{
	uint64_t whole = im->alloc.nregions << REGION_SHIFT, length;
	errint_t err = store_length(im->st, &length);

	if (err || length >= whole)
		return err;
	err = im->st->fixed ? -ENOSPC : store_truncate(im->st, whole);
	if (err != -ENOSPC)
		return err;
	im->alloc.end = length >> UNIT_SHIFT;
	return 0;
}

/* Section 7, open, step 7: nothing is accepted before a superblock newer than all that was
 * replayed. */
static errint_t start_writing(struct image *im, const struct image_open_opts *opts,
			      uint64_t next_seq)
{
	errint_t err = txn_open(im, next_seq + SEQUENCE_GAP);

	if (!err && !opts->recover &&
	    getrandom(im->session, sizeof(im->session), 0) != sizeof(im->session))
		err = log_errno("%s: cannot make a session id", im->st->name);
	raise_dirty_cap(im, im->size);
	if (!err)
		err = make_whole(im);
	if (!err && !im->journal.length) {
		uint64_t len = opts->journal_length ? opts->journal_length
						    : journal_default_length(im->size);

		err = journal_make(im, len);
	}
	if (!err && opts->first)
		return opts->first->run(im, opts->first->arg);
	if (!err)
		err = checkpoint(im, NULL);
	return err == -ENOSPC
		       ? log_fail(err, "%s: has no space for what opening it for writing needs",
				  im->st->name)
		       : err;
}

/* W6: what is visible may still be in a volatile cache; make it durable before building on it. */
static errint_t sync_visible(struct image *im, const struct image_open_opts *opts)
{
	if (RULE_BROKEN(im, open_no_sync))
		return 0;
	errint_t err = store_datasync(im->st);
	if (err && opts->recover)
		recover_poison(im, opts->recover);
	return err;
}

static errint_t complete_super(struct image *im, const struct super_choice *choice)
{
	errint_t err = super_complete(im->st, &im->super, choice);

	if (err && im->vj)
		vj_poison(im->vj);
	return err;
}

/* Lock, and read what does not depend on a journal. */
static errint_t begin_open(struct image *im, const struct image_open_opts *opts,
			   struct super_choice *choice)
{
	errint_t err = opts->recover ? recover_lock(im, opts->recover)
				     : store_lock(im->st, im->read_only ? STORE_LOCK_SHARED
									: STORE_LOCK_EXCLUSIVE);

	if (!err && !im->read_only)
		err = sync_visible(im, opts);
	if (!err)
		err = read_superblock(im, choice);
	if (!err && opts->recover)
		err = recover_attach(im, opts->recover);
	else if (!err && opts->state)
		err = recover_pending(im, opts);
	if (!err)
		err = check_mode(im, opts->force);
	if (!err)
		err = check_content(im, opts);
	if (!err && !choice->newest)
		err = check_newest(im);
	return err;
}

static errint_t open_image(struct image *im, const struct image_open_opts *opts)
{
	struct super_choice choice;
	uint64_t next_seq;
	errint_t err = begin_open(im, opts, &choice);

	if (!err)
		err = read_metadata(im, &next_seq);
	if (!err && opts->recover)
		err = recover_replay(im, &next_seq);
	if (!err && !im->read_only)
		err = complete_super(im, &choice);
	if (!err && !im->read_only)
		err = start_writing(im, opts, next_seq);
	if (!err && opts->recover)
		err = recover_done(im);
	return err;
}

/* It is held for less time than it takes to go to sleep and be woken: queues on several processors
 * do better to spin for a moment. */
static void init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
#ifdef __GLIBC__
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

errint_t image_open(struct store *st, const struct image_open_opts *opts, struct image **out)
{
	struct image *im = calloc(1, sizeof(*im));

	if (!im)
		return -ENOMEM;
	assert(!opts->recover || !(opts->read_only || st->read_only));
	im->st = st;
	im->read_only = opts->read_only || st->read_only;
	im->wait = opts->wait;
	im->keeps_content = opts->keeps_content;
	im->broken_rules = opts->broken_rules;
	im->vj_shift = opts->vj_shift ? opts->vj_shift : VJ_SHIFT;
	im->max_regions = opts->max_regions ? opts->max_regions : MAX_REGIONS;
	im->alloc.first_fit = opts->first_fit;
	im->dirty_cap = opts->dirty_cap;
	im->fixed_cap = opts->dirty_cap;
	im->map.max_nodes = opts->cache_nodes ? opts->cache_nodes : CACHE_NODES;
	/* A path of each of two trees at least. */
	im->frozen.max =
		im->map.max_nodes / 4 > 4 * MAX_LEVELS ? im->map.max_nodes / 4 : 4 * MAX_LEVELS;
	im->guards.epoch = im->guards.oldest = 1;
	init_lock(&im->lock);
	pthread_cond_init(&im->changed, NULL);
	im->opening = true;
	errint_t err = open_image(im, opts);
	im->opening = false;
	if (err) {
		image_abandon(im);
		return err;
	}
	*out = im;
	return 0;
}

/* --- closing --------------------------------------------------------------------------------- */

void image_abandon(struct image *im)
{
	if (!im)
		return;
	map_close(im);
	alloc_close(im);
	snapshot_close(im);
	journal_close(im);
	txn_close(im);
	free(im->guards.excl);
	vj_detach(im->vj);
	pthread_cond_destroy(&im->changed);
	pthread_mutex_destroy(&im->lock);
	free(im);
}

static errint_t last_checkpoint(struct image *im)
{
	struct ckpt_change clean = {.clean = true};
	errint_t err;

	/* It may have had one that was the first and the last (struct image_first). */
	if (im->read_only || le32_get(im->super.flags) & SUPER_CLEAN)
		return 0;
	/* Limbo first: what it releases may empty regions, which the last checkpoint then
	 * forgets. */
	err = limbo_drain(im);
	return err ? err : checkpoint(im, &clean);
}

errint_t image_close(struct image *im)
{
	errint_t err = last_checkpoint(im);

	if (!err) {
		vj_remove(im->vj);
		im->vj = NULL;
	}
	image_abandon(im);
	return err;
}

errint_t image_leave(struct image *im)
{
	errint_t err = last_checkpoint(im);

	image_abandon(im);
	return err;
}

/* --- flushing and upkeep ---------------------------------------------------------------------- */

errint_t image_flush(struct image *im)
{
	return im->read_only ? 0 : txn_commit(im);
}

#define COMMIT_MS 5000
#define CKPT_MS	  30000

errint_t image_maintain(struct image *im)
{
	if (im->read_only)
		return 0;
	pthread_mutex_lock(&im->lock);
	uint64_t now = clock_ms();
	bool vj_full = im->vj && vj_room(im->vj) < im->vj->slots / 4;
	bool old_records = im->txns.open.n && (now - im->txns.last_commit_ms >= COMMIT_MS ||
					       im->txns.open.n >= TXN_SOON_RECORDS || vj_full);
	bool half_full = journal_free(im) < im->journal.length / 2;
	bool ckpt = (im->map.dirty || im->snaps.dirty) &&
		    (half_full || now - im->txns.last_ckpt_ms >= CKPT_MS ||
		     im->map.dirty >= im->dirty_cap - im->dirty_cap / 4);
	errint_t err = im->failed;
	pthread_mutex_unlock(&im->lock);

	if (err)
		return err;
	if (ckpt)
		return checkpoint(im, NULL);
	if (old_records)
		return txn_commit(im);
	limbo_step(im);
	return 0;
}

/* --- resizing -------------------------------------------------------------------------------- */

errint_t admin_begin(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	while (im->admin_busy)
		image_wait(im);
	im->admin_busy = true;
	return im->failed;
}

errint_t admin_close_gate(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	im->gate_closed = true;
	uint64_t barrier = guard_barrier(im);
	while (!guard_drained(im, barrier))
		image_wait(im);
	return im->failed;
}

void admin_end(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	im->gate_closed = false;
	im->admin_busy = false;
	image_wake(im);
}

struct resize {
	uint64_t from, to;
};

/* What is cut off does not come back when the disk grows again. */
static void cut_backing(struct image *im, void *arg)
{
	const struct resize *r = arg;

	if (im->backing.limit > r->to)
		im->backing.limit = r->to;
}

static void resize_freeze(struct image *im, void *arg)
{
	const struct resize *r = arg;

	cut_backing(im, arg);
	im->size = r->to;
}

/* Nothing is left of the clusters from @keep on.  The backing goes first: else it would show in
 * place of what was written over it, if we came no further. */
static errint_t cut_clusters(struct image *im, struct resize *r, uint64_t keep, uint64_t have)
{
	struct ckpt_change change = {.freeze = cut_backing, .arg = r};
	errint_t err = 0;

	pthread_mutex_lock(&im->lock);
	bool shown = im->backing.limit > r->to;
	pthread_mutex_unlock(&im->lock);
	/* [m:shrink_backing] */
	if (shown && !RULE_BROKEN(im, shrink_backing))
		err = checkpoint(im, &change);
	return err ? err : discard_clusters(im, keep, have - keep);
}

static errint_t resize_to(struct image *im, struct resize *r)
{
	uint64_t keep = clusters_for(&im->geo, r->to), have = clusters_for(&im->geo, r->from);
	errint_t err = have > keep ? cut_clusters(im, r, keep, have) : 0;

	if (!err) {
		SCOPED_LOCK(&im->lock);
		err = map_grow(im, keep);
		raise_dirty_cap(im, r->to);
	}
	if (!err) {
		struct ckpt_change change = {.freeze = resize_freeze, .arg = r};

		err = checkpoint(im, &change);
	}
	return err == -ENOSPC ? log_fail(err,
					 "%s: has no space for what changing its size writes; "
					 "delete snapshots or discard data",
					 im->st->name)
			      : err;
}

errint_t image_resize(struct image *im, uint64_t size, bool shrink)
{
	struct resize r = {.to = size};
	uint64_t sector = 1ull << im->geo.sector_shift;
	const char *name = im->st->name;

	if (im->read_only)
		return log_fail(-EROFS, "%s: is open read-only and cannot be resized", name);
	if (!size || size % sector)
		return log_fail(-EINVAL, "%s: the size must be a positive multiple of %llu bytes",
				name, (unsigned long long)sector);
	if (clusters_for(&im->geo, size) > 1ull << NODE_SHIFT * MAX_LEVELS)
		return log_fail(
			-EINVAL, "%s: the size is above the format's limit of %llu bytes", name,
			(unsigned long long)(cluster_size(&im->geo) << NODE_SHIFT * MAX_LEVELS));
	errint_t err = admin_begin(im);
	if (!err)
		err = backing_refuse(im, "resized");
	if (!err)
		err = admin_close_gate(im);
	if (!err) {
		r.from = image_size(im);
		if (size < r.from && !shrink)
			err = log_fail(
				-EINVAL,
				"%s: shrinking from %llu to %llu bytes destroys what lies beyond; say --shrink if that is meant",
				name, (unsigned long long)r.from, (unsigned long long)size);
		else if (size != r.from)
			err = resize_to(im, &r);
	}
	admin_end(im);
	return err;
}

/* --- facts ----------------------------------------------------------------------------------- */

void image_get_info(struct image *im, struct image_info *info)
{
	SCOPED_LOCK(&im->lock);
	*info = (struct image_info){
		.geo = im->geo,
		.size = im->size,
		.generation = le64_get(im->super.generation),
		.incompat = im->incompat,
		.ro_compat = im->ro_compat,
		.compat = im->compat,
		.flags = le32_get(im->super.flags),
		.epoch = im->epoch,
		.levels = im->map.levels,
		.codec = im->codec,
		.level = im->level,
		.read_only = im->read_only,
		.journal_offset = im->journal.offset,
		.journal_length = im->journal.length,
		.phys_regions = im->alloc.nregions,
		.used_units = im->alloc.used_units,
		.nsnapshots = im->snaps.n,
		.replayed = im->replayed,
		.recovered = im->recovered,
		.recoverable = im->vj,
	};
	memcpy(info->uuid, im->uuid, sizeof(info->uuid));
	memcpy(info->creator, im->creator, sizeof(info->creator));
}

void image_get_stats(struct image *im, struct image_stats *stats)
{
	SCOPED_LOCK(&im->lock);
	*stats = im->stats;
}

const struct geometry *image_geometry(const struct image *im)
{
	return &im->geo;
}

uint64_t image_size(struct image *im)
{
	SCOPED_LOCK(&im->lock);
	return im->size;
}

struct store *image_store(struct image *im)
{
	return im->st;
}
