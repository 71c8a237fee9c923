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

/* The low bits of a view_ino; numbers of files are as stable as their names. */
enum kind { KIND_ROOT = 1, KIND_INFO, KIND_STATS, KIND_METRICS, KIND_MAP, KIND_DISK, KINDS };
#define KIND_BITS 8

static inline enum kind kind_of(view_ino ino)
{
	return (enum kind)(ino & ((1u << KIND_BITS) - 1));
}

/* What was done with disk. */
enum view_op { OP_READ, OP_WRITE, OP_SYNC, OP_ZERO, OPS };
struct op_counters {
	_Atomic uint64_t requests, bytes, errors;
};

struct view {
	struct view_opts opts;	  /* constant */
	struct range_lock writes; /* sectors of disk */
	struct op_counters count[OPS];
	struct timespec begun;	/* CLOCK_REALTIME; constant */
	_Atomic time_t changed; /* when disk was last written through the view */

	/* Held while the document is made: who comes meanwhile wants the same one. */
	pthread_mutex_t info_lock;
	json_t *info;		   /* NULL: not yet */
	struct timespec info_when; /* CLOCK_MONOTONIC */

	pthread_mutex_t lock;	 /* what follows */
	struct view_file *files; /* that are open */
	struct {
		bool known;
		uint64_t size; /* of the text opened last */
		struct timespec when;
	} text[KINDS];
};

struct view_thread {
	struct view *v;
	struct engine_thread *et;
	uint8_t *buf; /* VIEW_MAX_IO and a sector on both sides, UNIT_SIZE-aligned */
};

struct text {
	char *data; /* allocated */
	size_t len;
};

struct view_file {
	struct view *v;
	struct view_file *next, **link; /* among the view's; under its lock */
	enum kind kind;
	bool write;
	struct text text;     /* of the kinds that have one */
	struct map_text *map; /* of KIND_MAP */
};

/* ---- view.c ---- */

/* The document info.json as it was less than a second ago, a new reference. */
MUST_CHECK errint_t view_info(struct view *v, json_t **out);
/* As it is now. */
MUST_CHECK errint_t view_info_now(struct view *v, json_t **out);
errint_t view_no_memory(void);

/* ---- text.c ---- */
MUST_CHECK errint_t text_info(struct view *v, struct text *out);
MUST_CHECK errint_t text_stats(struct view *v, struct text *out);
MUST_CHECK errint_t text_metrics(struct view *v, struct text *out);

/* ---- map_text.c: the map of the live disk as text, see docs/view.md ---- */
struct map_text;
/* *size: bytes of the text as the map is now. */
MUST_CHECK errint_t map_text_open(struct image *im, struct map_text **out, uint64_t *size);
void map_text_close(struct map_text *m);
MUST_CHECK errint_t map_text_read(struct map_text *m, uint64_t off, char *buf, size_t len,
				  size_t *got);

/* ---- view_disk.c ---- */
MUST_CHECK errint_t view_disk_read(struct view_file *f, struct view_thread *t, uint64_t off,
				   size_t len, const void **data, size_t *got);

#endif
