/* SPDX-License-Identifier: MIT */
/* Images that are attached: only the bridge that serves one may use it. */
#ifndef CLI_ATTACHED_H
#define CLI_ATTACHED_H

#include <jansson.h>
#include <stdbool.h>

#include "common/errint.h"

struct bridge_client;

/*
 * Connects to the bridge that serves @what: an image, a device, or the name given to one.  A file
 * is an image, also when it is called like a device or a name is.  -ENOENT without a message when
 * nothing of the kind is attached; -EBUSY, message logged, when it awaits recovery; @c can be
 * closed in any case.
 */
MUST_CHECK errint_t attached_find(const char *what, struct bridge_client *c);

/*
 * -EBUSY, message logged with the device and the process, when the image at @path is attached, or
 * awaits recovery, in a way that keeps others from opening it: for reading, or, with @write, at
 * all.
 */
MUST_CHECK errint_t attached_refuse(const char *path, bool write);

/*
 * Asks the bridge that serves the image at @path by @method, with @params (stolen, may be NULL).
 * *result is the caller's.  -ENOENT without a message when it is not attached.
 */
MUST_CHECK errint_t attached_ask(const char *path, const char *method, json_t *params,
				 json_t **result);

#endif
