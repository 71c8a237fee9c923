/* SPDX-License-Identifier: MIT */
/*
 * Threads that serve a mounted view.
 *
 * Each waits in read() for a request and answers it before it reads again.  The kernel tells an
 * unmount by an error of read(); our own end interrupts read() by a signal, again and again until
 * the thread has seen it.  So does session_maintain(), once, to have memory given back: a thread
 * that is not in read() then is not idle.
 */
#include "config.h"

#include "fuse/session.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/room.h"
#include "fuse/ops.h"
#include "image/store.h"

/* Bytes in front of a write's data: with the buffer placed so, the data begins at a unit, and goes
 * from there to the file without a copy. */
enum { WRITE_HEADER = 80 };

/* More than libfuse asks read() for; pages that no request reaches are never touched. */
#define REQUEST_ROOM (4u << 20)

/* Seconds to end a session that did not come up. */
enum { START_TIMEOUT = 10 };

/* Calls of session_maintain() without a request, before memory is given back. */
enum { IDLE_CALLS = 10 };

/* Interrupts read(), and does nothing else. */
enum { WAKE_SIGNAL = SIGUSR2, WAKE_INTERVAL_MS = 10 };

struct worker {
	struct session *s;
	pthread_t thread;
	bool started;
	struct view_thread *vt;
	char *room;	     /* for one request */
	atomic_ulong served; /* requests; written by the thread alone */
	atomic_bool shrink;  /* it is to give back memory */
};

struct session {
	struct ops_context context; /* constant, as is all that follows but for running */
	struct fuse_session *se;
	char *dir; /* where it is mounted, if the session did that; or NULL */
	bool mounted;
	int ended; /* eventfd */
	unsigned nworkers;
	struct worker *worker;
	atomic_uint running;  /* workers that have not seen the end */
	atomic_bool stop;     /* they are to end */
	unsigned long served; /* at the last session_maintain() */
	unsigned idle_calls;  /* of it, in a row */
};

/* ---- serving ----------------------------------------------------------------------------- */

static void shrink(struct worker *w)
{
	room_empty(w->room, REQUEST_ROOM);
	view_thread_shrink(w->vt);
}

static void serve(struct worker *w)
{
	struct fuse_buf buf = {.mem = w->room + UNIT_SIZE - WRITE_HEADER};
	struct fuse_session *se = w->s->se;
	int n;

	while (!fuse_session_exited(se) && !w->s->stop) {
		n = fuse_session_receive_buf(se, &buf);
		if (n == -EINTR && atomic_exchange(&w->shrink, false))
			shrink(w);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		atomic_store_explicit(&w->served, w->served + 1, memory_order_relaxed);
		fuse_session_process_buf(se, &buf);
	}
}

static void wake_handler(int sig)
{
	(void)sig;
}

/* Without SA_RESTART: read() is to fail. */
static void install_wake_handler(void)
{
	struct sigaction act = {.sa_handler = wake_handler};

	sigfillset(&act.sa_mask);
	sigaction(WAKE_SIGNAL, &act, NULL);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	sigset_t wake;

	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	pthread_setspecific(w->s->context.thread, w->vt);
	serve(w);
	if (atomic_fetch_sub(&w->s->running, 1) == 1)
		eventfd_write(w->s->ended, 1);
	return NULL;
}

static errint_t start_worker(struct session *s, struct worker *w)
{
	sigset_t all, before;
	errint_t err = view_thread_new(s->context.view, &w->vt);

	if (err)
		return err;
	w->s = s;
	w->room = room_new(REQUEST_ROOM);
	if (!w->room)
		return log_err(-ENOMEM, "cannot serve the mounted view");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = fault_point("view_thread");
	if (!err)
		err = -pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return log_err(err, "cannot start a thread for the mounted view");
	w->started = true;
	return 0;
}

/* ---- end --------------------------------------------------------------------------------- */

/*
 * Wait for @w to end, until @ms milliseconds from now.  A signal that comes just before read() is
 * lost, so it is sent until it has done its work.
 */
static bool join_worker(struct worker *w, unsigned ms)
{
	for (unsigned waited = 0; waited <= ms; waited += WAKE_INTERVAL_MS) {
		struct timespec until = clock_after_ms(WAKE_INTERVAL_MS);

		pthread_kill(w->thread, WAKE_SIGNAL);
		if (!pthread_clockjoin_np(w->thread, NULL, CLOCK_MONOTONIC, &until)) {
			w->started = false;
			return true;
		}
	}
	return false;
}

/* Wait for all workers, @timeout seconds for each. */
static errint_t join_workers(struct session *s, unsigned timeout)
{
	s->stop = true;
	for (unsigned i = 0; i < s->nworkers; i++)
		if (s->worker[i].started && !join_worker(&s->worker[i], timeout * 1000))
			return log_fail(-ETIMEDOUT,
					"a request to the mounted view is still under way after %u "
					"seconds",
					timeout);
	return 0;
}

