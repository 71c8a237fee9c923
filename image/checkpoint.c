/* SPDX-License-Identifier: MIT */
/* clang-format off */
/*
 * The checkpoint.  Order, and what each step relies on:
 *
 *	freeze		lock held, no I/O: close T, give dirty nodes new places, serialise everything
 *	commit T	data sync, then the transaction (W1); later ones commit on their own meanwhile
 *	blocks		nodes and bitmaps, to places that the current superblock does not use
 *	sync		(W3)
 *	superblock	generation + 1 to its two slots, durably
 *	release		old nodes, and the journal before the new start (W4)
 */
/* clang-format on */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "image/checkpoint.h"
#include "image/core.h"
#include "image/limbo.h"
#include "image/parallel.h"
#include "image/super.h"
#include "image/vj_priv.h"

#define CHUNK_BLOCKS 64u /* that one thread writes, in one or more writes */

struct ckpt {
	struct ckpt_buf buf;
	struct extent *old; /* places of nodes that the new superblock no longer needs */
	unsigned nold, old_cap;
	struct disk_super sb;
	uint64_t pos; /* of the transaction that the freeze closed */
};

void *ckpt_block(struct ckpt_buf *b, uint64_t off)
{
	assert(b->n < b->cap);
	b->off[b->n] = off;
	return b->block + b->n++ * (size_t)UNIT_SIZE;
}

/* --- freeze ---------------------------------------------------------------------------------- */

static void fill_super(struct image *im, struct ckpt *c, bool clean)
{
	struct disk_super *sb = &c->sb;

	*sb = im->super;
	sb->flags = le32_make((clean ? SUPER_CLEAN : 0) | (im->damaged ? SUPER_ERRORS : 0));
	sb->generation = le64_make(le64_get(im->super.generation) + 1);
	sb->incompat = le64_make(im->incompat);
	sb->size = le64_make(im->size);
	sb->levels = im->map.levels;
	sb->epoch = le32_make(im->epoch);
	sb->snaptab = desc_to_disk(im->snaps.table);
	sb->nsnapshots = le32_make(im->snaps.n);
	sb->next_snapshot = le32_make(im->snaps.next_id);
	sb->ro_compat = le64_make(im->ro_compat);
	sb->head_parent = le32_make(im->head_parent);
	sb->root = desc_to_disk(im->map.root_desc);
	sb->journal_offset = le64_make(im->journal.offset);
	sb->journal_length = le64_make(im->journal.length);
	sb->journal_pos = le64_make(im->journal.head);
	sb->journal_seq = le64_make(im->txns.open.seq);
	sb->phys_regions = le64_make(im->alloc.nregions);
	sb->used_units = le64_make(im->alloc.used_units);
	sb->root_slots = le64_make(im->alloc.root_slots);
	/* There is: it was there, or looked for. */
	bool room = backing_to_super(im->backing_next ? im->backing_next : &im->backing, sb);
	assert(room);
	(void)room;
	memcpy(sb->session, im->session, sizeof(sb->session));
	for (unsigned i = 0; i < ALLOC_ROOT_BLOCKS; i++)
		sb->root_crc[i] = le32_make(im->alloc.root_crc[i]);
	if (!content_store(&im->content, sb))
		im->content.state = CONTENT_UNKNOWN; /* is known no more */
}

static errint_t freeze(struct image *im, struct ckpt *c, const struct ckpt_change *change)
{
	errint_t err = txn_close_open(im, &c->pos);

	if (err)
		return err;
	if (change && change->freeze)
		change->freeze(im, change->arg);
	map_freeze(im, &c->buf, c->old, &c->nold);
	if (change && change->frozen)
		change->frozen(im, change->arg);
	snapshot_freeze(im, &c->buf);
	alloc_freeze(im, &c->buf);
	if (im->failed)
		return im->failed;
	fill_super(im, c, change && change->clean);
	if (RULE_BROKEN(im, journal_reuse_early))
		im->journal.start = im->journal.head;
	return 0;
}

