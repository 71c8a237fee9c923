/* SPDX-License-Identifier: MIT */
/*
 * What the files of engine/ share.  Not for other directories.
 */
#ifndef ENGINE_CORE_H
#define ENGINE_CORE_H

#include <stdatomic.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "engine/backing.h"
#include "engine/buffers.h"
#include "engine/cache.h"
#include "engine/engine.h"
#include "engine/packer.h"
#include "engine/repack.h"
#include "engine/stats.h"
#include "image/plan.h"

/* Most bytes of a request that one round of compressing gathers: half a batch, so that a round
 * always fits into an empty one. */
#define ROUND_BYTES    (PACK_MAX_BYTES / 2)
#define ROUND_CLUSTERS (ROUND_BYTES >> CLUSTER_SHIFT_MIN)

/* Most bytes that one read plan is asked for. */
#define READ_BYTES (4u << 20)

/* The queues' part of struct engine_stats. */
struct counters {
	_Atomic uint64_t requests[REQ_OPS], bytes[REQ_OPS], errors;
	_Atomic uint64_t latency[REQ_OPS][LATENCY_BUCKETS];
	_Atomic uint64_t zero_copy_read, zero_copy_written, direct_read, direct_written, zero_read;
	_Atomic uint64_t backing_read;
	_Atomic uint64_t blob_read, cached_read, cluster_written, copied, copied_raw;
	_Atomic uint64_t sqes, enters, handoffs;
};

/* stats.c: add what @c has counted to @s. */
void counters_add(struct engine_stats *s, const struct counters *c);

struct engine_queue;

struct engine {
	/* Constant. */
	struct image *im;
	struct store *st;
	struct geometry geo;
	size_t cluster; /* bytes */
	uint32_t uuid_seed;
	const struct codec *codec; /* of new writes; NULL: they are not compressed */
	unsigned codec_id;
	int level;
	uint8_t *zeros; /* a cluster of them */

	struct backing *backing; /* NULL: the image stands alone */
	bool borrowed;		 /* it is somebody else's */

	struct cache *cache;
	struct buffers *blobs;	   /* of blob_space() */
	struct packer *packer;	   /* NULL without codec */
	struct repacker *repacker; /* the same */

	/* engine_maintain()'s. */
	uint64_t activity; /* at the last call */
	unsigned idle_calls;
	struct engine_thread *janitor; /* NULL until first needed */

	pthread_mutex_t queues_lock; /* what follows */
	struct engine_queue *queues;
	struct engine_stats past; /* of queues that are gone */
};

/* queue.c, from any thread: idle queues give back memory that is taken again when it is needed. */
void queues_shrink(struct engine *e);

/* Parts of the clusters of [off, off + len) were written as they are. */
static inline void engine_note(struct engine *e, uint64_t off, uint64_t len)
{
	uint64_t first = off >> e->geo.cluster_shift;

	if (e->repacker && len)
		repacker_note(e->repacker, first,
			      ((off + len - 1) >> e->geo.cluster_shift) - first + 1);
}

/* Used by one thread at a time, so nothing is locked.  The buffers are UNIT_SIZE-aligned. */
struct engine_thread {
	struct engine *e;
	struct image_writer *writer;
	struct codec_ctx *ctx[CODEC_NIDS]; /* made when first needed */
	struct backing_reader *backing;	   /* the same */

	uint8_t *stored;  /* a blob with the rest of its first and last unit */
	uint8_t *plain;	  /* a cluster that was decompressed and is not cached */
	uint8_t *cluster; /* the cluster that is being assembled */
	uint8_t *bounce;  /* a cluster: pieces of a caller's buffer that is not aligned */
	uint8_t *request; /* ROUND_BYTES of a request that is elsewhere; NULL until first needed */
	uint8_t *frames; /* of one round, each followed by zeros; NULL when nothing is compressed */

	struct read_plan rplan;
	struct write_plan wplan;
};

/* The thread's context for codec @id: of the image's level if that is the image's codec. */
MUST_CHECK errint_t thread_codec(struct engine_thread *t, unsigned id, struct codec_ctx **out);

/* read.c: fill @buf from @segs, in order.  A guard is held. */
MUST_CHECK errint_t read_segs(struct engine_thread *t, uint8_t *buf, const struct seg *segs,
			      unsigned n);

/* read.c: read from a snapshot that is open; NULL: from the head. */
MUST_CHECK errint_t read_through(struct engine_thread *t, struct snapshot_view *v, void *buf,
				 uint64_t off, size_t len);

/* read.c: the bytes of the store, whole blocks, that have the blob of @s; they fit into a buffer of
 * blob_space(). */
void blob_range(const struct engine *e, const struct seg *s, uint64_t *from, uint32_t *len);
static inline size_t blob_space(const struct engine *e)
{
	return e->cluster + 2 * UNIT_SIZE;
}

/* read.c: decompress the blob of @s, found in the memory @range that has its blob_range(), into
 * @dst, a cluster's room. */
MUST_CHECK errint_t unpack_blob(struct engine_thread *t, const struct seg *s, const uint8_t *range,
				uint8_t *dst);

/* read.c: decompress the cluster of @s into @dst, a cluster's room.  A guard is held. */
MUST_CHECK errint_t read_cluster(struct engine_thread *t, const struct seg *s, uint8_t *dst);

/* read.c: the backing's bytes; @buf has any alignment.  May block, waits for nothing but I/O. */
MUST_CHECK errint_t read_backing(struct engine_thread *t, uint8_t *buf, size_t len, uint64_t off);

/* write.c: carry out and settle t->wplan, a WRITE_CLUSTER, with the request's bytes in @buf. */
MUST_CHECK errint_t write_planned_cluster(struct engine_thread *t, const uint8_t *buf);

/* compress.c */
bool all_zero(const void *buf, size_t len);
/* Bytes that one frame may need in engine_thread.frames, zeros behind it included. */
size_t frame_space(const struct engine *e);
/*
 * Compress the cluster @src into @frame, which has frame_space() bytes, and put zeros behind it.
 * Returns its length, or 0 when it is better stored as it is.
 */
uint32_t compress_cluster(struct engine_thread *t, const void *src, uint8_t *frame);

#endif
