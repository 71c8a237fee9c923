/* SPDX-License-Identifier: MIT */
/*
 * Bringing a copy of a disk from the base of a delta to its target.  What kind of copy it is makes
 * the difference; cmd_apply.c chooses.
 */
#ifndef CLI_APPLY_H
#define CLI_APPLY_H

#include "bridge/client.h"
#include "cli/convert.h"
#include "cli/delta.h"

struct apply {
	const char *delta_path, *target;
	struct delta delta;
	struct disk *disk; /* its content */
	bool force;
	unsigned threads;
	int progress; /* enum progress_mode */
	struct convert_totals totals;
	bool nothing_to_do; /* the target was there already */
};

/*
 * To an image that nobody serves.  It says itself what it holds: what is not known to be the base
 * is refused, unless forced.  While it is changed it says so, and nothing else can be done with it;
 * who is interrupted, and called again, finishes.
 */
MUST_CHECK errint_t apply_to_image(struct apply *a);

/* To the device of an image that is attached, which nobody else has open: the image has to hold the
 * snapshot that is the base, and nothing may have been written to the disk since. */
MUST_CHECK errint_t apply_to_attached(struct apply *a, struct bridge_client *c);

/* To a raw file or a block device, of which nothing is known but the size: only when forced. */
MUST_CHECK errint_t apply_to_raw(struct apply *a);

/* Common to them: writes what changed, and makes it durable. */
MUST_CHECK errint_t apply_changes(struct apply *a, struct sink *sink);

/* -EINVAL, message logged: the target is not at the base, for the reason @why. */
MUST_CHECK errint_t apply_refuse(const struct apply *a, const char *why);

#endif
