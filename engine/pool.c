/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#define MAX_THREADS 64u

struct crew {
	struct pool *pool;
	pthread_cond_t more;
	struct work *first, **last;
	unsigned waiting; /* work in the list */
	unsigned idle;	  /* threads that wait for some */
	unsigned threads, max;
	pthread_t thread[MAX_THREADS];
	/* Made before its thread, which cannot fail after that. */
	struct engine_thread *memory[MAX_THREADS];
};

struct pool {
	struct engine *e;
	struct pool_opts opts;
	cpu_set_t cpus;	      /* of whoever made the pool; a queue's thread may have fewer */
	pthread_mutex_t lock; /* the crews */
	bool ending;
	struct crew crew[POOL_KINDS];
};

struct first_steps {
	struct crew *crew;
	struct engine_thread *memory;
};

/* The next work, or NULL at the end.  Lock held, dropped while waiting. */
static struct work *take(struct crew *c)
{
	while (!c->first) {
		if (c->pool->ending)
			return NULL;
		c->idle++;
		pthread_cond_wait(&c->more, &c->pool->lock);
		c->idle--;
	}
	struct work *w = c->first;

	c->first = w->next;
	if (!c->first)
		c->last = &c->first;
	c->waiting--;
	return w;
}

static void *work_on(void *arg)
{
	struct first_steps s = *(struct first_steps *)arg;
	struct pool *p = s.crew->pool;
	struct work *w;

	free(arg);
	sched_setaffinity(0, sizeof(p->cpus), &p->cpus);
	if (p->opts.start)
		p->opts.start(p->opts.arg);
	pthread_mutex_lock(&p->lock);
	while ((w = take(s.crew))) {
		pthread_mutex_unlock(&p->lock);
		w->run(w, s.memory);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are for the threads that asked for them. */
static int create_quiet(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

/* One more thread.  Lock held. */
static errint_t grow(struct crew *c)
{
	struct first_steps *s = malloc(sizeof(*s));
	struct engine_thread **memory = &c->memory[c->threads];
	errint_t err;

	if (!s)
		return log_err(-ENOMEM, "cannot start a worker thread");
	err = *memory ? 0 : engine_thread_new(c->pool->e, memory);
	if (!err) {
		*s = (struct first_steps){c, *memory};
		err = -create_quiet(&c->thread[c->threads], work_on, s);
		if (err)
			log_err(err, "cannot start a worker thread");
	}
	if (err) {
		free(s);
		return err;
	}
	c->threads++;
	return 0;
}

static unsigned threads_of(const struct pool_opts *opts, enum pool_kind kind)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = opts->threads[kind];

	if (!n) /* reading waits for the disk, committing for its cache */
		n = (unsigned)(cpus > 0 ? cpus : 1) + 4;
	return n < MAX_THREADS ? n : MAX_THREADS;
}

errint_t pool_new(struct engine *e, const struct pool_opts *opts, struct pool **out)
{
	struct pool *p = calloc(1, sizeof(*p));
	errint_t err = 0;

	if (!p)
		return log_err(-ENOMEM, "cannot start worker threads");
	p->e = e;
	if (opts)
		p->opts = *opts;
	if (sched_getaffinity(0, sizeof(p->cpus), &p->cpus))
		CPU_ZERO(&p->cpus); /* setting it is refused then, and changes nothing */
	pthread_mutex_init(&p->lock, NULL);
	for (unsigned k = 0; k < POOL_KINDS; k++) {
		struct crew *c = &p->crew[k];

		c->pool = p;
		c->last = &c->first;
		c->max = threads_of(&p->opts, k);
		pthread_cond_init(&c->more, NULL);
	}
	pthread_mutex_lock(&p->lock);
	for (unsigned k = 0; k < POOL_KINDS && !err; k++)
		err = grow(&p->crew[k]);
	pthread_mutex_unlock(&p->lock);
	if (err) {
		pool_free(p);
		return err;
	}
	*out = p;
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	for (unsigned k = 0; k < POOL_KINDS; k++)
		pthread_cond_broadcast(&p->crew[k].more);
	pthread_mutex_unlock(&p->lock);
	for (unsigned k = 0; k < POOL_KINDS; k++) {
		struct crew *c = &p->crew[k];

		for (unsigned i = 0; i < c->threads; i++)
			pthread_join(c->thread[i], NULL);
		assert(!c->first);
		for (unsigned i = 0; i < MAX_THREADS; i++)
			engine_thread_free(c->memory[i]);
		pthread_cond_destroy(&c->more);
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pool_run(struct pool *p, enum pool_kind kind, struct work *w)
{
	struct crew *c = &p->crew[kind];

	SCOPED_LOCK(&p->lock);
	assert(!p->ending);
	w->next = NULL;
	*c->last = w;
	c->last = &w->next;
	c->waiting++;
	/* Without a further thread those that are there do it, later. */
	if (c->waiting > c->idle && c->threads < c->max && grow(c))
		c->max = c->threads;
	pthread_cond_signal(&c->more);
}
