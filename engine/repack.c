/* SPDX-License-Identifier: MIT */
/*
 * The table of clusters to be repacked, and the repacking, a batch at a time.
 *
 * The table is a hash table of one word for each cluster, number and time of the last note, with
 * short probing and no lock: noting is on the way of every write.  A slot is 0 when it is free.
 */
#include "config.h"

#include "engine/repack.h"

#include <stdatomic.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "engine/core.h"
#include "image/checksum.h"

#define SLOTS	  (1u << 17)
#define PROBES	  8u
#define TICK_BITS 16
#define TICK_MASK ((1u << TICK_BITS) - 1)

struct repacker {
	_Atomic uint64_t slot[SLOTS]; /* (cluster + 1) << TICK_BITS | tick */
	_Atomic unsigned tick;
	_Atomic uint64_t noted; /* slots in use, about */
	_Atomic uint64_t clusters, forgotten;
	uint64_t *list; /* of one run: SLOTS of them; NULL until first needed */
};

errint_t repacker_new(struct repacker **out)
{
	struct repacker *r = calloc(1, sizeof(*r));

	if (!r)
		return log_err(-ENOMEM, "cannot set up compression");
	*out = r;
	return 0;
}

void repacker_free(struct repacker *r)
{
	if (!r)
		return;
	free(r->list);
	free(r);
}

static unsigned first_slot(uint64_t cluster)
{
	return (unsigned)(cluster * 0x9e3779b97f4a7c15ull >> 40) % SLOTS;
}

static void note_one(struct repacker *r, uint64_t cluster, unsigned tick)
{
	const uint64_t want = (cluster + 1) << TICK_BITS | tick;
	unsigned at = first_slot(cluster);

	for (unsigned i = 0; i < PROBES; i++) {
		_Atomic uint64_t *slot = &r->slot[(at + i) % SLOTS];
		uint64_t have = atomic_load_explicit(slot, memory_order_relaxed);

		/* Only the time differs: nothing is lost when somebody else is faster. */
		while (!have || have >> TICK_BITS == cluster + 1) {
			if (have == want)
				return;
			if (!atomic_compare_exchange_weak(slot, &have, want))
				continue;
			if (!have)
				atomic_fetch_add_explicit(&r->noted, 1, memory_order_relaxed);
			return;
		}
	}
	atomic_fetch_add_explicit(&r->forgotten, 1, memory_order_relaxed);
}

void repacker_note(struct repacker *r, uint64_t first, uint64_t count)
{
	unsigned tick = atomic_load_explicit(&r->tick, memory_order_relaxed) & TICK_MASK;

	for (uint64_t i = 0; i < count; i++)
		note_one(r, first + i, tick);
}

void repacker_tick(struct repacker *r)
{
	atomic_fetch_add(&r->tick, 1);
}

void repacker_get_stats(struct repacker *r, struct repacker_stats *stats)
{
	stats->clusters = atomic_load(&r->clusters);
	stats->forgotten = atomic_load(&r->forgotten);
}

/* ---- one batch ---------------------------------------------------------------------------- */

struct candidate {
	struct repack repack;
	struct packed packed; /* no frame: raw, or zeros */
	uint64_t raw;	      /* where it is stored as it is; 0: it is not */
	uint32_t crc;
};

static errint_t read_whole(struct engine_thread *t, uint64_t cluster, uint8_t *buf)
{
	uint64_t off = cluster << t->e->geo.cluster_shift;
	uint64_t end = image_size(t->e->im);
	size_t len = t->e->cluster;

	if (end - off < len) {
		memset(buf, 0, len);
		len = (size_t)(end - off);
	}
	return engine_read(t, buf, off, len);
}

/* The cluster in t->cluster does not shrink. */
static errint_t store_raw(struct engine_thread *t, struct candidate *c)
{
	errint_t err = repack_place(t->e->im, &c->raw);

	if (err)
		return err;
	err = store_write(t->e->st, t->cluster, t->e->cluster, c->raw);
	if (err)
		repack_give_back(t->e->im, c->raw);
	return err;
}

/* Read and compress one cluster into the thread's frame @i.  *use: it has a frame, or is zeros. */
static errint_t prepare(struct engine_thread *t, struct candidate *c, unsigned i, bool *use)
{
	errint_t err = read_whole(t, c->repack.vcluster, t->cluster);

	*use = false;
	c->raw = 0;
	if (err)
		return err;
	c->packed = (struct packed){.frame = NULL};
	if (all_zero(t->cluster, t->e->cluster)) {
		*use = true;
		return 0;
	}
	if (t->e->codec) {
		uint8_t *frame = t->frames + i * frame_space(t->e);

		c->packed.len = compress_cluster(t, t->cluster, frame);
		c->packed.frame = c->packed.len ? frame : NULL;
	}
	*use = c->packed.len;
	if (*use || c->repack.what == REPACK_RAW)
		return 0;
	err = store_raw(t, c);
	*use = !err;
	return err;
}

static errint_t publish(struct engine_thread *t, struct candidate *c)
{
	struct engine *e = t->e;

	if (c->raw)
		return repack_raw(e->im, &c->repack, c->raw);
	if (!c->packed.frame)
		return repack_zero(e->im, &c->repack);
	c->crc = checksum_blob(e->uuid_seed, c->repack.vcluster, c->packed.frame, c->packed.stored);
	return repack_blob(e->im, &c->repack, c->packed.file_off, c->packed.stored, c->crc);
}

