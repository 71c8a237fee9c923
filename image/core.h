/* SPDX-License-Identifier: MIT */
/*
 * struct image and what the files of image/ share.  Not for other directories.
 *
 * One mutex, im->lock, protects all metadata in memory.  It is held for short stretches of pure
 * computation: never across I/O, never while waiting.  A function that finds that it would have to
 * read or wait says so in a struct need and returns -EAGAIN; its caller, if it may block, drops the
 * lock, has the need satisfied and starts over.  That is the whole difference between IMAGE_NOWAIT
 * and IMAGE_MAY_BLOCK, and the only place where this layer blocks on behalf of the data path.
 */
#ifndef IMAGE_CORE_H
#define IMAGE_CORE_H

#include <pthread.h>

#include "common/cleanup.h"
#include "image/alloc.h"
#include "image/backing.h"
#include "image/content.h"
#include "image/frozen.h"
#include "image/guard.h"
#include "image/image.h"
#include "image/journal.h"
#include "image/map.h"
#include "image/plan.h"
#include "image/rules.h"
#include "image/snapshot.h"
#include "image/txn.h"
#include "image/validate.h"

/* Threads that read and write the disk while an image is opened: as deep a queue as most disks are
 * fastest with. */
#define OPEN_THREADS 8u

/* What would let an operation go on. */
enum need_kind {
	NEED_NOTHING,
	NEED_NODE,	 /* a node is not in memory */
	NEED_FROZEN,	 /* a node of a snapshot is not in memory */
	NEED_REGION,	 /* a region's bitmap is not in memory */
	NEED_SPACE,	 /* no free space in the file as it is */
	NEED_COMMIT,	 /* the open transaction is full */
	NEED_CHECKPOINT, /* the journal is full, or too many nodes are dirty */
	NEED_EVENT,	 /* somebody else has to get out of the way */
};

struct need {
	enum need_kind kind;
	struct node_ref node;
	uint64_t nclusters; /* FROZEN: of the snapshot's disk */
	uint64_t region;
	uint64_t events;      /* im->events when the lock was held */
	uint64_t checkpoints; /* done when NEED_CHECKPOINT was raised */
	unsigned rounds;      /* how often NEED_SPACE was met; bounds the search */
	bool guarded;	      /* the caller holds a guard: do not wait for guards (G1) */
};

/* What is done with an image that is opened for nothing else: run() makes the checkpoint of
 * opening, with a change of its own and CLEAN, and nothing comes after it but closing. */
struct image_first {
	errint_t (*run)(struct image *im, void *arg);
	void *arg;
};

struct image {
	/* Constant while the image is open. */
	struct store *st;
	struct geometry geo;
	uint8_t uuid[16];
	uint8_t session[16]; /* of this opening for writing (section 10) */
	uint32_t uuid_seed;
	char creator[65];
	uint64_t incompat, ro_compat, compat;
	uint8_t codec;
	int8_t level;
	bool read_only;
	bool journaled; /* the file holds a journal */
	bool opening;	/* nobody is served yet */
	uint64_t max_regions;
	uint64_t broken_rules;
	bool fixed_cap;	    /* dirty_cap was asked for */
	bool keeps_content; /* see image_open_opts */
	unsigned vj_shift;  /* slots of a new volatile journal */
	const struct image_wait_ops *wait;

	pthread_mutex_t lock;
	/* Everything below is protected by lock, unless said otherwise. */

	pthread_cond_t changed; /* broadcast by image_wake() */
	uint64_t events;	/* calls of image_wake() */
	unsigned waiters;	/* threads in image_wait() */
	errint_t failed;	/* fail-stop: no write or flush succeeds any more */
	bool damaged;		/* damage was found: goes into the next superblock */
	bool gate_closed;	/* writers wait: an administrative operation runs */
	bool admin_busy;	/* one at a time */
	bool sync_busy;		/* between image_sync_begin() and image_sync_end() */
	unsigned dsyncs[2];  /* plans whose segments are written with DSYNC, by when they began */
	unsigned dsync_side; /* where new ones are counted */
	struct repack *repacks; /* clusters that are being repacked */
	bool backing_work;	/* see image_backing_work_begin() */
	struct backing_ref backing;
	const struct backing_ref *backing_next; /* of the superblock that is being made; or NULL */

