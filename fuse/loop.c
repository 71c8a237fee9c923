/* SPDX-License-Identifier: MIT */
/*
 * The view's file system is made with fsopen() and fsmount() and never attached to a directory: it
 * lives as long as the loop driver has disk open.  So no path leads to it, and nothing is left
 * behind, however the process ends.
 */
#include "config.h"

#include "fuse/loop.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fuse/session.h"

/* Others may be looking for a free device at the same time. */
enum { TRIES = 64 };

struct loop {
	struct session *session;
	char path[32];
	int fd;	  /* of the device; -1 when the driver was told to clear it */
	int file; /* disk; the same */
};

/* ---- the device -------------------------------------------------------------------------- */

static errint_t open_free(struct loop *l, int control)
{
	int number = ioctl(control, LOOP_CTL_GET_FREE);

	if (number < 0)
		return log_errno("/dev/loop-control: there is no free loop device");
	snprintf(l->path, sizeof(l->path), "/dev/loop%d", number);
	l->fd = open(l->path, O_RDWR | O_CLOEXEC);
	return l->fd < 0 ? log_errno("%s: cannot open", l->path) : 0;
}

static errint_t configure_device(struct loop *l, const struct loop_opts *opts, int file)
{
	struct loop_config c = {
		.fd = (unsigned)file,
		.block_size = opts->block_size,
		.info = {.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR |
				     (opts->read_only ? LO_FLAGS_READ_ONLY : 0)},
	};
	CLEANUP(close) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return log_errno("/dev/loop-control: cannot open (as root: modprobe loop)");
	for (unsigned i = 0; i < TRIES; i++) {
		errint_t err = open_free(l, control);

		if (err)
			return err;
		if (!ioctl(l->fd, LOOP_CONFIGURE, &c))
			return 0;
		if (errno != EBUSY)
			return log_errno("%s: cannot set up the loop device", l->path);
		close(steal_fd(&l->fd));
	}
	return log_fail(-EBUSY, "no loop device could be had: others were always faster");
}

/* Without direct I/O each byte would be in memory twice, and a writer could deadlock with the
 * memory that writing takes. */
static errint_t check_direct(const struct loop *l)
{
	struct loop_info64 info;

	if (ioctl(l->fd, LOOP_GET_STATUS64, &info))
		return log_errno("%s: cannot examine the loop device", l->path);
	if (info.lo_flags & LO_FLAGS_DIRECT_IO)
		return 0;
	return log_fail(-ENOTSUP, "%s: this kernel's loop driver does no direct I/O on FUSE",
			l->path);
}

static errint_t begin(struct loop *l, const struct loop_opts *opts)
{
	CLEANUP(close) int root = -1;
	struct session_opts session = {.view = opts->view, .threads = opts->threads};
	errint_t err = session_mount_private(&session.fd, &root);

	if (!err)
		err = session_start(&session, &l->session);
	if (err)
		return err;
	l->file = openat(root, "disk", (opts->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (l->file < 0)
		return log_errno("cannot open the disk for the loop device");
	err = configure_device(l, opts, l->file);
	return err ? err : check_direct(l);
}

errint_t loop_probe(void)
{
	if (geteuid())
		return -EACCES;
	if (access("/dev/loop-control", R_OK | W_OK))
		return -ENOENT;
	return access("/dev/fuse", R_OK | W_OK) ? -ENODEV : 0;
}

errint_t loop_start(const struct loop_opts *opts, struct loop **out)
{
	struct loop *l = calloc(1, sizeof(*l));
	errint_t err;

	if (!l)
		return log_err(-ENOMEM, "cannot make a loop device");
	l->fd = l->file = -1;
	err = begin(l, opts);
	if (!err)
		*out = l;
	else if (loop_stop(l, true, 10))
		log_warn("the loop device could not be taken down again");
	return err;
}

const char *loop_path(const struct loop *l)
{
	return l->path;
}

int loop_ended_fd(const struct loop *l)
{
	return session_ended_fd(l->session);
}

void loop_maintain(struct loop *l)
{
	session_maintain(l->session);
}

errint_t loop_resize(struct loop *l)
{
	struct statx s;

	/* The driver asks the kernel, which may not have asked the view for a while. */
	if (statx(l->file, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE, &s))
		return log_errno("%s: cannot look at the disk", l->path);
	if (ioctl(l->fd, LOOP_SET_CAPACITY, 0))
		return log_errno("%s: cannot change the size", l->path);
	return 0;
}

/* ---- end --------------------------------------------------------------------------------- */

/* Does somebody have it as their own: a mount, swap, a device on top? */
static bool is_claimed(const struct loop *l)
{
	CLEANUP(close) int fd = open(l->path, O_RDONLY | O_EXCL | O_CLOEXEC);

	return fd < 0 && errno == EBUSY;
}

static bool has_ended(const struct loop *l, unsigned seconds)
{
	struct pollfd p = {.fd = session_ended_fd(l->session), .events = POLLIN};

	return poll(&p, 1, (int)seconds * 1000) > 0;
}

/* Write what is cached for the device, and have the driver close disk when the last one has closed
 * the device. */
static errint_t clear(struct loop *l)
{
	errint_t err = 0;

	if (fsync(l->fd))
		err = log_errno("%s: what is cached for the device cannot be written", l->path);
	if (ioctl(l->fd, LOOP_CLR_FD) && errno != ENXIO && !err)
		err = log_errno("%s: cannot clear the loop device", l->path);
	close(steal_fd(&l->fd));
	close(steal_fd(&l->file));
	return err;
}

errint_t loop_stop(struct loop *l, bool force, unsigned timeout)
{
	errint_t err = 0, end = 0;

	if (l->fd < 0 && l->file >= 0)
		close(steal_fd(&l->file)); /* there is no device */
	if (l->fd >= 0) {
		if (!force && is_claimed(l))
			return -EBUSY;
		err = clear(l);
	}
	if (l->session) {
		if (!has_ended(l, timeout) && !force && !err)
			return -EBUSY;
		end = session_stop(l->session, timeout);
	}
	if (end == -ETIMEDOUT)
		return end;
	free(l);
	return err ? err : end;
}
