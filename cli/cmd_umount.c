/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/view_log.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "fuse/session.h"

/* Seconds that closing an image may take, and those after which the user is told of waiting. */
enum { CLOSE_SECONDS = 300, PATIENCE_SECONDS = 2 };

/* The absolute path of a directory that may be a view whose process is gone. */
static errint_t find_dir(const char *path, char **dir)
{
	CLEANUP(free) char *a = NULL;
	CLEANUP(free) char *b = NULL;
	CLEANUP(free) char *parent = NULL;

	*dir = realpath(path, NULL);
	if (*dir)
		return 0;
	if (errno != ENOTCONN)
		return log_errno("%s: cannot unmount", path);
	a = strdup(path);
	b = strdup(path);
	parent = a ? realpath(dirname(a), NULL) : NULL;
	if (!parent || !b || asprintf(dir, "%s/%s", parent, basename(b)) < 0)
		return log_errno("%s: cannot unmount", path);
	return 0;
}

/* The process that serves the view on @dir and ends with it, and a descriptor that becomes readable
 * when it has ended; -1 when there is none to wait for. */
static int find_server(const char *dir, pid_t *pid)
{
	char text[24];
	ssize_t len = getxattr(dir, VIEW_XATTR_SERVER, text, sizeof(text) - 1);

	if (len <= 0)
		return -1;
	text[len] = '\0';
	*pid = (pid_t)strtol(text, NULL, 10);
	if (*pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, *pid, 0);
}

static bool has_ended(int pidfd, int seconds)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, seconds * 1000);
	while (n < 0 && errno == EINTR);
	return n > 0;
}

static errint_t await_server(const char *dir, int pidfd, pid_t pid)
{
	if (!has_ended(pidfd, PATIENCE_SECONDS)) {
		log_warn("%s: unmounted; waiting for process %ld to close the image", dir,
			 (long)pid);
		if (!has_ended(pidfd, CLOSE_SECONDS))
			return log_fail(-ETIMEDOUT,
					"process %ld has not closed the image after %d seconds; it "
					"goes on, but cannot be waited for any longer",
					(long)pid, CLOSE_SECONDS);
	}
	if (!view_log_show(pid))
		return 0;
	return log_fail(-EIO, "%s: the view did not end well, as said above", dir);
}

static errint_t run_umount(struct invocation *inv)
{
	CLEANUP(free) char *dir = NULL;
	CLEANUP(close) int pidfd = -1;
	pid_t pid = 0;
	errint_t err = find_dir(inv->args[0], &dir);

	if (err)
		return err;
	if (!session_is_mounted(dir))
		return log_fail(-EINVAL, "%s: no view is mounted there", inv->args[0]);
	pidfd = find_server(dir, &pid);
	err = session_unmount(dir, false);
	if (err || pidfd < 0)
		return err;
	return await_server(dir, pidfd, pid);
}

static const struct cmd_example examples[] = {
	{"umount /mnt", "End the view on /mnt."},
	{NULL, NULL},
};

const struct command cmd_umount = {
	.name = "umount",
	.group = "View",
	.summary = "Unmount a view, and wait until its image is closed",
	.operands = "DIR",
	.min_args = 1,
	.max_args = 1,
	.help = "Unmounts what \"mount\" has mounted on the directory. When the command returns, "
		"everything is in the image and the next command can open it; umount(8) does the "
		"same but does not wait. Fails, and changes nothing, while a file of the view is "
		"open.",
	.examples = examples,
	.run = run_umount,
};
