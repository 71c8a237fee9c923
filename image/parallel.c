/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "image/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

struct parallel {
	errint_t (*fn)(void *arg, unsigned worker, uint64_t i);
	void *arg;
	uint64_t n;
	_Atomic uint64_t next;
	_Atomic unsigned workers;
	_Atomic errint_t err; /* the last one */
};

static void *parallel_worker(void *arg)
{
	struct parallel *p = arg;
	unsigned worker = atomic_fetch_add(&p->workers, 1);

	while (!atomic_load(&p->err)) {
		uint64_t i = atomic_fetch_add(&p->next, 1);

		if (i >= p->n)
			break;
		errint_t err = p->fn(p->arg, worker, i);
		if (err)
			atomic_store(&p->err, err);
	}
	return NULL;
}

errint_t parallel_for(unsigned threads, uint64_t n, void *arg,
		      errint_t (*fn)(void *arg, unsigned worker, uint64_t i))
{
	struct parallel p = {.fn = fn, .arg = arg, .n = n};
	pthread_t thread[PARALLEL_MAX];
	unsigned nthreads = 0;

	/* To start a thread costs about as much as a few calls. */
	while (nthreads + 1 < threads && nthreads < PARALLEL_MAX && 8ull * (nthreads + 1) < n &&
	       !pthread_create(&thread[nthreads], NULL, parallel_worker, &p))
		nthreads++;
	parallel_worker(&p);
	while (nthreads)
		pthread_join(thread[--nthreads], NULL);
	return p.err;
}
