/* SPDX-License-Identifier: MIT */
/*
 * An image of the source is laid out by the very code that converts (image/bulk.h), into a file in
 * memory that is given metadata only: what is measured is what convert makes, and nothing here
 * repeats the rules of the layout.
 *
 * Three methods, from cheap to dear:
 *   bound   every cluster that may hold data counts as stored raw; nothing is read
 *   sample  clusters are read and compressed at regular intervals, and each stands for its interval
 *   exact   all are
 */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "cli/commands.h"
#include "cli/disk.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/size.h"
#include "cli/workers.h"
#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/bulk.h"
#include "image/report.h"

enum {
	SAMPLES = 2048, /* clusters that are read, of how many ever there are */
	BATCH = 64,	/* clusters that a thread takes at a time */
};

enum method { METHOD_BOUND, METHOD_SAMPLE, METHOD_EXACT };
static const char *const method_names[] = {"bound", "sample", "exact"};

struct measure_opts {
	struct compression compression;
	int format; /* enum disk_format */
	uint8_t cluster_shift, sector_shift;
	bool exact, json;
	unsigned threads;
	int progress; /* enum progress_mode */
};

static const struct measure_opts defaults = {.cluster_shift = 16, .sector_shift = 9};

/* What becomes of a cluster: the bytes of its frame, or one of these. */
enum { AS_ZERO = 0, AS_RAW = UINT32_MAX };

struct measure {
	const struct measure_opts *opts;
	struct disk *disk;
	struct geometry geo;
	enum method method;
	const struct codec *codec; /* NULL: none */
	uint64_t clusters;	   /* that may hold data */
	uint64_t interval;	   /* one of so many is read; 1: each */
	uint64_t reads;		   /* clusters that are read */
	struct progress *bar;
	struct store *st;
	struct bulk *bulk;

	pthread_mutex_t lock; /* protects what follows */
	uint64_t at;	      /* next cluster to look at */
	uint64_t run_end;     /* of the run of data that @at is in, clusters; 0: look it up */
	uint64_t seen;	      /* clusters with data before @at */
	uint32_t *outcome;    /* METHOD_SAMPLE, @reads of them; each element by one thread */
	uint64_t zero, raw, blobs, blob_bytes;
	bool failed;
};

/* One thread. */
struct measurer {
	struct measure *m;
	struct disk_reader *reader;
	struct codec_ctx *ctx;
	uint8_t *cluster, *frame;
};

/* A run of clusters with data, and the number of those before it. */
struct batch {
	uint64_t vcluster, ordinal;
	unsigned n;
};

static errint_t next_batch(struct measure *m, unsigned max, struct batch *b)
{
	uint64_t start, end, size = cluster_size(&m->geo);
	errint_t err;

	*b = (struct batch){0};
	if (m->at >= m->run_end) {
		err = disk_next_data(m->disk, m->at << m->geo.cluster_shift, &start, &end);
		if (err || start == end)
			return err;
		if (start >> m->geo.cluster_shift > m->at)
			m->at = start >> m->geo.cluster_shift;
		m->run_end = (end + size - 1) >> m->geo.cluster_shift;
	}
	b->vcluster = m->at;
	b->ordinal = m->seen;
	b->n = m->run_end - m->at < max ? (unsigned)(m->run_end - m->at) : max;
	m->at += b->n;
	m->seen += b->n;
	return 0;
}

