/* SPDX-License-Identifier: MIT */
/*
 * Owns: the check of what blobs contain: checksum, one intact frame of exactly a cluster, zeros
 * behind it (section 4, H4).
 *
 * The calling thread walks the tree and hands out leaves; each worker sorts the blobs of one leaf
 * by place, reads them many at a time and verifies them.  Memory: a leaf, a read buffer and a
 * cluster for each worker.
 */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/check_parts.h"
#include "image/checksum.h"

/* Blobs that are this close together are read at once, up to so many bytes. */
#define READ_MAX (1u << 20)
#define READ_GAP (64u << 10)

struct leaf {
	const struct check_part *part;
	uint64_t index;
	struct desc entry[NODE_ENTRIES];
};

struct data_check {
	struct check *c;
	const struct codec *codec;
	const struct check_part *part; /* that is walked now */

	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t more, room;
	struct leaf *ring; /* leaves not yet taken: [head, head + n) modulo cap */
	unsigned cap, head, n;
	bool closing;
	errint_t err;
	uint64_t done; /* bytes verified */
};

struct data_worker {
	struct data_check *dc;
	pthread_t thread;
	struct leaf leaf;
	uint8_t *buf;	  /* READ_MAX bytes */
	uint8_t *cluster; /* decompressed */
	struct codec_ctx *ctx;
};

struct blob {
	struct extent e;
	uint64_t vcluster;
	uint32_t crc;
};

static int by_place(const void *a, const void *b)
{
	uint64_t x = ((const struct blob *)a)->e.off, y = ((const struct blob *)b)->e.off;

	return x < y ? -1 : x > y;
}

/* --- one blob -----------------------------------------------------------------------------------
 */

static void bad_blob(const struct data_worker *w, const struct blob *b, const char *why)
{
	struct check *c = w->dc->c;
	char whose[CHECK_WHOSE_MAX];

	check_corrupt(c,
		      "cluster %" PRIu64 " (disk offset 0x%" PRIx64 ")%s, compressed, %" PRIu64
		      " bytes at offset 0x%" PRIx64 ": %s",
		      b->vcluster, b->vcluster << c->lim.geo.cluster_shift,
		      check_whose(w->leaf.part->snapshot, whose), b->e.len, b->e.off, why);
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static void verify_blob(struct data_worker *w, const struct blob *b, const uint8_t *stored)
{
	struct check *c = w->dc->c;
	size_t len = b->e.len;

	if (checksum_blob(c->lim.uuid_seed, b->vcluster, stored, len) != b->crc) {
		bad_blob(w, b, "the checksum is wrong");
		return;
	}
	if (codec_decompress(w->ctx, stored, &len, w->cluster)) {
		bad_blob(w, b, "it is no intact frame of one cluster");
		return;
	}
	size_t rest = b->e.len - len;
	if (rest >= SECTOR_SIZE + (1u << granule_shift(&c->lim.geo)))
		bad_blob(w, b, "the frame is too short for the space it takes");
	else if (!all_zero(stored + len, rest))
		bad_blob(w, b, "the bytes after the frame are not zeros");
}

/* --- one leaf -----------------------------------------------------------------------------------
 */

static void add_done(struct data_check *dc, uint64_t bytes)
{
	struct check *c = dc->c;

	if (!c->opts->progress)
		return;
	SCOPED_LOCK(&c->lock);
	dc->done += bytes;
	c->opts->progress(c->opts->arg, dc->done, c->res->blob_bytes);
}

/* Blobs [0, n), which one read covers. */
static void verify_run(struct data_worker *w, const struct blob *b, unsigned n)
{
	struct check *c = w->dc->c;
	uint64_t from = b[0].e.off & ~(uint64_t)(UNIT_SIZE - 1), to = 0, bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t end = b[i].e.off + b[i].e.len;

		to = end > to ? end : to;
		bytes += b[i].e.len;
	}
	to = (to + UNIT_SIZE - 1) & ~(uint64_t)(UNIT_SIZE - 1);
	assert(to - from <= READ_MAX);
	if (store_read(c->st, w->buf, to - from, from)) {
		if (n == 1)
			bad_blob(w, b, "it cannot be read");
		for (unsigned i = 0; n > 1 && i < n; i++)
			verify_run(w, b + i, 1);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		verify_blob(w, &b[i], w->buf + (b[i].e.off - from));
	add_done(w->dc, bytes);
}

/* How many of the @n blobs one read is to cover. */
static unsigned run_length(const struct blob *b, unsigned n)
{
	uint64_t from = b[0].e.off & ~(uint64_t)(UNIT_SIZE - 1), end = b[0].e.off + b[0].e.len;
	unsigned i = 1;

	for (; i < n; i++) {
		uint64_t next = b[i].e.off + b[i].e.len;

		if (b[i].e.off > end + READ_GAP || next > from + READ_MAX - UNIT_SIZE)
			break;
		end = next > end ? next : end;
	}
	return i;
}

static void verify_leaf(struct data_worker *w)
{
	CLEANUP(free) struct blob *blob = malloc(NODE_ENTRIES * sizeof(*blob));
	struct data_check *dc = w->dc;
	unsigned n = 0;

	if (!blob) {
		SCOPED_LOCK(&dc->lock);
		dc->err = log_err(-ENOMEM, "%s: cannot check the data", dc->c->st->name);
		return;
	}
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		struct desc d = w->leaf.entry[i];
		uint64_t v = w->leaf.index << NODE_SHIFT | i;

		if (desc_type(d) == DESC_ZSTD && check_part_owns(w->leaf.part, v, d))
			blob[n++] = (struct blob){desc_extent(&dc->c->lim.geo, d), v, d.aux};
	}
	qsort(blob, n, sizeof(*blob), by_place);
	for (unsigned i = 0; i < n;) {
		unsigned run = run_length(blob + i, n - i);

		verify_run(w, blob + i, run);
		i += run;
	}
}

