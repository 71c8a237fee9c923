/* SPDX-License-Identifier: MIT */
/*
 * The pipeline of `convert`: threads that each take the next chunk of the source, read it, hand it
 * to the sink, and take another.  There are no queues between them: a thread carries its chunk all
 * the way.  More threads run than processors are to be used, and a counter lets only so many of
 * them compute at a time, so that reading and writing go on meanwhile.
 */
#ifndef CLI_CONVERT_H
#define CLI_CONVERT_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/changes.h"
#include "cli/disk.h"
#include "cli/progress.h"
#include "image/image.h"

/* A piece of the source. */
struct chunk {
	uint64_t index; /* 0, 1, 2, ... in the order of offsets */
	uint64_t off;	/* bytes, a multiple of the sink's alignment */
	uint64_t bytes; /* of the source; 0: there are no more chunks */
	size_t len;	/* in memory, whole clusters of the sink: zeros behind @bytes */
	bool hole;	/* nothing in memory, all zeros, any number of bytes */
};

struct convert;
struct sink;
struct sink_worker;

/* Where the content goes.  Functions log their failures. */
struct sink_ops {
	/* In each thread, first and last. */
	errint_t (*worker_new)(struct convert *c, struct sink_worker **out);
	void (*worker_free)(struct sink_worker *w);

	/* Store a chunk, whose bytes are at @buf (UNIT_SIZE-aligned).  Called between
	 * convert_compute() and convert_wait(), and returns so; only for holes if sink.holes. */
	errint_t (*put)(struct sink_worker *w, const struct chunk *chunk, const uint8_t *buf);

	/* The thread has put its last chunk: store what it held back.  Called as put(). */
	errint_t (*flush)(struct sink_worker *w);

	/* After all threads: the source had @size bytes.  Makes the result durable. */
	errint_t (*finish)(struct convert *c, uint64_t size);

	/* Gives up what was not finished. */
	void (*free)(struct sink *s);
};

/* What became of the source, for reports.  Atomic. */
struct convert_totals {
	uint64_t zero, raw, compressed; /* bytes of the source by how they are stored */
	uint64_t stored;		/* bytes written */
};

struct sink {
	const struct sink_ops *ops;
	size_t align; /* of chunks, a power of two of at least 512 */
	bool holes;   /* wants to be told of holes, too */
	struct convert_totals totals;
};

struct convert {
	/* constant while threads run */
	const char *source;	       /* for messages */
	struct disk *disk;	       /* NULL: standard input */
	const struct changes *changes; /* what to convert of it; NULL: all */
	struct sink *sink;
	size_t chunk_bytes; /* a multiple of sink->align */
	struct progress *bar;
	sem_t processors;

	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t turned;
	uint64_t at;		     /* offset of the next chunk */
	uint64_t run_start, run_end; /* of the run of data at or after @at */
	size_t change;		     /* the one at or after @at */
	uint64_t chunks;	     /* handed out */
	uint64_t turn;		     /* index of the chunk that may be written in order */
	bool ended, failed;
};

/* Runs the conversion with @threads computing at a time, and finishes the sink. */
MUST_CHECK errint_t convert_run(struct convert *c, unsigned threads);

/* Around what may wait, such as writing: the thread gives its processor away, and gets one back. */
void convert_wait(struct convert *c);
void convert_compute(struct convert *c);

/* Waits until all chunks before @index are done; false when the conversion has failed elsewhere.
 * convert_end_turn() lets the next one go on. */
bool convert_begin_turn(struct convert *c, uint64_t index);
void convert_end_turn(struct convert *c);

bool convert_is_zero(const void *p, size_t len);

/* A sink that makes an image of a disk of params->size bytes (0 for a pipe: it is known in the end)
 * in the empty store @st, which stays the caller's.  In a delta (params->content) what is zero is
 * not a hole, which means there that nothing has changed. */
MUST_CHECK errint_t sink_image_new(struct store *st, const struct image_params *params,
				   struct sink **out);

/* A sink that writes to the disk of @im, which stays the caller's and is open for writing. */
MUST_CHECK errint_t sink_disk_new(struct image *im, struct sink **out);

/* Sinks for raw content: a store, which stays the caller's (@overwrite: a block device or file with
 * content of its own, which becomes zeros where there is a hole, and whose length stays), or a
 * descriptor, written in order. */
MUST_CHECK errint_t sink_raw_new(struct store *st, bool overwrite, struct sink **out);
MUST_CHECK errint_t sink_stream_new(int fd, const char *name, struct sink **out);

void sink_free(struct sink *s); /* NULL is allowed */

static inline void cleanup_sink(struct sink **s)
{
	sink_free(*s);
}

#endif
