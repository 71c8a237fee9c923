/* SPDX-License-Identifier: MIT */
/* A store (image/store.h) on a simulated disk.  In a task of sim_sched.h every operation gives way
 * at its issue and at its completion, and takes a random time; outside of tasks it is instant. */
#ifndef TESTS_LIB_SIM_STORE_H
#define TESTS_LIB_SIM_STORE_H

#include "image/store.h"
#include "tests/lib/sim_disk.h"

enum sim_io { SIM_READ, SIM_WRITE, SIM_DSYNC, SIM_SYNC, SIM_PUNCH, SIM_TRUNCATE, SIM_IOS };

struct sim_store {
	struct store st;
	struct sim_disk *disk; /* not owned */

	/* Called before the issue and after the completion of each operation that changes
	 * something; may be NULL. */
	void (*event)(void *arg, enum sim_io io, uint64_t off, size_t len, bool completed);
	void *event_arg;

	uint64_t ios; /* operations issued so far, reads included */
	uint64_t count[SIM_IOS];

	/* The operation with number fail_at fails with fail_err, and so do later ones of the same
	 * kind while fail_on is set. 0: none. */
	uint64_t fail_at;
	errint_t fail_err;
	bool failed;
	bool fail_on;
	enum sim_io failed_io; /* what it was, and where */
	uint64_t failed_off;
	struct rng fail_rng;

	bool no_punch;	     /* punching is not supported */
	uint64_t max_length; /* growing the file beyond this is -ENOSPC; 0: no limit */
};

/* Print every operation and what becomes of it to stdout: to understand a failure. */
extern bool sim_trace;

void sim_store_init(struct sim_store *s, struct sim_disk *disk);

#endif
