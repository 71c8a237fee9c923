/* SPDX-License-Identifier: MIT */
/*
 * Snapshots (docs/format.md section 9).
 *
 * A snapshot is a record with a root.  Its tree never changes; who may free what follows from
 * births.  snapshot.c has the records and their table on disk, snapshot_admin.c what users do,
 * snapshot_walk.c the deletion in the background, snapshot_view.c reading and comparing.
 *
 * Functions for users may block, may be called from any thread, and log what goes wrong.
 */
#ifndef IMAGE_SNAPSHOT_H
#define IMAGE_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/desc.h"
#include "image/format.h"
#include "image/txn.h"

struct image;
struct image_open_opts;
struct need;
struct store;

/* --- for users of an image ---------------------------------------------------------------------
 */

struct snapshot_info {
	uint32_t id, parent; /* parent: 0 for none */
	uint32_t epoch;
	bool deleting;	    /* hidden from users, its space is being freed */
	bool current;	    /* the disk descends from it directly */
	uint64_t size;	    /* of its disk, bytes */
	uint64_t done, end; /* deleting: clusters that have been seen, of how many */
	uint64_t ctime_ns;  /* since 1970 */
	unsigned opens;	    /* views */
	uint8_t uuid[16];
	char name[SNAP_NAME_MAX + 1];
};

/*
 * Take a snapshot of the disk as it is; durable on return.  Writers wait meanwhile until those
 * before them are done and the map's changes are serialised in memory, not for the disk.  @id may
 * be NULL.  -EINVAL for a name against the rules (validate_snapshot_name()), -EEXIST, -ENOSPC (no
 * space, or 4096 snapshots), -EROFS, -EIO after a fail-stop.
 */
MUST_CHECK errint_t snapshot_create(struct image *im, const char *name, uint32_t *id);

/*
 * The same of an image that nobody has open: image_open(), snapshot_create() and image_close(),
 * with one checkpoint for all three.  After a failure the image is as it was, or has the snapshot.
 * -ENOSPC also when what is free will be so for nodes only behind a checkpoint.
 */
MUST_CHECK errint_t snapshot_create_at_rest(struct store *st, const struct image_open_opts *opts,
					    const char *name, uint32_t *id);

/* Give the snapshot another name; durable on return.  -ENOENT, else as above. */
MUST_CHECK errint_t snapshot_rename(struct image *im, const char *name, const char *to);

/*
 * Delete a snapshot: durable on return, and gone for users.  Its space is freed by
 * snapshot_reclaim().  Who has it open goes on reading; until the last view is closed nothing of it
 * is freed.  -ENOENT, -EROFS, -EIO.
 */
MUST_CHECK errint_t snapshot_delete(struct image *im, const char *name);

/*
 * Let the disk be what the snapshot holds; durable on return.  What it was until now stays as a
 * snapshot named @keep, or (NULL) is deleted in the background.  The disk's size becomes that of
 * the snapshot.  Nobody should be using the disk: writers wait, readers get either content.
 * -ENOENT, -EEXIST, -EINVAL, -ENOSPC, -EROFS, -EIO.
 */
MUST_CHECK errint_t snapshot_rollback(struct image *im, const char *name, const char *keep);

/*
 * Go on with the deletion of snapshots, up to @steps steps: a leaf of the tree each, or a run of
 * what is not to be freed.  *more: there is more to be done that can be done now.  One thread at a
 * time.
 */
MUST_CHECK errint_t snapshot_reclaim(struct image *im, unsigned steps, bool *more);

/* All snapshots, those that are being deleted included, by age.  *list is the caller's to free().
 * -ENOMEM. */
MUST_CHECK errint_t snapshot_list(struct image *im, struct snapshot_info **list, uint32_t *n);

/* The one with that name which is not being deleted.  -ENOENT without a message. */
MUST_CHECK errint_t snapshot_find(struct image *im, const char *name, struct snapshot_info *info);
MUST_CHECK errint_t snapshot_find_id(struct image *im, uint32_t id, struct snapshot_info *info);

/*
 * A snapshot that is open for reading.  It stays what it is, and readable, until it is closed, even
 * when it is deleted meanwhile.  Any number of threads may read through one view.
 */
struct snapshot_view;
MUST_CHECK errint_t snapshot_view_open(struct image *im, const char *name,
				       struct snapshot_view **out);
