/* SPDX-License-Identifier: MIT */
/*
 * The sink that makes an image.  Each thread compresses clusters into a batch of its own, which it
 * places, writes and maps when it is full.  Clusters that do not shrink are gathered as well, one
 * behind the other, unless many stand together anyway.
 *
 * Two small things keep batches tight: neighbours change places where the packing rule would leave
 * a sector empty between them, and a batch ends with the blob that fills its last unit best.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cli/convert.h"
#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "image/bulk.h"
#include "image/checksum.h"

enum {
	BATCH_BYTES = 2 << 20, /* of frames: the loss at a batch's end, half a unit, is 0.1 % */
	RAW_GATHER = 16,       /* clusters */
	REORDER = 8,	       /* blobs that may change places */
	HOLD_BACK = 16,	       /* blobs that may wait for the next batch */
};

struct image_sink {
	struct sink sink; /* first */
	struct store *st;
	struct bulk *bulk;
	struct geometry geo;
	const struct codec *codec; /* NULL: store as it is */
	int level;
	bool delta;
};

/* One thread's batch. */
struct image_worker {
	struct convert *c;
	struct image_sink *s;
	struct codec_ctx *ctx; /* NULL: store as it is */

	uint8_t *frames;      /* one behind the other */
	uint8_t *next_frames; /* spare room, for those that wait for the next batch */
	uint32_t fill;	      /* bytes */
	unsigned nblobs;
	struct bulk_blob blob[BULK_MAX_BLOBS];
	uint8_t *batch; /* as it will be in the file */

	uint8_t *raw;
	unsigned nraw;
	uint64_t raw_cluster[RAW_GATHER];
};

static struct image_sink *image_sink_of(struct sink *s)
{
	return (struct image_sink *)s;
}

static struct image_worker *image_worker_of(struct sink_worker *w)
{
	return (struct image_worker *)w;
}

static void count(uint64_t *total, uint64_t more)
{
	__atomic_fetch_add(total, more, __ATOMIC_RELAXED);
}

static uint32_t unit_end(uint32_t at)
{
	return (at + UNIT_SIZE - 1) & ~(UNIT_SIZE - 1);
}

/* The longest frame that is worth keeping. */
static uint32_t max_frame(const struct image_sink *s)
{
	return BLOB_MAX_GRANULES << granule_shift(&s->geo);
}

static errint_t write_out(struct image_worker *w, const uint8_t *buf, size_t len, uint64_t off)
{
	errint_t err = fault_point("convert_write");

	convert_wait(w->c);
	if (!err)
		err = store_write(w->s->st, buf, len, off);
	convert_compute(w->c);
	count(&w->s->sink.totals.stored, len);
	return err;
}

/* -- compressed clusters ------------------------------------------------- */

/* Where the next blob may start, when one of @len bytes follows what ends at @end (P2). */
static uint32_t end_behind(const struct image_sink *s, uint32_t end, uint32_t len)
{
	uint32_t granule = 1u << granule_shift(&s->geo);

	end += (len + granule - 1) & ~(granule - 1);
	return end % UNIT_SIZE > UNIT_SIZE - SECTOR_SIZE ? unit_end(end) : end;
}

static void swap_blobs(struct bulk_blob *a, struct bulk_blob *b)
{
	struct bulk_blob t = *a;

	*a = *b;
	*b = t;
}

/* Put blobs into an order in which each ends where the next may start.  Returns how many of them to
 * write: all, or with @all false so many that little of the last unit is lost. */
static unsigned order_blobs(struct image_worker *w, bool all)
{
	uint32_t end = 0, least = UNIT_SIZE;
	unsigned best = w->nblobs;

	for (unsigned i = 0; i < w->nblobs; i++) {
		for (unsigned j = i; j < w->nblobs && j < i + REORDER; j++) {
			uint32_t e = end_behind(w->s, end, w->blob[j].len);

			if (e % UNIT_SIZE == 0)
				continue;
			swap_blobs(&w->blob[i], &w->blob[j]);
			break;
		}
		end = end_behind(w->s, end, w->blob[i].len);
		if (i + HOLD_BACK >= w->nblobs && unit_end(end) - end <= least) {
			least = unit_end(end) - end;
			best = i + 1;
		}
	}
	return all ? w->nblobs : best;
}

/* Copy frames to where the layout wants them, zeros between and behind them. */
static void assemble(struct image_worker *w, struct bulk_blob *blob, const struct bulk_place *place)
{
	uint32_t seed = bulk_uuid_seed(w->s->bulk), end = 0;

	for (unsigned i = 0; i < place->n; i++) {
		uint8_t *at = w->batch + blob[i].at;

		memset(w->batch + end, 0, blob[i].at - end);
		memcpy(at, w->frames + blob[i].frame, blob[i].len);
		memset(at + blob[i].len, 0, blob[i].stored - blob[i].len);
		blob[i].crc = checksum_blob(seed, blob[i].vcluster, at, blob[i].stored);
		end = blob[i].at + blob[i].stored;
	}
	memset(w->batch + end, 0, place->len - end);
}

