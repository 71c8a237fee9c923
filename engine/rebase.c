/* SPDX-License-Identifier: MIT */
/*
 * Rebase: clusters that read from the backing, and would read something else from the new one, are
 * copied into the image.  What is copied once never shows a backing again, so that a pass in which
 * nothing was left over is the end.
 */
#include "config.h"

#include <string.h>

#include "common/log.h"
#include "engine/commit.h"
#include "engine/core.h"

/* Clusters that are looked at together. */
#define BATCH 16u

struct rebase {
	struct engine *e;
	struct engine_thread *t;
	struct backing_reader *old, *to; /* NULL: none */
	uint64_t old_limit, to_limit;	 /* bytes that show */
	const struct work_opts *opts;
	struct work_result *res;
	uint8_t *a, *b; /* a cluster each */
	unsigned misses;
};

/* What shows of a backing in the cluster at @off: *buf. */
static errint_t read_shown(struct backing_reader *r, uint64_t limit, uint64_t off, size_t cluster,
			   uint8_t *buf)
{
	size_t n = !r || off >= limit ? 0 : limit - off < cluster ? (size_t)(limit - off) : cluster;

	memset(buf + n, 0, cluster - n);
	return n ? backing_read(r, buf, n, off) : 0;
}

/* Would the cluster read another thing? */
static errint_t differs(struct rebase *r, uint64_t off, bool *yes)
{
	size_t cluster = r->e->cluster;
	errint_t err;

	*yes = true;
	if (!r->to) /* what is not the image's own has nowhere else to be */
		return 0;
	err = read_shown(r->old, r->old_limit, off, cluster, r->a);
	if (!err)
		err = read_shown(r->to, r->to_limit, off, cluster, r->b);
	*yes = !err && memcmp(r->a, r->b, cluster) != 0;
	return err;
}

/* The next byte at or after @off where one of the two may have data. */
static errint_t next_data(struct rebase *r, struct backing *to, uint64_t off, uint64_t *next)
{
	uint64_t start = UINT64_MAX, end;
	errint_t err = engine_backing_data(r->e, off, &start, &end);

	*next = start;
	if (!err && to) {
		err = backing_next_data(to, off, &start, &end);
		if (start < *next)
			*next = start;
	}
	return err;
}

static errint_t copy_up(struct rebase *r, const uint64_t *list, unsigned n)
{
	unsigned done = 0, missed = 0;
	errint_t err = repack_copy_up(r->t, list, n, &done, &missed);

	r->misses += missed;
	r->res->bytes += (uint64_t)done << r->e->geo.cluster_shift;
	return err;
}

/*
 * All clusters that anything shows in.  Without a new backing those where the old one has holes
 * need no copy: they read as zeros without it.
 */
static errint_t pass(struct rebase *r, struct backing *to)
{
	uint64_t end = r->old_limit > r->to_limit ? r->old_limit : r->to_limit;
	unsigned shift = r->e->geo.cluster_shift, n = 0;
	uint64_t list[BATCH], at = 0;
	errint_t err = 0;

	r->misses = 0;
	while (!err && at < end) {
		bool yes = false;
		uint64_t next;

		err = next_data(r, to, at, &next);
		if (err || next >= end)
			break;
		next = next >> shift << shift;
		if (next < at)
			next = at;
		err = differs(r, next, &yes);
		if (yes)
			list[n++] = next >> shift;
		if (n == BATCH && !err) {
			err = copy_up(r, list, n);
			n = 0;
		}
		at = next + r->e->cluster;
		if (!err && r->opts && r->opts->progress)
			r->opts->progress(r->opts->arg, at < end ? at : end, end);
		if (!err && r->opts && r->opts->stop && r->opts->stop(r->opts->arg))
			err = log_fail(-ECANCELED, "%s: was not rebased, it is being detached",
				       r->e->st->name);
	}
	return err || !n ? err : copy_up(r, list, n);
}

static errint_t rebase(struct rebase *r, struct backing *to, const struct backing_ref *ref)
{
	static const struct backing_ref none = {.kind = BACKING_NONE};
	struct backing_ref next = ref ? *ref : none;
	struct backing_ref old;
	errint_t err;

	image_get_backing(r->e->im, &old);
	r->old_limit = old.limit;
	if (old.committing)
		return log_fail(-EBUSY,
				"%s: a commit was interrupted; finish it with another before",
				r->e->st->name);
	next.limit = r->to_limit = ref ? backing_limit(ref->size, image_size(r->e->im)) : 0;
	do
		err = pass(r, to);
	while (!err && r->misses);
	return err ? err : image_set_backing(r->e->im, &next);
}

errint_t engine_rebase(struct engine *e, struct backing *to, const struct backing_ref *ref,
		       const struct work_opts *opts, struct work_result *res)
{
	struct rebase r = {.e = e, .opts = opts, .res = res};
	errint_t err = image_backing_work_begin(e->im, "a rebase");

	assert(!to == !ref);
	*res = (struct work_result){0};
	if (err)
		return err;
	r.a = store_buffer(e->cluster);
	r.b = store_buffer(e->cluster);
	if (!r.a || !r.b)
		err = log_err(-ENOMEM, "%s: cannot be rebased", e->st->name);
	if (!err)
		err = engine_thread_new(e, &r.t);
	if (!err && e->backing)
		err = backing_reader_new(e->backing, &r.old);
	if (!err && to)
		err = backing_reader_new(to, &r.to);
	if (!err)
		err = rebase(&r, to, ref);
	backing_reader_free(r.to);
	backing_reader_free(r.old);
	engine_thread_free(r.t);
	free(r.a);
	free(r.b);
	image_backing_work_end(e->im);
	return err;
}
