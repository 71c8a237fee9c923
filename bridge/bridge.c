/* SPDX-License-Identifier: MIT */
/*
 * The life of a bridge.  What begins later ends earlier: image, engine, workers, device, control
 * socket.  The socket's name goes first of all, though its connections stay to the end, so that the
 * client that asked for the end learns how it went.
 */
#include "config.h"

#include "bridge/bridge.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bridge/awaiting.h"
#include "bridge/bridge_info.h"
#include "bridge/bridge_priv.h"
#include "bridge/process.h"
#include "bridge/runtime_dir.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "engine/engine.h"
#include "engine/pool.h"

/* For the lock on its name, which a process that dies may hold longer than that on its device. */
#define NAME_MS 10000

/* --- for the composition ------------------------------------------------------------------------
 */

struct image *bridge_image(struct bridge *b)
{
	return b->image;
}

struct engine *bridge_engine(struct bridge *b)
{
	return b->engine;
}

struct pool *bridge_pool(struct bridge *b)
{
	return b->pool;
}

const struct bridge_opts *bridge_opts(const struct bridge *b)
{
	return b->opts;
}

struct device *bridge_device(struct bridge *b)
{
	return b->device;
}

errint_t bridge_use_begin(struct bridge *b)
{
	pthread_rwlock_rdlock(&b->use);
	if (!b->closing)
		return 0;
	pthread_rwlock_unlock(&b->use);
	return log_fail(-ESHUTDOWN, "%s is being detached", b->opts->image);
}

void bridge_use_end(struct bridge *b)
{
	pthread_rwlock_unlock(&b->use);
}

bool bridge_is_ending(struct bridge *b)
{
	SCOPED_LOCK(&b->device_lock);
	return b->stopped;
}

errint_t bridge_resize_device(struct bridge *b)
{
	SCOPED_LOCK(&b->device_lock);
	if (b->stopped)
		return log_fail(-ESHUTDOWN, "%s is being detached", b->opts->image);
	return b->device->ops->resize(b->device, image_size(b->image));
}

/* --- maintenance --------------------------------------------------------------------------------
 */

/* Not while it is being stopped. */
static void maintain_device(struct bridge *b)
{
	if (pthread_mutex_trylock(&b->device_lock))
		return;
	if (!b->stopped && b->device && b->device->ops->maintain)
		b->device->ops->maintain(b->device);
	pthread_mutex_unlock(&b->device_lock);
}

/* Commits and checkpoints what has waited long enough, and gives back memory that is not needed,
 * each second.  A failure has been logged, and stops the image's writes by itself. */