/* Store the frames of @n candidates, as one batch.  -ENOSPC is the end of it, not a failure. */
static errint_t store_frames(struct engine_thread *t, struct candidate *c, unsigned n,
			     struct batch **batch)
{
	struct packed list[ROUND_CLUSTERS];
	unsigned frames = 0;
	errint_t err;

	for (unsigned i = 0; i < n; i++)
		if (c[i].packed.frame)
			list[frames++] = c[i].packed;
	if (!frames)
		return 0;
	err = packer_store(t->e->packer, packer_announce(t->e->packer), list, frames, batch);
	if (err)
		return err;
	frames = 0;
	for (unsigned i = 0; i < n; i++)
		if (c[i].packed.frame)
			c[i].packed = list[frames++];
	return 0;
}

/* What became of the clusters of a batch. */
struct outcome {
	unsigned done, missed; /* stored again; written to by others meanwhile */
};

/* Publish all; each frame leaves the batch, whatever happens to it. */
static errint_t publish_all(struct engine_thread *t, struct candidate *c, unsigned n,
			    struct batch *batch, struct outcome *o)
{
	errint_t result = 0;

	for (unsigned i = 0; i < n; i++) {
		errint_t err = result ? result : publish(t, &c[i]);

		if (result && c[i].raw)
			repack_give_back(t->e->im, c[i].raw);
		if (c[i].packed.frame)
			packer_done(t->e->packer, batch);
		if (!err)
			o->done++;
		else if (err == -ESTALE)
			o->missed++;
		else
			result = err;
	}
	return result;
}

static void give_back(struct engine_thread *t, const struct candidate *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (c[i].raw)
			repack_give_back(t->e->im, c[i].raw);
}

/* Repack @n clusters, at most ROUND_CLUSTERS. */
static errint_t repack_some(struct engine_thread *t, enum repack_what what, const uint64_t *cluster,
			    unsigned n, struct outcome *o)
{
	struct candidate c[ROUND_CLUSTERS];
	struct batch *batch = NULL;
	unsigned used = 0;
	errint_t err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		bool use;

		err = repack_begin(t->e->im, cluster[i], what, &c[used].repack);
		if (err == -ENOENT || err == -ESTALE) {
			/* Whoever writes to it has it noted again. */
			o->missed += err == -ESTALE;
			err = 0;
			continue;
		}
		if (err)
			break;
		err = prepare(t, &c[used], used, &use);
		if (err == -EINVAL) /* the disk was made smaller */
			err = 0;
		if (use)
			used++;
		else
			repack_end(t->e->im, &c[used].repack);
	}
	if (!err)
		err = store_frames(t, c, used, &batch);
	if (err)
		give_back(t, c, used);
	else
		err = publish_all(t, c, used, batch, o);
	for (unsigned i = 0; i < used; i++)
		repack_end(t->e->im, &c[i].repack);
	return err;
}

errint_t repack_copy_up(struct engine_thread *t, const uint64_t *cluster, unsigned n,
			unsigned *done, unsigned *missed)
{
	const unsigned round = ROUND_BYTES >> t->e->geo.cluster_shift;
	struct outcome o = {0};
	errint_t err = 0;

	for (unsigned at = 0; at < n && !err; at += round)
		err = repack_some(t, REPACK_MISSING, cluster + at, n - at < round ? n - at : round,
				  &o);
	*done = o.done;
	*missed = o.missed;
	return err;
}

/* ---- a run -------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Take what is old enough out of the table, sorted, so that neighbours are stored together. */
static size_t take_old(struct repacker *r, unsigned age)
{
	unsigned now = atomic_load(&r->tick) & TICK_MASK;
	size_t n = 0;

	if (!atomic_load(&r->noted))
		return 0;
	for (unsigned i = 0; i < SLOTS; i++) {
		uint64_t have = atomic_load_explicit(&r->slot[i], memory_order_relaxed);

		if (!have || ((now - (unsigned)have) & TICK_MASK) < age)
			continue;
		if (!atomic_compare_exchange_strong(&r->slot[i], &have, 0))
			continue;
		atomic_fetch_sub_explicit(&r->noted, 1, memory_order_relaxed);
		r->list[n++] = (have >> TICK_BITS) - 1;
	}
	qsort(r->list, n, sizeof(*r->list), by_number);
	return n;
}

errint_t repacker_run(struct repacker *r, struct engine_thread *t, unsigned age, unsigned ms,
		      bool *more)
{
	const unsigned round = ROUND_BYTES >> t->e->geo.cluster_shift;
	const uint64_t end = clock_ms() + ms;
	errint_t err = 0;

	*more = false;
	if (!r->list)
		r->list = malloc(SLOTS * sizeof(*r->list));
	if (!r->list)
		return log_err(-ENOMEM, "cannot compress what was written in parts");

	size_t n = take_old(r, age), at = 0;

	while (at < n && !err && (!ms || clock_ms() < end)) {
		unsigned some = n - at < round ? (unsigned)(n - at) : round;

		struct outcome o = {0};

		err = repack_some(t, REPACK_RAW, r->list + at, some, &o);
		atomic_fetch_add(&r->clusters, o.done);
		at += some;
	}
	*more = at < n;
	for (; at < n; at++)
		note_one(r, r->list[at], (atomic_load(&r->tick) - age) & TICK_MASK);
	return err == -ENOSPC ? 0 : err;
}