static void *data_worker(void *arg)
{
	struct data_worker *w = arg;
	struct data_check *dc = w->dc;

	for (;;) {
		pthread_mutex_lock(&dc->lock);
		while (!dc->n && !dc->closing)
			pthread_cond_wait(&dc->more, &dc->lock);
		bool any = dc->n > 0;
		if (any) {
			w->leaf = dc->ring[dc->head];
			dc->head = (dc->head + 1) % dc->cap;
			dc->n--;
			pthread_cond_signal(&dc->room);
		}
		pthread_mutex_unlock(&dc->lock);
		if (!any)
			return NULL;
		verify_leaf(w);
	}
}

/* --- handing out leaves -------------------------------------------------------------------------
 */

static bool has_blobs(const struct desc *entry)
{
	for (unsigned i = 0; i < NODE_ENTRIES; i++) {
		if (desc_type(entry[i]) == DESC_ZSTD)
			return true;
	}
	return false;
}

static errint_t data_node(void *arg, unsigned worker, const struct tree_node *n)
{
	struct data_check *dc = arg;

	(void)worker;
	if (n->level || !has_blobs(n->entry))
		return 0;
	SCOPED_LOCK(&dc->lock);
	while (dc->n == dc->cap)
		pthread_cond_wait(&dc->room, &dc->lock);
	struct leaf *l = &dc->ring[(dc->head + dc->n++) % dc->cap];
	l->part = dc->part;
	l->index = n->index;
	memcpy(l->entry, n->entry, sizeof(l->entry));
	pthread_cond_signal(&dc->more);
	return dc->err;
}

/* Damage to the tree has been reported already. */
static errint_t data_damaged(void *arg, const struct tree_node *n, errint_t err, const char *why)
{
	(void)arg;
	(void)n;
	(void)why;
	return err == -ENOMEM ? err : 0;
}

static errint_t data_bad_entry(void *arg, const struct tree_node *n, unsigned i, struct desc d,
			       const char *why)
{
	(void)arg;
	(void)n;
	(void)i;
	(void)d;
	(void)why;
	return 0;
}

static void worker_free(struct data_worker *w)
{
	free(w->buf);
	free(w->cluster);
	codec_ctx_free(w->ctx);
}

static errint_t worker_start(struct data_check *dc, struct data_worker *w)
{
	const size_t block = cluster_size(&dc->c->lim.geo);
	int min, max, def;
	errint_t err;

	codec_levels(dc->codec, &min, &max, &def);
	w->dc = dc;
	w->buf = aligned_alloc(UNIT_SIZE, READ_MAX);
	w->cluster = malloc(block);
	err = w->buf && w->cluster ? codec_ctx_new(dc->codec, def, block, &w->ctx) : -ENOMEM;
	if (!err)
		err = -pthread_create(&w->thread, NULL, data_worker, w);
	if (err) {
		log_err(err, "%s: cannot start checking data", dc->c->st->name);
		worker_free(w);
	}
	return err;
}

static errint_t walk_parts(struct data_check *dc)
{
	struct check *c = dc->c;
	errint_t err = 0;

	for (unsigned i = 0; i < c->nparts && !err; i++) {
		struct tree_visitor v = check_part_visitor(&c->part[i]);

		dc->part = &c->part[i];
		v.arg = dc;
		v.node = data_node;
		v.damaged = data_damaged;
		v.bad_entry = data_bad_entry;
		v.threads = 1;
		err = tree_walk(c->im, &c->part[i].tree, &v);
	}
	return err;
}

/* Walk with @n workers, at least one of which has to start. */
static errint_t walk_data(struct data_check *dc, struct data_worker *w, unsigned n)
{
	unsigned started = 0;
	errint_t err = 0;

	while (started < n && !(err = worker_start(dc, &w[started])))
		started++;
	if (!err)
		err = walk_parts(dc);
	pthread_mutex_lock(&dc->lock);
	dc->closing = true;
	pthread_cond_broadcast(&dc->more);
	pthread_mutex_unlock(&dc->lock);
	for (unsigned i = 0; i < started; i++) {
		pthread_join(w[i].thread, NULL);
		worker_free(&w[i]);
	}
	return err ? err : dc->err;
}

errint_t check_data(struct check *c)
{
	struct data_check dc = {.c = c, .cap = 2 * c->threads};
	errint_t err;

	if (!c->res->blobs)
		return 0;
	err = codec_find(CODEC_ZSTD, &dc.codec);
	if (err)
		return err;
	CLEANUP(free) struct data_worker *w = calloc(c->threads, sizeof(*w));
	dc.ring = malloc(dc.cap * sizeof(*dc.ring));
	if (!w || !dc.ring) {
		free(dc.ring);
		return log_err(-ENOMEM, "%s: cannot check the data", c->st->name);
	}
	pthread_mutex_init(&dc.lock, NULL);
	pthread_cond_init(&dc.more, NULL);
	pthread_cond_init(&dc.room, NULL);
	err = walk_data(&dc, w, c->threads);
	pthread_cond_destroy(&dc.room);
	pthread_cond_destroy(&dc.more);
	pthread_mutex_destroy(&dc.lock);
	free(dc.ring);
	return err;
}
