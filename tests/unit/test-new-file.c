/* SPDX-License-Identifier: MIT */
/* A file that appears complete or not at all (cli/new_file.h), also when a signal comes. */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/new_file.h"
#include "common/log.h"

static void drop(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
}

static void write_text(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void assert_text(const char *path, const char *text)
{
	char buf[64] = "";
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	assert_int_equal(fread(buf, 1, sizeof(buf) - 1, f), strlen(text));
	fclose(f);
	assert_string_equal(buf, text);
}

static bool exists(const char *path)
{
	return !access(path, F_OK);
}

static void test_finish(void **state)
{
	struct new_file nf;

	(void)state;
	assert_int_equal(new_file_begin(&nf, "a", false), 0);
	assert_false(exists("a"));
	assert_false(exists(nf.temp));
	write_text(nf.temp, "one", O_EXCL);
	assert_int_equal(new_file_finish(&nf), 0);
	assert_text("a", "one");
	assert_false(exists(nf.temp));
	/* What is finished is not taken back. */
	new_file_abandon(&nf);
	assert_text("a", "one");

	assert_int_equal(new_file_begin(&nf, "a", false), -EEXIST);
	assert_int_equal(new_file_begin(&nf, "./a", true), 0);
	write_text(nf.temp, "two", O_EXCL);
	assert_text("a", "one");
	assert_int_equal(new_file_finish(&nf), 0);
	assert_text("a", "two");
}

static void test_abandon(void **state)
{
	struct new_file nf;

	(void)state;
	write_text("b", "old", 0);
	assert_int_equal(new_file_begin(&nf, "b", true), 0);
	write_text(nf.temp, "new", O_EXCL);
	new_file_abandon(&nf);
	assert_false(exists(nf.temp));
	assert_text("b", "old");
	/* Before there is a file, and again. */
	assert_int_equal(new_file_begin(&nf, "b", true), 0);
	new_file_abandon(&nf);
	new_file_abandon(&nf);
	assert_text("b", "old");
}

/* Somebody else makes a file of that name meanwhile: it is theirs. */
static void test_race(void **state)
{
	struct new_file nf;

	(void)state;
	assert_int_equal(new_file_begin(&nf, "c", false), 0);
	write_text(nf.temp, "ours", O_EXCL);
	write_text("c", "theirs", O_EXCL);
	assert_int_equal(new_file_finish(&nf), -EEXIST);
	assert_text("c", "theirs");
	assert_false(exists(nf.temp));
}

/* What another process of our number left behind is in nobody's way. */
static void test_left_over(void **state)
{
	struct new_file nf;
	char temp[64];

	(void)state;
	snprintf(temp, sizeof(temp), ".ublk-img-%ld.tmp", (long)getpid());
	write_text(temp, "garbage", 0);
	assert_int_equal(new_file_begin(&nf, "d", false), 0);
	assert_string_equal(nf.temp, temp);
	write_text(nf.temp, "good", O_EXCL);
	assert_int_equal(new_file_finish(&nf), 0);
	assert_text("d", "good");
}

/* The replaced file stays locked to the end, and one that is in use is not replaced. */
static void test_lock(void **state)
{
	struct new_file nf;
	struct store *st;

	(void)state;
	write_text("e", "old", 0);
	assert_int_equal(store_file_open("e", STORE_FILE_BUFFERED, &st), 0);
	assert_int_equal(store_lock(st, STORE_LOCK_SHARED), 0);
	assert_int_equal(new_file_begin(&nf, "e", true), -EBUSY);
	store_close(st);
	assert_int_equal(new_file_begin(&nf, "e", true), 0);
	assert_int_equal(store_file_open("e", STORE_FILE_BUFFERED | STORE_FILE_READ_ONLY, &st), 0);
	assert_int_equal(store_lock(st, STORE_LOCK_SHARED), -EBUSY);
	new_file_abandon(&nf);
	assert_int_equal(store_lock(st, STORE_LOCK_SHARED), 0);
	store_close(st);
}

/* In a child: begin, make the file, and be ended by @sig. */
static void end_by(int sig, bool ignored, bool finish)
{
	struct new_file nf;

	signal(sig, ignored ? SIG_IGN : SIG_DFL);
	if (new_file_begin(&nf, "f", true))
		_exit(10);
	write_text(nf.temp, "new", O_EXCL);
	if (finish && new_file_finish(&nf))
		_exit(11);
	raise(sig);
	/* Only when it is ignored. */
	_exit(exists(nf.temp) ? 12 : 13);
}

static int run_child(int sig, bool ignored, bool finish, char temp[64])
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		end_by(sig, ignored, finish);
	snprintf(temp, 64, ".ublk-img-%ld.tmp", (long)pid);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_signals(void **state)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT};
	char temp[64];
	int status;

	(void)state;
	write_text("f", "old", 0);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		status = run_child(signals[i], false, false, temp);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
		assert_false(exists(temp));
		assert_text("f", "old");
	}
	/* nohup */
	status = run_child(SIGHUP, true, false, temp);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 12);
	assert_true(exists(temp));
	unlink(temp);
	/* After the end there is nothing to remove. */
	status = run_child(SIGTERM, false, true, temp);
	assert_true(WIFSIGNALED(status));
	assert_false(exists(temp));
	assert_text("f", "new");
}

static void test_refused(void **state)
{
	struct new_file nf;

	(void)state;
	assert_int_equal(mkdir("dir", 0700), 0);
	assert_int_equal(symlink("nowhere", "link"), 0);
	assert_int_equal(new_file_begin(&nf, "dir", true), -EISDIR);
	assert_int_equal(new_file_begin(&nf, "dir/", true), -EINVAL);
	assert_int_equal(new_file_begin(&nf, "", false), -EINVAL);
	assert_int_equal(new_file_begin(&nf, "missing/x", false), -ENOENT);
	assert_int_equal(new_file_begin(&nf, "link", false), -EEXIST);
	assert_int_equal(new_file_begin(&nf, "link", true), -EINVAL);
	new_file_abandon(&nf);
}

static int begin(void **state)
{
	const char *dir = getenv("UBLK_IMG_TEST_DIR");

	(void)state;
	log_set_sink(drop, NULL);
	return !dir || chdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finish),	cmocka_unit_test(test_abandon),
		cmocka_unit_test(test_race),	cmocka_unit_test(test_left_over),
		cmocka_unit_test(test_lock),	cmocka_unit_test(test_signals),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
