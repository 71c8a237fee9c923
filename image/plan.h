/* SPDX-License-Identifier: MIT */
/*
 * The data path's plans: plan / execute / settle.
 *
 * image/ turns (operation, offset, length) into a plan: where the bytes are, and what is to be
 * recorded once they have moved.  The engine moves the bytes, without knowing what they mean.  Then
 * the plan is settled. image/ never touches client data, the engine never touches metadata.
 *
 * Each planning function works in one of two modes.  IMAGE_NOWAIT returns -EAGAIN whenever it would
 * have to wait or to read; IMAGE_MAY_BLOCK does that and never returns -EAGAIN.
 *
 * A plan holds a guard: the storage that it names is not reused before the plan is released.  A
 * plan that was filled in MUST be released exactly once: by plan_read_done(), settle_*() or
 * plan_write_cancel().  Any thread, not necessarily the one that planned; one thread at a time for
 * each plan.
 */
#ifndef IMAGE_PLAN_H
#define IMAGE_PLAN_H

#include "image/image.h"

struct node;

enum image_mode { IMAGE_NOWAIT, IMAGE_MAY_BLOCK };

enum seg_kind {
	SEG_ZERO,    /* reads as zeros */
	SEG_FILE,    /* bytes as they are, at file_off */
	SEG_BLOB,    /* part of a compressed cluster */
	SEG_BACKING, /* the backing's bytes at the same place of the disk, file_off */
};

/* One piece of a request. */
struct seg {
	enum seg_kind kind;
	uint32_t len;	   /* bytes of the request, which the segments cover in order */
	uint64_t file_off; /* FILE, BACKING: of these bytes; BLOB: of the stored blob */
	/* BLOB only: */
	uint64_t vcluster; /* seeds its checksum */
	uint32_t stored;   /* bytes stored, frame and padding */
	uint32_t crc;	   /* checksum_blob() of them */
	uint32_t skip;	   /* bytes of the decompressed cluster before those wanted */
	uint8_t codec;
};

#define PLAN_SEGS     64u
#define PLAN_CLUSTERS 17u /* a request of 1 MiB that is not aligned */

struct read_plan {
	uint64_t off;
	uint32_t len; /* bytes that the segments cover: the request's, or less when it has more
			 pieces than fit */
	unsigned nsegs;
	uint64_t guard; /* image/'s own */
	struct seg seg[PLAN_SEGS];
};

/*
 * Plan a read of [off, off + len), multiples of the 512-byte sector within the disk.  Contiguous
 * pieces are merged.  When p->len < len, plan the rest separately.
 */
MUST_CHECK errint_t plan_read(struct image *im, uint64_t off, uint32_t len, enum image_mode mode,
			      struct read_plan *p);
/* The same for a snapshot that is open. */
struct snapshot_view;
MUST_CHECK errint_t plan_read_snapshot(struct snapshot_view *v, uint64_t off, uint32_t len,
				       enum image_mode mode, struct read_plan *p);
void plan_read_done(struct image *im, struct read_plan *p);

enum write_how {
	/* Write the FILE segments, all of which may be in flight at once, then settle_write(). */
	WRITE_DIRECT,
	/*
	 * Part of one cluster, exclusively held: its span, normally all of it.  The engine
	 * assembles the span in memory: old content by p->source, the request's bytes over it. Then
	 * it does one of: plan_write_target(), write the span at p->target, settle_copy();
	 *   (p->may_zero) find it all zero: settle_zero() without any I/O;
	 *   (p->may_pack) compress it, have it packed (pack.h), then settle_blob().
	 */
	WRITE_CLUSTER,
};

/* What most requests need stands together at its beginning: the arrays are large. */
struct write_plan {
	uint64_t off;
	uint32_t len; /* bytes of the request that this plan covers; plan the rest separately */
	enum write_how how;

	/* WRITE_CLUSTER */
	bool may_pack;
	bool may_zero;	   /* the span is the whole cluster */
	bool full;	   /* the request covers the whole span: p->source is empty */
	uint32_t span_len; /* bytes to assemble, at most a cluster */
	uint32_t skip;	   /* bytes of the span before the request's */
	uint64_t target;   /* file offset for the span; valid after plan_write_target() */

	/* image/'s own */
	uint64_t guard;
	bool dsync;	     /* plan_write_dsync() was called */
	unsigned dsync_side; /* which of image.dsyncs counts it */
	unsigned reserved;   /* records */
	uint64_t vcluster;
	struct desc before, after;
	struct node *leaf; /* pinned */
	unsigned nfills;

	/* WRITE_DIRECT */
	bool durable_in_place; /* nothing to record: with DSYNC on each write, this is all that FUA
				  asks */
	unsigned nsegs;
	struct seg seg[PLAN_CLUSTERS]; /* FILE only */

	struct {
		uint64_t vcluster;
		struct node *leaf; /* pinned */
		struct desc before;
		uint16_t bits;
	} fill[PLAN_CLUSTERS]; /* image/'s own */

	struct read_plan source; /* the old content of a WRITE_CLUSTER's span; has no guard of its
				    own */
};

enum write_flags {
	WRITE_COMPRESS = 1, /* full clusters may be compressed, if the image asks for it */
};

