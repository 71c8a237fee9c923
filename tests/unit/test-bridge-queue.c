/* SPDX-License-Identifier: MIT */
/* Queues of a bridge whose beginning fails, on a file that is no /dev/ublkcN: either all of them
 * fetch, or none does. */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/queue.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "tests/lib/queue_bench.h"

#define QUEUES 5u

static char said[2048];

/* From any thread. */
static void keep(void *arg, enum log_level level, const char *message)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	SCOPED_LOCK(&lock);
	size_t n = strlen(said);

	(void)arg, (void)level;
	snprintf(said + n, sizeof(said) - n, "%s\n", message);
}

static unsigned count(const char *what)
{
	unsigned n = 0;

	for (const char *at = said; (at = strstr(at, what)); at++)
		n++;
	return n;
}

/* Each with that file; -1: the bench's. */
static errint_t start(struct bench *b, const int *fds)
{
	struct bridge_queue *q[QUEUES];
	errint_t err;

	said[0] = '\0';
	for (unsigned i = 0; i < QUEUES; i++) {
		struct queue_config cfg = {
			.id = i,
			.depth = 4,
			.char_fd = fds[i] < 0 ? b->fd : fds[i],
			.engine = b->e,
			.pool = b->pool,
			.mode = BRIDGE_USER_COPY,
			.max_bytes = MAX_BYTES,
		};

		assert_int_equal(bridge_queue_new(&cfg, &q[i]), 0);
	}
	log_set_sink(keep, NULL);
	err = bridge_queues_start(q, QUEUES, -1);
	log_set_sink(NULL, NULL);
	for (unsigned i = 0; i < QUEUES; i++)
		bridge_queue_free(q[i]); /* asserts that there is no thread */
	return err;
}

static void test_fetches_fail(void **state)
{
	static const int fds[QUEUES] = {-1, -1, -1, -1, -1};
	struct bench *b = bench_begin(FILE_BYTES, false, ALONE, 1);

	(void)state;
	assert_int_equal(start(b, fds), -EOPNOTSUPP);
	assert_int_equal(count("cannot fetch requests of queue"), QUEUES * 4);
	bench_end(b);
}

static void test_one_is_not_ready(void **state)
{
	struct bench *b = bench_begin(FILE_BYTES, false, ALONE, 1);

	(void)state;
	for (unsigned i = 0; i < QUEUES; i++) {
		int fds[QUEUES] = {-1, -1, -1, -1, -1};

		fds[i] = 1 << 20; /* no descriptor */
		assert_int_equal(start(b, fds), -EBADF);
		assert_int_equal(count("cannot register files"), 1);
		assert_int_equal(count("cannot fetch requests"), 0);
	}
	bench_end(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fetches_fail),
		cmocka_unit_test(test_one_is_not_ready),
	};

	return cmocka_run_group_tests_name("bridge-queue", tests, NULL, NULL);
}
