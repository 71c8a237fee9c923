/* SPDX-License-Identifier: MIT */
/*
 * A message is written together with the removal of the status line, which the next update of the
 * progress bar draws again: so messages never stand on the bar's line, and no message waits.
 */
#include "config.h"

#include "cli/terminal.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

/* Process-wide because standard error is. */
static struct {
	pthread_mutex_t lock; /* protects what follows, and the order of writes */
	bool status;	      /* a status line is shown */
	bool quiet;	      /* set before threads start */
} terminal = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char erase_line[] = "\r\033[K";

static void write_all(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nowhere left to report it */
		text += n;
		len -= (size_t)n;
	}
}

/* "PREFIX" and @line in one write, so that the lines of several processes do not mix. */
static void write_line(const char *prefix, const char *line)
{
	char buf[6144];
	int len;

	SCOPED_LOCK(&terminal.lock);
	len = snprintf(buf, sizeof(buf), "%s%s%s\n", terminal.status ? erase_line : "", prefix,
		       line);
	terminal.status = false;
	if (len < 0)
		return;
	if ((size_t)len >= sizeof(buf)) {
		len = sizeof(buf) - 1;
		buf[len - 1] = '\n';
	}
	write_all(buf, (size_t)len);
}

static void terminal_message(void *arg, enum log_level level, const char *message)
{
	static const char *const prefix[] = {
		[LOG_LEVEL_ERROR] = "ublk-img: ",
		[LOG_LEVEL_WARN] = "ublk-img: warning: ",
		[LOG_LEVEL_INFO] = "ublk-img: ",
		[LOG_LEVEL_DEBUG] = "ublk-img: debug: ",
	};

	(void)arg;
	write_line(prefix[level], message);
}

void terminal_begin(void)
{
	log_set_sink(terminal_message, NULL);
}

void terminal_set_quiet(bool quiet)
{
	terminal.quiet = quiet;
}

bool terminal_interactive(void)
{
	const char *term = getenv("TERM");

	return !terminal.quiet && isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
}

unsigned terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

void terminal_status(const char *line)
{
	char buf[1024];
	int len;

	SCOPED_LOCK(&terminal.lock);
	if (!line && !terminal.status)
		return;
	len = snprintf(buf, sizeof(buf), "%s%s", erase_line, line ? line : "");
	terminal.status = line != NULL;
	if (len > 0)
		write_all(buf, strnlen(buf, sizeof(buf)));
}

void terminal_line(const char *line)
{
	write_line("", line);
}
