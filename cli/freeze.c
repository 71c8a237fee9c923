/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/freeze.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bridge/in_use.h"
#include "common/cleanup.h"
#include "common/log.h"

/* Writing out what is cached may take its time; being frozen after that does not. */
enum { BEGIN_MS = 300000 };

/* What the child exits with. */
enum { CHILD_THAWED = 0, CHILD_TOO_LATE = 3 };

/* What it says when all is frozen, or not. */
struct report {
	int error;
	unsigned which; /* of the points */
	bool opened, frozen;
};

/* ---- what is to be frozen ------------------------------------------------------------------ */

static errint_t append(struct freeze *f, const char *point)
{
	char **points = realloc(f->points, (f->n + 1) * sizeof(*points));

	if (points)
		f->points = points;
	if (!points || !(points[f->n] = strdup(point)))
		return log_err(-ENOMEM, "cannot freeze %s", point);
	f->n++;
	return 0;
}

errint_t freeze_add(struct freeze *f, const char *point)
{
	CLEANUP(free) char *parent = NULL;
	struct stat st, above;

	if (stat(point, &st))
		return log_errno("%s: cannot freeze what is mounted there", point);
	if (asprintf(&parent, "%s/..", point) < 0) {
		parent = NULL;
		return log_err(-ENOMEM, "cannot freeze %s", point);
	}
	if (!S_ISDIR(st.st_mode) || stat(parent, &above) ||
	    (st.st_dev == above.st_dev && st.st_ino != above.st_ino))
		return log_fail(-EINVAL, "%s: nothing is mounted there that could be frozen",
				point);
	return append(f, point);
}

/* One file system may be mounted in several places, and is frozen once. */
static errint_t add_once(void *arg, const char *point)
{
	struct freeze *f = arg;
	struct stat st, other;

	if (stat(point, &st))
		return 0; /* hidden by another mount */
	for (unsigned i = 0; i < f->n; i++)
		if (!stat(f->points[i], &other) && other.st_dev == st.st_dev)
			return 0;
	return append(f, point);
}

errint_t freeze_add_device(struct freeze *f, const char *name)
{
	return in_use_mounts("/proc", "/sys", name, add_once, f);
}

/* ---- the child ------------------------------------------------------------------------------ */

static void thaw(const int *fds, unsigned n)
{
	while (n--)
		ioctl(fds[n], FITHAW, 0);
}

/* All of them, or none. */
static struct report freeze_all(const struct freeze *f, int *fds)
{
	struct report r = {.error = 0};
	unsigned frozen = 0;

	for (r.which = 0; r.which < f->n; r.which++) {
		fds[r.which] = open(f->points[r.which], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fds[r.which] < 0 || syncfs(fds[r.which])) {
			r.error = errno;
			return r;
		}
	}
	r.opened = true;
	for (; frozen < f->n; frozen++)
		if (ioctl(fds[frozen], FIFREEZE, 0)) {
			r.error = errno;
			r.which = frozen;
			thaw(fds, frozen);
			return r;
		}
	r.frozen = true;
	return r;
}

/* No signal but SIGKILL ends it, and no terminal's. */
static void stand_alone(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
}

static void run_child(const struct freeze *f, int from, int to)
{
	int *fds = calloc(f->n, sizeof(*fds));
	struct pollfd p = {.fd = from, .events = POLLIN};
	struct report r = {.error = ENOMEM};
	int status = CHILD_THAWED;

	stand_alone();
	if (fds)
		r = freeze_all(f, fds);
	if (write(to, &r, sizeof(r)) != sizeof(r) || !r.frozen) {
		if (r.frozen)
			thaw(fds, f->n);
		_exit(CHILD_THAWED);
	}
	/* Nothing is ever written to it: it is closed, by whatever. */
	if (!poll(&p, 1, (int)FREEZE_SECONDS * 1000))
		status = CHILD_TOO_LATE;
	thaw(fds, f->n);
	_exit(status);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static errint_t start_child(struct freeze *f)
{
	int down[2], up[2];

	if (pipe2(down, O_CLOEXEC))
		return log_errno("cannot start a process");
	if (pipe2(up, O_CLOEXEC)) {
		errint_t err = log_errno("cannot start a process");

		close(down[0]);
		close(down[1]);
		return err;
	}
	f->child = fork();
	if (!f->child) {
		close(down[1]);
		close(up[0]);
		run_child(f, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	f->to = down[1];
	f->from = up[0];
	if (f->child > 0)
		return 0;
	f->child = 0;
	return log_errno("cannot start a process");
}

static errint_t explain(const struct freeze *f, const struct report *r)
{
	const char *point = f->points[r->which];

	if (r->error == EBUSY)
		return log_fail(-EBUSY, "%s: is frozen already, by somebody else", point);
	if (r->error == EOPNOTSUPP || r->error == ENOTTY)
		return log_fail(-EOPNOTSUPP, "%s: this file system cannot be frozen", point);
	return log_err(-r->error,
		       r->opened ? "%s: cannot freeze the file system"
				 : "%s: cannot write out the file system",
		       point);
}

errint_t freeze_begin(struct freeze *f)
{
	struct report r;
	errint_t err;

	if (!f->n)
		return 0;
	err = start_child(f);
	if (err)
		return err;
	struct pollfd p = {.fd = f->from, .events = POLLIN};
	if (poll(&p, 1, BEGIN_MS) <= 0) {
		f->child = 0; /* not waited for: it thaws when it gets there */
		return log_fail(-ETIMEDOUT, "%s: cannot be frozen within %d seconds", f->points[0],
				BEGIN_MS / 1000);
	}
	if (read(f->from, &r, sizeof(r)) != sizeof(r))
		return log_fail(-EIO, "%s: cannot be frozen: the process for it has ended",
				f->points[0]);
	return r.frozen ? 0 : explain(f, &r);
}

/* What a child that was killed could not do any more. */
static void thaw_here(const struct freeze *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		CLEANUP(close) int fd = open(f->points[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		thaw(&fd, 1);
	}
}

errint_t freeze_end(struct freeze *f)
{
	pid_t child = f->child;
	int status;

	f->child = 0;
	if (f->to >= 0)
		close(steal_fd(&f->to));
	if (!child)
		return 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status)) {
		thaw_here(f);
		return log_fail(-ETIMEDOUT,
				"%s: was thawed too early: the process for it was killed",
				f->points[0]);
	}
	if (WEXITSTATUS(status) == CHILD_TOO_LATE)
		return log_fail(-ETIMEDOUT, "%s: was thawed after %u seconds, which was too early",
				f->points[0], FREEZE_SECONDS);
	return 0;
}

void cleanup_freeze(struct freeze *f)
{
	if (f->child && freeze_end(f))
		log_info("nothing is frozen any more");
	if (f->to >= 0)
		close(f->to);
	if (f->from >= 0)
		close(f->from);
	for (unsigned i = 0; i < f->n; i++)
		free(f->points[i]);
	free(f->points);
}
