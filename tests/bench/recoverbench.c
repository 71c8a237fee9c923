/* SPDX-License-Identifier: MIT */
/*
 * How long a device stands still when the process that serves it is killed, as far as the image is
 * concerned; for recovery.sh.
 *
 *	recoverbench IMAGE DIR ROUNDS SECONDS FLUSH
 *
 * In each round a child goes on with the image, its volatile journal in DIR, and writes 4 KiB into
 * clusters at random, from 8 threads, with a flush behind each FLUSH writes of a thread (0: never)
 *and the upkeep of a bridge each second.  After SECONDS it is killed with SIGKILL.  Prints for each
 * round: milliseconds from the kill to the end of the process, to the image being open, and to the
 * first write and read of 4 KiB being complete; transactions and records replayed; what the child
 * had written.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/lib/rng.h"

#define BLOCK	4096u
#define THREADS 8u
#define DEVICE	0u

static const char *path;
static int dir;
static unsigned flush_every;
static _Atomic uint64_t *written; /* shared with the child */
static struct store *st;
static struct image *im;
static struct engine *engine;

static void must(errint_t err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "recoverbench: %s: %s\n", what, strerror(-err));
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void open_image(bool recover)
{
	const struct vj_recover r = {dir, DEVICE, 0};
	const struct image_open_opts opts = {.recover = recover ? &r : NULL};

	must(store_file_open(path, 0, &st), path);
	must(image_open(st, &opts, &im), path);
	if (!recover)
		must(image_vj_start(im, dir, DEVICE), "volatile journal");
	must(engine_new(im, NULL, &engine), "engine");
}

static void *write_for_ever(void *arg)
{
	struct rng rng = {(uint64_t)(uintptr_t)arg + (uint64_t)getpid()};
	struct engine_thread *t;
	uint8_t *buf = store_buffer(BLOCK);
	uint64_t clusters = image_size(im) >> 16;

	must(engine_thread_new(engine, &t), "thread");
	memset(buf, 'w', BLOCK);
	for (unsigned i = 1;; i++) {
		must(engine_write(t, buf, rng_below(&rng, clusters) << 16, BLOCK, false), "write");
		atomic_fetch_add(written, 1);
		if (flush_every && i % flush_every == 0)
			must(engine_flush(t), "flush");
	}
	return NULL;
}

static void serve(bool recover)
{
	pthread_t thread;

	open_image(recover);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, write_for_ever, (void *)(i << 32)))
			exit(1);
	for (;;) {
		sleep(1);
		must(engine_maintain(engine), "upkeep");
	}
}

/* The first requests that the kernel issues again. */
static void first_io(void)
{
	struct engine_thread *t;
	uint8_t *buf = store_buffer(BLOCK);

	must(engine_thread_new(engine, &t), "thread");
	must(engine_write(t, buf, 0, BLOCK, false), "first write");
	must(engine_read(t, buf, image_size(im) / 2, BLOCK), "first read");
	engine_thread_free(t);
	free(buf);
}

static void round_of(bool recover, unsigned seconds)
{
	struct image_info info;
	int status;

	fflush(stdout);
	atomic_store(written, 0);
	pid_t pid = fork();
	if (pid < 0)
		must(-errno, "fork");
	if (!pid)
		serve(recover);
	while (!atomic_load(written)) {
		usleep(1000);
		if (waitpid(pid, &status, WNOHANG))
			exit(1);
	}
	usleep(seconds * 1000000u);

	double begin = now_ms();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	double dead = now_ms() - begin;
	open_image(true);
	double open = now_ms() - begin;
	first_io();
	double done = now_ms() - begin;
	image_get_info(im, &info);
	printf("%.1f %.1f %.1f %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", dead, open, done,
	       info.replayed, info.recovered, atomic_load(written));
	/* The next child goes on. */
	engine_free(engine);
	image_abandon(im);
	store_close(st);
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: recoverbench IMAGE DIR ROUNDS SECONDS FLUSH\n");
		return 2;
	}
	path = argv[1];
	dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		must(-errno, argv[2]);
	flush_every = (unsigned)strtoul(argv[5], NULL, 10);
	written = mmap(NULL, sizeof(*written), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (written == MAP_FAILED)
		must(-errno, "memory");
	for (unsigned i = 0; i < strtoul(argv[3], NULL, 10); i++)
		round_of(i, (unsigned)strtoul(argv[4], NULL, 10));
	/* In order, at last. */
	open_image(true);
	engine_free(engine);
	must(image_close(im), "close");
	store_close(st);
	return 0;
}
