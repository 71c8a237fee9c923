/* SPDX-License-Identifier: MIT */
/* Messages: what reaches the sink or standard error, and in what form. */
#include <config.h>

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"

static struct {
	int count;
	enum log_level level;
	char text[8192];
} seen;

static void remember(void *arg, enum log_level level, const char *message)
{
	assert_ptr_equal(arg, &seen);
	assert_true(strlen(message) < sizeof(seen.text));
	seen.count++;
	seen.level = level;
	strcpy(seen.text, message);
}

static int setup(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));
	log_set_level(LOG_LEVEL_WARN);
	log_set_sink(remember, &seen);
	return log_set_debug(NULL);
}

static void assert_seen(int count, enum log_level level, const char *text)
{
	assert_int_equal(seen.count, count);
	assert_int_equal(seen.level, level);
	assert_string_equal(seen.text, text);
}

static void test_errors(void **state)
{
	(void)state;
	assert_int_equal(log_err(-ENOSPC, "%s: cannot grow to %d", "a.img", 7), -ENOSPC);
	assert_seen(1, LOG_LEVEL_ERROR, "a.img: cannot grow to 7: No space left on device");
	errno = ENOENT;
	assert_int_equal(log_errno("%s: cannot open", "b.img"), -ENOENT);
	assert_int_equal(errno, ENOENT);
	assert_seen(2, LOG_LEVEL_ERROR, "b.img: cannot open: No such file or directory");
	errno = EAGAIN;
	assert_int_equal(log_fail(-EINVAL, "size %d is odd", 3), -EINVAL);
	assert_int_equal(errno, EAGAIN);
	assert_seen(3, LOG_LEVEL_ERROR, "size 3 is odd");
}

static void test_levels(void **state)
{
	(void)state;
	log_info("not shown");
	assert_int_equal(seen.count, 0);
	log_warn("shown");
	assert_seen(1, LOG_LEVEL_WARN, "shown");
	log_set_level(LOG_LEVEL_INFO);
	log_info("shown %s", "too");
	assert_seen(2, LOG_LEVEL_INFO, "shown too");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("not shown");
	assert_int_equal(seen.count, 2);
	assert_int_equal(log_fail(-EIO, "always"), -EIO);
	assert_seen(3, LOG_LEVEL_ERROR, "always");
}

static int evaluations;

static int evaluate(void)
{
	return ++evaluations;
}

static void test_debug(void **state)
{
	(void)state;
	log_debug(LOG_JOURNAL, "hidden %d", evaluate());
	assert_int_equal(evaluations, 0); /* costs nothing when switched off */
	assert_int_equal(log_set_debug("store,journal"), 0);
	assert_true(log_debug_enabled(LOG_STORE) && log_debug_enabled(LOG_JOURNAL));
	assert_false(log_debug_enabled(LOG_MAP) || log_debug_enabled(LOG_CLI));
	log_debug(LOG_JOURNAL, "shown %d", evaluate());
	assert_seen(1, LOG_LEVEL_DEBUG, "journal: shown 1");
	log_debug(LOG_MAP, "hidden");
	assert_int_equal(seen.count, 1);
	assert_int_equal(log_set_debug("all"), 0);
	for (unsigned i = 0; i < LOG_NSUBSYS; i++)
		assert_true(log_debug_enabled((enum log_subsys)i));
	assert_int_equal(log_set_debug(""), 0);
	assert_false(log_debug_enabled(LOG_STORE));
	log_set_level(LOG_LEVEL_DEBUG);
	assert_true(log_debug_enabled(LOG_STORE));
}

