/* SPDX-License-Identifier: MIT */
/*
 * The image that a snapshot command is about: served by a bridge, which is asked, or opened here.
 */
#ifndef CLI_SNAPSHOT_TARGET_H
#define CLI_SNAPSHOT_TARGET_H

#include <jansson.h>
#include <stdbool.h>

#include "bridge/client.h"
#include "cli/image_file.h"
#include "cli/progress.h"
#include "common/errint.h"

struct snapshot_target {
	const char *what; /* as the user named it: an image, a device, or its name */
	bool attached;
	struct bridge_client client; /* attached */
	struct image_file file;	     /* else */
};

/* Not open. */
#define SNAPSHOT_TARGET_NONE                                                                       \
	{                                                                                          \
		.client = {.sock = -1 }                                                            \
	}

/* -EINVAL, message logged, when @name, or one of the @n @names, is none that a snapshot can have.
 */
MUST_CHECK errint_t snapshot_check_name(const char *name);
MUST_CHECK errint_t snapshot_check_names(char *const *names, unsigned n);

/* Opens @what only if it is attached; -ENOENT, without a message, if it is not. */
MUST_CHECK errint_t snapshot_target_find(const char *what, struct snapshot_target *t);
/* @write: for changing something.  Messages are logged. */
MUST_CHECK errint_t snapshot_target_open(const char *what, bool write, struct snapshot_target *t);

/* Of what is not attached (snapshot_target_find()), which costs less than opening it, a call and
 * closing it. */
MUST_CHECK errint_t snapshot_target_create_here(const char *what, const char *name, uint32_t *id);

/* Does what the method of bridge_snapshots.h does, there or here.  @params is stolen; *result, the
 * caller's, may be NULL for who does not want it. */
MUST_CHECK errint_t snapshot_target_call(struct snapshot_target *t, const char *method,
					 json_t *params, json_t **result);
/* All snapshots in *@all, a new array of what `snapshot list --json` prints, by age. */
MUST_CHECK errint_t snapshot_target_list(struct snapshot_target *t, json_t **all);
/* The same for snapshot-diff, into @fd. */
MUST_CHECK errint_t snapshot_target_diff(struct snapshot_target *t, json_t *params, int fd);

/* Frees, of an image that is open here, the space of deleted snapshots.  *done: nothing is left to
 * be freed, or not known to be: a bridge does it by itself. */
MUST_CHECK errint_t snapshot_target_reclaim(struct snapshot_target *t, enum progress_mode mode,
					    bool *done);

MUST_CHECK errint_t snapshot_target_close(struct snapshot_target *t);

/* For CLEANUP(), also after a close. */
void cleanup_snapshot_target(struct snapshot_target *t);

#endif
