/* SPDX-License-Identifier: MIT */
/*
 * Owns: the order of a check, and what the trees refer to (I2, I6, I10).
 *
 * First the blocks at fixed places, then, for as many regions at a time as the memory allows, all
 * references into them from one walk over the trees, then the contents of blobs if asked for.
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
#include "image/core.h"
#include "image/snapshot.h"

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

/* --- a loop shared by threads -------------------------------------------------------------------
 */

struct parallel {
	errint_t (*fn)(void *arg, unsigned worker, uint64_t i);
	void *arg;
	uint64_t n;
	_Atomic uint64_t next;
	_Atomic unsigned workers;
	_Atomic errint_t err; /* the last one */
};

static void *parallel_worker(void *arg)
{
	struct parallel *p = arg;
	unsigned worker = atomic_fetch_add(&p->workers, 1);

	while (!atomic_load(&p->err)) {
		uint64_t i = atomic_fetch_add(&p->next, 1);

		if (i >= p->n)
			break;
		errint_t err = p->fn(p->arg, worker, i);
		if (err)
			atomic_store(&p->err, err);
	}
	return NULL;
}

errint_t check_parallel(struct check *c, uint64_t n, void *arg,
			errint_t (*fn)(void *arg, unsigned worker, uint64_t i))
{
	struct parallel p = {.fn = fn, .arg = arg, .n = n};
	pthread_t thread[WALK_MAX_THREADS];
	unsigned nthreads = 0;

	/* To start a thread costs about as much as a few regions. */
	while (nthreads + 1 < c->threads && 8ull * (nthreads + 1) < n &&
	       !pthread_create(&thread[nthreads], NULL, parallel_worker, &p))
		nthreads++;
	parallel_worker(&p);
	while (nthreads)
		pthread_join(thread[--nthreads], NULL);
	return p.err;
}

/* --- the trees ----------------------------------------------------------------------------------
 */

struct tree_pass {
	struct check *c;
	struct tree tree;
	struct refs_cursor cursor[WALK_MAX_THREADS];
};

static void bad_desc(struct check *c, unsigned level, uint64_t index, unsigned i, const char *why)
{
	atomic_store(&c->incomplete, true);
	check_corrupt(c, "entry %u of node %" PRIu64 " of level %u: %s", i, index, level, why);
}

/* Entries of a node in memory were not read by the walk: look at them here. */
static bool memory_entry_ok(struct check *c, const struct tree_node *n, unsigned i)
{
	struct reason why;

	if (!n->in_memory || !validate_desc(n->entry[i], &c->lim, n->level, c->lim.epoch, &why))
		return true;
	if (c->first_pass)
		bad_desc(c, n->level, n->index, i, why.text);
	return false;
}

/* Count the run of @n clusters at @entry. */
static void count_run(struct check_counts *c, const struct geometry *g, const struct desc *entry,
		      unsigned n)
{
	uint64_t sum = 0;

	if (desc_type(entry[0]) == DESC_ZSTD) {
		for (unsigned i = 0; i < n; i++)
			sum += desc_granules(entry[i]);
		c->blobs += n;
		c->blob_bytes += sum << granule_shift(g);
		c->data_bytes += (uint64_t)n << g->cluster_shift;
		return;
	}
	for (unsigned i = 0; i < n; i++)
		sum += desc_valid(entry[i]) == 0xffff
			       ? SUBBLOCKS
			       : (unsigned)__builtin_popcount(desc_valid(entry[i]));
	c->raw_clusters += n;
	c->data_bytes += sum << subblock_shift(g);
}

static void add_leaf(struct tree_pass *p, struct refs_cursor *cur, struct check_counts *counts,
		     const struct tree_node *leaf)
{
	struct check *c = p->c;
	const struct geometry *g = &c->lim.geo;
	unsigned run = 1;

	for (unsigned i = 0; i < NODE_ENTRIES; i += run) {
		const struct desc *entry = &leaf->entry[i];

		run = 1;
		/* Holes first: they are what most leaves of a sparse disk consist of. */
		if (!entry->w0 || !desc_extent(g, *entry).len || !memory_entry_ok(c, leaf, i))
			continue;
		if (!leaf->in_memory)
			run = refs_run_length(g, entry, NODE_ENTRIES - i);
		count_run(counts, g, entry, run);
		refs_add_run(cur, leaf->index << NODE_SHIFT | i, entry, run);
	}
}