static void test_unknown_subsystem(void **state)
{
	static const char *const bad[] = {"jour",	"journals", "store,", ",store",
					  "store,,map", " store",   "ALL",    "store,x"};

	(void)state;
	assert_int_equal(log_set_debug("map"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(log_set_debug(bad[i]), -EINVAL);
		assert_int_equal(seen.count, (int)i + 1);
		assert_true(log_debug_enabled(LOG_MAP)); /* unchanged */
		assert_false(log_debug_enabled(LOG_STORE));
	}
	assert_string_equal(seen.text, "unknown debug subsystem \"x\": use store, alloc, map, "
				       "journal, txn, data, cli, or all");
}

static void test_control_characters(void **state)
{
	(void)state;
	log_warn("snapshot \"%s\"", "a\n\x1b[2Jb\x7f\r\tc\xc3\xa9");
	assert_seen(1, LOG_LEVEL_WARN, "snapshot \"a??[2Jb???c\xc3\xa9\"");
}

/* A path of the greatest length fits; what does not fit is cut, visibly and between characters. */
static void test_long_messages(void **state)
{
	static char path[PATH_MAX], huge[10000];

	(void)state;
	memset(path, 'p', sizeof(path) - 1);
	log_warn("%s: not a good file", path);
	assert_int_equal(strlen(seen.text), PATH_MAX - 1 + strlen(": not a good file"));
	for (size_t shift = 0; shift < 4; shift++) {
		memset(huge, 'x', shift);
		for (size_t i = shift; i + 2 < sizeof(huge); i += 2)
			memcpy(huge + i, "\xc3\xa9", 3);
		assert_int_equal(log_err(-EIO, "%s", huge), -EIO);

		size_t len = strlen(seen.text);

		assert_true(len > PATH_MAX + 512);
		assert_string_equal(seen.text + len - 3, "...");
		assert_int_equal((unsigned char)seen.text[len - 4], 0xa9);
	}
}

/* Send standard error to a file while @body runs; returns what it wrote, to be freed. */
static char *capture_stderr(void (*body)(void))
{
	int saved = dup(STDERR_FILENO);
	FILE *f = tmpfile();
	char *text;
	long len;

	assert_true(saved >= 0 && f);
	log_set_sink(NULL, NULL);
	assert_int_equal(fcntl(fileno(f), F_SETFL, O_APPEND), 0);
	assert_true(dup2(fileno(f), STDERR_FILENO) >= 0);
	body();
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	len = ftell(f);
	rewind(f);
	text = calloc(1, (size_t)len + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, (size_t)len, f), (size_t)len);
	fclose(f);
	return text;
}

static void write_one_of_each(void)
{
	log_set_level(LOG_LEVEL_DEBUG);
	assert_int_equal(log_fail(-EIO, "wrong"), -EIO);
	log_warn("odd");
	log_info("fine");
	log_debug(LOG_TXN, "detail");
}

static void test_stderr(void **state)
{
	char *text;

	(void)state;
	log_set_program("tester");
	text = capture_stderr(write_one_of_each);
	assert_string_equal(text, "tester: wrong\n"
				  "tester: warning: odd\n"
				  "tester: fine\n"
				  "tester: debug: txn: detail\n");
	free(text);
}

enum { THREADS = 4, LINES = 300 };

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_warn("%0*d", 200, *(int *)arg);
	return NULL;
}

static void write_from_threads(void)
{
	pthread_t threads[THREADS];
	int numbers[THREADS];

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i + 1;
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* Lines of several threads come whole. */
static void test_threads(void **state)
{
	int counts[THREADS + 1] = {0};
	char *text, *line;

	(void)state;
	log_set_program("t");
	text = capture_stderr(write_from_threads);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		const char *body = line + strlen("t: warning: ");
		int number = line[strlen(line) - 1] - '0';

		assert_int_equal(strlen(line), strlen("t: warning: ") + 200);
		assert_int_equal(strspn(body, "0"), 199);
		assert_in_range(number, 1, THREADS);
		counts[number]++;
	}
	for (int i = 1; i <= THREADS; i++)
		assert_int_equal(counts[i], LINES);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_errors, setup),
		cmocka_unit_test_setup(test_levels, setup),
		cmocka_unit_test_setup(test_debug, setup),
		cmocka_unit_test_setup(test_unknown_subsystem, setup),
		cmocka_unit_test_setup(test_control_characters, setup),
		cmocka_unit_test_setup(test_long_messages, setup),
		cmocka_unit_test_setup(test_stderr, setup),
		cmocka_unit_test_setup(test_threads, setup),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
