/* SPDX-License-Identifier: MIT */
/*
 * A queue: requests executed with io_uring, in one thread that never blocks but to wait for
 * completions.
 *
 * Planning is tried in no-wait mode.  Segments of uncompressed data become one SQE each, all in
 * flight at once, straight between the payload and the file.  What has to wait or to compress goes
 * to the pool (pool.h), and comes back to the queue's thread through its ring.  Compressed clusters
 * are read by the ring and decompressed by the queue's thread when it has nothing else to do, since
 * that takes hardly longer than waking another; when there are several, workers help.
 *
 * The queue's ring also carries the client's own SQEs (ublk: fetch and commit), so that one system
 * call does everything.  The buffer table of registered payloads is that of this ring.
 */
#ifndef ENGINE_QUEUE_H
#define ENGINE_QUEUE_H

#include <liburing.h>
#include <stdatomic.h>

#include "engine/cache.h"
#include "engine/payload.h"
#include "engine/pool.h"
#include "engine/stats.h"
#include "image/plan.h"

struct engine_queue;
struct engine_req;

/* Bytes of a READ or WRITE request, at most. */
#define REQ_MAX_BYTES (1u << 20)

/* Work that comes back to the queue's thread. */
struct task {
	struct work work;
	struct task *next;
	struct engine_queue *q;
	void (*run)(struct task *task, struct engine_thread *t); /* in a worker */
	void (*back)(struct task *task);			 /* in the queue's thread */
};

/* A segment on its way. */
struct seg_io {
	struct task task;
	struct cache_waiter waiter;
	struct engine_req *r;
	const struct seg *seg; /* in the plan */
	struct cached *entry;  /* of a blob: held for loading it, or NULL */
	uint8_t *blob;	       /* what is stored of it, of engine->blobs, or NULL */
	uint32_t from;	       /* first byte of the request that is not done yet */
	uint32_t len;	       /* bytes not done yet */
	uint64_t file_off;
	enum io_source { IO_FILE, IO_ZERO, IO_BACKING } source; /* of a READ */
	errint_t err;
	errint_t sync_err; /* of a DSYNC write */
};

struct engine_req {
	/* The client's, from engine_queue_submit() on constant until it is done. */
	enum req_op op;
	bool fua;
	uint64_t off, len; /* bytes, multiples of the 512-byte sector; FLUSH: 0 */
	struct payload payload;

	/* When it is done: 0 or -errno. */
	errint_t result;

	/* The queue's own. */
	struct engine_queue *q;
	struct task task;
	uint64_t start; /* microseconds; 0: not timed */
	uint64_t done;	/* bytes */
	unsigned pending;
	bool flush;	/* something of it is not durable yet */
	bool dsync;	/* the plan's segments are written with DSYNC */
	bool lost;	/* one of these writes failed such that what came before may be lost */
	bool copied_in; /* bounce has all bytes of a WRITE */
	uint8_t *bounce;
	union {
		struct read_plan rplan;
		struct write_plan wplan;
	};
	struct seg_io io[PLAN_SEGS];
};

/* Called in the queue's thread. */
struct queue_client_ops {
	/* @r is complete and the client's again.  It may be called before engine_queue_submit() has
	 * returned, and must not itself submit: requests that need no I/O would nest. */
	void (*done)(void *client, struct engine_req *r);
	/* The client's SQE with @cookie completed. */
	void (*completed)(void *client, uint64_t cookie, int res);
	/* There has been nothing to do for a while, the client's SQEs are submitted and all
	 * completions told, and none comes before the next turn: memory for requests can be given
	 * back.  NULL: there is none. */
	void (*idle)(void *client);
};

struct engine_queue_opts {
	struct pool *pool;
	unsigned depth;	  /* requests at a time, at most; so many client SQEs as well */
	unsigned buffers; /* slots of the buffer table; 0: none */
	int client_fd;	  /* registered as QUEUE_CLIENT_FILE; -1: none */
	const struct queue_client_ops *ops;
	void *client;
};

/* Index of opts.client_fd in the ring's file table. */
#define QUEUE_CLIENT_FILE 2

/* In the thread that will use it.  -ENOSYS, -EPERM and others of io_uring_setup(), -ENOMEM; message
 * logged. */
MUST_CHECK errint_t engine_queue_new(struct engine *e, const struct engine_queue_opts *opts,
				     struct engine_queue **out);
/* No request may be under way.  The ring is gone on return, with the references to files and
 * buffers that it held.  Same thread. */
void engine_queue_free(struct engine_queue *q);

/* Start @r.  Same thread; also from within completed(). */
void engine_queue_submit(struct engine_queue *q, struct engine_req *r);

/* An SQE for the client to fill in, finished by queue_tag_sqe().  Never NULL. */
struct io_uring_sqe *engine_queue_sqe(struct engine_queue *q);
/* After preparing @sqe: its completion is told as @cookie, less than 2^60. */
void engine_queue_tag(struct engine_queue *q, struct io_uring_sqe *sqe, uint64_t cookie);

/* Submit what is prepared, wait for a completion unless there is work to do meanwhile, and handle
 * all there are.  Errors are
 * those of io_uring_enter(), message logged: the queue is of no use any more. */
MUST_CHECK errint_t engine_queue_turn(struct engine_queue *q);

/* Requests that are under way. */
unsigned engine_queue_active(const struct engine_queue *q);

/* Make engine_queue_turn() return, from any thread. */
void engine_queue_wake(struct engine_queue *q);

#endif
