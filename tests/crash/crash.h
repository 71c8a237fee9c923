/* SPDX-License-Identifier: MIT */
/*
 * The crash tier: random programs on the simulated disk, stopped at random or at all points, and
 * what must hold for every image that is left.  docs/testing.md describes it.
 *
 *	config	 what a seed decides about an image: sizes, cluster size, codec, limits
 *	world	 a disk, and the image on it, opened
 *	oracle	 what each sector may hold
 *	run	 a world under a program of random operations
 *	recover	 what comes after a crash
 *	directed a program that goes straight to a rare situation
 */
#ifndef TESTS_CRASH_CRASH_H
#define TESTS_CRASH_CRASH_H

#include <stdio.h>

#include "engine/engine.h"
#include "image/image.h"
#include "tests/crash/oracle.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_sched.h"
#include "tests/lib/sim_store.h"
#include "tests/lib/vj_box.h"

#define MAX_TASKS 8u

enum op {
	OP_WRITE,
	OP_FULL_WRITE, /* whole clusters: may be compressed */
	OP_FUA,
	OP_DISCARD, /* whole clusters */
	OP_TRIM,    /* any sectors */
	OP_ZEROES,
	OP_READ,
	OP_FLUSH,
	OP_CHECKPOINT,
	OP_MAINTAIN,
	OP_RESIZE,
	OP_SNAPSHOT,
	OP_SNAP_DELETE,
	OP_ROLLBACK,
	OP_RECLAIM, /* some steps of deletions */
	OP_SNAP_READ,
	OPS
};

extern const char *const op_names[OPS];

struct config {
	uint64_t seed;
	struct image_params params;
	struct zones zones;
	uint64_t max_regions;
	uint64_t journal_length;
	unsigned dirty_cap;
	unsigned cache_nodes;
	uint64_t broken_rules;
	bool nearly_full; /* the base image has a few free clusters left */
	bool snapshot;	  /* it has a snapshot; see snapshot.c */
	bool vj;	  /* the device outlives the process, with a volatile journal */
	bool backing;	  /* it has a backing with values in it; see backing.c */
	bool first_fit;	  /* freed space is used again soon */
	bool no_punch;	  /* the host cannot punch holes */
	bool inject;	  /* I/O errors */
	uint64_t fail_at; /* the I/O of the program that fails; 0: none, or as inject says */
	errint_t fail_err;
	bool fail_on;	    /* and all later ones of its kind */
	unsigned steps;	    /* of a run */
	unsigned tasks;	    /* at the same time, at most */
	unsigned nowait;    /* per cent of reads and writes that do not wait where they need not */
	unsigned crashes;   /* per mille of steps, */
	unsigned rarely;    /* and then only one time in so many; 0 is 1 */
	unsigned process;   /* per cent of crashes that are process deaths, */
	unsigned late;	    /* and of those that leave a device, that leave writes in flight, */
	unsigned late_wait; /* which land within so many steps of each other */
	unsigned weight[OPS];
	uint64_t exhaustive; /* crash images at one point; 0: one at random */
};

/* What @seed decides. */
void config_random(struct config *cfg, uint64_t seed);
/* Change it to a nearly full image: what is freed is used again at once. */
void config_nearly_full(struct config *cfg);

struct counts {
	uint64_t runs, steps, ops[OPS];
	uint64_t power[SIM_LOSSES], power_all; /* images after power losses; _all: enumerated */
	uint64_t process, process_all;	       /* after process deaths */
	uint64_t killed_recoveries, failed_recoveries;
	uint64_t recovered; /* devices, with a volatile journal */
	uint64_t refused;   /* volatile journals, and must be */
	uint64_t poisoned;  /* those of an image that had stopped */
	uint64_t late;	    /* deaths that left writes in flight */
	uint64_t closed, read_only, injected, resumed, skipped;
	uint64_t no_space;
};
extern struct counts counts;
uint64_t counts_images(void);
void counts_print(void);

/* ---- failures --------------------------------------------------------------------------- */

/* Prints the message, the log's last messages and how to reproduce it, and exits with status 1. */
void crash_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* For the report: the program's name and what to print as the reproducing command. */
void crash_report_init(const char *program);
void crash_report_seed(uint64_t seed);

/* With CRASH_TRACE=1 in the environment, everything that happens is printed. */
#define crash_trace(...)                                                                           \
	do {                                                                                       \
		if (sim_trace) {                                                                   \
			printf(__VA_ARGS__);                                                       \
			putchar('\n');                                                             \
		}                                                                                  \
	} while (0)

/* ---- worlds ----------------------------------------------------------------------------- */

struct world {
	const struct config *cfg;
	struct sim_disk *disk; /* owned */
	struct sim_store store;
	struct sim_sched *sched;
	struct rng rng;
	struct vj_box *box;    /* the state directory; NULL: none */
	bool recover;	       /* opening is to go on with what is in it */
	bool acked;	       /* nothing that was acknowledged before may be missing */
	struct image *im;      /* NULL: not open */
	struct store *backing; /* NULL: as cfg says */
	struct store *pattern; /* owned */
	struct engine *engine;
	struct engine_thread *thread[MAX_TASKS];
	struct image_writer *writer[MAX_TASKS]; /* for nowait_write() */
	bool thread_busy[MAX_TASKS];
	uint64_t reads_before; /* the open that is under way */
	errint_t result;       /* of the last world_do() */
};

/* A new empty image (or a nearly full one), made durable and not open. */
struct sim_disk *world_base(const struct config *cfg);

