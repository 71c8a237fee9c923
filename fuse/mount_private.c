/* SPDX-License-Identifier: MIT */
/* File systems without a directory, by fsopen() and fsmount(). */
#include "config.h"

#include <fcntl.h>
#include <linux/mount.h> /* <sys/mount.h> has some of the same names */
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fuse/session.h"

static errint_t set(int fs, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) ? -errno : 0;
}

static errint_t set_number(int fs, const char *key, unsigned value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return set(fs, key, text);
}

/* What mount(2) would be told. */
static errint_t configure(int fs, int fuse)
{
	errint_t err = set_number(fs, "fd", (unsigned)fuse);

	if (!err)
		err = set(fs, "rootmode", "40000"); /* S_IFDIR, octal */
	if (!err)
		err = set_number(fs, "user_id", geteuid());
	if (!err)
		err = set_number(fs, "group_id", getegid());
	if (!err)
		err = set_number(fs, "max_read", VIEW_MAX_IO);
	if (!err && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		err = -errno;
	return err;
}

errint_t session_mount_private(int *fuse, int *root)
{
	CLEANUP(close) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	CLEANUP(close) int fs = -1;
	errint_t err;

	if (fd < 0)
		return log_errno("/dev/fuse: cannot open (as root: modprobe fuse)");
	fs = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
	err = fs < 0 ? -errno : configure(fs, fd);
	if (!err) {
		*root = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
				     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
		if (*root < 0)
			err = -errno;
	}
	if (err)
		return log_err(err, "cannot make a file system that has no directory%s",
			       geteuid() ? " (only root can)" : "");
	*fuse = steal_fd(&fd);
	return 0;
}
