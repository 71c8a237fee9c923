/* SPDX-License-Identifier: MIT */
/*
 * An image: a disk kept in one file.  This is the interface that the engine and the commands use;
 * plan.h has the data path, walk.h and check.h read whole images, bulk.h writes new ones.
 *
 * Unless told otherwise: offsets and lengths are bytes of the virtual disk, functions may block,
 * and may be called from any thread.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/desc.h"
#include "image/store.h"
#include "image/vj.h"

struct content;
struct image;
struct image_first;

struct image_params {
	uint64_t size;	       /* virtual, bytes; a multiple of the logical sector */
	uint8_t cluster_shift; /* 16 (default when 0), 17, 18 */
	uint8_t sector_shift;  /* 9 (default when 0) or 12 */
	uint8_t codec; /* enum codec_id: how writes are compressed, CODEC_NONE for not at all */
	int8_t level;  /* of that codec */
	const char *creator;		   /* program and version, at most 63 bytes */
	const uint8_t *uuid;		   /* 16 bytes, or NULL for a random one (tests fix it) */
	const struct content *content;	   /* what will be in it (content.h); NULL: not known */
	const struct backing_ref *backing; /* of an empty image (backing.h); NULL: none */
};

/* Lays out an empty image in the empty store @st and makes it durable.  -EINVAL for parameters
 * outside the format's limits, message logged. */
MUST_CHECK errint_t image_create(struct store *st, const struct image_params *params);

/* Wait without blocking the other tasks of a simulated scheduler; NULL: ordinary threads. */
struct image_wait_ops {
	/* Called with no lock held when the caller cannot go on until another task has; returns at
	 * any later time. */
	void (*wait)(void *arg);
	/* Called where the death of the process would tell most, whatever locks are held: no other
	 * task may run before it returns.  Only by builds whose rules can be broken; may be NULL.
	 */
	void (*pause)(void *arg);
	void *arg;
};

struct image_open_opts {
	bool read_only;
	bool force; /* open read-write although damage was recorded or a device awaits recovery */
	const struct vj_recover *recover; /* go on with a device; NULL: an opening of its own */
	const struct vj_state *state;	  /* who may be waiting for a recovery; NULL: nobody */
	/* Open also what is no whole disk (content.h): a delta, for reading; a disk on its way from
	 * one snapshot to another. */
	bool accept_delta, accept_applying;
	/* The disk is not written to, or only by who says so (image_set_content()): what is known
	 * of it stays. */
	bool keeps_content;
	const struct image_first *first;   /* NULL: nothing; for image/ alone */
	const struct image_wait_ops *wait; /* tests only */
	uint64_t max_regions;	 /* refuse to grow the file beyond this many 128 MiB regions; 0:
				    format's limit */
	uint64_t journal_length; /* of a journal yet to be made; 0: by disk size.  Tests only */
	unsigned dirty_cap;	 /* dirty nodes that force a checkpoint; 0: default */
	unsigned cache_nodes;	 /* map nodes kept in memory; 0: default */
	bool first_fit;		 /* use freed space again as soon as possible; tests only */
	unsigned vj_shift;	 /* log2 of the slots of a volatile journal; 0: default */
	uint64_t broken_rules;	 /* enum rule bits that a test build breaks on purpose (rules.h) */
};

/*
 * Opens the image in @st, taking its lock; @st stays the caller's and outlives the image.  Opening
 * is recovery: the journal is replayed.  A read-write open writes a checkpoint before it returns; a
 * read-only open writes nothing. -EBUSY: locked by somebody else; -EBADMSG: damaged, with the field
 * named; -ENOTSUP: an unknown feature; -EINVAL: no whole disk.  Messages are logged.
 */
MUST_CHECK errint_t image_open(struct store *st, const struct image_open_opts *opts,
			       struct image **out);

/* Writes the final checkpoint of a read-write image (CLEAN is set), removes its volatile journal,
 * and frees @im, also on failure, which leaves that.  No plan may be outstanding. */
MUST_CHECK errint_t image_close(struct image *im);

/* The same, but the volatile journal stays, with nothing in it, for the process that takes over the
 * device: image_open_opts.recover. */
MUST_CHECK errint_t image_leave(struct image *im);

/* Frees @im without any I/O, as a crash would.  NULL is allowed. */
void image_abandon(struct image *im);

/* Everything acknowledged before the call is durable after it.  -EIO after a fail-stop. */
MUST_CHECK errint_t image_flush(struct image *im);
/* A flush that also folds the journal into the tree. */
MUST_CHECK errint_t image_checkpoint(struct image *im);

/* Does what time and thresholds ask for: commits records older than 5 s, checkpoints after 30 s,
 * releases freed space.  A daemon calls it each second from a thread that may block. */
MUST_CHECK errint_t image_maintain(struct image *im);

/*
 * Changes the virtual size.  Shrinking (@shrink must be set, else -EINVAL) discards the clusters
 * beyond the end; the caller has overwritten the rest of the last one with zeros (engine_resize()
 * does).  Durable on return.
 */
MUST_CHECK errint_t image_resize(struct image *im, uint64_t size, bool shrink);

/* Facts that do not change while the image is open, but for size. */
struct image_info {
	struct geometry geo;
	uint8_t uuid[16];
	char creator[65];
	uint64_t size;
	uint64_t generation;
	uint64_t incompat, ro_compat, compat;
	uint32_t flags; /* of the newest superblock on disk: SUPER_* */
	uint32_t epoch;
	uint8_t levels;
	uint8_t codec;
	int8_t level;
	bool read_only;
	uint64_t journal_offset, journal_length;
	uint64_t phys_regions;
	uint64_t used_units; /* 4 KiB units in use, headers included */
	uint32_t nsnapshots;
	uint64_t replayed;  /* transactions that opening replayed */
	uint64_t recovered; /* records that it found in a volatile journal only */
	bool recoverable;   /* it has a volatile journal */
};
void image_get_info(struct image *im, struct image_info *info);

/* Counters since open, for tests and reports. */
struct image_stats {
	uint64_t commits, checkpoints, records, journal_blocks;
	uint64_t datasyncs, dsync_writes; /* by this layer */
	uint64_t meta_bytes_written;
	uint64_t node_loads, node_evictions;
	uint64_t clusters_allocated, clusters_freed, blobs_written, punches;
};
void image_get_stats(struct image *im, struct image_stats *stats);

const struct geometry *image_geometry(const struct image *im);
uint64_t image_size(struct image *im);
struct store *image_store(struct image *im);

#endif
