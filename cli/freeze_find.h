/* SPDX-License-Identifier: MIT */
/* Which file systems are on a block device, and can be frozen. */
#ifndef CLI_FREEZE_FIND_H
#define CLI_FREEZE_FIND_H

#include "cli/freeze.h"

struct freeze_list {
	struct freeze_fs fs[FREEZE_MAX];
	unsigned n;
};

/*
 * The mounted file systems on the block device @device ("/dev/ublkb0"), its partitions, and devices
 * that are built on these, as this process or the first one sees them; those that cannot be frozen
 * may be left out.  Or, with @dir, only the one that this directory is on.  @l is to be freed in
 * any case.  -EINVAL: @dir is not on the device; message logged.
 */
MUST_CHECK errint_t freeze_find(const char *device, const char *dir, struct freeze_list *l);

void freeze_list_free(struct freeze_list *l);

static inline void cleanup_freeze_list(struct freeze_list *l)
{
	freeze_list_free(l);
}

#endif