static void *run_maintenance(void *arg)
{
	struct bridge *b = arg;
	errint_t before = 0;

	pthread_mutex_lock(&b->lock);
	while (!b->maintenance_ends) {
		const struct timespec until = clock_after_ms(1000);
		errint_t err;

		pthread_cond_timedwait(&b->changed, &b->lock, &until);
		if (b->maintenance_ends)
			break;
		pthread_mutex_unlock(&b->lock);
		err = engine_maintain(b->engine);
		if (err && err != before)
			log_err(err, "%s: what was written cannot be recorded", b->opts->image);
		before = err;
		maintain_device(b);
		pthread_mutex_lock(&b->lock);
	}
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

static errint_t start_maintenance(struct bridge *b)
{
	int error = pthread_create(&b->maintenance, NULL, run_maintenance, b);

	if (error)
		return log_err(-error, "cannot start a thread");
	b->maintained = true;
	return 0;
}

static void stop_maintenance(struct bridge *b)
{
	if (!b->maintained)
		return;
	pthread_mutex_lock(&b->lock);
	b->maintenance_ends = true;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	pthread_join(b->maintenance, NULL);
	b->maintained = false;
}

/* --- the image ----------------------------------------------------------------------------------
 */

static errint_t open_image(struct bridge *b)
{
	struct image_open_opts opts = {.read_only = b->opts->read_only};
	unsigned flags = b->opts->read_only ? STORE_FILE_READ_ONLY : 0;
	errint_t err = store_file_open(b->opts->image, flags, &b->store);

	b->vj_state = (struct vj_state){.dir = b->dir, .device_exists = awaiting_device_exists};
	if (!err)
		err = b->way->open(b, &opts);
	if (!err)
		err = image_open(b->store, &opts, &b->image);
	if (err)
		return err;
	if (fstat(store_file_fd(b->store), &b->file))
		return log_errno("%s: cannot look at the file", b->opts->image);
	const struct engine_opts engine = {.allow_backing = b->opts->allow_backing,
					   .state = &b->vj_state};
	return engine_new(b->image, &engine, &b->engine);
}

/* Everything that was acknowledged reaches the file.  The first error is the result.  @leave: to
 * the next bridge, for which the device's users wait: what can be compressed is for that one. */
static errint_t close_image(struct bridge *b, bool leave)
{
	errint_t err = 0;

	stop_maintenance(b);
	/* Nobody writes any more.  What cannot be made smaller stays as it is. */
	if (!leave && b->engine && engine_repack(b->engine))
		log_warn("%s: not everything could be compressed", b->opts->image);
	pool_free(b->pool);
	b->pool = NULL;
	if (b->engine)
		engine_free(b->engine);
	b->engine = NULL;
	if (b->image)
		err = leave ? image_leave(b->image) : image_close(b->image);
	b->image = NULL;
	/* This process does not see its path any more. */
	if (!err && b->store && fstat(store_file_fd(b->store), &b->file))
		err = log_errno("%s: cannot look at the file", b->opts->image);
	store_close(b->store);
	b->store = NULL;
	return err;
}

/* --- the end ------------------------------------------------------------------------------------
 */

static errint_t stop_device(struct bridge *b, bool force)
{
	errint_t err;

	SCOPED_LOCK(&b->device_lock);
	err = b->device->ops->stop(b->device, force);
	b->stopped = err != -EBUSY || force;
	return err;
}

/* The device does not use the image any more: everything is written to it, and it is closed. */
static errint_t close_all(struct bridge *b, bool leave)
{
	errint_t err = 0;

	pthread_rwlock_wrlock(&b->use);
	b->closing = true;
	pthread_rwlock_unlock(&b->use);
	if (b->parts->end)
		err = b->parts->end(b->parts->arg);
	if (!err && leave)
		err = fault_point("hand_over_drained");
	if (err) {
		b->abandoned = true;
		return err;
	}
	return close_image(b, leave);
}

/*
 * Ends the bridge when nobody uses the device, or with @force.  *ended is false when it goes on
 * because the device is in use; everything else leads to the end.
 */
static errint_t end(struct bridge *b, bool force, bool *ended)
{
	errint_t err = stop_device(b, force);

	*ended = err != -EBUSY || force;
	if (!*ended)
		return err;
	process_notify("STOPPING=1");
	socket_server_close(b->server);
	if (err) {
		/* Queues may still be at work on the image: it is left as after a crash. */
		b->abandoned = true;
		return err;
	}
	err = close_all(b, false);
	if (b->abandoned)
		return err;
	bridge_state_end(b);
	log_info("%s: %s is gone", b->opts->image, b->device->path);
	return err;
}

/*
 * Leaves the device to the bridge that takes it back.  When it cannot be drained, the end of this
 * process is what leaves it, as if it had been killed: the volatile journal has what is not in the
 * image yet, of which as much as possible is written first.  The service manager is not told: this
 * is no stop that was asked for, and it is to start the next bridge.
 */
static errint_t hand_over(struct bridge *b, bool *ended)
{
	bool drained = false;
	errint_t err;

	*ended = b->device->recoverable;
	if (!*ended)
		return log_fail(-ENOTSUP,
				"%s was attached without recovery, so no other bridge can take it "
				"over; detach and attach it",
				b->device->path);
	pthread_mutex_lock(&b->device_lock);
	b->device->ops->hand_over(b->device, &drained);
	b->stopped = true;
	pthread_mutex_unlock(&b->device_lock);
	socket_server_close(b->server);
	if (!drained) {
		b->abandoned = true;
		if (image_flush(b->image))
			log_warn("%s: not everything could be written", b->opts->image);
		log_info("%s: %s waits for another bridge, which replays the volatile journal",
			 b->opts->image, b->device->path);
		return 0;
	}
	err = close_all(b, true);
	if (!err)
		err = bridge_state_closed(b);
	if (!err)
		log_info("%s: %s waits for another bridge", b->opts->image, b->device->path);
	return err;
}

/* Tells whoever asked for the end, and waits, how it went. */
static void answer_stop(struct bridge *b, errint_t result, bool ended)
{
	SCOPED_LOCK(&b->lock);
	b->stop.asked = false;
	b->stop.answered = true;
	b->stop.ended = ended;
	b->stop.result = result;
	snprintf(b->stop.message, sizeof(b->stop.message), "%s", socket_last_error());
	pthread_cond_broadcast(&b->changed);
}

static bool stop_asked(struct bridge *b, enum bridge_stop *how)
{
	SCOPED_LOCK(&b->lock);
	*how = b->stop.how;
	return b->stop.asked;
}

static void drain(int fd)
{
	uint64_t count;

	while (fd >= 0 && read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

/* Waits for something that may be the end.  True: *how is which. */
static bool wait_for_end(struct bridge *b, int signals, enum bridge_stop *how)
{
	struct pollfd p[3] = {
		{.fd = signals, .events = POLLIN},
		{.fd = b->stop_fd, .events = POLLIN},
		{.fd = b->device->gone_fd, .events = POLLIN},
	};
	struct signalfd_siginfo si;

	if (poll(p, 3, -1) < 0)
		return false;
	if (p[1].revents) {
		drain(b->stop_fd);
		if (stop_asked(b, how))
			return true;
	}
	if (p[2].revents) {
		log_warn("%s was taken away by somebody else", b->device->path);
		*how = BRIDGE_DETACH_FORCE;
		return true;
	}
	if (p[0].revents && read(signals, &si, sizeof(si)) == sizeof(si)) {
		log_info("signal %u: %s goes away", si.ssi_signo, b->device->path);
		*how = BRIDGE_DETACH_FORCE;
		return true;
	}
	return false;
}

static errint_t main_loop(struct bridge *b, int signals)
{
	for (;;) {
		enum bridge_stop how;
		bool ended = false;
		errint_t err;

		if (!wait_for_end(b, signals, &how))
			continue;
		socket_log_error("");
		if (how == BRIDGE_HAND_OVER)
			err = hand_over(b, &ended);
		else
			err = end(b, how == BRIDGE_DETACH_FORCE, &ended);
		answer_stop(b, err, ended);
		if (ended && !err && how == BRIDGE_HAND_OVER && b->opts->foreground)
			err = -ERESTART;
		if (ended)
			return err;
	}
}

/* --- the beginning ------------------------------------------------------------------------------
 */

static errint_t make_device(struct bridge *b)
{
	struct device *device = NULL;
	errint_t err = pool_new(b->engine, NULL, &b->pool);

	if (!err)
		err = b->parts->make_device(b->parts->arg, b, &device);
	/* Maintenance looks for it. */
	pthread_mutex_lock(&b->device_lock);
	b->device = device;
	pthread_mutex_unlock(&b->device_lock);
	if (err)
		return err;
	log_info("%s: %s as %s, mode %s%s%s", b->opts->image, b->way->done, b->device->path,
		 mode_name(b->device->choice.mode), b->device->choice.why[0] ? ": " : "",
		 b->device->choice.why);
	return 0;
}

static errint_t start_socket(struct bridge *b)
{
	char name[96];

	b->tables[0] = bridge_methods(b);
	b->tables[1] = b->parts->methods;
	snprintf(name, sizeof(name), "%s.sock", device_name(b->device));
	return socket_server_new(b->dir, name, b->tables, &b->server);
}

static errint_t claim(struct bridge *b)
{
	errint_t err = runtime_dir_open(true, &b->dir);

	b->vj_state = (struct vj_state){.dir = b->dir, .device_exists = awaiting_device_exists};
	if (!err && b->opts->name)
		err = runtime_name_lock(b->dir, b->opts->name, b->opts->takeover ? NAME_MS : 0,
					&b->name_lock);
	if (!err && b->opts->recovery == BRIDGE_RECOVERY_OFF)
		err = bridge_no_recovery(b, false, "--recovery=off");
	return err ? err : b->way->claim(b);
}

static errint_t begin(struct bridge *b)
{
	errint_t err = claim(b);

	if (!err)
		err = open_image(b);
	if (!err)
		err = process_prepare();
	if (!err)
		err = start_maintenance(b);
	if (!err)
		err = make_device(b);
	if (!err)
		err = start_socket(b);
	return err;
}

/* After a beginning that failed. */
static void give_up(struct bridge *b)
{
	if (b->way->device_stays) {
		/* Both are left as this bridge has found them; its end is what leaves the device.
		 */
		b->abandoned = true;
		log_info("%s: %s still awaits recovery", b->opts->image, b->opts->takeover->device);
		return;
	}
	if (b->device && b->device->ops->stop(b->device, true))
		b->abandoned = true;
	if (!b->abandoned && close_image(b, false))
		log_info("%s: not closed cleanly; opening it again will recover it",
			 b->opts->image);
	if (!b->abandoned)
		bridge_state_end(b);
}

static errint_t block_signals(int *fd)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return log_err(-EINVAL, "cannot block signals");
	*fd = signalfd(-1, &set, SFD_CLOEXEC);
	return *fd < 0 ? log_errno("cannot wait for signals") : 0;
}

static errint_t init(struct bridge *b, const struct bridge_opts *opts,
		     const struct bridge_parts *parts)
{
	pthread_condattr_t attr;

	*b = (struct bridge){
		.opts = opts, .parts = parts, .dir = -1, .name_lock = -1, .state_lock = -1};
	b->way = opts->takeover ? &bridge_way_take_back : &bridge_way_attach;
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->device_lock, NULL);
	pthread_rwlock_init(&b->use, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->changed, &attr);
	pthread_condattr_destroy(&attr);
	clock_gettime(CLOCK_REALTIME, &b->since);
	if (opts->takeover)
		b->since = (struct timespec){.tv_sec = opts->takeover->since};
	b->stop_fd = eventfd(0, EFD_CLOEXEC);
	return b->stop_fd < 0 ? log_errno("cannot make an event descriptor") : 0;
}

/* Waits for clients; after that nobody refers to @b. */
static void release(struct bridge *b)
{
	socket_server_free(b->server);
	if (b->opts->name && b->dir >= 0)
		runtime_name_unlock(b->dir, b->opts->name, &b->name_lock);
	if (b->device && !b->abandoned)
		b->device->ops->free(b->device);
	if (b->state_lock >= 0)
		close(b->state_lock);
	if (b->dir >= 0)
		close(b->dir);
	if (b->stop_fd >= 0)
		close(b->stop_fd);
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->lock);
	pthread_mutex_destroy(&b->device_lock);
	pthread_rwlock_destroy(&b->use);
}

errint_t bridge_run(const struct bridge_opts *opts, const struct bridge_parts *parts)
{
	CLEANUP(close) int signals = -1;
	struct bridge *b = malloc(sizeof(*b));
	errint_t err;

	if (!b)
		return log_err(-ENOMEM, "cannot start");
	err = init(b, opts, parts);
	if (!err)
		err = block_signals(&signals);
	if (!err)
		err = begin(b);
	if (err) {
		give_up(b);
	} else {
		parts->ready(parts->ready_arg, b->device->path);
		process_notify("READY=1");
		err = main_loop(b, signals);
	}
	if (b->abandoned) {
		/* Threads that cannot be ended still use it; the process ends with them.  Who asked
		 * to have the device left has an answer first. */
		if (b->stop.how == BRIDGE_HAND_OVER)
			socket_server_free(b->server);
		return err;
	}
	release(b);
	free(b);
	return err;
}
