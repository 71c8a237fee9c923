/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/workers.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "cli/options.h"
#include "common/cleanup.h"

enum { WORKERS_DEFAULT_MAX = 16 };

struct worker {
	pthread_t thread;
	bool started;
	worker_fn fn;
	void *arg;
	errint_t err;
};

unsigned workers_count(unsigned asked)
{
	cpu_set_t cpus;
	unsigned n = 1;

	assert(asked <= THREADS_MAX);
	if (asked)
		return asked;
	if (!sched_getaffinity(0, sizeof(cpus), &cpus))
		n = (unsigned)CPU_COUNT(&cpus);
	return n < 1 ? 1 : n > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX : n;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	w->err = w->fn(w->arg);
	return NULL;
}

errint_t workers_run(unsigned n, worker_fn fn, void *arg)
{
	CLEANUP(free) struct worker *worker = calloc(n, sizeof(*worker));
	errint_t err = 0;

	assert(n >= 1 && n <= THREADS_MAX);
	if (!worker)
		return fn(arg);
	for (unsigned i = 1; i < n; i++) {
		worker[i] = (struct worker){.fn = fn, .arg = arg};
		worker[i].started =
			!pthread_create(&worker[i].thread, NULL, worker_main, &worker[i]);
	}
	err = fn(arg);
	for (unsigned i = 1; i < n; i++) {
		if (!worker[i].started)
			continue;
		pthread_join(worker[i].thread, NULL);
		if (!err)
			err = worker[i].err;
	}
	return err;
}