/* The same by its number.  -ENOENT without a message. */
MUST_CHECK errint_t snapshot_view_open_id(struct image *im, uint32_t id,
					  struct snapshot_view **out);
/* The nearest one that @v descends from and that is not being deleted; *out NULL: there is none.
 * Who is on the way of being deleted makes no difference to what is told. */
MUST_CHECK errint_t snapshot_view_open_parent(const struct snapshot_view *v,
					      struct snapshot_view **out);
void snapshot_view_close(struct snapshot_view *v);
uint64_t snapshot_view_size(const struct snapshot_view *v);
uint32_t snapshot_view_id(const struct snapshot_view *v);
struct image *snapshot_view_image(const struct snapshot_view *v);

/* What changed between two points. */
struct diff_extent {
	uint64_t off, len; /* bytes of the disk */
	bool zeroed;	   /* reads as zeros at the later point */
};
typedef errint_t (*diff_fn)(void *arg, const struct diff_extent *e);

/*
 * Calls @fn, in ascending order, for what may differ between @from and @to (NULL: the disk as it
 * is now; of each leaf at some moment during the call), in whole clusters, cut at the end of @to.
 * Where the two have different sizes, what only @to has counts as changed if it is mapped.  Takes
 * time by the number of leaves that differ.  A nonzero return of @fn ends it and is handed through.
 */
MUST_CHECK errint_t snapshot_diff(struct image *im, const struct snapshot_view *from,
				  const struct snapshot_view *to, diff_fn fn, void *arg);
/* The same from byte @off of the disk on, which is where an extent has begun or ended. */
MUST_CHECK errint_t snapshot_diff_at(struct image *im, const struct snapshot_view *from,
				     const struct snapshot_view *to, uint64_t off, diff_fn fn,
				     void *arg);

/* --- for image/ ----------------------------------------------------------------------------------
 */

/* Consecutive units that are reserved for a table. */
struct table_run {
	uint64_t unit;
	unsigned units; /* 0: none */
};

struct snapshot_state {
	uint32_t opens;	     /* views */
	bool zombie_durable; /* its deletion may begin (W5) */
};

struct snapshots {
	struct disk_snapshot *rec; /* validated; in the order of the table */
	struct snapshot_state *state;
	uint32_t n, cap;
	uint32_t next_id;
	bool dirty;	   /* differ from the table on disk */
	bool short_run;	   /* the reserve for the next table is not complete (A3) */
	struct desc table; /* of the newest freeze; HOLE: none */
	struct extent old; /* table before that, until the superblock is durable */
	struct table_run run, spare;
	/* What snapshot_floor() needs to know of them. */
	uint32_t floor, floor_below; /* the latter for clusters below this: */
	uint64_t below;
};

/* Reads the snapshot table.  Opening only, may block. */
MUST_CHECK errint_t snapshot_open(struct image *im);
void snapshot_close(struct image *im);

/* What the head owns at cluster @v was born after this epoch.  im->lock held. */
uint32_t snapshot_floor(struct image *im, uint64_t v);
/* The same for the node at position @index of @level. */
uint32_t snapshot_floor_node(struct image *im, unsigned level, uint64_t index);

/* The records, valid while the image is open and no snapshot comes or goes. */
const struct disk_snapshot *snapshot_records(struct image *im, uint32_t *n);

/* Apply FREE, CURSOR, ZOMBIE or DISSOLVE, whose regions are in memory; where the freed extent is
 * held, room for it is reserved.  Returns NULL, or what is impossible about it.  im->lock held. */
const char *snapshot_apply(struct image *im, const struct disk_record *r, enum apply_from from);

/* Space for the table that the next freeze writes, when it gets @more records (A3).  Lock not held;
 * may block.  -ENOSPC. */
MUST_CHECK errint_t snapshot_reserve(struct image *im, unsigned more);

/* Is everything there that snapshot_freeze() needs?  False with a region to be loaded, or with
 * *region == UINT64_MAX: snapshot_reserve().  im->lock held. */
bool snapshot_freeze_ready(struct image *im, unsigned more, uint64_t *region);
/* Blocks that it writes at the most. */
unsigned snapshot_freeze_blocks(struct image *im, unsigned more);

struct ckpt_buf;
/* Serialise the table, if it changed, to a new place.  Its old one stays held until
 * snapshot_retire(), when the superblock is durable.  im->lock held. */
void snapshot_freeze(struct image *im, struct ckpt_buf *buf);
void snapshot_retire(struct image *im);

#endif
