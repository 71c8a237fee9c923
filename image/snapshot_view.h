/* SPDX-License-Identifier: MIT */
/* Inside of a view, for the read plans and the walks of image/. */
#ifndef IMAGE_SNAPSHOT_VIEW_H
#define IMAGE_SNAPSHOT_VIEW_H

#include "image/snapshot_priv.h"

struct snapshot_view {
	struct image *im;
	struct disk_snapshot rec; /* as it was when it was opened */
	struct snap_tree tree;
};

/* The snapshot's descriptor of @vcluster.  -EAGAIN with @need.  im->lock held. */
MUST_CHECK errint_t snapshot_lookup(const struct snapshot_view *v, uint64_t vcluster,
				    struct desc *d, struct need *need);

#endif