static void session_free(struct session *s)
{
	for (unsigned i = 0; i < s->nworkers; i++) {
		view_thread_free(s->worker[i].vt);
		room_free(s->worker[i].room, REQUEST_ROOM);
	}
	free(s->worker);
	if (s->ended >= 0)
		close(s->ended);
	pthread_key_delete(s->context.thread);
	free(s->dir);
	free(s);
}

static errint_t end_session(struct session *s, unsigned timeout, bool unmount)
{
	errint_t err = join_workers(s, timeout);

	if (err)
		return err;
	/* The descriptor goes first: with it the kernel gives up what it still wants to ask. */
	if (s->se)
		fuse_session_destroy(s->se);
	if (unmount)
		err = session_unmount(s->dir, true);
	session_free(s);
	return err;
}

errint_t session_stop(struct session *s, unsigned timeout)
{
	/* Unless the kernel has told that somebody else has unmounted it; what is mounted there by
	 * now is not ours. */
	return end_session(s, timeout, s->dir && !fuse_session_exited(s->se));
}

/* ---- start ------------------------------------------------------------------------------- */

/* Some wait for the disk while others compute.  More than that cost more than they gain: the kernel
 * wakes another one for each request. */
static unsigned default_threads(void)
{
	long n = 2 * sysconf(_SC_NPROCESSORS_ONLN);

	return n < 4 ? 4 : n > 16 ? 16 : (unsigned)n;
}

static errint_t new_session(const struct session_opts *opts, struct session **out)
{
	CLEANUP(free) struct session *s = calloc(1, sizeof(*s));
	errint_t err;

	if (!s)
		return log_err(-ENOMEM, "cannot serve the mounted view");
	s->context.view = opts->view;
	s->nworkers = opts->threads ? opts->threads : default_threads();
	assert(s->nworkers <= SESSION_MAX_THREADS);
	err = -pthread_key_create(&s->context.thread, NULL);
	if (err)
		return log_err(err, "cannot serve the mounted view");
	s->ended = eventfd(0, EFD_CLOEXEC);
	s->worker = calloc(s->nworkers, sizeof(*s->worker));
	s->dir = opts->dir ? strdup(opts->dir) : NULL;
	if (s->ended < 0 || !s->worker || (opts->dir && !s->dir)) {
		err = log_err(-ENOMEM, "cannot serve the mounted view");
		session_free(steal_pointer(&s));
		return err;
	}
	*out = steal_pointer(&s);
	return 0;
}

/* libfuse takes @fd, in any case. */
static errint_t attach_fuse(struct session *s, int fd)
{
	char program[] = "ublk-img", option[] = "-o", max_read[32], path[32];
	char *argv[] = {program, option, max_read, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	snprintf(max_read, sizeof(max_read), "max_read=%u", VIEW_MAX_IO);
	s->se = fuse_session_new(&args, &view_ops, sizeof(view_ops), &s->context);
	fuse_opt_free_args(&args);
	if (!s->se) {
		close(fd);
		return log_fail(-EIO, "libfuse refuses to serve the mounted view");
	}
	snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	if (fuse_session_mount(s->se, path)) {
		close(fd); /* the rest is freed with the session */
		return log_fail(-EIO, "libfuse refuses to serve the mounted view");
	}
	return 0;
}

static errint_t start_workers(struct session *s)
{
	install_wake_handler();
	s->running = s->nworkers;
	for (unsigned i = 0; i < s->nworkers; i++) {
		errint_t err = start_worker(s, &s->worker[i]);

		if (err)
			return err;
	}
	return 0;
}

static errint_t await_answer(const struct session *s)
{
	struct stat st;

	if (s->dir && stat(s->dir, &st))
		return log_errno("%s: the mounted view does not answer", s->dir);
	return 0;
}

static errint_t begin(struct session *s, const struct session_opts *opts)
{
	CLEANUP(close) int fd = opts->dir ? -1 : opts->fd;
	errint_t err = opts->dir ? session_mount(opts, &fd) : 0;

	if (err)
		return err;
	s->mounted = opts->dir != NULL;
	err = attach_fuse(s, steal_fd(&fd));
	if (!err)
		err = start_workers(s);
	return err ? err : await_answer(s);
}

errint_t session_start(const struct session_opts *opts, struct session **out)
{
	struct session *s = NULL;
	errint_t err = new_session(opts, &s);

	if (err) {
		if (!opts->dir)
			close(opts->fd);
		return err;
	}
	err = begin(s, opts);
	if (!err)
		*out = s;
	else if (end_session(s, START_TIMEOUT, s->mounted))
		log_warn("the mounted view could not be taken down again");
	return err;
}

void session_maintain(struct session *s)
{
	unsigned long served = 0;

	for (unsigned i = 0; i < s->nworkers; i++)
		served += atomic_load_explicit(&s->worker[i].served, memory_order_relaxed);
	if (served != s->served)
		s->idle_calls = 0;
	s->served = served;
	if (++s->idle_calls != IDLE_CALLS)
		return;
	for (unsigned i = 0; i < s->nworkers; i++) {
		atomic_store(&s->worker[i].shrink, true);
		pthread_kill(s->worker[i].thread, WAKE_SIGNAL);
	}
}

int session_ended_fd(const struct session *s)
{
	return s->ended;
}
