/* SPDX-License-Identifier: MIT */
/* Freezing, and above all thawing (cli/freeze.h), with file systems that are counters. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/freeze.h"

enum { N = 3, LONG_MS = 20000 };

/* Shared with the process that freezes.  A descriptor is the index of a file system. */
static struct world {
	struct {
		int frozen, freezes, syncs;
		int error;	/* of freezing it */
		int thaw_error; /* the same */
	} at[N];
	pid_t freezer;
	int last_thawed;
	bool hang; /* freezing the last one takes for ever */
} * w;

static int fake_sync(int fd)
{
	assert_int_equal(w->at[0].freezes, 0); /* before anybody has to wait */
	w->at[fd].syncs++;
	return 0;
}

static int fake_freeze(int fd)
{
	w->freezer = getpid();
	errno = w->at[fd].error;
	if (w->at[fd].frozen)
		errno = EBUSY;
	if (errno)
		return -1;
	w->at[fd].frozen = 1;
	w->at[fd].freezes++;
	while (w->hang && fd == N - 1)
		usleep(1000);
	return 0;
}

static int fake_thaw(int fd)
{
	errno = w->at[fd].frozen ? w->at[fd].thaw_error : EINVAL;
	if (errno)
		return -1;
	w->at[fd].frozen = 0;
	w->last_thawed = fd;
	return 0;
}

static const struct freeze_ops fake = {fake_sync, fake_freeze, fake_thaw};
static char names[N][2] = {"a", "b", "c"};
static struct freeze_fs fs[N];
static const struct freeze_opts opts = {.fs = fs, .n = N, .ms = LONG_MS, .ops = &fake};

static int fresh(void **state)
{
	(void)state;
	memset(w, 0, sizeof(*w));
	for (int i = 0; i < N; i++)
		fs[i] = (struct freeze_fs){.fd = i, .dir = names[i]};
	return 0;
}

static int frozen(void)
{
	int n = 0;

	for (int i = 0; i < N; i++)
		n += w->at[i].frozen;
	return n;
}

/* As another process sees it: @n are, within some seconds. */
static void await_frozen(int n)
{
	for (int i = 0; i < 5000 && frozen() != n; i++)
		usleep(1000);
	assert_int_equal(frozen(), n);
}

static void test_plain(void **state)
{
	struct freezer f;

	(void)state;
	assert_int_equal(freeze_begin(&opts, &f), 0);
	assert_int_equal(frozen(), N);
	for (int i = 0; i < N; i++) {
		assert_true(fs[i].is_frozen);
		assert_int_equal(w->at[i].syncs, 1);
	}
	assert_int_not_equal(w->freezer, getpid());
	assert_int_equal(freeze_end(&f), 0);
	assert_int_equal(frozen(), 0);
	assert_int_equal(w->last_thawed, 0);
	assert_int_equal(kill(w->freezer, 0), -1); /* reaped */
}

static void test_refused(void **state)
{
	struct freezer f;

	(void)state;
	w->at[2].error = EPERM;
	assert_int_equal(freeze_begin(&opts, &f), -EPERM);
	assert_int_equal(w->at[0].freezes + w->at[1].freezes, 2);
	assert_int_equal(frozen(), 0);
	fresh(NULL);
	w->at[2].error = EOPNOTSUPP;
	assert_int_equal(freeze_begin(&opts, &f), -EOPNOTSUPP);
	assert_int_equal(frozen(), 0);
}

/* Somebody else's stays as it is. */
static void test_busy(void **state)
{
	struct freezer f;

	(void)state;
	w->at[1].frozen = 1;
	assert_int_equal(freeze_begin(&opts, &f), -EBUSY);
	assert_int_equal(frozen(), 1);
	assert_int_equal(w->at[1].frozen, 1);
	assert_int_equal(w->at[0].freezes, 1);
}

static void test_optional(void **state)
{
	struct freezer f;

	(void)state;
	w->at[1].error = EOPNOTSUPP;
	fs[1].optional = true;
	assert_int_equal(freeze_begin(&opts, &f), 0);
	assert_true(fs[0].is_frozen && !fs[1].is_frozen && fs[2].is_frozen);
	assert_int_equal(freeze_end(&f), 0);
	assert_int_equal(frozen(), 0);
}

