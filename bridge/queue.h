/* SPDX-License-Identifier: MIT */
/*
 * One hardware queue of a ublk device: a thread with a ring, which fetches requests, has the engine
 * execute them and commits their results.  What the ring does is engine/queue.h's.
 */
#ifndef BRIDGE_QUEUE_H
#define BRIDGE_QUEUE_H

#include <sched.h>
#include <stdint.h>

#include "bridge/mode.h"
#include "bridge/ublk_abi.h"
#include "engine/pool.h"

struct bridge_queue;

struct queue_config {
	unsigned id;			     /* of the queue, from 0 on */
	unsigned depth;			     /* tags */
	int char_fd;			     /* /dev/ublkcN; outlives the queue */
	const struct ublksrv_io_desc *descs; /* of this queue, mapped; outlive the queue */
	struct engine *engine;
	struct pool *pool;
	enum bridge_mode mode; /* not BRIDGE_LOOP */
	uint32_t dev_id;
	uint32_t max_bytes; /* of a read or write request, at most REQ_MAX_BYTES */
	cpu_set_t cpus;	    /* where its requests come from; empty: anywhere */
	/* UBLK_F_URING_CMD_COMP_IN_TASK: requests arrive, and are copied, only as completions. */
	bool completes_in_task;
};

/* -ENOMEM, message logged. */
MUST_CHECK errint_t bridge_queue_new(const struct queue_config *cfg, struct bridge_queue **out);

/*
 * Starts the threads of all queues of a device, and returns when every tag has been fetched;
 * START_DEV may follow.  When the last tag of a queue has come back for good, 1 is added to the
 * eventfd @gone_fd.
 *
 * The threads fetch at the same time, as nearly as that is possible, and only when all are ready
 * to: from a device whose server dies when it has fetched tags of some queues and not of others
 * the driver of Linux 6.18 never lets go, and older ones may crash when it is taken back.
 *
 * Errors are those of engine_queue_new() and of the fetches, message logged.  A queue that has
 * fetched nothing has no thread then.
 */
MUST_CHECK errint_t bridge_queues_start(struct bridge_queue *const *queues, unsigned n,
					int gone_fd);

/* Waits for the thread to end: after STOP_DEV, or when the device went away.  Then nothing of the
 * ring is left that refers to /dev/ublkcN.  A queue that was never started has nothing to wait for.
 */
void bridge_queue_join(struct bridge_queue *bq);
void bridge_queue_free(struct bridge_queue *bq);

#endif
