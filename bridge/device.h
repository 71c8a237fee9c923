/* SPDX-License-Identifier: MIT */
/*
 * A kernel block device that shows an image: what a bridge starts, watches and stops.  One kind is
 * made by ublk_device.h; another, a loop device over a FUSE view, by those who may include fuse/.
 */
#ifndef BRIDGE_DEVICE_H
#define BRIDGE_DEVICE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "bridge/mode.h"
#include "common/errint.h"
#include "common/json_build.h"

struct device;

/* One is called at a time, but for describe(); they may block. */
struct device_ops {
	const char *kind;

	/*
	 * Takes the device away; what was written to it has reached the image when this returns.
	 * Without @force: -EBUSY, message logged, nothing changed, when somebody uses the device.
	 * After an error other than that the device is as good as gone.  Called until it succeeds,
	 * or with @force.
	 */
	errint_t (*stop)(struct device *d, bool force);

	/* Tells the kernel of the image's new size in bytes. */
	errint_t (*resize)(struct device *d, uint64_t size);

	/* Called each second, about; must not wait.  May be NULL. */
	void (*maintain)(struct device *d);

	/* Adds what only this kind of device has to the object "attached" of docs/json.md; any
	 * thread.  May be NULL. */
	void (*describe)(struct device *d, struct json_build *o);

	/*
	 * Leaves the device to another process, which takes it back: requests wait in the kernel
	 * meanwhile.  *drained: those that had come are done, nothing of the device uses the image
	 * any more; else nothing has changed, and ending this process is what leaves the device.
	 * For devices that are recoverable; does not fail otherwise than by not draining, message
	 * logged.  NULL where no device is.
	 */
	void (*hand_over)(struct device *d, bool *drained);

	/* Frees a device that was stopped, or was left to another process. */
	void (*free)(struct device *d);
};

/* The head of every device; a device's own struct begins with it. */
struct device {
	const struct device_ops *ops;
	char path[64];		   /* "/dev/ublkb0" */
	struct mode_choice choice; /* how it is served, and why not better */
	bool recoverable;	   /* it outlives its bridge, which can be replaced */
	int gone_fd;		   /* readable when it went away by itself; -1: it cannot */
};

/* "ublkb0": the device's name in /sys/block. */
static inline const char *device_name(const struct device *d)
{
	assert(d->path[0] == '/');
	return d->path + sizeof("/dev/") - 1;
}

#endif