/*
 * A writer: a stream of writes with its own window of clusters, so that streams stay sequential in
 * the file.  One per queue; not shared between threads at the same time.
 */
struct image_writer;
MUST_CHECK errint_t image_writer_new(struct image *im, struct image_writer **out);
void image_writer_free(struct image_writer *w); /* gives its window back */

/*
 * Plan a write of [off, off + len), sectors of 512 bytes within the disk.  -EROFS on a read-only
 * image, -EIO after a fail-stop, -ENOSPC, or errors of reading metadata.  NOWAIT plans only
 * WRITE_DIRECT.
 */
MUST_CHECK errint_t plan_write(struct image *im, struct image_writer *w, uint64_t off, uint32_t len,
			       unsigned flags, enum image_mode mode, struct write_plan *p);

/* WRITE_CLUSTER: set p->target, reserving a cluster for it where the span is a whole one.  May
 * block. */
MUST_CHECK errint_t plan_write_target(struct image *im, struct image_writer *w,
				      struct write_plan *p);

/*
 * The data of a WRITE_DIRECT plan is in place: record what became readable and release the plan.
 * -EAGAIN: the storage was replaced meanwhile; the plan is released, plan and write again.
 */
MUST_CHECK errint_t settle_write(struct image *im, struct write_plan *p);

/* The span is at p->target. */
MUST_CHECK errint_t settle_copy(struct image *im, struct write_plan *p);
/* The span, which is the whole cluster, is zeros. */
MUST_CHECK errint_t settle_zero(struct image *im, struct write_plan *p);
/* The whole cluster is a blob at byte @file_off of the image, @stored bytes with checksum @crc, in
 * a batch whose pieces are still held (pack.h). */
MUST_CHECK errint_t settle_blob(struct image *im, struct write_plan *p, uint64_t file_off,
				uint32_t stored, uint32_t crc);

/* The plan will not be carried out: release it. */
void plan_write_cancel(struct image *im, struct write_plan *p);

/*
 * A DSYNC write of the plan failed with @err.  That may have been the one report of an earlier
 * write's loss: a fail-stop, as for any failed sync (docs/format.md section 11).  Releases the
 * plan.
 */
void plan_write_sync_failed(struct image *im, struct write_plan *p, errint_t err);

/*
 * The segments of a WRITE_DIRECT plan will be written with DSYNC: before the first of them.  Until
 * the plan is released no flush that began later reports success, since a failure of ours may be
 * the host's one report of what the flush would call durable.
 */
void plan_write_dsync(struct image *im, struct write_plan *p);

/*
 * Repacking: a cluster is stored again in another way, or elsewhere, with what it reads as
 * unchanged and while others may go on writing to it.  Between repack_begin() and repack_end() the
 * caller reads the cluster (plan_read()), puts the bytes where they are to be, and publishes that.
 *
 * repack_begin() may block; the caller holds no plan.  -ENOENT: nothing to do (not of that kind,
 * shared, not there any more), -ESTALE: it is being written to; then there is nothing to end.
 * Publishing says -ESTALE when somebody has written to it meanwhile: the caller gives up what it
 * has.
 */
enum repack_what {
	REPACK_RAW,	/* raw clusters of an image that compresses */
	REPACK_MAPPED,	/* all but holes */
	REPACK_MISSING, /* clusters that the image has not, or not all of */
};
struct repack {
	uint64_t vcluster;
	enum repack_what what;
	struct desc before;
	bool touched;
	struct repack *next; /* image.repacks */
};
MUST_CHECK errint_t repack_begin(struct image *im, uint64_t vcluster, enum repack_what what,
				 struct repack *r);
MUST_CHECK errint_t repack_blob(struct image *im, const struct repack *r, uint64_t file_off,
				uint32_t stored, uint32_t crc);
MUST_CHECK errint_t repack_zero(struct image *im, const struct repack *r);
/* The backing has it, durably, where it shows. */
MUST_CHECK errint_t repack_hole(struct image *im, const struct repack *r);
/* A cluster's room at byte *file_off, to be written and then handed to repack_raw(), which gives it
 * back when it fails.  Errors are those of plan_write(). */
MUST_CHECK errint_t repack_place(struct image *im, uint64_t *file_off);
MUST_CHECK errint_t repack_raw(struct image *im, const struct repack *r, uint64_t file_off);
void repack_give_back(struct image *im, uint64_t file_off);
void repack_end(struct image *im, struct repack *r);

/*
 * Give the space of [off, off + len), within the disk, back to the host as far as whole sub-blocks
 * allow; what is given back reads as zeros.  image_discard() leaves the rest alone; image_zero()
 * reports it in *rest, up to two ranges that the caller has to overwrite with zeros.  May block.
 * -EINVAL for a range that is empty or not within the disk.
 */
struct zero_rest {
	unsigned n;
	struct {
		uint64_t off;
		uint64_t len;
	} r[2];
};
MUST_CHECK errint_t image_discard(struct image *im, uint64_t off, uint64_t len);
MUST_CHECK errint_t image_zero(struct image *im, uint64_t off, uint64_t len,
			       struct zero_rest *rest);

#endif