/* Make the blobs from @first on the beginning of the next batch. */
static void hold_back(struct image_worker *w, unsigned first)
{
	uint8_t *frames = w->next_frames;
	uint32_t fill = 0;
	unsigned n = 0;

	for (unsigned i = first; i < w->nblobs; i++) {
		struct bulk_blob *b = &w->blob[i];

		memcpy(frames + fill, w->frames + b->frame, b->len);
		b->frame = fill;
		fill += b->len;
		w->blob[n++] = *b;
	}
	w->next_frames = w->frames;
	w->frames = frames;
	w->fill = fill;
	w->nblobs = n;
}

static errint_t flush_blobs(struct image_worker *w, bool all)
{
	unsigned n = order_blobs(w, all);

	for (unsigned done = 0; done < n;) {
		struct bulk_blob *blob = w->blob + done;
		struct bulk_place place;
		errint_t err = bulk_place_blobs(w->s->bulk, blob, n - done, &place);

		if (err)
			return err;
		assemble(w, blob, &place);
		err = write_out(w, w->batch, place.len, place.file_off);
		if (!err)
			err = bulk_map_blobs(w->s->bulk, blob, place.n, place.file_off);
		if (err)
			return err;
		done += place.n;
	}
	count(&w->s->sink.totals.compressed, (uint64_t)n << w->s->geo.cluster_shift);
	hold_back(w, n);
	return 0;
}

/* Compress the cluster at @src into the batch; *kept is false when it does not shrink. */
static errint_t add_blob(struct image_worker *w, uint64_t vcluster, const uint8_t *src, bool *kept)
{
	size_t len = max_frame(w->s);
	errint_t err;

	*kept = false;
	if (!w->ctx)
		return 0;
	if (w->nblobs == BULK_MAX_BLOBS || w->fill + len > BATCH_BYTES) {
		err = flush_blobs(w, false);
		if (err)
			return err;
	}
	err = codec_compress(w->ctx, src, w->frames + w->fill, &len);
	if (err)
		return err == -ENOSPC ? 0 : err;
	w->blob[w->nblobs++] =
		(struct bulk_blob){.vcluster = vcluster, .len = (uint32_t)len, .frame = w->fill};
	w->fill += (uint32_t)len;
	*kept = true;
	return 0;
}

/* -- clusters as they are ------------------------------------------------ */

/* Map gathered clusters, runs of neighbours at once. */
static errint_t map_gathered(struct image_worker *w, unsigned first, unsigned n, uint64_t file_off)
{
	const uint64_t *v = w->raw_cluster + first;

	for (unsigned i = 0, run; i < n; i += run) {
		errint_t err;

		for (run = 1; i + run < n && v[i + run] == v[i] + run;)
			run++;
		err = bulk_map_raw(w->s->bulk, v[i], run,
				   file_off + ((uint64_t)i << w->s->geo.cluster_shift));
		if (err)
			return err;
	}
	return 0;
}

static errint_t flush_raw(struct image_worker *w)
{
	for (unsigned done = 0; done < w->nraw;) {
		struct bulk_place place;
		errint_t err = bulk_place_raw(w->s->bulk, w->nraw - done, &place);

		if (!err)
			err = write_out(w, w->raw + ((size_t)done << w->s->geo.cluster_shift),
					place.len, place.file_off);
		if (!err)
			err = map_gathered(w, done, place.n, place.file_off);
		if (err)
			return err;
		done += place.n;
	}
	count(&w->s->sink.totals.raw, (uint64_t)w->nraw << w->s->geo.cluster_shift);
	w->nraw = 0;
	return 0;
}

/* Write a long run of clusters from where it is. */
static errint_t write_run(struct image_worker *w, uint64_t vcluster, unsigned n, const uint8_t *src)
{
	while (n) {
		unsigned ask = n < BULK_MAX_BLOBS ? n : BULK_MAX_BLOBS;
		struct bulk_place place;
		errint_t err = bulk_place_raw(w->s->bulk, ask, &place);

		if (!err)
			err = write_out(w, src, place.len, place.file_off);
		if (!err)
			err = bulk_map_raw(w->s->bulk, vcluster, place.n, place.file_off);
		if (err)
			return err;
		count(&w->s->sink.totals.raw, place.len);
		vcluster += place.n;
		src += place.len;
		n -= place.n;
	}
	return 0;
}

static errint_t add_run(struct image_worker *w, uint64_t vcluster, unsigned n, const uint8_t *src)
{
	const unsigned shift = w->s->geo.cluster_shift;

	if (n >= RAW_GATHER)
		return write_run(w, vcluster, n, src);
	for (unsigned i = 0; i < n; i++) {
		if (w->nraw == RAW_GATHER) {
			errint_t err = flush_raw(w);
			if (err)
				return err;
		}
		memcpy(w->raw + ((size_t)w->nraw << shift), src + ((size_t)i << shift),
		       (size_t)1 << shift);
		w->raw_cluster[w->nraw++] = vcluster + i;
	}
	return 0;
}

