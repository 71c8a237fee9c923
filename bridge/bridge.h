/* SPDX-License-Identifier: MIT */
/*
 * A bridge: the process that serves one image as one block device, from opening the image to
 * closing it.  What kind of device it is, and what more the control socket can do, is put together
 * by cli/.
 *
 * Threads: main (signals, the end), the device's queues, the pool's workers, one for
 * image_maintain(), those of the control socket.
 */
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "bridge/device.h"
#include "bridge/socket.h"
#include "bridge/state_file.h"
#include "common/errint.h"
#include "image/image.h"

struct bridge;
struct engine;
struct pool;

/* Is the device to outlive its bridge, so that nothing acknowledged is lost when that dies? */
enum bridge_recovery {
	BRIDGE_RECOVERY_AUTO, /* where it can */
	BRIDGE_RECOVERY_REQUIRE,
	BRIDGE_RECOVERY_OFF,
};

struct bridge_opts {
	const char *image;    /* absolute path */
	const char *name;     /* checked by runtime_name_check(); NULL: none */
	const char *log_file; /* absolute path; NULL: the system log */
	bool read_only;
	bool allow_backing; /* of engine_opts */
	bool foreground;    /* run by a service manager */
	bool restart;	    /* a supervisor starts it again (supervisor.h) */
	enum bridge_recovery recovery;
	/* A device that is there and awaits recovery, whose state this is; what stands above is
	 * what it says.  NULL: a new device. */
	const struct device_state *takeover;
};

/* What a bridge is made of besides the image.  @arg is the composition's own. */
struct bridge_parts {
	/* Waits until the device of bridge_opts.takeover can be taken back.  Main thread, before
	 * the image is opened. */
	errint_t (*wait_device)(void *arg, struct bridge *b);
	/* Makes the device on an open image, or takes it back.  Main thread; the image and engine
	 * are there. */
	errint_t (*make_device)(void *arg, struct bridge *b, struct device **out);
	/* The device is gone, the engine and image are not yet: end what was begun by methods.  An
	 * error, message logged, says that something of it still uses the image, which is then left
	 * as after a crash.  May be NULL. */
	errint_t (*end)(void *arg);
	/* More methods for the control socket, ended by a NULL name; NULL: none. */
	const struct socket_method *methods;
	void *arg;
	/* The device answers at @path.  Main thread. */
	void (*ready)(void *ready_arg, const char *path);
	void *ready_arg;
};

/*
 * Serves until SIGTERM or SIGINT, or until it is told to detach or to hand over, or the device goes
 * away.  Blocks those signals in the calling thread, which must be the only one.  0 after a clean
 * end: everything is in the image, and that was closed; -ERESTART in the foreground after the
 * device was left to the next bridge, which is for the service manager to start.  Messages are
 * logged.  After an error the process has to end: threads may be left.
 */
MUST_CHECK errint_t bridge_run(const struct bridge_opts *opts, const struct bridge_parts *parts);

/* For the composition, once there is an image; constant while it is open. */
struct image *bridge_image(struct bridge *b);
struct engine *bridge_engine(struct bridge *b);
struct pool *bridge_pool(struct bridge *b);
const struct bridge_opts *bridge_opts(const struct bridge *b);
/* NULL before it was made. */
struct device *bridge_device(struct bridge *b);

/*
 * For compositions that make devices which can outlive this process.  bridge_promise() is called
 * when the device has its number and before it answers: on return the next bridge finds what it
 * needs.  Device @id of the driver is marked with @mark.  Messages are logged.
 *
 * bridge_no_recovery() says that this cannot be had, and @why, to the user with @warn: 0 when the
 * device may be made without.
 */
bool bridge_wants_recovery(const struct bridge *b);
MUST_CHECK errint_t bridge_promise(struct bridge *b, const struct device *d, uint32_t id,
				   uint64_t mark);
/* There was no way to record what a promise is about; bridge_no_recovery() may help. */
bool bridge_promise_failed(const struct bridge *b);
MUST_CHECK errint_t bridge_no_recovery(struct bridge *b, bool warn, const char *why);

/*
 * Tells the kernel of the image's size: it can be called without a change as well, to see whether
 * this kernel can be told.  Methods only, between bridge_use_begin() and bridge_use_end().
 * -ENOTSUP and others, message logged.
 */
MUST_CHECK errint_t bridge_resize_device(struct bridge *b);

/*
 * What the control socket tells, for compositions that tell it in other ways: the document of
 * `info` for the image as @name (NULL: its path), a new reference, message logged on failure; and
 * the members "engine" and "image_io" of the document of `stats`, added to @to.  Any thread.
 */
MUST_CHECK errint_t bridge_info(struct bridge *b, const char *name, json_t **out);
void bridge_add_stats(struct bridge *b, json_t *to);

/*
 * Methods of the control socket use any of these only between begin and end, which keep them from
 * going away.  -ESHUTDOWN, message logged, when that has begun; keep it short.
 */
MUST_CHECK errint_t bridge_use_begin(struct bridge *b);
void bridge_use_end(struct bridge *b);
/* Is the end coming?  What takes long comes to one, then.  Any thread. */
bool bridge_is_ending(struct bridge *b);

#endif
