/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/background.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

/* Opening an image may mean to replay a long journal and to check what it refers to. */
enum { START_SECONDS = 120 };

/* Does the child report within the time?  False also when it has ended instead. */
static bool await_byte(int fd, bool *late)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n;
	char c;

	do
		n = poll(&p, 1, START_SECONDS * 1000);
	while (n < 0 && errno == EINTR);
	*late = n == 0;
	return n > 0 && read(fd, &c, 1) == 1;
}

static errint_t child_failed(pid_t pid, const char *what, bool late)
{
	int status;

	if (late)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return log_errno("%s: cannot wait for the process that serves it", what);
	if (late)
		return log_fail(-ETIMEDOUT, "%s: gave up after %d seconds without an answer", what,
				START_SECONDS);
	if (WIFSIGNALED(status))
		return log_fail(-EIO, "%s: the process that serves it was killed by signal %d",
				what, WTERMSIG(status));
	return -EIO; /* it has said why */
}

errint_t background_start(struct background *b, const char *what, bool *child)
{
	bool late = false;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return log_errno("%s: cannot start a process", what);
	/* Nothing that was printed so far may be printed twice. */
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		errint_t err = log_errno("%s: cannot start a process", what);

		close(ends[0]);
		close(ends[1]);
		return err;
	}
	*child = pid == 0;
	if (*child) {
		close(ends[0]);
		b->ready = ends[1];
		setsid();
		return 0;
	}
	close(ends[1]);
	if (!await_byte(ends[0], &late)) {
		close(ends[0]);
		return child_failed(pid, what, late);
	}
	close(ends[0]);
	return 0;
}

void background_ready(struct background *b, int log)
{
	int null;

	if (b->ready < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(log >= 0 ? log : null, STDERR_FILENO);
		close(null);
	}
	/* A parent that is gone does not mind. */
	(void)!write(b->ready, "", 1);
	close(b->ready);
	b->ready = -1;
}
