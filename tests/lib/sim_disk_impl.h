/* SPDX-License-Identifier: MIT */
/* struct sim_disk, for sim_disk.c and sim_crash.c only. */
#ifndef TESTS_LIB_SIM_DISK_IMPL_H
#define TESTS_LIB_SIM_DISK_IMPL_H

#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_pages.h"

#define UNIT_BUCKETS 1024u

/* What one change does to one unit of 4 KiB. */
struct piece {
	sim_op op;
	uint64_t order;	   /* of its completion; 0: in flight */
	struct page *page; /* NULL: zeros */
	uint8_t mask;	   /* the sectors that it changes */
	bool lost;	   /* a sync of it has failed: no later one will make it persistent */
};

/* The volatile changes of a unit: completed ones in the order of completion, then those in flight
 * in the order of issue.  A unit without any has no such struct. */
struct unit {
	uint64_t index;
	struct unit *next; /* of the bucket */
	unsigned n, cap;
	struct piece *piece;
};

/* A volatile change of the length. */
struct length {
	uint64_t order;
	uint64_t len;
};

enum flight_kind { FLIGHT_CHANGE, FLIGHT_TRUNCATE, FLIGHT_SYNC };

struct flight {
	sim_op op;
	enum flight_kind kind;
	uint64_t first, end; /* units */
	uint64_t len;	     /* CHANGE: the length is at least this after it; TRUNCATE: is this */
	uint64_t covers;     /* SYNC: completions up to this one */
};

struct sim_disk {
	struct pages durable, visible;
	struct unit *bucket[UNIT_BUCKETS];
	size_t nunits;
	uint64_t durable_len, visible_len;
	struct length *length;
	size_t nlengths;
	struct flight *flight;
	size_t nflights;
	sim_op next_op;
	sim_op late;	/* what is in flight below this belongs to a dead process */
	uint64_t order; /* of the newest completion */
	uint64_t journal_off, journal_len;
};

/* The unit's volatile changes, or NULL. */
struct unit *sim_disk_unit(const struct sim_disk *d, uint64_t index);

/* Forget a change in flight as if it had never been issued. */
void sim_disk_cancel(struct sim_disk *d, sim_op op);

#endif
