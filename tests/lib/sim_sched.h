/* SPDX-License-Identifier: MIT */
/*
 * Cooperative tasks on one thread, in an order that a seed decides.
 *
 * Code under test runs in tasks as it would run in threads; it gives way at every operation of the
 * simulated store and wherever it waits (struct image_wait_ops).  The test itself runs outside,
 * between steps, where it can look at everything, crash the disk, and run another scheduler.
 */
#ifndef TESTS_LIB_SIM_SCHED_H
#define TESTS_LIB_SIM_SCHED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "image/image.h"
#include "tests/lib/rng.h"

struct sim_sched;

struct sim_sched *sim_sched_new(uint64_t seed);
/* Every task must have ended. */
void sim_sched_free(struct sim_sched *s);

/* Start a task.  @name is kept, not copied.  From inside and outside of tasks. */
void sim_spawn(struct sim_sched *s, const char *name, void (*fn)(void *arg), void *arg);

enum sim_state {
	SIM_RUNNING, /* a step was made, tasks are left */
	SIM_DONE,    /* no task is left */
	SIM_STUCK,   /* every task waits for another: a deadlock */
};

/* Let one task, chosen at random, run until it gives way.  Not from a task. */
enum sim_state sim_step(struct sim_sched *s);

/* Step until all tasks have ended, at most @max_steps times. SIM_RUNNING: that was not enough. */
enum sim_state sim_run(struct sim_sched *s, uint64_t max_steps);

unsigned sim_tasks(const struct sim_sched *s);

/* Has a task stopped where no other one may run (struct image_wait_ops)?  It may hold locks. */
bool sim_paused(const struct sim_sched *s);

/* Which task does what, for a failure report. */
void sim_sched_dump(const struct sim_sched *s, FILE *out);

/* ---- from inside a task; outside of tasks these do nothing ------------------------------- */

/* Give way.  @doing says where, for the dump; static storage. */
void sim_yield(const char *doing);

/* Am I in a task? */
bool sim_in_task(void);

/* The same choice in every run with the same seed. */
struct rng *sim_rng(void);

/* Waiting as image.h's struct image_wait_ops wants it: gives way, and counts towards SIM_STUCK. */
extern const struct image_wait_ops sim_wait_ops;

#endif
