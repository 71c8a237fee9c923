/* SPDX-License-Identifier: MIT */
/*
 * A disk with a volatile cache (docs/format.md, section "Crash-test matrix").
 *
 * Every change is issued and, later, completed.  What has completed is visible to reads, but
 * survives a power loss only when it is persistent: a sync makes everything persistent that had
 * completed when the sync was issued; a DSYNC write makes itself persistent.  After a power loss
 * each sector of 512 bytes holds, independently of the others, its persistent contents or those of
 * any change issued since.  After the death of the process that writes, completed changes stay as
 * they are, volatile; a change in flight has happened, partly happened, or never happens.
 *
 * The disk knows nothing of schedulers: see sim_store.h for the store that runs on it.
 */
#ifndef TESTS_LIB_SIM_DISK_H
#define TESTS_LIB_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/rng.h"

struct sim_disk;

struct sim_disk *sim_disk_new(void);
void sim_disk_free(struct sim_disk *d); /* NULL is allowed */

/* An independent copy: contents, everything volatile, everything in flight. */
struct sim_disk *sim_disk_clone(const struct sim_disk *d);

/* A change or sync in flight. */
typedef uint64_t sim_op;

sim_op sim_disk_issue_write(struct sim_disk *d, const void *buf, size_t len, uint64_t off);
sim_op sim_disk_issue_punch(struct sim_disk *d, uint64_t off, uint64_t len);
sim_op sim_disk_issue_truncate(struct sim_disk *d, uint64_t len);
sim_op sim_disk_issue_sync(struct sim_disk *d);

void sim_disk_complete(struct sim_disk *d, sim_op op);
/* The same for a DSYNC write: it is persistent as well. */
void sim_disk_complete_dsync(struct sim_disk *d, sim_op op);
/* The write or punch has failed: some of its sectors have changed, and may keep changing to it. */
void sim_disk_fail(struct sim_disk *d, sim_op op, struct rng *rng);
/* The sync has failed.  Any part of what it covered is lost for good, though it stays visible: no
 * later sync makes that persistent (as Linux does it). */
void sim_disk_fail_sync(struct sim_disk *d, sim_op op, struct rng *rng);
/* The same for all that is volatile: a failed DSYNC write may be how the host says that. */
void sim_disk_lose(struct sim_disk *d, struct rng *rng);

/* What a read sees now. */
void sim_disk_read(const struct sim_disk *d, void *buf, size_t len, uint64_t off);
uint64_t sim_disk_length(const struct sim_disk *d);

/* ---- crashes ---------------------------------------------------------------------------- */

/* What a power loss does to the volatile changes. */
enum sim_loss {
	SIM_LOSS_NONE_KEPT, /* all are lost */
	SIM_LOSS_ALL_KEPT,
	SIM_LOSS_ONE_KEPT,    /* one unit of 4 KiB survives */
	SIM_LOSS_ALL_BUT_ONE, /* one unit is lost */
	SIM_LOSS_META_KEPT,   /* by class, as sim_disk_classify() says */
	SIM_LOSS_DATA_KEPT,
	SIM_LOSS_JOURNAL_KEPT, /* the journal, and anything of the rest */
	SIM_LOSS_SUPER_KEPT,   /* superblocks, and anything of the rest */
	SIM_LOSS_RANDOM,       /* anything */
	SIM_LOSSES
};
const char *sim_loss_name(enum sim_loss how);

/* The place of the journal, to be told from data and metadata; 0, 0: none. */
void sim_disk_set_journal(struct sim_disk *d, uint64_t off, uint64_t len);

enum sim_class { SIM_SUPER, SIM_META, SIM_JOURNAL, SIM_DATA };
enum sim_class sim_disk_classify(const struct sim_disk *d, uint64_t off);

/* The disk as a power loss may leave it.  Units that keep a change may be torn into sectors. */
struct sim_disk *sim_disk_power_loss(const struct sim_disk *d, enum sim_loss how, struct rng *rng);

/* The disk as the death of the process may leave it; what was volatile still is. */
struct sim_disk *sim_disk_process_death(const struct sim_disk *d, struct rng *rng);

/* The same, but what is in flight stays so: the device still has it, and whoever comes next sees it
 * land, or not, at any time (sim_disk_land()).  Nothing that a failed sync has lost may be there.
 */
struct sim_disk *sim_disk_process_death_late(const struct sim_disk *d);
/* One of the changes that the dead process had in flight lands, lands partly, or never does.
 * Returns whether there was one. */
bool sim_disk_land(struct sim_disk *d, struct rng *rng);
/* Is there one? */
bool sim_disk_late(const struct sim_disk *d);

/*
 * All outcomes instead of a random one.  Metadata: each unit holds any version, or is torn; data:
 * each write as a whole.  *_count() returns how many there are, or 0 when more than @limit;
 * sim_disk_*(d, i) makes the one with number @i < count.
 */
uint64_t sim_disk_power_outcomes(const struct sim_disk *d, uint64_t limit);
struct sim_disk *sim_disk_power_outcome(const struct sim_disk *d, uint64_t i);
uint64_t sim_disk_death_outcomes(const struct sim_disk *d, uint64_t limit);
struct sim_disk *sim_disk_death_outcome(const struct sim_disk *d, uint64_t i);

/* Units that hold volatile changes; changes in flight. */
size_t sim_disk_volatile_units(const struct sim_disk *d);
size_t sim_disk_in_flight(const struct sim_disk *d);

/* Print what is volatile and in flight to stderr. */
void sim_disk_dump(const struct sim_disk *d);

#endif
