/* SPDX-License-Identifier: MIT */
/*
 * What the snapshot commands do to an image, in the form of methods of the control socket: the
 * command calls them on an image that it has opened itself, a bridge on the one that it serves.
 *
 * All of them block, log what goes wrong, and take a @params and set a *result (the caller's) as
 * the methods in bridge_snapshots.h describe.
 */
#ifndef CLI_SNAPSHOT_OPS_H
#define CLI_SNAPSHOT_OPS_H

#include <jansson.h>
#include <stdint.h>

#include "common/errint.h"

struct image;

typedef errint_t (*snapshot_op_fn)(struct image *im, const json_t *params, json_t **result);

errint_t snapshot_op_create(struct image *im, const json_t *params, json_t **result);
errint_t snapshot_op_list(struct image *im, const json_t *params, json_t **result);
errint_t snapshot_op_rename(struct image *im, const json_t *params, json_t **result);
errint_t snapshot_op_delete(struct image *im, const json_t *params, json_t **result);
errint_t snapshot_op_rollback(struct image *im, const json_t *params, json_t **result);

/* "from" and "to" in @params, the latter optional.  The extents go to @fd as struct diff_record,
 * behind one another. */
struct diff_record {
	uint64_t off, len; /* bytes of the disk */
	uint64_t zeroed;   /* 1: reads as zeros at the later point */
};
errint_t snapshot_op_diff(struct image *im, const json_t *params, int fd);

#endif
