/* SPDX-License-Identifier: MIT */
/*
 * Snapshots put into images by hand, as surgery.h does it: nothing takes any yet.  The table has
 * one unit, so there are at most SURGERY_SNAPSHOTS.
 */
#ifndef TESTS_LIB_SURGERY_SNAPSHOT_H
#define TESTS_LIB_SURGERY_SNAPSHOT_H

#include "tests/lib/surgery.h"

#define SURGERY_SNAPSHOTS (UNIT_SIZE / sizeof(struct disk_snapshot))

/* The snapshot table, room for SURGERY_SNAPSHOTS records; the caller frees it. */
struct disk_snapshot *surgery_records(struct surgery *s);
/* Write it back, with @n records. */
void surgery_set_records(struct surgery *s, const struct disk_snapshot *rec, unsigned n);

/* What taking a snapshot does: the head as it is gets a record, and descends from it.  Returns its
 * id.  The image has been opened for writing before: there is room for the table. */
uint32_t surgery_take_snapshot(struct surgery *s);

/* What a rollback to snapshot @id does: the old head stays as a snapshot of its own, whose id is
 * returned. */
uint32_t surgery_roll_back(struct surgery *s, uint32_t id);

/* Exchange the tree of the head, in s->sb, and that of @rec: to look at a snapshot, or to change
 * what only it has. */
void surgery_swap_tree(struct surgery *s, struct disk_snapshot *rec);

#endif