static void test_too_long(void **state)
{
	struct freeze_opts o = opts;
	struct freezer f;

	(void)state;
	o.ms = 50;
	assert_int_equal(freeze_begin(&o, &f), 0);
	await_frozen(0);
	assert_int_equal(freeze_end(&f), -ETIMEDOUT);
}

static void test_thawed_by_others(void **state)
{
	struct freezer f;

	(void)state;
	assert_int_equal(freeze_begin(&opts, &f), 0);
	w->at[1].frozen = 0;
	assert_int_equal(freeze_end(&f), -ETIMEDOUT);
	assert_int_equal(frozen(), 0);
}

static void test_cannot_thaw(void **state)
{
	struct freezer f;

	(void)state;
	assert_int_equal(freeze_begin(&opts, &f), 0);
	w->at[1].thaw_error = EIO;
	assert_int_equal(freeze_end(&f), -EIO);
	assert_int_equal(frozen(), 1); /* the others are not forgotten */
}

/* The process that freezes is killed, or stopped: its parent thaws. */
static void test_killed(void **state)
{
	struct freezer f;

	(void)state;
	assert_int_equal(freeze_begin(&opts, &f), 0);
	kill(w->freezer, SIGKILL);
	await_frozen(N);
	assert_int_equal(freeze_end(&f), 0);
	assert_int_equal(frozen(), 0);
}

static void test_killed_early(void **state)
{
	struct freezer f;
	pid_t killer;

	(void)state;
	w->hang = true;
	killer = fork();
	assert_true(killer >= 0);
	if (!killer) {
		for (int i = 0; i < 5000 && frozen() != N; i++)
			usleep(1000);
		w->hang = false;
		kill(w->freezer, SIGKILL);
		_exit(0);
	}
	assert_int_equal(freeze_begin(&opts, &f), -ECANCELED);
	assert_int_equal(frozen(), 0);
	assert_int_equal(waitpid(killer, NULL, 0), killer);
}

/* No signal that can be caught ends it before its time. */
static void test_signals(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGALRM, SIGPIPE, SIGTSTP};
	struct freezer f;

	(void)state;
	assert_int_equal(freeze_begin(&opts, &f), 0);
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		kill(w->freezer, signals[i]);
	usleep(20000);
	assert_int_equal(frozen(), N);
	assert_int_equal(waitpid(w->freezer, NULL, WNOHANG), 0); /* it lives */
	assert_int_equal(getpgid(w->freezer), w->freezer); /* what the terminal sends misses it */
	assert_int_equal(freeze_end(&f), 0);
	assert_int_equal(frozen(), 0);
}

/* Dies when all are frozen, of which it has been told or, with w->hang, has not. */
static void parent_dies(void)
{
	pid_t parent = fork();
	struct freezer f;

	assert_true(parent >= 0);
	if (!parent) {
		if (freeze_begin(&opts, &f))
			_exit(1);
		for (;;)
			pause();
	}
	await_frozen(N);
	usleep(50000);
	assert_int_equal(frozen(), N);
	kill(parent, SIGKILL);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	w->hang = false;
	await_frozen(0);
}

static void test_parent_killed(void **state)
{
	(void)state;
	parent_dies();
}

static void test_parent_killed_early(void **state)
{
	(void)state;
	w->hang = true;
	parent_dies();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_plain, fresh),
		cmocka_unit_test_setup(test_refused, fresh),
		cmocka_unit_test_setup(test_busy, fresh),
		cmocka_unit_test_setup(test_optional, fresh),
		cmocka_unit_test_setup(test_too_long, fresh),
		cmocka_unit_test_setup(test_thawed_by_others, fresh),
		cmocka_unit_test_setup(test_cannot_thaw, fresh),
		cmocka_unit_test_setup(test_killed, fresh),
		cmocka_unit_test_setup(test_killed_early, fresh),
		cmocka_unit_test_setup(test_signals, fresh),
		cmocka_unit_test_setup(test_parent_killed, fresh),
		cmocka_unit_test_setup(test_parent_killed_early, fresh),
	};

	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