static void show_progress(struct check *c, const struct tree_node *leaf)
{
	uint64_t bytes = (uint64_t)NODE_ENTRIES << c->lim.geo.cluster_shift, done;

	(void)leaf;
	if (!c->opts->progress || c->opts->data || !c->first_pass)
		return;
	done = atomic_fetch_add(&c->done, bytes) + bytes;
	/* Leaves come by the thousand. */
	if (done / bytes % 256)
		return;
	SCOPED_LOCK(&c->lock);
	c->opts->progress(c->opts->arg, done < c->info.size ? done : c->info.size, c->info.size);
}

static void add_node(struct refs_cursor *cur, const struct geometry *g, const struct tree_node *n)
{
	struct ref ref = {.kind = REF_NODE,
			  .level = n->level,
			  .index = n->index,
			  .e = desc_extent(g, n->self)};

	if (ref.e.len)
		refs_add(cur, &ref);
}

static errint_t pass_node(void *arg, unsigned worker, const struct tree_node *n)
{
	struct tree_pass *p = arg;
	struct check *c = p->c;
	struct refs_cursor *cur = &p->cursor[worker];
	struct check_counts ignored = {0};
	struct check_counts *counts = c->first_pass ? &c->counts[worker] : &ignored;

	counts->nodes++;
	add_node(cur, &c->lim.geo, n);
	if (!n->level) {
		add_leaf(p, cur, counts, n);
		show_progress(c, n);
	} else {
		for (unsigned i = 0; i < NODE_ENTRIES; i++)
			(void)memory_entry_ok(c, n, i);
	}
	refs_release(cur);
	return 0;
}

static errint_t pass_damaged(void *arg, const struct tree_node *n, errint_t err, const char *why)
{
	struct tree_pass *p = arg;
	struct refs_cursor cur = {.refs = p->cursor[0].refs};

	if (err == -ENOMEM)
		return err;
	atomic_store(&p->c->incomplete, true);
	if (p->c->first_pass)
		check_corrupt(p->c, "node %" PRIu64 " of level %u at offset 0x%" PRIx64 ": %s",
			      n->index, n->level, desc_unit(n->self) << UNIT_SHIFT, why);
	add_node(&cur, &p->c->lim.geo, n);
	refs_release(&cur);
	return 0;
}

static errint_t pass_bad_entry(void *arg, const struct tree_node *n, unsigned i, struct desc d,
			       const char *why)
{
	struct tree_pass *p = arg;

	(void)d;
	if (p->c->first_pass)
		bad_desc(p->c, n->level, n->index, i, why);
	return 0;
}

/* --- what else uses space -----------------------------------------------------------------------
 */

/* A run of whole units, which may cross regions. */
static void add_units(struct refs_cursor *cur, enum ref_kind kind, struct extent e)
{
	while (e.len) {
		uint64_t room = REGION_SIZE - (e.off & (REGION_SIZE - 1));
		struct ref ref = {.kind = kind, .e = {e.off, e.len < room ? e.len : room}};

		refs_add(cur, &ref);
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
	struct tree_pass p = {.c = c, .tree = tree_head(c->im)};
	struct tree_visitor v = {.arg = &p,
				 .node = pass_node,
				 .damaged = pass_damaged,
				 .bad_entry = pass_bad_entry,
				 .end = UINT64_MAX,
				 .threads = c->threads};
	struct refs *refs;
	errint_t err = refs_open(c, first, &refs, end);

	if (err)
		return err;
	for (unsigned i = 0; i < WALK_MAX_THREADS; i++)
		p.cursor[i].refs = refs;
	add_fixed_refs(c, refs);
	err = tree_walk(c->im, &p.tree, &v);
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
	uint32_t nsnapshots;

	image_get_info(c->im, &c->info);
	pthread_mutex_lock(&c->im->lock);
	image_limits(c->im, &c->lim);
	(void)snapshot_records(c->im, &nsnapshots);
	pthread_mutex_unlock(&c->im->lock);
	c->nregions = alloc_regions(c->im);
	c->threads = c->opts->threads ? c->opts->threads : tree_walk_threads();
	if (!c->opts->threads && c->threads < MIN_THREADS)
		c->threads = MIN_THREADS;
	if (c->threads > WALK_MAX_THREADS)
		c->threads = WALK_MAX_THREADS;
	if (nsnapshots)
		return log_fail(-ENOTSUP,
				"%s: has %" PRIu32 " snapshots, which this version cannot check",
				c->st->name, nsnapshots);
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
		err = check_fixed(c);
	if (!err)
		err = check_passes(c);
	if (!err && opts->data)
		err = check_data(c);
	free(c->super);
	pthread_mutex_destroy(&c->lock);
	free(c);
	return err;
}
