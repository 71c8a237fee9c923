/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/runtime_dir.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

/* Enough for every bridge of a machine to end between two tries. */
#define LOCK_TRIES 100
#define POLL_MS	   20

static errint_t directory_path(char path[PATH_MAX])
{
	const char *given = getenv("UBLK_IMG_RUNTIME_DIR");
	const char *user = getenv("XDG_RUNTIME_DIR");
	int len;

	if (given && *given)
		len = snprintf(path, PATH_MAX, "%s", given);
	else if (geteuid() == 0)
		len = snprintf(path, PATH_MAX, "/run/ublk-img");
	else if (user && *user)
		len = snprintf(path, PATH_MAX, "%s/ublk-img", user);
	else
		return -ENOENT;
	return len < PATH_MAX ? 0 : log_err(-ENAMETOOLONG, "the directory for control sockets");
}

/* Only its owner may put sockets there: whoever can, can answer for a bridge. */
static errint_t check_owner(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st))
		return log_errno("%s: cannot look at the directory", path);
	if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		return log_fail(-EPERM,
				"%s: the directory of control sockets must belong to this user and "
				"be writable for nobody else",
				path);
	return 0;
}

errint_t runtime_dir_open(bool create, int *out)
{
	CLEANUP(close) int fd = -1;
	char path[PATH_MAX];
	errint_t err = directory_path(path);

	if (err == -ENOENT && create)
		return log_fail(err, "there is no directory for control sockets: set "
				     "XDG_RUNTIME_DIR, or run as root");
	if (err)
		return err;
	if (create && mkdir(path, 0755) && errno != EEXIST)
		return log_errno("%s: cannot make the directory for control sockets", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return log_errno("%s: cannot open the directory of control sockets", path);
	err = check_owner(fd, path);
	if (!err)
		*out = steal_fd(&fd);
	return err;
}

errint_t runtime_name_check(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._+-";
	size_t len = strlen(name);

	if (len && len <= BRIDGE_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	    strspn(name, allowed) == len)
		return 0;
	return log_fail(-EINVAL,
			"\"%s\" cannot be the name of a device: use up to %d letters, digits and "
			"\"._+-\", the first not a dot or dash",
			name, BRIDGE_NAME_MAX);
}

/* Is @fd still what the name leads to?  The one who held it before removes it at the end. */
static bool still_there(int dir, const char *path, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !fstatat(dir, path, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* As flock(), waiting. */
static bool lock_within(int fd, unsigned wait_ms)
{
	for (unsigned ms = 0; flock(fd, LOCK_EX | LOCK_NB); ms += POLL_MS) {
		if (errno != EWOULDBLOCK || ms >= wait_ms)
			return false;
		clock_sleep_ms(POLL_MS);
	}
	return true;
}

errint_t runtime_name_lock(int dir, const char *name, unsigned wait_ms, int *lock)
{
	char path[BRIDGE_NAME_MAX + sizeof("names/")];

	if (mkdirat(dir, "names", 0755) && errno != EEXIST)
		return log_errno("cannot make the directory for the names of devices");
	snprintf(path, sizeof(path), "names/%s", name);
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		CLEANUP(close)
		int fd = openat(dir, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

		if (fd < 0)
			return log_errno("cannot make a lock file for the name \"%s\"", name);
		if (!lock_within(fd, wait_ms)) {
			if (errno == EWOULDBLOCK)
				return log_fail(-EBUSY,
						"the name \"%s\" is taken by another device; "
						"\"ublk-img list\" shows it",
						name);
			return log_errno("cannot lock the name \"%s\"", name);
		}
		if (still_there(dir, path, fd)) {
			*lock = steal_fd(&fd);
			return 0;
		}
	}
	return log_err(-EAGAIN, "cannot lock the name \"%s\"", name);
}

void runtime_name_unlock(int dir, const char *name, int *lock)
{
	char path[BRIDGE_NAME_MAX + sizeof("names/")];

	if (*lock < 0)
		return;
	snprintf(path, sizeof(path), "names/%s", name);
	unlinkat(dir, path, 0);
	close(*lock);
	*lock = -1;
}
