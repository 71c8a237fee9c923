/* SPDX-License-Identifier: MIT */
/*
 * What each sector of the disk may hold.
 *
 * A test writes to a few zones of the virtual disk; their sectors are numbered through.  Every
 * write gives a sector a value that was never used before and that its 512 bytes spell out, so that
 * stale, foreign or torn contents are recognised.  A sector's history is its values in order of
 * issue; after a crash it must hold the one that was acknowledged before the last acknowledged
 * flush, or a later one.
 */
#ifndef TESTS_CRASH_ORACLE_H
#define TESTS_CRASH_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/rng.h"

#define MAX_ZONES 4u

/* Parts of the virtual disk; sector k of all zones together. */
struct zones {
	unsigned n;
	unsigned sectors;
	struct zone {
		uint64_t off;	/* bytes */
		unsigned first; /* its first sector's number */
		unsigned sectors;
	} zone[MAX_ZONES];
};

void zones_add(struct zones *z, uint64_t off, uint64_t len);
/* The zone that sector @k is in. */
const struct zone *zone_of(const struct zones *z, unsigned k);
uint64_t zone_offset(const struct zones *z, unsigned k);

/* Values.  0 is zeros; the lowest bit tells whether the bytes can be compressed. */
typedef uint32_t value;
#define VALUE_BAD UINT32_MAX

/* The 512 bytes of sector @k with value @v. */
void value_fill(void *sector, unsigned k, value v);
/* The value that the bytes spell, or VALUE_BAD. */
value value_read(const void *sector, unsigned k);

struct oracle;
struct snapset;

/* Every sector holds zeros. */
struct oracle *oracle_new(unsigned sectors);
void oracle_free(struct oracle *o);
unsigned oracle_sectors(const struct oracle *o);

/* The snapshots, snapshot.c's. */
struct snapset *oracle_snaps(const struct oracle *o);
struct snapset *snapset_new(unsigned sectors);
void snapset_free(struct snapset *s);

/* A change of sector @k is issued; @returns its index in the history. */
uint32_t oracle_issue(struct oracle *o, unsigned k, value v);
/* It is acknowledged: older values are no longer allowed to be read. */
void oracle_ack(struct oracle *o, unsigned k, uint32_t index);
/* It is durable as well (FUA). */
void oracle_ack_durable(struct oracle *o, unsigned k, uint32_t index);
/* Index of the newest acknowledged value. */
uint32_t oracle_acked(const struct oracle *o, unsigned k);

/* May sector @k hold @v, being at least as new as index @from? */
bool oracle_allows(const struct oracle *o, unsigned k, value v, uint32_t from);

/* What a flush that is issued now will have made durable: pass it to oracle_flushed() when it is
 * acknowledged, or free() it. */
uint32_t *oracle_flush_begin(const struct oracle *o);
void oracle_flush_end(struct oracle *o, uint32_t *acked);

/* May sector @k hold @v after a crash? */
bool oracle_allows_after_crash(const struct oracle *o, unsigned k, value v);

/*
 * The sizes that the disk may have, in bytes: one, and a second one from the issue of a change
 * until that is acknowledged (it is durable then) or known not to have come to pass.  When neither
 * is ever known both remain, and no other change may be issued.
 */
void oracle_set_size(struct oracle *o, uint64_t size);
void oracle_issue_size(struct oracle *o, uint64_t size);
void oracle_ack_size(struct oracle *o);
void oracle_drop_size(struct oracle *o);
bool oracle_allows_size(const struct oracle *o, uint64_t size);
uint64_t oracle_min_size(const struct oracle *o);

/* No two operations of one test write to the same sector at the same time. */
bool oracle_busy(const struct oracle *o, unsigned k, unsigned n);
void oracle_set_busy(struct oracle *o, unsigned k, unsigned n, bool busy);
bool oracle_any_busy(const struct oracle *o);

/* Histories are kept as long as somebody reads; see oracle_read_end(). */
void oracle_read_begin(struct oracle *o);
void oracle_read_end(struct oracle *o);

/* The history of sector @k as text, for a failure report; in @buf. */
const char *oracle_describe(const struct oracle *o, unsigned k, char *buf, size_t size);

#endif