/* @disk is taken over.  Not open yet. */
struct world *world_new(const struct config *cfg, struct sim_disk *disk, uint64_t seed);
/* Opening is to go on with a device whose process has left @vj. */
void world_recover(struct world *w, const struct vj_copy *vj);
/* The volatile journal as it is now, or NULL. */
struct vj_copy *world_vj(const struct world *w);
/* Frees it as a crash would, without any I/O.  No task may be left. */
void world_free(struct world *w);

/* Open the image, in a task.  world_open_begin() only starts the task: step w->sched, then call
 * world_open_end(). */
void world_open_begin(struct world *w, bool read_only);
errint_t world_open_end(struct world *w);
errint_t world_open(struct world *w, bool read_only);
errint_t world_close(struct world *w);

/* Run fn(w, arg) in a task of the world to its end. */
errint_t world_do(struct world *w, errint_t (*fn)(struct world *w, void *arg), void *arg);
/* Step until no task is left; a deadlock is a failure. */
void world_drain(struct world *w);

/* The image has an allowed size, is exactly what the format promises, and every sector holds what
 * the oracle allows after a crash.  With @next, that is given a history of just what was found. */
void world_verify(struct world *w, const struct oracle *o, struct oracle **next, const char *when);

/* The half of it that reads. */
void world_verify_data(struct world *w, const struct oracle *o, struct oracle *next,
		       const char *when);

/* ---- requests that must not block -------------------------------------------------------- */

/* As engine_write() and engine_read(), but as far as possible without waiting. */
errint_t nowait_write(struct world *w, unsigned slot, const uint8_t *buf, uint64_t off, size_t len,
		      bool fua);
errint_t nowait_read(struct world *w, unsigned slot, uint8_t *buf, uint64_t off, size_t len);

/* ---- snapshots ----------------------------------------------------------------------------- */

/* Write some of the zones of the new image on @disk, which is taken over, and snapshot it. */
struct sim_disk *snapshot_base(const struct config *cfg, struct sim_disk *disk);
/* What sector @k holds then; and as a history. */
value snapshot_value(const struct config *cfg, unsigned k);
void snapshot_oracle(const struct config *cfg, struct oracle *o);
/* Every snapshot that must be there is, and holds what it held.  @w has just been opened.  @next,
 * unless NULL, gets what is there. */
void snapshot_verify(struct world *w, const struct oracle *o, struct oracle *next,
		     const char *when);

struct run;
/* An operation on snapshots, for a task that calls snapshot_do(); NULL: it does not fit now. */
void *snapshot_job(struct run *r, enum op op, unsigned slot);
void snapshot_do(void *job, enum op op);

/* ---- recovering ------------------------------------------------------------------------- */

/* What a crash leaves. */
struct remains {
	struct sim_disk *disk;
	struct vj_copy *vj; /* NULL: none, or the power was lost */
	bool acked;	    /* it has all that was acknowledged */
};

/* What the death of @w's process leaves. */
struct remains recover_death(struct run *r, const struct world *w);
/* Open what is left, which is taken over, as often as it takes, and verify.  @next: the oracle of
 * what is there. */
struct world *recover(struct run *r, struct remains left, struct oracle **next, const char *when);
/* @old is of an earlier session than that of @w, which is open: it must be refused. */
void recover_stale(struct run *r, struct world *w, const struct vj_copy *old);
/* ---- backings ------------------------------------------------------------------------------ */

/* What @cfg's backing has, as a store (the caller's, to be freed), as a reference, by sector. */
struct store *backing_pattern(const struct config *cfg);
struct backing_ref;
void backing_describe(const struct config *cfg, struct backing_ref *ref);
value backing_value(const struct config *cfg, unsigned k);

/* ---- runs ------------------------------------------------------------------------------- */

struct run {
	const struct config *cfg;
	struct rng rng;
	struct world *w;
	struct oracle *o;
	unsigned depth;
	uint32_t version; /* of the next value */
	unsigned hot;	  /* steps during which crashes are more likely */
	uint64_t open_steps;
};

/* Is @err of an @op that has ended what an injected error or the lack of space may lead to? */
bool run_may_fail(const struct run *r, enum op op, errint_t err);

/* The image has met an error after which nothing is written any more. */
bool run_stopped(const struct run *r);

/* A change of the disk's size to @size begins.  Returns false when the image has stopped: then it
 * has to fail, and leave what is on disk alone. */
bool run_resize_begin(struct run *r, uint64_t size);
/* It has ended; @begun: what run_resize_begin() said. */
void run_resize_end(struct run *r, bool begun, errint_t err);

/* Start a random operation, if one fits now. */
void run_random_op(struct run *r);

/* Stop the run's world here in all the ways that the configuration asks for, and check what is
 * left.  Returns a recovered world and its oracle, or NULL. */
struct world *run_crash(struct run *r, struct oracle **o);

/* A whole program with crashes, as @cfg says, resumed on recovered images. */
void run_program(const struct config *cfg);

/* Many commits while a checkpoint is being written, on a small journal that is nearly full. */
void directed_journal_wrap(const struct config *base);
void directed_repack(const struct config *base);

/* What must be noticed at every step of a deletion and of a rollback; see directed_snapshot.c. */
void directed_branches(const struct config *base);
void directed_reclaim(const struct config *base);
void directed_rollback(const struct config *base);
void directed_at_rest(const struct config *base);

/* A recovery crashed at every step; a deletion killed between any two stores; see directed_vj.c. */
void directed_recovery(const struct config *base);
void directed_groups(const struct config *base);
/* A commit into a backing, with a power cut at every step; see backing.c. */
void directed_commit(const struct config *base);

#endif