static void rewind_batches(struct measure *m)
{
	m->at = m->run_end = m->seen = 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* Reads a cluster and finds out what becomes of it. */
static errint_t classify(const struct measurer *t, uint64_t vcluster, uint32_t *outcome)
{
	const struct measure *m = t->m;
	size_t size = cluster_size(&m->geo);
	size_t len = (size_t)BLOB_MAX_GRANULES << granule_shift(&m->geo);
	errint_t err = disk_read(t->reader, t->cluster, vcluster << m->geo.cluster_shift, size);

	*outcome = AS_RAW;
	if (err)
		return err;
	progress_add(m->bar, size);
	if (is_zero(t->cluster, size)) {
		*outcome = AS_ZERO;
		return 0;
	}
	if (!m->codec)
		return 0;
	err = codec_compress(t->ctx, t->cluster, t->frame, &len);
	if (err == -ENOSPC)
		return 0;
	if (!err)
		*outcome = (uint32_t)len;
	return err;
}

static errint_t add_raw(struct measure *m, uint64_t vcluster, unsigned n)
{
	while (n) {
		struct bulk_place place;
		errint_t err = bulk_place_raw(m->bulk, n, &place);

		if (!err)
			err = bulk_map_raw(m->bulk, vcluster, place.n, place.file_off);
		if (err)
			return err;
		vcluster += place.n;
		n -= place.n;
	}
	return 0;
}

static errint_t add_blobs(struct measure *m, struct bulk_blob *blob, unsigned n)
{
	while (n) {
		struct bulk_place place;
		errint_t err = bulk_place_blobs(m->bulk, blob, n, &place);

		if (!err)
			err = bulk_map_blobs(m->bulk, blob, place.n, place.file_off);
		if (err)
			return err;
		blob += place.n;
		n -= place.n;
	}
	return 0;
}

/* Gives a batch of clusters its place in the image. */
static errint_t add_batch(struct measure *m, const struct batch *b, const uint32_t *outcome)
{
	struct bulk_blob blob[BATCH];
	unsigned n = 0, raw = 0, zero = 0;
	uint64_t bytes = 0;
	errint_t err = 0;

	assert(b->n <= BATCH);
	for (unsigned i = 0; i < b->n && !err; i++) {
		if (outcome[i] == AS_ZERO) {
			zero++;
		} else if (outcome[i] == AS_RAW) {
			raw++;
			err = add_raw(m, b->vcluster + i, 1);
		} else {
			blob[n++] =
				(struct bulk_blob){.vcluster = b->vcluster + i, .len = outcome[i]};
			bytes += outcome[i];
		}
	}
	if (!err && n)
		err = add_blobs(m, blob, n);
	SCOPED_LOCK(&m->lock);
	m->zero += zero;
	m->raw += raw;
	m->blobs += n;
	m->blob_bytes += bytes;
	return err;
}

static errint_t take_batch(struct measure *m, unsigned max, struct batch *b)
{
	SCOPED_LOCK(&m->lock);
	errint_t err;

	*b = (struct batch){0};
	if (m->failed)
		return 0;
	err = next_batch(m, max, b);
	m->failed = err != 0;
	return err;
}

/* METHOD_EXACT: read all, and place it. */
static errint_t exact_batches(struct measurer *t)
{
	uint32_t outcome[BATCH];
	struct batch b;
	errint_t err = take_batch(t->m, BATCH, &b);

	while (!err && b.n) {
		for (unsigned i = 0; i < b.n && !err; i++)
			err = classify(t, b.vcluster + i, &outcome[i]);
		if (!err)
			err = add_batch(t->m, &b, outcome);
		if (!err)
			err = take_batch(t->m, BATCH, &b);
	}
	return err;
}

/* METHOD_SAMPLE: read the middle cluster of each interval. */
static errint_t sample_batches(struct measurer *t)
{
	uint64_t interval = t->m->interval;
	struct batch b;
	errint_t err = take_batch(t->m, BATCH, &b);

	while (!err && b.n) {
		for (unsigned i = 0; i < b.n && !err; i++) {
			uint64_t ordinal = b.ordinal + i;

			if (ordinal % interval == interval / 2)
				err = classify(t, b.vcluster + i,
					       &t->m->outcome[ordinal / interval]);
		}
		if (!err)
			err = take_batch(t->m, BATCH, &b);
	}
	return err;
}

static errint_t measurer_begin(struct measurer *t)
{
	const struct measure *m = t->m;
	size_t size = cluster_size(&m->geo);
	errint_t err;

	t->cluster = store_buffer(size);
	t->frame = store_buffer(size);
	if (!t->cluster || !t->frame)
		return log_err(-ENOMEM, "cannot measure");
	err = disk_reader_new(m->disk, &t->reader);
	if (!err && m->codec)
		err = codec_ctx_new(m->codec, m->opts->compression.level, size, &t->ctx);
	return err;
}

static errint_t measure_worker(void *arg)
{
	struct measurer t = {.m = arg};
	errint_t err = measurer_begin(&t);

	if (!err)
		err = t.m->method == METHOD_SAMPLE ? sample_batches(&t) : exact_batches(&t);
	codec_ctx_free(t.ctx);
	disk_reader_free(t.reader);
	free(t.cluster);
	free(t.frame);
	if (err) {
		SCOPED_LOCK(&t.m->lock);
		t.m->failed = true;
	}
	return err;
}

/* Places all clusters by what is known without reading them (again). */
static errint_t place_unread(struct measure *m)
{
	uint32_t outcome[BATCH];
	struct batch b;
	errint_t err;

	rewind_batches(m);
	while (!(err = next_batch(m, BATCH, &b)) && b.n) {
		for (unsigned i = 0; i < b.n; i++) {
			/* The last interval may have no middle. */
			uint64_t k = (b.ordinal + i) / m->interval;

			outcome[i] = m->method == METHOD_BOUND
					     ? (uint32_t)AS_RAW
					     : m->outcome[k < m->reads ? k : m->reads - 1];
		}
		err = add_batch(m, &b, outcome);
		if (err)
			break;
	}
	return err;
}

static errint_t count_clusters(struct measure *m)
{
	struct batch b;
	errint_t err;

	while (!(err = next_batch(m, UINT_MAX, &b)) && b.n)
		m->clusters += b.n;
	rewind_batches(m);
	return err;
}

static void choose_method(struct measure *m)
{
	m->interval = 1;
	m->method = m->codec ? METHOD_SAMPLE : METHOD_BOUND;
	if (m->opts->exact || (m->codec && m->clusters <= SAMPLES))
		m->method = METHOD_EXACT;
	m->reads = m->method == METHOD_BOUND ? 0 : m->clusters;
	if (m->method != METHOD_SAMPLE)
		return;
	m->interval = (m->clusters + SAMPLES - 1) / SAMPLES;
	m->reads = (m->clusters + m->interval - 1 - m->interval / 2) / m->interval;
	assert(m->reads >= 1 && m->reads <= SAMPLES);
}

static errint_t read_source(struct measure *m)
{
	errint_t err;

	if (m->method == METHOD_BOUND)
		return 0;
	if (m->method == METHOD_SAMPLE) {
		m->outcome = calloc(m->reads, sizeof(*m->outcome));
		if (!m->outcome)
			return log_err(-ENOMEM, "cannot measure");
	}
	m->bar = progress_begin((enum progress_mode)m->opts->progress, "measure",
				m->reads << m->geo.cluster_shift);
	err = workers_run(workers_count(m->opts->threads), measure_worker, m);
	progress_end(m->bar);
	return err;
}

static errint_t memory_store(struct store **st)
{
	CLEANUP(close) int fd = memfd_create("ublk-img measure", MFD_CLOEXEC);
	char path[40];

	if (fd < 0)
		return log_errno("cannot make a file in memory");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return store_file_open(path, STORE_FILE_BUFFERED, st);
}

/* @m->disk is open.  *required: bytes of an image. */
static errint_t measure_disk(struct measure *m, uint64_t *required)
{
	uint64_t sector = 1ull << m->geo.sector_shift;
	const struct image_params params = {
		.size = (disk_size(m->disk) + sector - 1) & ~(sector - 1),
		.cluster_shift = m->geo.cluster_shift,
		.sector_shift = m->geo.sector_shift,
		.codec = m->opts->compression.codec,
		.level = m->opts->compression.level,
		.creator = PACKAGE_STRING,
	};
	errint_t err = count_clusters(m);

	choose_method(m);
	if (!err)
		err = memory_store(&m->st);
	if (!err)
		err = bulk_begin(m->st, &params, &m->bulk);
	if (!err)
		err = read_source(m);
	if (!err && m->method != METHOD_EXACT)
		err = place_unread(m);
	if (!err)
		err = bulk_finish(steal_pointer(&m->bulk));
	if (!err)
		err = store_length(m->st, required);
	bulk_abandon(m->bulk);
	store_close(m->st);
	free(m->outcome);
	return err;
}

static errint_t print_json(const struct measure *m, uint64_t required)
{
	json_t *doc = json_document("measure");

	json_put_text(doc, "source", disk_path(m->disk));
	json_put_text(doc, "source_format", disk_format_words[disk_format(m->disk)]);
	json_put_u64(doc, "virtual_size", disk_size(m->disk));
	json_put_u64(doc, "cluster_size", cluster_size(&m->geo));
	json_put(doc, "compression",
		 report_compression_json(m->opts->compression.codec, m->opts->compression.level));
	json_put_text(doc, "method", method_names[m->method]);
	json_put_u64(doc, "required_size", required);
	json_put_u64(doc, "clusters_read", m->reads);
	json_put_u64(doc, "zero_clusters", m->zero);
	json_put_u64(doc, "raw_clusters", m->raw);
	json_put_u64(doc, "compressed_clusters", m->blobs);
	json_put_u64(doc, "compressed_bytes", m->blob_bytes);
	return json_print(doc);
}

static errint_t print_text(const struct measure *m, uint64_t required)
{
	printf("required size: %s (%" PRIu64 " bytes)\n", SIZE_TEXT(required), required);
	switch (m->method) {
	case METHOD_BOUND:
		printf("method: bound; nothing was read, zeros in the data may make it smaller\n");
		break;
	case METHOD_SAMPLE:
		printf("method: sample; %" PRIu64 " of %" PRIu64 " clusters were read\n", m->reads,
		       m->clusters);
		break;
	case METHOD_EXACT:
		printf("method: exact; all data was read\n");
		break;
	}
	return output_check();
}

static errint_t run_measure(struct invocation *inv)
{
	const struct measure_opts *o = inv->opts;
	CLEANUP(disk) struct disk *d = NULL;
	struct measure m = {
		.opts = o,
		.geo = {.cluster_shift = o->cluster_shift, .sector_shift = o->sector_shift},
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	uint64_t required;
	errint_t err = 0;

	if (o->compression.codec != CODEC_NONE)
		err = codec_find(o->compression.codec, &m.codec);
	if (!err)
		err = disk_open(inv->args[0], (enum disk_format)o->format, &d);
	if (err)
		return err;
	m.disk = d;
	err = measure_disk(&m, &required);
	if (err)
		return err;
	return o->json ? print_json(&m, required) : print_text(&m, required);
}

static const struct cmd_option options[] = {
	OPTION_ZSTD(struct measure_opts,
		    "Measure an image compressed with zstd at this level (3 unless given)."),
	OPTION_CLUSTER_SIZE(struct measure_opts),
	OPTION_SECTOR_SIZE(struct measure_opts),
	{
		.name = "exact",
		.set = option_flag,
		.offset = offsetof(struct measure_opts, exact),
		.help = "Read, and compress, everything.",
	},
	{
		.name = "format",
		.letter = 'f',
		.arg = "FORMAT",
		.words = disk_format_words,
		.set = option_word,
		.offset = offsetof(struct measure_opts, format),
		.help = "What SOURCE is: raw, ublk (an image), or auto (look at it; the default).",
	},
	OPTION_THREADS(struct measure_opts,
		       "Threads; as many as there are processors unless given."),
	OPTION_PROGRESS(struct measure_opts),
	OPTION_JSON(struct measure_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"measure disk.raw", "At most so much, without compression."},
	{"measure --zstd=9 disk.raw", "About so much, compressed."},
	{NULL, NULL},
};

const struct command cmd_measure = {
	.name = "measure",
	.group = "Images",
	.summary = "Say how large an image of a disk would be",
	.operands = "SOURCE",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct measure_opts),
	.defaults = &defaults,
	.help = "Says how many bytes a file would have that \"ublk-img convert\" makes of SOURCE, an "
		"image, a raw file or a block device. The answer says how it was found:\n\n"
		" bound   without --zstd: nothing is read, and everything that is not a hole counts\n"
		" sample  with --zstd: about 2000 clusters, evenly spread, are compressed\n"
		" exact   with --exact, or when there is no more than that: all of it",
	.examples = examples,
	.run = run_measure,
};