/* Memory for the freeze, which must not fail half-way: more than it can need now. */
static errint_t make_room(struct ckpt *c, unsigned nodes, unsigned blocks)
{
	free(c->buf.block);
	free(c->buf.off);
	free(c->old);
	c->buf.cap = nodes + blocks;
	c->old_cap = nodes;
	c->buf.block = store_buffer(c->buf.cap * (size_t)UNIT_SIZE);
	c->buf.off = calloc(c->buf.cap, sizeof(*c->buf.off));
	c->old = calloc(nodes + 1u, sizeof(*c->old));
	return c->buf.block && c->buf.off && c->old ? 0 : -ENOMEM;
}

/*
 * Space for @nodes nodes, and for those of the next two checkpoints (A3).  Without the latter no
 * data is allocated any more, so that from here on nodes only move: what is left is enough for that
 * for ever, since it was complete at the last checkpoint.
 */
static errint_t reserve_nodes(struct image *im, unsigned nodes)
{
	errint_t err = alloc_meta_reserve(im, nodes + 2 * (im->dirty_cap + MAX_LEVELS));

	pthread_mutex_lock(&im->lock);
	im->alloc.meta_short = err || im->snaps.short_run;
	pthread_mutex_unlock(&im->lock);
	return err == -ENOSPC ? alloc_meta_reserve(im, nodes) : err;
}

/* How many nodes to be ready for when @dirty have to be written and more become dirty meanwhile;
 * but never without need for more than were reserved earlier. */
static unsigned nodes_to_expect(struct image *im, unsigned dirty)
{
	unsigned most = im->dirty_cap + MAX_LEVELS, nodes = dirty + dirty / 8 + 64;

	return nodes < most ? nodes : dirty < most ? most : dirty;
}

/*
 * Take the commit lock and freeze, having reserved what that needs.  On success the commit lock is
 * held: the closed transaction is still to be written.
 */
static errint_t reserve_and_freeze(struct image *im, struct ckpt *c,
				   const struct ckpt_change *change)
{
	unsigned nodes = 0, blocks = 0, snapshots = change ? change->snapshots : 0;

	for (;;) {
		errint_t err = snapshot_reserve(im, snapshots);
		if (err)
			return err;
		pthread_mutex_lock(&im->lock);
		while (im->txns.commit_busy && !im->failed)
			image_wait(im);
		err = im->failed;
		unsigned table = snapshot_freeze_blocks(im, snapshots);
		unsigned dirty = im->map.dirty + MAX_LEVELS;
		unsigned more = alloc_freeze_blocks(im, dirty + table) + table;
		uint64_t region;
		bool load = map_freeze_needs(im, &region);
		bool ready = load || snapshot_freeze_ready(im, snapshots, &region);

		load |= !ready && region != UINT64_MAX;
		if (!err && ready && !load && dirty <= nodes && more <= blocks) {
			im->txns.commit_busy = true;
			err = freeze(im, c, change);
			if (err) {
				im->txns.commit_busy = false;
				image_wake(im);
			}
			pthread_mutex_unlock(&im->lock);
			return err;
		}
		pthread_mutex_unlock(&im->lock);
		if (!err && load) {
			err = alloc_load(im, region);
			if (err)
				return err;
			continue;
		}
		nodes = nodes_to_expect(im, dirty);
		blocks = more + more / 8 + 64;
		if (!err)
			err = reserve_nodes(im, nodes);
		if (!err)
			err = make_room(c, nodes, blocks);
		if (err)
			return err;
	}
}

/* --- writing --------------------------------------------------------------------------------- */

struct writing {
	struct image *im;
	const struct ckpt_buf *b;
};

/* Chunk @chunk.  Blocks that follow each other in memory and on disk go out in one write. */
static errint_t write_chunk(void *arg, unsigned worker, uint64_t chunk)
{
	const struct writing *w = arg;
	const struct ckpt_buf *b = w->b;
	struct image *im = w->im;
	unsigned run, end = b->n;
	errint_t err = 0;

	(void)worker;
	if (end > (chunk + 1) * CHUNK_BLOCKS)
		end = (unsigned)(chunk + 1) * CHUNK_BLOCKS;
	for (unsigned i = (unsigned)chunk * CHUNK_BLOCKS; !err && i < end; i += run) {
		run = 1;
		while (i + run < end && b->off[i + run] == b->off[i] + run * (uint64_t)UNIT_SIZE)
			run++;
		err = store_write(im->st, b->block + i * (size_t)UNIT_SIZE, run * (size_t)UNIT_SIZE,
				  b->off[i]);
	}
	return err;
}

