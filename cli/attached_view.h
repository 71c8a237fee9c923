/* SPDX-License-Identifier: MIT */
/* Reading an image that is attached, with its bridge's help: docs/view.md's files, privately. */
#ifndef CLI_ATTACHED_VIEW_H
#define CLI_ATTACHED_VIEW_H

#include <jansson.h>
#include <limits.h>

#include "bridge/client.h"
#include "common/errint.h"

/*
 * Has the bridge behind @c serve a view that only this process sees: *root is a descriptor of its
 * root directory.  It ends when that, and all that was opened below, is closed.  Needs root.
 * Message logged.
 */
MUST_CHECK errint_t attached_view_open(struct bridge_client *c, int *root);

/* "snapshots/NAME/FILE" of such a view, or, with a NULL @snapshot, "FILE", opened for reading.
 * -ENOENT and others, message logged with @image, what the user named. */
MUST_CHECK errint_t attached_view_file(int root, const char *image, const char *snapshot,
				       const char *file, int *fd);

/* Where views of the image are mounted, an array of paths; NULL: nowhere, or it cannot be told. */
json_t *attached_view_list(struct bridge_client *c);

/* The bridge has ended: unmounts those views that nobody serves any more.  NULL is allowed. */
void attached_view_unmount(json_t *views);

#endif
