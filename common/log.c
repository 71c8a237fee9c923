/* SPDX-License-Identifier: MIT */
/*
 * Messages to the user: formatting, filtering, and the sink.
 *
 * A message is one line, whatever is in its arguments: file and snapshot names come from images,
 * and a control character in one would otherwise forge lines or drive the terminal.  It reaches
 * standard error in one write, so that the lines of concurrent threads do not mix.  errno is
 * preserved.
 */
#include <config.h>

#include "common/log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Bytes of a message, terminator included: a path of PATH_MAX and what is said about it. */
enum { MESSAGE_SIZE = 5120 };

/* Bytes for what stands in front of it on standard error: the program and the level. */
enum { PREFIX_SIZE = 96 };

static const char cut_mark[] = "...";

static const char *const subsys_names[LOG_NSUBSYS] = {
	[LOG_STORE] = "store", [LOG_ALLOC] = "alloc", [LOG_MAP] = "map", [LOG_JOURNAL] = "journal",
	[LOG_TXN] = "txn",     [LOG_DATA] = "data",   [LOG_CLI] = "cli",
};

/* Set before threads start, constant afterwards; process-wide because standard error is. */
static struct {
	enum log_level level;
	unsigned debug; /* bit n: subsystem n */
	log_sink_fn sink;
	void *sink_arg;
	const char *program;
} settings = {.level = LOG_LEVEL_WARN, .program = "ublk-img"};

void log_set_level(enum log_level level)
{
	assert(level >= LOG_LEVEL_ERROR && level <= LOG_LEVEL_DEBUG);
	settings.level = level;
}

void log_set_sink(log_sink_fn sink, void *arg)
{
	settings.sink = sink;
	settings.sink_arg = arg;
}

void log_set_program(const char *name)
{
	assert(name);
	settings.program = name;
}

bool log_debug_enabled(enum log_subsys subsys)
{
	assert((unsigned)subsys < LOG_NSUBSYS);
	return settings.level >= LOG_LEVEL_DEBUG || settings.debug >> subsys & 1;
}

/* The bits for the name of @len bytes at @name; 0 when there is none. */
static unsigned subsys_bits(const char *name, size_t len)
{
	if (len == 3 && !memcmp(name, "all", 3))
		return (1u << LOG_NSUBSYS) - 1;
	for (unsigned i = 0; i < LOG_NSUBSYS; i++)
		if (strlen(subsys_names[i]) == len && !memcmp(subsys_names[i], name, len))
			return 1u << i;
	return 0;
}

static errint_t unknown_subsys(const char *name, size_t len)
{
	char known[128];
	size_t used = 0;

	for (unsigned i = 0; i < LOG_NSUBSYS; i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s, ",
					 subsys_names[i]);
	assert(used < sizeof(known));
	return log_fail(-EINVAL, "unknown debug subsystem \"%.*s\": use %sor all", (int)len, name,
			known);
}

errint_t log_set_debug(const char *list)
{
	unsigned mask = 0;

	while (list && *list) {
		size_t len = strcspn(list, ",");
		unsigned bits = subsys_bits(list, len);

		if (!bits)
			return unknown_subsys(list, len);
		mask |= bits;
		list += len;
		if (*list == ',' && *++list == '\0')
			return unknown_subsys(list, 0);
	}
	settings.debug = mask;
	return 0;
}

static void write_stderr(const char *line, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, line, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return; /* there is nowhere left to report this */
		line += n;
		len -= (size_t)n;
	}
}

static void replace_control_characters(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

/* Shorten the text that did not fit in @text, and say so.  Cuts before a UTF-8 character, not in
 * one. */
static void mark_cut(char *text)
{
	size_t at = MESSAGE_SIZE - sizeof(cut_mark);

	while (at && ((unsigned char)text[at] & 0xc0) == 0x80)
		at--;
	memcpy(text + at, cut_mark, sizeof(cut_mark));
}

/* Format and send one message: @topic, the text of @fmt, and the text of @err unless that is 0. */
static LOG_PRINTF(4, 0) void emit(enum log_level level, const char *topic, errint_t err,
				  const char *fmt, va_list ap)
{
	static const char *const tags[] = {
		[LOG_LEVEL_ERROR] = "",
		[LOG_LEVEL_WARN] = "warning: ",
		[LOG_LEVEL_INFO] = "",
		[LOG_LEVEL_DEBUG] = "debug: ",
	};
	char line[PREFIX_SIZE + MESSAGE_SIZE + 1]; /* 1: the newline */
	int saved_errno = errno;
	char *text = line + snprintf(line, PREFIX_SIZE, "%.64s: %s", settings.program, tags[level]);
	size_t len = (size_t)snprintf(text, MESSAGE_SIZE, "%s", topic);

	assert(err <= 0);
	assert(text > line && text < line + PREFIX_SIZE && len < MESSAGE_SIZE);
	len += (size_t)vsnprintf(text + len, MESSAGE_SIZE - len, fmt, ap);
	if (err && len < MESSAGE_SIZE) {
		errno = -err;
		len += (size_t)snprintf(text + len, MESSAGE_SIZE - len, ": %m");
	}
	if (len >= MESSAGE_SIZE)
		mark_cut(text);
	replace_control_characters(text);
	if (settings.sink) {
		settings.sink(settings.sink_arg, level, text);
	} else {
		len = strlen(text);
		text[len++] = '\n';
		write_stderr(line, (size_t)(text - line) + len);
	}
	errno = saved_errno;
}

errint_t log_err(errint_t err, const char *fmt, ...)
{
	va_list ap;

	assert(err < 0);
	va_start(ap, fmt);
	emit(LOG_LEVEL_ERROR, "", err, fmt, ap);
	va_end(ap);
	return err;
}

errint_t log_errno(const char *fmt, ...)
{
	errint_t err = -errno;
	va_list ap;

	assert(err < 0);
	va_start(ap, fmt);
	emit(LOG_LEVEL_ERROR, "", err, fmt, ap);
	va_end(ap);
	return err;
}

errint_t log_fail(errint_t err, const char *fmt, ...)
{
	va_list ap;

	assert(err < 0);
	va_start(ap, fmt);
	emit(LOG_LEVEL_ERROR, "", 0, fmt, ap);
	va_end(ap);
	return err;
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	if (settings.level < LOG_LEVEL_WARN)
		return;
	va_start(ap, fmt);
	emit(LOG_LEVEL_WARN, "", 0, fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	if (settings.level < LOG_LEVEL_INFO)
		return;
	va_start(ap, fmt);
	emit(LOG_LEVEL_INFO, "", 0, fmt, ap);
	va_end(ap);
}

void log_debug_(enum log_subsys subsys, const char *fmt, ...)
{
	char topic[16];
	va_list ap;

	assert(log_debug_enabled(subsys));
	snprintf(topic, sizeof(topic), "%s: ", subsys_names[subsys]);
	va_start(ap, fmt);
	emit(LOG_LEVEL_DEBUG, topic, 0, fmt, ap);
	va_end(ap);
}
