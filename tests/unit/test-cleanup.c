/* SPDX-License-Identifier: MIT */
/* Scope-bound ownership.  That memory is freed, and only once, the address sanitizer sees. */
#include <config.h>

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"

static int open_null(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static char *copy_or_drop(int keep)
{
	CLEANUP(free) char *copy = strdup("text");

	return keep ? steal_pointer(&copy) : NULL;
}

static void test_pointer(void **state)
{
	char *kept = copy_or_drop(1);

	(void)state;
	assert_string_equal(kept, "text");
	assert_null(copy_or_drop(0));

	char *taken = steal_pointer(&kept);

	assert_null(kept);
	assert_string_equal(taken, "text");
	free(taken);
}

static void test_close(void **state)
{
	int number, kept;

	(void)state;
	{
		CLEANUP(close) int fd = open_null();
		CLEANUP(close) int none __attribute__((unused)) = -1;

		number = fd;
		assert_true(is_open(number));
	}
	assert_false(is_open(number));
	{
		CLEANUP(close) int fd = open_null();

		kept = steal_fd(&fd);
		assert_int_equal(fd, -1);
	}
	assert_true(is_open(kept));
	close(kept);
}

static int lock_and_return_early(pthread_mutex_t *a, pthread_mutex_t *b, int early)
{
	SCOPED_LOCK(a);
	if (early)
		return pthread_mutex_trylock(a);
	SCOPED_LOCK(b);
	return pthread_mutex_trylock(b);
}

static void test_lock(void **state)
{
	pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;

	(void)state;
	for (int early = 0; early < 2; early++) {
		assert_int_not_equal(lock_and_return_early(&a, &b, early), 0); /* was held */
		assert_int_equal(pthread_mutex_trylock(&a), 0);		       /* is not any more */
		assert_int_equal(pthread_mutex_trylock(&b), 0);
		pthread_mutex_unlock(&a);
		pthread_mutex_unlock(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pointer),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_lock),
	};

	return cmocka_run_group_tests_name("cleanup", tests, NULL, NULL);
}