	struct disk_super super; /* newest durable one */
	struct content content;	 /* goes into the next superblock */
	uint64_t size;		 /* bytes of the head */
	unsigned dirty_cap;	 /* dirty nodes that force a checkpoint */
	uint32_t epoch;
	uint32_t head_parent;
	uint64_t replayed;
	uint64_t recovered; /* records of the volatile journal */
	struct vj *vj;	    /* NULL: none */

	struct snapshots snaps;
	struct frozen frozen;
	struct map map;
	struct alloc alloc;
	struct guards guards;
	struct journal journal;
	struct txns txns;
	struct image_stats stats;
};

/*
 * Administrative operations, of which there is one at a time: they take the right to it, and may
 * then keep new writers out and wait for those inside, so that the head stands still.  admin_end()
 * gives both back, whether or not the other two succeeded.  Lock not held; may block.
 */
MUST_CHECK errint_t admin_begin(struct image *im);
MUST_CHECK errint_t admin_close_gate(struct image *im);
void admin_end(struct image *im);

/* The disk's size has become @size: what depends on it.  Lock held. */
void image_size_changed(struct image *im);

/* What validators need to know about this image.  Lock held, or the image not yet shared. */
void image_limits(struct image *im, struct limits *lim);

/* Something changed that a waiter may be waiting for.  Lock held. */
void image_wake(struct image *im);

/* Wait for the next image_wake().  Lock held, dropped meanwhile; may return early. */
void image_wait(struct image *im);

/* Do what @need asks for.  Lock not held; may block. */
MUST_CHECK errint_t image_satisfy(struct image *im, struct need *need);

/* After a try: true when *@err was -EAGAIN and what it asked for is done, so try again.  Lock not
 * held; may block. */
bool image_again(struct image *im, errint_t *err, struct need *need);

/* Shorthand: record that the caller must wait for an event, and return -EAGAIN.  Lock held. */
MUST_CHECK errint_t need_event(struct image *im, struct need *need);

/*
 * Around each sync and DSYNC write of this layer, of which there is one at a time.  The host
 * reports lost data once, to whoever asks first: nobody may call durable what another's failed sync
 * has lost, nor write a superblock over it.  image_sync_begin() waits, and fails after a fail-stop;
 * image_sync_end() makes a failure one, and returns @err.  Lock not held.
 */
MUST_CHECK errint_t image_sync_begin(struct image *im);
MUST_CHECK errint_t image_sync_end(struct image *im, errint_t err, const char *what);

/* -EBUSY with the message logged when the image cannot be @what ("resized") because of what is done
 * to its backing.  Lock not held. */
MUST_CHECK errint_t backing_refuse(struct image *im, const char *what);

/* Does all of cluster @v, mapped by @d, read as zeros without being looked at?  @limit: bytes of
 * the backing that show.  Lock held. */
bool backing_reads_zeros(const struct image *im, uint64_t limit, uint64_t v, struct desc d);

/* What says that the head's cluster @v is zeros.  Lock held. */
static inline struct desc desc_empty(const struct image *im, uint64_t v)
{
	return v << im->geo.cluster_shift < im->backing.limit ? desc_zero_make(im->epoch)
							      : desc_hole();
}

/* A plan of [@first, @first + @count) clusters may change their bytes (rule W8).  Lock held. */
void repack_touch(struct image *im, uint64_t first, uint64_t count);

/* After a failure that leaves memory and disk apart: refuse all further writes.  Returns @err. Lock
 * held. */
errint_t image_fail(struct image *im, errint_t err, const char *what);

/* A block on disk is damaged: log it, remember it.  Returns -EBADMSG.  Lock not held. */
errint_t image_damaged(struct image *im, const char *what, uint64_t off, const char *why);

#endif
