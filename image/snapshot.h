/* SPDX-License-Identifier: MIT */
/*
 * Snapshots as far as reading and ownership need them: the records, and the floor below which the
 * head shares storage with a snapshot (docs/format.md section 9).
 */
#ifndef IMAGE_SNAPSHOT_H
#define IMAGE_SNAPSHOT_H

#include <stdint.h>

#include "common/errint.h"
#include "image/format.h"

struct image;

struct snapshots {
	struct disk_snapshot *rec; /* validated */
	uint32_t n;
};

/* Reads the snapshot table.  Opening only, may block. */
MUST_CHECK errint_t snapshot_open(struct image *im);
void snapshot_close(struct image *im);

/* What the head owns at cluster @v was born after this epoch.  im->lock held. */
uint32_t snapshot_floor(struct image *im, uint64_t v);
/* The same for the node at position @index of @level. */
uint32_t snapshot_floor_node(struct image *im, unsigned level, uint64_t index);

/* The records, valid while the image is open. */
const struct disk_snapshot *snapshot_records(struct image *im, uint32_t *n);

#endif
