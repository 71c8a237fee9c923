/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/log_sink.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "bridge/report.h"
#include "bridge/socket.h"
#include "common/cleanup.h"
#include "common/log.h"

/* A message and what stands before it. */
enum { LINE_MAX_LEN = 5400 };

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

/* The log of this process; process-wide as log_set_sink() is. */
static struct {
	int fd;		      /* of the file; -1: the system log */
	bool times;	      /* lines begin with the time */
	int report;	      /* -1: none */
	pthread_mutex_t lock; /* protects report */
} sink = {.fd = -1, .report = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static void write_line(enum log_level level, const char *message)
{
	char line[LINE_MAX_LEN], when[32] = "";
	struct timespec now;
	struct tm tm;
	int len;

	if (sink.times) {
		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &tm);
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ ", &tm);
	}
	len = snprintf(line, sizeof(line), "%sublk-bridge[%ld]: %s: %s\n", when, (long)getpid(),
		       level_names[level], message);
	if ((size_t)len >= sizeof(line)) {
		len = (int)sizeof(line) - 1;
		line[len - 1] = '\n';
	}
	/* There is nowhere to report that the log cannot be written. */
	if (write(sink.fd, line, (size_t)len) != len)
		return;
}

static void write_syslog(enum log_level level, const char *message)
{
	static const int priorities[] = {
		[LOG_LEVEL_ERROR] = LOG_ERR,
		[LOG_LEVEL_WARN] = LOG_WARNING,
		[LOG_LEVEL_INFO] = LOG_INFO,
		[LOG_LEVEL_DEBUG] = LOG_DEBUG,
	};

	syslog(LOG_DAEMON | priorities[level], "%s", message);
}

static void take_message(void *arg, enum log_level level, const char *message)
{
	(void)arg;
	if (level == LOG_LEVEL_ERROR)
		socket_log_error(message);
	if (sink.fd >= 0)
		write_line(level, message);
	else
		write_syslog(level, message);
	SCOPED_LOCK(&sink.lock);
	if (sink.report >= 0)
		report_message(sink.report, level, message);
}

errint_t log_sink_begin(const char *path, int report_fd)
{
	if (!path) {
		openlog("ublk-bridge", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	} else if (!strcmp(path, "-")) {
		sink.fd = STDERR_FILENO;
	} else {
		sink.fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
		if (sink.fd < 0)
			return log_errno("%s: cannot open the log file", path);
		sink.times = true;
	}
	sink.report = report_fd;
	log_set_sink(take_message, NULL);
	return 0;
}

void log_sink_end_report(void)
{
	SCOPED_LOCK(&sink.lock);
	sink.report = -1;
}
