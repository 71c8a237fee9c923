/* SPDX-License-Identifier: MIT */
/* Fault points: the syntax of the list, and that each fails at its passage and at no other. */
#include <config.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fault.h"
#include "common/log.h"

static int messages;

static void count_messages(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
	messages++;
}

static int setup(void **state)
{
	(void)state;
	messages = 0;
	log_set_sink(count_messages, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return fault_set(NULL);
}

static void test_none(void **state)
{
	(void)state;
	assert_false(fault_active);
	assert_int_equal(fault_point("write"), 0);
	assert_int_equal(fault_set(""), 0);
	assert_false(fault_active);
}

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(fault_set("write"), 0);
	assert_true(fault_active);
	assert_int_equal(fault_point("read"), 0);
	assert_int_equal(fault_point("writes"), 0);
	assert_int_equal(fault_point("writ"), 0);
	assert_int_equal(fault_point("write"), -EIO);
	assert_int_equal(fault_point("write"), 0);
	assert_int_equal(fault_set(NULL), 0);
	assert_false(fault_active);
}

static void test_count_and_errno(void **state)
{
	char spec[64];

	(void)state;
	snprintf(spec, sizeof(spec), "write:3:%d,sync:2", ENOSPC);
	assert_int_equal(fault_set(spec), 0);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(fault_point("write"), i == 3 ? -ENOSPC : 0);
		assert_int_equal(fault_point("sync"), i == 2 ? -EIO : 0);
	}
}

static void test_one_point_twice(void **state)
{
	char spec[64];

	(void)state;
	snprintf(spec, sizeof(spec), "write:2:%d,write:4:%d", EINTR, ENOMEM);
	assert_int_equal(fault_set(spec), 0);
	for (int i = 1; i <= 5; i++)
		assert_int_equal(fault_point("write"), i == 2 ? -EINTR : i == 4 ? -ENOMEM : 0);
}

/* Nothing of the process runs behind the point. */
static void test_kill(void **state)
{
	int *passed = mmap(NULL, sizeof(*passed), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;

	(void)state;
	assert_ptr_not_equal(passed, MAP_FAILED);
	assert_int_equal(fault_set("write:3:kill"), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		for (; *passed < 10; ++*passed)
			if (fault_point("write") || fault_point("sync"))
				break;
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(*passed, 2);
	munmap(passed, sizeof(*passed));
}

/* Setting a list again begins to count again. */
static void test_set_again(void **state)
{
	(void)state;
	assert_int_equal(fault_set("write:2"), 0);
	assert_int_equal(fault_point("write"), 0);
	assert_int_equal(fault_set("write:2"), 0);
	assert_int_equal(fault_point("write"), 0);
	assert_int_equal(fault_point("write"), -EIO);
}

/* Bad syntax is refused with one message, and what was set before stays. */
static void test_bad_syntax(void **state)
{
	static const char *const bad[] = {
		",",	      "write,",	      ",write",
		":1",	      "write:",	      "write:0",
		"write:-1",   "write:+1",     "write: 1",
		"write:x",    "write:1x",     "write:1:",
		"write:1:0",  "write:1:-5",   "write:1:EIO",
		"write:1:5:", "write:1:4096", "write:99999999999999999999999",
		"write:kill", "write:1:kil",  "write:1:kill9",
	};

	(void)state;
	assert_int_equal(fault_set("sync:2"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(fault_set(bad[i]), -EINVAL);
		assert_int_equal(messages, (int)i + 1);
	}
	assert_int_equal(fault_point("write"), 0);
	assert_int_equal(fault_point("sync"), 0);
	assert_int_equal(fault_point("sync"), -EIO);
}

enum { THREADS = 4, PASSAGES = 1000 };

static atomic_int failures;

static void *pass_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < PASSAGES; i++)
		if (fault_point("write"))
			failures++;
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	assert_int_equal(fault_set("write:2500,write:4000,write:4001"), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pass_often, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(failures, 2);
	assert_int_equal(fault_point("write"), -EIO); /* passage 4001 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_count_and_errno, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_point_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_syntax, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
