/* SPDX-License-Identifier: MIT */
/* clang-format off */
/*
 * The commit.  Order, and what each step relies on:
 *
 *	mark		a checkpoint: from here on the backing's stamp is not compared
 *	grow		zeros in the backing where it did not show, a sync, a checkpoint: all of it shows
 *	a batch		clusters into the backing, a sync; only then they become holes, which show them
 *	unmark		a checkpoint with the backing's new identity
 *
 * In each moment a cluster is either the image's, or the backing has it durably; what is written
 * into the backing is hidden by the image until then.
 */
/* clang-format on */
#include "config.h"

#include "engine/commit.h"

#include <string.h>

#include "common/log.h"
#include "engine/core.h"
#include "image/walk.h"

/* Clusters between two syncs of the backing. */
#define BATCH 256u
/* Clusters that are written again and again stay where they are. */
#define PASSES 4u

struct commit {
	struct engine *e;
	struct engine_thread *t;
	const struct work_opts *opts;
	struct work_result *res;
	struct backing_ref ref;
	uint64_t size;	 /* of the disk */
	unsigned misses; /* clusters of this pass that somebody wrote to */
	bool stopped;
	struct repack batch[BATCH];
	uint64_t list[BATCH];
};

/* ---- one batch ---------------------------------------------------------------------------- */

static uint32_t bytes_of(const struct commit *c, uint64_t cluster)
{
	uint64_t off = cluster << c->e->geo.cluster_shift;

	return c->size - off < c->e->cluster ? (uint32_t)(c->size - off) : (uint32_t)c->e->cluster;
}

static errint_t move_cluster(struct commit *c, uint64_t cluster)
{
	uint64_t off = cluster << c->e->geo.cluster_shift;
	uint32_t len = bytes_of(c, cluster);
	errint_t err = engine_read(c->t, c->t->cluster, off, len);

	if (err)
		return err;
	return all_zero(c->t->cluster, len) ? backing_zero(c->e->backing, off, len)
					    : backing_write(c->e->backing, c->t->cluster, len, off);
}

/* Move @n clusters; *done of them are holes then. */
static errint_t move_batch(struct commit *c, unsigned n)
{
	struct image *im = c->e->im;
	unsigned used = 0;
	errint_t err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		err = repack_begin(im, c->list[i], REPACK_MAPPED, &c->batch[used]);
		if (err == -ENOENT || err == -ESTALE) {
			c->misses += err == -ESTALE;
			err = 0;
			continue;
		}
		if (!err)
			err = move_cluster(c, c->batch[used++].vcluster);
	}
	if (!err && !image_breaks_commit_sync(im))
		err = backing_sync(c->e->backing);
	for (unsigned i = 0; i < used; i++) {
		errint_t e = err ? err : repack_hole(im, &c->batch[i]);

		if (e == -ESTALE)
			c->misses++;
		else if (e)
			err = e;
		else
			c->res->bytes += bytes_of(c, c->batch[i].vcluster);
		repack_end(im, &c->batch[i]);
	}
	return err;
}

/* ---- all of them -------------------------------------------------------------------------- */

static errint_t pass(struct commit *c)
{
	uint64_t at = 0;
	unsigned n;
	errint_t err;

	c->misses = 0;
	do {
		err = walk_mapped(c->e->im, at, c->list, BATCH, &n);
		if (!err && n) {
			at = c->list[n - 1] + 1;
			err = move_batch(c, n);
		}
		if (!err && c->opts && c->opts->progress)
			c->opts->progress(c->opts->arg, n ? at << c->e->geo.cluster_shift : c->size,
					  c->size);
		if (c->opts && c->opts->stop && c->opts->stop(c->opts->arg))
			c->stopped = true;
	} while (!err && n && !c->stopped);
	return err;
}

/*
 * What the image reads as beyond the backing are zeros, and so they are there.  A backing of which
 * all shows may be smaller all the same: by a part of a sector, or by a rebase that was not safe.
 */
