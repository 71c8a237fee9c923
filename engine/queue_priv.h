/* SPDX-License-Identifier: MIT */
/* What the files of the queue share: queue.c (ring, hand-back), queue_read.c, queue_write.c. Unless
 * told otherwise, all in the queue's thread. */
#ifndef ENGINE_QUEUE_PRIV_H
#define ENGINE_QUEUE_PRIV_H

#include "engine/core.h"
#include "engine/queue.h"

/* Of the requests that arrive in one turn of that many it is known how long they take: not
 * everywhere is the clock read without a system call. */
enum { TIMED_TURNS = 8 };

enum { FILE_IMAGE, FILE_ZERO, FILE_CLIENT = QUEUE_CLIENT_FILE, FILE_BACKING, FILES };

struct bounce; /* a free buffer */

/* Workers that help one queue at a time, at most. */
enum { HELPERS_MAX = 16 };

struct helper {
	struct work work;
	struct engine_queue *q;
	bool busy; /* the pool has it; ready.lock */
};

/* Blobs that have been read and are not decompressed yet, oldest first.  Changed with the lock
 * held, which is never held for longer. */
struct ready {
	pthread_mutex_t lock;
	struct work *first, **last;
	unsigned n;    /* in the list */
	unsigned busy; /* helpers that are */
	struct helper helper[HELPERS_MAX];
};

struct engine_queue {
	/* Constant. */
	struct engine *e;
	struct engine_queue_opts opts;
	int zero_fd, event_fd;
	unsigned mem_align;    /* of buffers under direct I/O */
	struct store *backing; /* a raw one; NULL: none, or an image, which workers read */

	/* The queue's thread's. */
	struct io_uring ring;
	struct image_writer *writer;
	struct bounce *free_bounces;
	unsigned active;
	unsigned client_sqes; /* the client's, not completed */
	bool turning;	      /* handling completions in engine_queue_turn() */
	uint64_t now;	      /* microseconds, when this turn began to handle completions; or 0 */
	uint64_t done_at;     /* the same for requests that this turn completes, once needed */
	unsigned turns;	      /* so far */
	uint64_t event;

	_Atomic(struct task *) back; /* finished by workers, newest first */
	_Atomic unsigned handing;    /* workers in queue_hand_back() */
	_Atomic bool sleeping;	     /* in the kernel, not looking at @back again by itself */
	_Atomic bool shrink;	     /* it is to give back memory, if it has nothing to do */

	struct ready ready;
	unsigned helpers;	      /* at most; constant */
	struct engine_thread *thread; /* for decompressing here; NULL until first needed */

	/* engine->queues_lock */
	struct engine_queue *next;

	struct counters counters;
};

/* Counting by the queue's thread alone, and by any. */
#define COUNT_HERE(q, what, n)                                                                     \
	atomic_store_explicit(&(q)->counters.what,                                                 \
			      atomic_load_explicit(&(q)->counters.what, memory_order_relaxed) +    \
				      (uint64_t)(n),                                               \
			      memory_order_relaxed)
#define COUNT(q, what, n)                                                                          \
	atomic_fetch_add_explicit(&(q)->counters.what, (uint64_t)(n), memory_order_relaxed)

/* Have @task run by a worker, then task->back(task) called here. */
void queue_hand_off(struct task *task, enum pool_kind kind);
/* From any thread: @task comes back. */
void queue_hand_back(struct task *task);

/* A buffer of REQ_MAX_BYTES for @r, kept until it is done.  False: out of memory, r->result set. */
bool queue_bounce(struct engine_req *r);
/* This process's memory for the bytes of @r from @from on, or NULL: the payload is registered. */
uint8_t *queue_memory(const struct engine_req *r, uint32_t from);
void queue_finish(struct engine_req *r, errint_t err);

/* Submit what is prepared, if anything is. */
void queue_submit(struct engine_queue *q);
/* Submit the rest of @io as one SQE. */
void io_submit(struct seg_io *io);
/* Read @len bytes at @file_off into io->blob, then blob_arrived(). */
void io_read_blob(struct seg_io *io, uint32_t len, uint64_t file_off);
/* @io came to its end. */
void io_done(struct seg_io *io);
/* In a worker: move the rest of @io through memory of @t. */
void io_by_hand(struct seg_io *io, struct engine_thread *t);

/* queue_blob.c */
void blobs_init(struct engine_queue *q);
void blobs_exit(struct engine_queue *q);
/* Read the compressed segment of @io. */
void read_blob(struct seg_io *io);
/* The SQE that reads what is stored of it completed. */
void blob_arrived(struct seg_io *io, int res);
/* Is anything to be decompressed, and do one. */
bool blobs_waiting(struct engine_queue *q);
void blobs_step(struct engine_queue *q);

/* queue_read.c, queue_write.c */
void read_step(struct engine_req *r);
void read_segs_done(struct engine_req *r);
void write_step(struct engine_req *r);
void write_segs_done(struct engine_req *r);

#endif
