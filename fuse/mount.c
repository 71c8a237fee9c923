/* SPDX-License-Identifier: MIT */
/* Putting a view into the tree of mounts, and taking it out. */
#include "config.h"

#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <fuse.h>
#include <fuse_log.h>
#include <mntent.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fuse/session.h"

extern char **environ;

/* What libfuse has to say about a failure comes before our own message. */
static LOG_PRINTF(2, 0) void forward(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	if (level <= FUSE_LOG_WARNING)
		log_warn("%s", text);
	else
		log_info("%s", text);
}

/* The mount options; libfuse wants commas and backslashes in a value behind a backslash. */
static errint_t mount_options(const struct session_opts *o, char **out)
{
	size_t len;
	FILE *f = open_memstream(out, &len);

	if (!f)
		return log_err(-ENOMEM, "%s: cannot mount the view", o->dir);
	fprintf(f, "subtype=ublk-img,nosuid,nodev,default_permissions,max_read=%u,fsname=",
		VIEW_MAX_IO);
	for (const char *s = o->source; *s; s++) {
		if (*s == ',' || *s == '\\')
			fputc('\\', f);
		fputc(*s, f);
	}
	if (o->read_only)
		fputs(",ro", f);
	if (o->allow_other)
		fputs(",allow_other", f);
	if (fclose(f)) {
		free(*out);
		return log_err(-ENOMEM, "%s: cannot mount the view", o->dir);
	}
	return 0;
}

/*
 * Have the kernel read further ahead than its 128 KiB, so that it asks for the next piece while a
 * reader copies the last one.  Only root may; without it all works, slower.  The session's answer
 * to the kernel's first request, which is still to come, allows for as much.
 */
static void set_read_ahead(const char *dir)
{
	char path[64];
	struct statx stx;

	/* No attributes are wanted, so that the kernel asks nobody: nobody would answer yet. */
	if (statx(AT_FDCWD, dir, AT_STATX_DONT_SYNC, 0, &stx))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", stx.stx_dev_major,
		 stx.stx_dev_minor);

	CLEANUP(close) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && dprintf(fd, "%u", VIEW_MAX_IO >> 10) < 0)
		log_debug(LOG_DATA, "%s: cannot be changed", path);
}

errint_t session_mount(const struct session_opts *opts, int *fd)
{
	CLEANUP(free) char *options = NULL;
	errint_t err = mount_options(opts, &options);

	if (err)
		return err;
	fuse_set_log_func(forward);
	*fd = fuse_open_channel(opts->dir, options);
	if (*fd < 0)
		return log_fail(-EIO, "%s: cannot mount the view%s", opts->dir,
				geteuid() ? " (who is not root needs fusermount3, package fuse3)"
					  : "");
	set_read_ahead(opts->dir);
	return 0;
}

/* Only the program that is installed for that may unmount for a user. */
static errint_t run_fusermount(const char *dir, bool lazy)
{
	const char *argv[] = {"fusermount3",	 "-u", "-q", lazy ? "-z" : "--", lazy ? "--" : dir,
			      lazy ? dir : NULL, NULL};
	char *copy[sizeof(argv) / sizeof(argv[0])];
	int status;
	pid_t pid;
	int err;

	memcpy(copy, argv, sizeof(argv));
	err = posix_spawnp(&pid, copy[0], NULL, NULL, copy, environ);
	if (err)
		return log_err(-err, "cannot run fusermount3 (package fuse3)");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return log_errno("cannot wait for fusermount3");
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EBUSY;
}

errint_t session_unmount(const char *dir, bool lazy)
{
	errint_t err = 0;

	if (geteuid())
		err = run_fusermount(dir, lazy);
	else if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		err = -errno;
	if (err == -EBUSY)
		return log_fail(err,
				"%s: cannot unmount: a file in it is open, or a directory of "
				"it is some process's current one",
				dir);
	return err ? log_err(err, "%s: cannot unmount", dir) : 0;
}

bool session_is_mounted(const char *dir)
{
	FILE *table = setmntent("/proc/self/mounts", "re");
	char room[4096];
	struct mntent m;
	bool found = false;

	if (!table)
		return false;
	/* The last one is on top. */
	while (getmntent_r(table, &m, room, sizeof(room)))
		if (!strcmp(m.mnt_dir, dir))
			found = !strcmp(m.mnt_type, SESSION_FSTYPE);
	endmntent(table);
	return found;
}

bool session_is_dead(const char *dir)
{
	return getxattr(dir, VIEW_XATTR_SERVER, NULL, 0) < 0 &&
	       (errno == ENOTCONN || errno == ECONNABORTED);
}
