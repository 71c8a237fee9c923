/* SPDX-License-Identifier: MIT */
/* What a bridge that starts tells the command that waits (bridge/report.h). */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/report.h"

static char seen[8192];

static void keep(void *arg, enum log_level level, const char *message)
{
	size_t used = strlen(seen);

	(void)arg;
	snprintf(seen + used, sizeof(seen) - used, "%d:%.3000s\n", (int)level, message);
}

static int fds[2];

static int begin(void **state)
{
	(void)state;
	seen[0] = '\0';
	return pipe(fds);
}

static int end(void **state)
{
	(void)state;
	close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	return 0;
}

static void hang_up(void)
{
	close(fds[1]);
	fds[1] = -1;
}

static void test_ready(void **state)
{
	char device[REPORT_DEVICE_MAX] = "";

	(void)state;
	report_message(fds[1], LOG_LEVEL_WARN, "slow");
	report_message(fds[1], LOG_LEVEL_INFO, "fine");
	report_ready(fds[1], "/dev/ublkb3");
	assert_int_equal(report_wait(fds[0], 5, device), 0);
	assert_string_equal(device, "/dev/ublkb3");
	assert_string_equal(seen, "1:slow\n2:fine\n");
}

/* In pieces, as a pipe may give them. */
static void test_pieces(void **state)
{
	static const char text[] = "W a\nR /dev/loop0\n";
	char device[REPORT_DEVICE_MAX] = "";

	(void)state;
	assert_int_equal(write(fds[1], text, 3), 3);
	assert_int_equal(report_wait(fds[0], 0, device), -ETIMEDOUT);
	assert_int_equal(write(fds[1], text + 3, strlen(text) - 3), strlen(text) - 3);
	/* The beginning was lost with the call that gave up. */
	assert_int_equal(report_wait(fds[0], 5, device), 0);
	assert_string_equal(device, "/dev/loop0");
}

/* The bridge said why. */
static void test_failed(void **state)
{
	char device[REPORT_DEVICE_MAX] = "";

	(void)state;
	report_message(fds[1], LOG_LEVEL_ERROR, "no such image");
	hang_up();
	assert_int_equal(report_wait(fds[0], 5, device), -EPIPE);
	assert_string_equal(seen, "0:no such image\n");
	assert_string_equal(device, "");
}

/* It was killed: it is said here. */
static void test_died(void **state)
{
	char device[REPORT_DEVICE_MAX] = "";

	(void)state;
	report_message(fds[1], LOG_LEVEL_WARN, "hm");
	hang_up();
	assert_int_equal(report_wait(fds[0], 5, device), -EPIPE);
	assert_non_null(strstr(seen, "0:the bridge ended without a reason"));
}

static void test_hangs(void **state)
{
	char device[REPORT_DEVICE_MAX] = "";
	struct timespec began, ended;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_int_equal(report_wait(fds[0], 1, device), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_in_range(ended.tv_sec - began.tv_sec, 1, 3);
	assert_non_null(strstr(seen, "does not answer after 1 s"));
}

/* The longest message that the log makes, and longer. */
static void test_long(void **state)
{
	static char text[10000];
	char device[REPORT_DEVICE_MAX] = "";

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	report_message(fds[1], LOG_LEVEL_WARN, text);
	report_ready(fds[1], "/dev/ublkb0");
	assert_int_equal(report_wait(fds[0], 5, device), 0);
	assert_string_equal(device, "/dev/ublkb0");
	assert_non_null(strstr(seen, "1:xxxx"));
}

/* Nobody waits any more. */
static void test_no_reader(void **state)
{
	(void)state;
	close(fds[0]);
	fds[0] = dup(fds[1]);
	report_message(fds[1], LOG_LEVEL_ERROR, "to nobody");
	report_ready(fds[1], "/dev/ublkb0");
	assert_string_equal(seen, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ready), TEST(test_pieces), TEST(test_failed),	   TEST(test_died),
		TEST(test_hangs), TEST(test_long),   TEST(test_no_reader),
	};

	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_LEVEL_INFO);
	log_set_sink(keep, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
