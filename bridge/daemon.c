/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bridge/awaiting.h"
#include "bridge/log_sink.h"
#include "bridge/process.h"
#include "bridge/supervisor.h"
#include "common/cleanup.h"
#include "common/log.h"

/* All that the start of a bridge waits for has a limit of its own; this is for their sum, and for
 * images whose recovery takes long. */
#define START_SECONDS 300

/* --- the bridge's process -----------------------------------------------------------------------
 */

static void ready(void *arg, const char *path)
{
	int *report = arg;

	if (*report < 0)
		return; /* of one that was started again */
	log_sink_end_report();
	report_ready(*report, path);
	close(*report);
	*report = -1;
}

/* Nothing of the terminal and of the directory that the command was started in is kept. */
static errint_t detach_process(void)
{
	CLEANUP(close) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return log_errno("cannot open /dev/null");
	if (setsid() < 0 || chdir("/"))
		return log_errno("cannot detach from the terminal");
	umask(0022);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (null != fd && dup2(null, fd) < 0)
			return log_errno("cannot detach from standard input and output");
	if (null <= STDERR_FILENO)
		(void)steal_fd(&null);
	return 0;
}

/* For the bridge, or its supervisor. */
static errint_t prepare(const struct daemon_opts *opts, int report)
{
	errint_t err = log_sink_begin(opts->bridge.log_file, report);

	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	return err ? err : detach_process();
}

static errint_t serve(const struct bridge_opts *opts, const struct bridge_parts *given, int *report)
{
	struct bridge_parts parts = *given;

	process_set_name();
	parts.ready = ready;
	parts.ready_arg = report;
	return bridge_run(opts, &parts);
}

/* What the supervisor starts again. */
struct served {
	struct bridge_opts opts;
	const struct bridge_parts *parts;
	int report;
};

static errint_t serve_again(void *arg, const struct device_state *takeover)
{
	struct served *s = arg;

	if (takeover)
		s->opts.takeover = takeover;
	return serve(&s->opts, s->parts, &s->report);
}

/* The first bridge is the one that reports. */
static void first_started(void *arg)
{
	struct served *s = arg;

	log_sink_end_report();
	close(s->report);
	s->report = -1;
}

static errint_t run(const struct daemon_opts *opts, int *report)
{
	struct served s = {.opts = opts->bridge, .parts = opts->parts, .report = *report};
	const struct supervised bridge = {.run = serve_again,
					  .started = first_started,
					  .find = awaiting_find_left,
					  .arg = &s};
	errint_t err = prepare(opts, *report);

	if (err)
		return err;
	return s.opts.restart ? supervisor_run(&bridge) : serve(&s.opts, s.parts, &s.report);
}

/* --- the command's process ----------------------------------------------------------------------
 */

static errint_t make_pipe(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC))
		return log_errno("cannot make a pipe");
	/* A command that does not read must not stop a bridge that reports. */
	if (fcntl(fds[1], F_SETFL, O_NONBLOCK)) {
		close(fds[0]);
		close(fds[1]);
		return log_errno("cannot set up a pipe");
	}
	return 0;
}

static void end_child(pid_t child, errint_t err)
{
	if (err == -ETIMEDOUT)
		kill(child, SIGKILL);
	/* One that hangs in the kernel is not waited for. */
	for (unsigned i = 0; i < 50; i++) {
		if (waitpid(child, NULL, WNOHANG))
			return;
		usleep(20000);
	}
}

errint_t daemon_start(const struct daemon_opts *opts, char device[REPORT_DEVICE_MAX])
{
	int fds[2];
	errint_t err = make_pipe(fds);
	pid_t child;

	if (err)
		return err;
	fflush(NULL);
	child = fork();
	if (child < 0) {
		err = log_errno("cannot start a process");
		close(fds[1]);
	} else if (child == 0) {
		close(fds[0]);
		/* Without what the command has registered for its end. */
		_exit(run(opts, &fds[1]) ? EXIT_FAILURE : EXIT_SUCCESS);
	} else {
		close(fds[1]);
		err = report_wait(fds[0], START_SECONDS, device);
		if (err)
			end_child(child, err);
	}
	close(fds[0]);
	return err;
}

errint_t daemon_run(const struct daemon_opts *opts, void (*ready_fn)(void *arg, const char *path),
		    void *arg)
{
	struct bridge_parts parts = *opts->parts;
	errint_t err = log_sink_begin(opts->bridge.log_file ? opts->bridge.log_file : "-", -1);

	if (err)
		return err;
	process_set_name();
	parts.ready = ready_fn;
	parts.ready_arg = arg;
	return bridge_run(&opts->bridge, &parts);
}