/* In threads while others wait for the image to be open; later the disk is theirs. */
static errint_t write_blocks(struct image *im, const struct ckpt_buf *b)
{
	struct writing w = {im, b};

	return parallel_for(im->opening && !im->wait ? OPEN_THREADS : 1,
			    (b->n + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS, &w, write_chunk);
}

static errint_t sync_blocks(struct image *im)
{
	errint_t err = image_sync_begin(im);

	return err ? err
		   : image_sync_end(im, store_datasync(im->st),
				    "a checkpoint could not be made durable");
}

/* Not after a sync of somebody else has failed, which may have lost our blocks. */
static errint_t write_super(struct image *im, struct ckpt *c)
{
	bool dsync = !RULE_BROKEN(im, super_no_dsync);
	errint_t err = image_sync_begin(im);

	return err ? err
		   : image_sync_end(im, super_write(im->st, &c->sb, dsync),
				    "a superblock could not be written");
}

static errint_t write_out(struct image *im, struct ckpt *c)
{
	errint_t err = write_blocks(im, &c->buf);

	if (!err && !RULE_BROKEN(im, ckpt_no_sync))
		err = sync_blocks(im);
	if (!err)
		err = write_super(im, c);
	return err;
}

/* The new superblock is durable: what only the old one needed is free. */
static void retire(struct image *im, struct ckpt *c)
{
	im->super = c->sb;
	if (im->vj)
		vj_set_generation(im->vj, le64_get(c->sb.generation));
	im->map.written = im->map.freezes;
	im->journal.start = le64_get(c->sb.journal_pos);
	for (unsigned i = 0; i < c->nold; i++)
		alloc_release(im, c->old[i]);
	snapshot_retire(im);
	im->stats.checkpoints++;
	im->stats.datasyncs++;
	im->stats.dsync_writes += 2;
	im->stats.meta_bytes_written += (c->buf.n + 2) * (uint64_t)UNIT_SIZE;
	im->txns.last_ckpt_ms = clock_ms();
	alloc_trim(im);
}

static errint_t run(struct image *im, struct ckpt *c, const struct ckpt_change *change)
{
	errint_t err = reserve_and_freeze(im, c, change);

	if (err)
		return err;
	bool any = im->txns.closing.n != 0;
	if (any)
		err = txn_write_closed(im, c->pos);
	pthread_mutex_lock(&im->lock);
	c->sb.journal_chain = le32_make(im->journal.chain);
	im->txns.commit_busy = false;
	image_wake(im);
	pthread_mutex_unlock(&im->lock);
	if (!err)
		err = write_out(im, c);

	SCOPED_LOCK(&im->lock);
	if (err)
		return image_fail(im, err, "a checkpoint could not be written");
	retire(im, c);
	return 0;
}

errint_t checkpoint(struct image *im, const struct ckpt_change *change)
{
	struct ckpt c = {0};

	pthread_mutex_lock(&im->lock);
	while (im->txns.ckpt_busy)
		image_wait(im);
	im->txns.ckpt_busy = true;
	pthread_mutex_unlock(&im->lock);

	errint_t err = run(im, &c, change);

	pthread_mutex_lock(&im->lock);
	im->txns.ckpt_busy = false;
	image_wake(im);
	pthread_mutex_unlock(&im->lock);
	free(c.buf.block);
	free(c.buf.off);
	free(c.old);
	if (!err)
		limbo_step(im);
	return err;
}

errint_t image_checkpoint(struct image *im)
{
	if (im->read_only)
		return 0;
	errint_t err = checkpoint(im, NULL);
	/* Data that no transaction mentions. */
	return err ? err : txn_commit(im);
}
