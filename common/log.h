/* SPDX-License-Identifier: MIT */
/*
 * Messages to the user.  The function that knows the cause of a failure reports it once: what was
 * attempted, on what, and what to do; its callers hand the code up in silence.
 *
 * The sink, level and debug mask are process-wide by nature, set once by main() before any thread
 * starts; everything else here may be called from any thread, and preserves errno.
 *
 * A message is one line without its newline.  Control characters in it, which only names from
 * images and users can contain, become "?".
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stdarg.h>

#include "common/errint.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Subsystems whose debug messages can be switched on one by one. */
enum log_subsys {
	LOG_STORE,
	LOG_ALLOC,
	LOG_MAP,
	LOG_JOURNAL,
	LOG_TXN,
	LOG_DATA,
	LOG_CLI,
	LOG_NSUBSYS
};

typedef void (*log_sink_fn)(void *arg, enum log_level level, const char *message);

/* Messages up to @level are shown (default LOG_LEVEL_WARN). */
void log_set_level(enum log_level level);

/* Switch on debug messages: a comma-separated list of subsystem names ("store,journal") or "all".
 * Returns -EINVAL for an unknown name, having named the known ones, and changes nothing.  With
 * LOG_LEVEL_DEBUG every subsystem is on. */
MUST_CHECK errint_t log_set_debug(const char *list);

/* Send messages to @sink instead of standard error; NULL restores that. */
void log_set_sink(log_sink_fn sink, void *arg);

/* The prefix of messages on standard error, normally the program's name; kept, not copied. */
void log_set_program(const char *name);

bool log_debug_enabled(enum log_subsys subsys);

#define LOG_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Report a failure and return @err (a negative errno value), whose text is appended: "…: No space
 * left on device". */
errint_t log_err(errint_t err, const char *fmt, ...) LOG_PRINTF(2, 3);

/* The same with -errno. */
errint_t log_errno(const char *fmt, ...) LOG_PRINTF(1, 2);

/* Report a failure whose text says everything, and return @err without appending its text. */
errint_t log_fail(errint_t err, const char *fmt, ...) LOG_PRINTF(2, 3);

void log_warn(const char *fmt, ...) LOG_PRINTF(1, 2);
void log_info(const char *fmt, ...) LOG_PRINTF(1, 2);
void log_debug_(enum log_subsys subsys, const char *fmt, ...) LOG_PRINTF(2, 3);

#define log_debug(subsys, ...)                                                                     \
	do {                                                                                       \
		if (log_debug_enabled(subsys))                                                     \
			log_debug_(subsys, __VA_ARGS__);                                           \
	} while (0)

#endif
