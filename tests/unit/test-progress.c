/* SPDX-License-Identifier: MIT */
/* The progress bar, its place below messages, and when it shows at all (cli/progress.h). */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/progress.h"
#include "cli/terminal.h"
#include "common/log.h"

/* Standard error, for the length of a test: a pipe or a terminal of @columns. */
static struct capture {
	int saved, fd;
	char text[65536];
} c = {.saved = -1};

static void capture_begin(int write_end, int read_end)
{
	c.saved = dup(STDERR_FILENO);
	c.fd = read_end;
	assert_true(c.saved >= 0);
	assert_int_equal(dup2(write_end, STDERR_FILENO), STDERR_FILENO);
	close(write_end);
	assert_int_equal(fcntl(read_end, F_SETFL, O_NONBLOCK), 0);
}

static void capture_pipe(void)
{
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	capture_begin(fd[1], fd[0]);
}

static void capture_terminal(unsigned short columns)
{
	struct winsize size = {.ws_row = 24, .ws_col = columns};
	struct termios t;
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;

	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0);
	assert_int_equal(ioctl(slave, TIOCSWINSZ, &size), 0);
	assert_int_equal(tcgetattr(slave, &t), 0);
	t.c_oflag &= ~(tcflag_t)OPOST; /* no "\r\n" */
	assert_int_equal(tcsetattr(slave, TCSANOW, &t), 0);
	capture_begin(slave, master);
}

/* What was written since the last call. */
static const char *captured(void)
{
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(c.text) - 1 &&
	       (n = read(c.fd, c.text + len, sizeof(c.text) - 1 - len)) > 0)
		len += (size_t)n;
	c.text[len] = '\0';
	return c.text;
}

static void assert_starts(const char *text, const char *start)
{
	char head[64];

	snprintf(head, sizeof(head), "%.*s", (int)strlen(start), text);
	assert_string_equal(head, start);
}

static void capture_end(void)
{
	assert_int_equal(dup2(c.saved, STDERR_FILENO), STDERR_FILENO);
	close(c.saved);
	close(c.fd);
	c.saved = -1;
}

/* After a test that failed: what it had to say has been captured as well. */
static int show_captured(void **state)
{
	(void)state;
	if (c.saved >= 0) {
		captured();
		capture_end();
		fputs(c.text, stderr);
	}
	return 0;
}

static _Atomic uint64_t now;

static uint64_t test_now(void)
{
	return now;
}

static void wait_ms(unsigned ms)
{
	now += ms * 1000000ull;
}

static void test_lines(void **state)
{
	struct progress *p;
	unsigned percent;
	const char *text;

	(void)state;
	capture_pipe();
	p = progress_begin(PROGRESS_ALWAYS, "work", 200 << 20);
	progress_update(p, 1 << 20);
	wait_ms(999);
	progress_update(p, 1 << 20);
	assert_string_equal(captured(), ""); /* not within the first second */
	wait_ms(1);
	progress_update(p, 100 << 20);
	text = captured();
	assert_int_equal(sscanf(text, "work %u %%", &percent), 1);
	assert_int_equal(percent, 50);
	assert_non_null(strstr(text, "] "));
	assert_non_null(strstr(text, " 100 MiB of 200 MiB  "));
	assert_null(strchr(text, '\033'));
	assert_non_null(strstr(text, " 100 MiB/s  0:01 left\n"));
	wait_ms(999);
	for (unsigned i = 0; i < 100; i++) /* not more than once a second */
		progress_add(p, 1 << 20);
	assert_string_equal(captured(), "");
	progress_end(p);
	assert_string_equal(captured(), "");
	capture_end();
}

/* More than was announced, and a total that is not known, are no reason to fall over. */
static void test_totals(void **state)
{
	struct progress *p;

	(void)state;
	capture_pipe();
	p = progress_begin(PROGRESS_ALWAYS, "pipe", 0);
	wait_ms(1000);
	progress_add(p, 3 << 20);
	assert_starts(captured(), "pipe  3 MiB  ");
	progress_set_total(p, 1 << 20);
	wait_ms(1000);
	progress_add(p, 1);
	assert_starts(captured(), "pipe 100 % [========");
	progress_end(p);
	capture_end();
}

static void test_terminal(void **state)
{
	struct progress *p;
	const char *text;

	(void)state;
	capture_terminal(60);
	p = progress_begin(PROGRESS_AUTO, "convert", 1 << 30);
	assert_non_null(p);
	wait_ms(1000);
	progress_update(p, 1 << 28);
	text = captured();
	assert_starts(text, "\r\033[Kconvert  25 %");
	assert_null(strchr(text, '\n'));
	assert_true(strlen(text) < 60 + 4);
	/* A message stands on a line of its own, and the bar comes back under it. */
	log_warn("careful");
	assert_string_equal(captured(), "\r\033[Kublk-img: warning: careful\n");
	log_warn("again");
	assert_string_equal(captured(), "ublk-img: warning: again\n");
	wait_ms(200);
	progress_update(p, 1 << 29);
	assert_starts(captured(), "\r\033[Kconvert  50 %");
	progress_end(p);
	assert_string_equal(captured(), "\r\033[K");
	capture_end();
}

static void test_never(void **state)
{

	(void)state;
	capture_pipe();
	assert_null(progress_begin(PROGRESS_AUTO, "x", 1)); /* no terminal */
	capture_end();
	capture_terminal(80);
	assert_null(progress_begin(PROGRESS_NEVER, "x", 1));
	terminal_set_quiet(true);
	assert_null(progress_begin(PROGRESS_AUTO, "x", 1));
	terminal_set_quiet(false);
	setenv("TERM", "dumb", 1);
	assert_null(progress_begin(PROGRESS_AUTO, "x", 1));
	unsetenv("TERM");
	progress_update(NULL, 1);
	progress_add(NULL, 1);
	progress_set_total(NULL, 1);
	progress_end(NULL);
	assert_string_equal(captured(), "");
	capture_end();
}

static void *add_much(void *arg)
{
	for (unsigned i = 0; i < 100000; i++)
		progress_add(arg, 1024);
	return NULL;
}

/* Nothing that threads count is lost. */
static void test_threads(void **state)
{
	struct progress *p;
	pthread_t t[4];

	(void)state;
	capture_pipe();
	p = progress_begin(PROGRESS_ALWAYS, "threads", 1024 * 500000);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, add_much, p), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_string_equal(captured(), "");
	wait_ms(1000);
	progress_update(p, 1); /* less than is done: ignored */
	assert_starts(captured(), "threads  80 % [");
	progress_end(p);
	capture_end();
}

static int begin(void **state)
{
	(void)state;
	unsetenv("TERM");
	terminal_begin();
	progress_set_clock(test_now);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_lines, show_captured),
		cmocka_unit_test_teardown(test_totals, show_captured),
		cmocka_unit_test_teardown(test_terminal, show_captured),
		cmocka_unit_test_teardown(test_never, show_captured),
		cmocka_unit_test_teardown(test_threads, show_captured),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