static errint_t show_all(struct commit *c)
{
	struct backing *b = c->e->backing;
	uint64_t had = backing_size(b);
	errint_t err;

	if (c->ref.limit == c->size && had >= c->size)
		return 0;
	err = backing_grow(b, c->size);
	/* A raw file may have ended within a sector; what follows in there are zeros already. */
	if (!err && c->ref.limit < had)
		err = backing_zero(b, c->ref.limit, backing_limit(had, c->size) - c->ref.limit);
	if (!err)
		err = backing_sync(b);
	if (err)
		return err;
	c->ref.size = backing_size(b);
	c->ref.limit = c->size;
	return image_set_backing(c->e->im, &c->ref);
}

static errint_t count_left(struct commit *c)
{
	struct map_totals t;
	errint_t err = walk_totals(c->e->im, &t);

	if (!err)
		c->res->left = (t.clusters[MAP_RAW] + t.clusters[MAP_ZSTD] + t.clusters[MAP_ZERO])
			       << c->e->geo.cluster_shift;
	return err;
}

static errint_t move_all(struct commit *c)
{
	errint_t err = show_all(c);

	for (unsigned i = 0; i < PASSES && !err; i++) {
		err = pass(c);
		if (!c->misses || c->stopped)
			break;
	}
	return err ? err : count_left(c);
}

/* ---- before and after --------------------------------------------------------------------- */

static errint_t unmark(struct commit *c)
{
	struct backing_ref now;
	errint_t err = backing_identify(c->e->backing, &now);

	if (err)
		return err;
	c->ref.size = now.size;
	c->ref.stamp = now.stamp;
	c->ref.committing = false;
	return image_set_backing(c->e->im, &c->ref);
}

/* Nothing was written.  If nobody can tell, it is as if nothing had begun. */
static errint_t not_begun(struct commit *c, bool again, errint_t err)
{
	struct backing_ref now;

	if (!again && !backing_identify(c->e->backing, &now) && now.stamp == c->ref.stamp &&
	    now.size == c->ref.size && unmark(c))
		log_warn("%s: keeps the mark of a commit that did not begin", c->e->st->name);
	return err;
}

static errint_t commit(struct commit *c)
{
	struct backing *b = c->e->backing;
	bool again = c->ref.committing;
	errint_t err, end;

	c->ref.committing = true;
	err = again ? 0 : image_commit_mark(c->e->im, &c->ref);
	if (err)
		return err;
	err = backing_write_begin(b);
	if (err)
		return not_begun(c, again, err);
	err = move_all(c);
	end = backing_write_end(b);
	err = err ? err : end;
	if (!err)
		err = unmark(c);
	if (err)
		log_fail(
			err,
			"%s: the commit was not finished; the disk reads as before, and its backing "
			"belongs to it alone until another commit comes to its end",
			c->e->st->name);
	return err;
}

errint_t engine_commit(struct engine *e, const struct work_opts *opts, struct work_result *res)
{
	CLEANUP(free) struct commit *c = calloc(1, sizeof(*c));
	const char *name = e->st->name;
	errint_t err;

	*res = (struct work_result){0};
	if (!c)
		return log_err(-ENOMEM, "%s: cannot be committed", name);
	*c = (struct commit){.e = e, .opts = opts, .res = res};
	if (!e->backing)
		return log_fail(-EINVAL, "%s: has no backing file to commit to", name);
	err = image_backing_work_begin(e->im, "a commit");
	if (err)
		return err;
	image_get_backing(e->im, &c->ref);
	c->size = image_size(e->im);
	if (c->ref.kind == BACKING_NONE)
		err = log_fail(-EINVAL, "%s: has no backing file any more", name);
	else if (c->ref.has_snapshot)
		err = log_fail(
			-EROFS,
			"%s: its backing is a snapshot, of %s, which does not change; rebase "
			"it, or convert it",
			name, backing_name(e->backing));
	if (!err)
		err = engine_thread_new(e, &c->t);
	if (!err) {
		err = commit(c);
		engine_thread_free(c->t);
	}
	image_backing_work_end(e->im);
	return err;
}
