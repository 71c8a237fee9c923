/* SPDX-License-Identifier: MIT */
/* An image as a loop device, for kernels without ublk: the device of a bridge in mode loop. */
#ifndef CLI_LOOP_DEVICE_H
#define CLI_LOOP_DEVICE_H

#include "bridge/device.h"
#include "image/image.h"

struct engine;

struct loop_device_config {
	struct image *image;   /* outlives the device, as do engine and path */
	struct engine *engine; /* on it */
	const char *path;      /* the image, as its user named it */
	const struct mode_choice *choice;
	bool read_only;
};

/* Message logged; needs root.  The caller frees *out by its ops. */
MUST_CHECK errint_t loop_device_new(const struct loop_device_config *cfg, struct device **out);

#endif
