/* SPDX-License-Identifier: MIT */
/* What commit and rebase have in common. */
#ifndef CLI_BACKING_WORK_H
#define CLI_BACKING_WORK_H

#include "bridge/client.h"
#include "cli/progress.h"
#include "engine/commit.h"

/* engine_commit() of an image that is open here, showing progress. */
MUST_CHECK errint_t backing_commit_here(struct image *im, enum progress_mode mode,
					struct work_result *res);

/* engine_rebase() of one, showing progress. */
MUST_CHECK errint_t backing_rebase_here(struct image *im, struct backing *to,
					const struct backing_ref *ref, enum progress_mode mode,
					struct work_result *res);

/* Has a bridge do it: method "commit" or "flatten", without parameters, {"bytes": N, "left": N}. */
MUST_CHECK errint_t backing_work_ask(struct bridge_client *c, const char *method,
				     struct work_result *res);

/* The result of @command as JSON, on standard output. */
MUST_CHECK errint_t backing_work_json(const char *command, const char *image,
				      const struct work_result *res);

/* The methods themselves; @arg is the bridge. */
struct socket_request;
errint_t bridge_commit(void *arg, struct socket_request *rq, json_t **result);
errint_t bridge_flatten(void *arg, struct socket_request *rq, json_t **result);

#endif