/* -- the sink ------------------------------------------------------------ */

static errint_t add_zeros(struct image_worker *w, uint64_t vcluster, uint64_t n)
{
	count(&w->s->sink.totals.zero, n << w->s->geo.cluster_shift);
	return w->s->delta ? bulk_map_zero(w->s->bulk, vcluster, n) : 0;
}

static errint_t image_put(struct sink_worker *worker, const struct chunk *k, const uint8_t *buf)
{
	struct image_worker *w = image_worker_of(worker);
	const size_t size = cluster_size(&w->s->geo);
	const uint64_t first = k->off / size;
	const unsigned n = (unsigned)(k->len / size);
	unsigned run = 0; /* raw clusters before cluster i */
	errint_t err;

	if (k->hole)
		return add_zeros(w, first, clusters_for(&w->s->geo, k->bytes));
	assert(k->off % size == 0 && k->len % size == 0);
	for (unsigned i = 0; i <= n; i++) {
		const uint8_t *src = buf + i * size;
		bool zero = i < n && convert_is_zero(src, size), kept = false;

		if (i < n && !zero) {
			err = add_blob(w, first + i, src, &kept);
			if (err)
				return err;
		}
		if (i < n && !zero && !kept) {
			run++;
			continue;
		}
		err = add_run(w, first + i - run, run, src - run * size);
		if (!err && zero)
			err = add_zeros(w, first + i, 1);
		if (err)
			return err;
		run = 0;
	}
	return 0;
}

static errint_t image_flush_worker(struct sink_worker *worker)
{
	struct image_worker *w = image_worker_of(worker);
	errint_t err = flush_raw(w);

	return err ? err : flush_blobs(w, true);
}

static void image_worker_free(struct sink_worker *worker)
{
	struct image_worker *w = image_worker_of(worker);

	codec_ctx_free(w->ctx);
	free(w->frames);
	free(w->next_frames);
	free(w->batch);
	free(w->raw);
	free(w);
}

/* What it takes to compress. */
static errint_t batch_new(struct image_worker *w)
{
	w->frames = malloc(BATCH_BYTES);
	w->next_frames = malloc(BATCH_BYTES);
	/* Between two blobs there is less than a sector and a granule, and as much may be added to
	 * one (section 4.1). */
	w->batch = store_buffer(BATCH_BYTES + BULK_MAX_BLOBS * 4 * SECTOR_SIZE + UNIT_SIZE);
	if (!w->frames || !w->next_frames || !w->batch)
		return log_err(-ENOMEM, "%s: cannot convert", w->c->source);
	return codec_ctx_new(w->s->codec, w->s->level, cluster_size(&w->s->geo), &w->ctx);
}

static errint_t image_worker_new(struct convert *c, struct sink_worker **out)
{
	struct image_sink *s = image_sink_of(c->sink);
	struct image_worker *w = calloc(1, sizeof(*w));
	size_t size = cluster_size(&s->geo);

	if (!w)
		return log_err(-ENOMEM, "%s: cannot convert", c->source);
	*out = (struct sink_worker *)w;
	w->c = c;
	w->s = s;
	w->raw = store_buffer(RAW_GATHER * size);
	if (!w->raw)
		return log_err(-ENOMEM, "%s: cannot convert", c->source);
	return s->codec ? batch_new(w) : 0;
}

/* A disk has whole sectors. */
static errint_t image_finish(struct convert *c, uint64_t size)
{
	struct image_sink *s = image_sink_of(c->sink);
	uint64_t sector = 1ull << s->geo.sector_shift;
	errint_t err = bulk_set_size(s->bulk, (size + sector - 1) & ~(sector - 1));

	return err ? err : bulk_finish(steal_pointer(&s->bulk));
}

static void image_free(struct sink *sink)
{
	bulk_abandon(image_sink_of(sink)->bulk);
	free(sink);
}

static const struct sink_ops image_ops = {
	.worker_new = image_worker_new,
	.worker_free = image_worker_free,
	.put = image_put,
	.flush = image_flush_worker,
	.finish = image_finish,
	.free = image_free,
};

errint_t sink_image_new(struct store *st, const struct image_params *params, struct sink **out)
{
	struct image_sink *s = calloc(1, sizeof(*s));
	errint_t err = 0;

	if (!s)
		return log_err(-ENOMEM, "%s: cannot convert", st->name);
	s->sink.ops = &image_ops;
	s->sink.align = (size_t)1 << params->cluster_shift;
	s->st = st;
	s->geo = (struct geometry){params->cluster_shift, params->sector_shift};
	s->level = params->level;
	s->delta = params->content && params->content->state == CONTENT_DELTA;
	s->sink.holes = s->delta;
	if (params->codec != CODEC_NONE)
		err = codec_find(params->codec, &s->codec);
	if (!err)
		err = bulk_begin(st, params, &s->bulk);
	if (err) {
		image_free(&s->sink);
		return err;
	}
	*out = &s->sink;
	return 0;
}
