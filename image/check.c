/* SPDX-License-Identifier: MIT */
/*
 * Owns: the order of a check, its reports and its threads.
 *
 * First the blocks at fixed places, then, for as many regions at a time as the memory allows, all
 * references into them from one walk over each tree, then the contents of blobs if asked for.
 */
#include "config.h"

#include "image/check.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/check_parts.h"
#include "image/parallel.h"
#include "image/core.h"

/* Problems reported when the caller does not say how many. */
#define DEFAULT_REPORTS 100u

/* Even of one processor: threads that read wait for the disk. */
#define MIN_THREADS 2u

/* --- reporting ----------------------------------------------------------------------------------
 */

/* c->lock held. */
__attribute__((format(printf, 2, 0))) static void report(struct check *c, const char *fmt,
							 va_list ap)
{
	uint64_t max = c->opts->max_reports ? c->opts->max_reports : DEFAULT_REPORTS;
	char line[512];

	if (!c->opts->report || c->reports > max)
		return;
	if (c->reports++ == max)
		snprintf(line, sizeof(line), "more problems are counted, but not shown");
	else
		vsnprintf(line, sizeof(line), fmt, ap);
	c->opts->report(c->opts->arg, line);
}

void check_corrupt(struct check *c, const char *fmt, ...)
{
	SCOPED_LOCK(&c->lock);
	va_list ap;

	c->res->corruptions++;
	va_start(ap, fmt);
	report(c, fmt, ap);
	va_end(ap);
}

void check_leak(struct check *c, uint64_t units, const char *fmt, ...)
{
	SCOPED_LOCK(&c->lock);
	va_list ap;

	c->res->leaks += units;
	va_start(ap, fmt);
	report(c, fmt, ap);
	va_end(ap);
}

void check_note(struct check *c, const char *fmt, ...)
{
	SCOPED_LOCK(&c->lock);
	va_list ap;

	va_start(ap, fmt);
	report(c, fmt, ap);
	va_end(ap);
}

const char *check_whose(uint32_t snapshot, char buf[CHECK_WHOSE_MAX])
{
	buf[0] = '\0';
	if (snapshot)
		snprintf(buf, CHECK_WHOSE_MAX, " of snapshot %" PRIu32, snapshot);
	return buf;
}

errint_t check_parallel(struct check *c, uint64_t n, void *arg,
			errint_t (*fn)(void *arg, unsigned worker, uint64_t i))
{
	return parallel_for(c->threads, n, arg, fn);
}

/* --- what else uses space -----------------------------------------------------------------------
 */

/* A run of whole units, which may cross regions. */
static void add_units(struct refs_cursor *cur, enum ref_kind kind, struct extent e)
{
	while (e.len) {
		uint64_t room = REGION_SIZE - (e.off & (REGION_SIZE - 1));
		struct ref ref = {.kind = kind, .e = {e.off, e.len < room ? e.len : room}};

		(void)refs_add(cur, &ref);
		e.off += ref.e.len;
		e.len -= ref.e.len;
	}
}

static void add_fixed_refs(struct check *c, struct refs *refs)
{
	struct refs_cursor cur = {.refs = refs};

	add_units(&cur, REF_JOURNAL,
		  (struct extent){c->info.journal_offset, c->info.journal_length});
	if (c->super)
		add_units(&cur, REF_SNAPTAB,
			  desc_extent(&c->lim.geo, desc_from_disk(&c->super->snaptab)));
	refs_release(&cur);
}

/* --- passes -------------------------------------------------------------------------------------
 */

/* Everything that refers to the regions from @first on, against their bitmaps. */
static errint_t check_pass(struct check *c, uint64_t first, uint64_t *end)
{
	struct refs *refs;
	errint_t err = refs_open(c, first, &refs, end);

	if (err)
		return err;
	add_fixed_refs(c, refs);
	err = check_trees(c, refs);
	if (!err)
		err = refs_compare(refs);
	refs_free(refs);
	return err;
}

/* Sums over all regions (I7, R3). */
static void check_totals(struct check *c)
{
	for (unsigned i = 0; i < WALK_MAX_THREADS; i++) {
		const struct check_counts *n = &c->counts[i];

		c->res->nodes += n->nodes;
		c->res->raw_clusters += n->raw_clusters;
		c->res->blobs += n->blobs;
		c->res->blob_bytes += n->blob_bytes;
		c->res->data_bytes += n->data_bytes;
	}
	c->res->used_units = c->used_units;
	c->res->total_units = c->nregions * REGION_UNITS;
	if (atomic_load(&c->incomplete)) {
		check_note(c, "not everything could be followed: leaks were not looked for");
		return;
	}
	if (c->used_units != c->info.used_units)
		check_corrupt(c,
			      "%" PRIu64 " units are marked used in the bitmaps, the image "
			      "counts %" PRIu64,
			      c->used_units, c->info.used_units);
	if (c->end_used << UNIT_SHIFT > c->length)
		check_corrupt(c,
			      "the file is %" PRIu64 " bytes long, but used up to %" PRIu64
			      " (R3): it was truncated",
			      c->length, c->end_used << UNIT_SHIFT);
}

static errint_t check_passes(struct check *c)
{
	uint64_t next = 0;

	for (c->first_pass = true; next < c->nregions; c->first_pass = false) {
		errint_t err = check_pass(c, next, &next);
		if (err)
			return err;
	}
	check_totals(c);
	return 0;
}

static errint_t check_begin(struct check *c)
{
	image_get_info(c->im, &c->info);
	pthread_mutex_lock(&c->im->lock);
	image_limits(c->im, &c->lim);
	pthread_mutex_unlock(&c->im->lock);
	c->nregions = alloc_regions(c->im);
	c->threads = c->opts->threads ? c->opts->threads : tree_walk_threads();
	if (!c->opts->threads && c->threads < MIN_THREADS)
		c->threads = MIN_THREADS;
	if (c->threads > WALK_MAX_THREADS)
		c->threads = WALK_MAX_THREADS;
	c->res->snapshots = c->info.nsnapshots;
	return store_length(c->st, &c->length);
}

errint_t check_image(struct image *im, const struct check_opts *opts, struct check_result *res)
{
	struct check *c = calloc(1, sizeof(*c));
	errint_t err;

	*res = (struct check_result){0};
	if (!c)
		return log_err(-ENOMEM, "cannot check the image");
	c->im = im;
	c->st = image_store(im);
	c->opts = opts;
	c->res = res;
	pthread_mutex_init(&c->lock, NULL);
	err = check_begin(c);
	if (!err)
		err = check_find_parts(c);
	if (!err)
		err = check_fixed(c);
	if (!err)
		err = check_passes(c);
	if (!err && opts->data)
		err = check_data(c);
	free(c->super);
	free(c->part);
	pthread_mutex_destroy(&c->lock);
	free(c);
	return err;
}
