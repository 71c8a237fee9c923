/* SPDX-License-Identifier: MIT */
/* What the files behind view.h share.  Not for others. */
#ifndef FUSE_VIEW_PRIV_H
#define FUSE_VIEW_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/cleanup.h"
#include "common/json_build.h"
#include "fuse/range_lock.h"
#include "fuse/view.h"
#include "image/snapshot.h"
#include "image/walk.h"

/* The low bits of a view_ino; numbers of files are as stable as their names. */
enum kind {
	KIND_ROOT = 1,
	KIND_INFO,
	KIND_STATS,
	KIND_METRICS,
	KIND_MAP,
	KIND_DISK,
	KIND_SNAPSHOTS,
	KIND_SNAPSHOT, /* of each snapshot: its directory, and more than the live disk has: */
	KIND_DIFF,
	KINDS
};
#define KIND_BITS 8

static inline enum kind kind_of(view_ino ino)
{
	return (enum kind)(ino & ((1u << KIND_BITS) - 1));
}

/* The snapshot that a file is of; 0: the live disk. */
static inline uint32_t snapshot_of(view_ino ino)
{
	return (uint32_t)(ino >> KIND_BITS);
}

static inline view_ino view_ino_of(enum kind kind, uint32_t snapshot)
{
	return (view_ino)snapshot << KIND_BITS | kind;
}

/* What was done with disk. */
enum view_op { OP_READ, OP_WRITE, OP_SYNC, OP_ZERO, OPS };
struct op_counters {
	_Atomic uint64_t requests, bytes, errors;
};

struct text {
	char *data; /* allocated */
	size_t len;
};

/* A snapshot of which a file is open. */
struct view_snapshot {
	struct view_snapshot *next;
	uint32_t id;
	unsigned users;
	struct snapshot_view *view;
	struct snapshot_info info; /* as it was first opened */
};

/* What it takes a walk of a snapshot's tree to know, kept for the next one who asks. */
struct snapshot_facts {
	uint32_t id; /* 0: none */
	bool counted;
	uint64_t blocks;			 /* if counted, of 512 bytes */
	uint64_t info_size, map_size, diff_size; /* of the text opened last; 0: none was */
};
/* Places for them: neighbours in age have different ones. */
enum { FACTS = 1024 };

struct view {
	struct view_opts opts;	  /* constant */
	struct range_lock writes; /* sectors of disk */
	struct op_counters count[OPS];
	struct timespec begun;	/* CLOCK_REALTIME; constant */
	_Atomic time_t changed; /* when disk was last written through the view */

	/* Held while the document is made: who comes meanwhile wants the same one. */
	pthread_mutex_t info_lock;
	json_t *info;	    /* NULL: not yet */
	uint64_t info_when; /* clock_ms() */

	pthread_mutex_t snapshots_lock; /* before the image's locks: the list, users of what is in
					   it, and facts */
	struct view_snapshot *snapshots;
	struct snapshot_facts facts[FACTS]; /* by the remainder of the id */

	pthread_mutex_t lock;	 /* what follows */
	struct view_file *files; /* that are open */
	struct view_dir *dirs;
	struct {
		bool known;
		uint64_t size; /* of the text opened last */
		struct timespec when;
	} text[KINDS];
};

struct view_thread {
	struct view *v;
	struct engine_thread *et;
	uint8_t *buf; /* BUF_BYTES, UNIT_SIZE-aligned */
};

struct view_file {
	struct view *v;
	struct view_file *next, **link; /* among the view's; under its lock */
	enum kind kind;
	uint32_t snapshot_id; /* 0: of the live disk */
	struct view_snapshot *snapshot;
	bool write;
	struct text text;     /* of the kinds that have one */
	uint64_t text_size;   /* of that, or of the map */
	struct map_text *map; /* of KIND_MAP and KIND_DIFF */
};

/* ---- view.c ---- */

/* The document info.json as it was less than a second ago, a new reference. */
MUST_CHECK errint_t view_info(struct view *v, json_t **out);
/* As it is now. */
MUST_CHECK errint_t view_info_now(struct view *v, json_t **out);
errint_t view_no_memory(void);

/* ---- text.c ---- */
/* The printed form of @doc, which is stolen and may be NULL. */
MUST_CHECK errint_t text_print(json_t *doc, struct text *out);
MUST_CHECK errint_t text_info(struct view *v, struct text *out);
MUST_CHECK errint_t text_stats(struct view *v, struct text *out);
MUST_CHECK errint_t text_metrics(struct view *v, struct text *out);

/* ---- map_text.c: maps and differences as text, see docs/view.md ---- */
struct map_text;
/* Of @snapshot, which stays open, or, if that is NULL, of the live disk; with @diff, of a snapshot,
 * what has changed since its parent.  *size: bytes of the text as it is now. */
MUST_CHECK errint_t map_text_open(struct image *im, const struct snapshot_view *snapshot, bool diff,
				  struct map_text **out, uint64_t *size);
void map_text_close(struct map_text *m);
MUST_CHECK errint_t map_text_read(struct map_text *m, uint64_t off, char *buf, size_t len,
				  size_t *got);

/* ---- view_snapshots.c ---- */

/* Opens the snapshot, or has it open once more, until view_snapshot_put().  -ENOENT. */
MUST_CHECK errint_t view_snapshot_get(struct view *v, uint32_t id, struct view_snapshot **out);
void view_snapshot_put(struct view *v, struct view_snapshot *s);
/* As it is now; of one that was deleted while it is open, as it was.  -ENOENT. */
MUST_CHECK errint_t view_snapshot_find(struct view *v, uint32_t id, struct snapshot_info *info);
/* Blocks of 512 bytes that its data takes in the image. */
MUST_CHECK errint_t view_snapshot_blocks(struct view *v, uint32_t id, uint64_t *blocks);
/* The size of its text of @kind that was opened last; 0: none was, or that is forgotten. */
uint64_t view_snapshot_text_size(struct view *v, uint32_t id, enum kind kind);
void view_snapshot_set_text_size(struct view *v, uint32_t id, enum kind kind, uint64_t size);
MUST_CHECK errint_t text_snapshot_info(struct view *v, uint32_t id, struct text *out);

/* ---- view_disk.c ---- */
MUST_CHECK errint_t view_disk_read(struct view_file *f, struct view_thread *t, uint64_t off,
				   size_t len, const void **data, size_t *got);

#endif
