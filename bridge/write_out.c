/* SPDX-License-Identifier: MIT */
/*
 * The thread that writes may be in the kernel for as long as the device does not answer.  It has
 * what it needs to itself: whoever of the two is the last frees it.
 */
#include "config.h"

#include "bridge/write_out.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bridge/block_devices.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

struct work {
	struct block_devices devices;
	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t changed;
	bool done, left;
};

static void free_work(struct work *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* What is above writes to what is below, so that comes last. */
static void *run(void *arg)
{
	struct work *w = arg;
	bool last;

	for (unsigned i = w->devices.count; i-- > 0;) {
		char path[sizeof(w->devices.at[i].name) + sizeof("/dev/")];
		CLEANUP(close) int fd = -1;

		snprintf(path, sizeof(path), "/dev/%s", w->devices.at[i].name);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0 && ioctl(fd, BLKFLSBUF, 0))
			log_errno("%s: cannot write out what is cached", path);
	}
	pthread_mutex_lock(&w->lock);
	w->done = true;
	last = w->left;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	if (last)
		free_work(w);
	return NULL;
}

static struct work *new_work(const char *name)
{
	struct work *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;

	if (!w)
		return NULL;
	block_devices_find(&w->devices, "/sys", name, true);
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &attr);
	pthread_condattr_destroy(&attr);
	return w;
}

static bool start(struct work *w)
{
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attr, run, w);
	pthread_attr_destroy(&attr);
	return !error;
}

void write_out(const char *path, unsigned seconds)
{
	struct work *w;
	struct timespec until;
	bool done;

	assert(!strncmp(path, "/dev/", 5));
	w = new_work(path + 5);
	if (!w || !start(w)) {
		log_warn("%s: what is cached for it cannot be written out", path);
		if (w)
			free_work(w);
		return;
	}
	until = clock_after_ms(seconds * 1000ull);
	pthread_mutex_lock(&w->lock);
	while (!w->done && pthread_cond_timedwait(&w->changed, &w->lock, &until) != ETIMEDOUT)
		;
	done = w->done;
	w->left = true;
	pthread_mutex_unlock(&w->lock);
	if (done)
		free_work(w);
	else
		log_warn("%s: what is cached for it is not written out after %u s, and is lost",
			 path, seconds);
}
