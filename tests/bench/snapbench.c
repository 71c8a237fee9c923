/* SPDX-License-Identifier: MIT */
/*
 * What snapshots cost, by the engine itself; for snapshot.sh.
 *
 *	snapbench IMAGE fill			writes all of the disk, with random bytes
 *	snapbench IMAGE write COUNT DEPTH STEP	4 KiB writes at multiples of STEP, modulo the disk's
 *						size, from DEPTH threads: "OPERATIONS_PER_SECOND"
 *	snapbench IMAGE create ROUNDS		takes snapshots while a thread writes in place, and
 *						prints for each the milliseconds that it took, and
 *						those of the longest write of 4 KiB meanwhile
 *	snapbench IMAGE flush COUNT		4 KiB into fresh clusters, a flush behind each
 *	snapbench IMAGE delete NAME		and frees its space: milliseconds, steps, nodes read
 */
#include "config.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine.h"
#include "image/snapshot.h"

#define BLOCK 4096u
#define CHUNK (1u << 20)

static struct image *im;
static struct engine *engine;

static void must(errint_t err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "snapbench: %s: %s\n", what, strerror(-err));
	exit(1);
}

static double milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void *random_bytes(size_t len)
{
	uint64_t state = 88172645463325252ull, *buf = store_buffer(len);

	for (size_t i = 0; i < len / 8; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		buf[i] = state;
	}
	return buf;
}

static struct engine_thread *thread_new(void)
{
	struct engine_thread *t;

	must(engine_thread_new(engine, &t), "thread");
	return t;
}

static void fill(void)
{
	struct engine_thread *t = thread_new();
	void *buf = random_bytes(CHUNK);

	for (uint64_t off = 0; off < image_size(im); off += CHUNK)
		must(engine_write(t, buf, off, CHUNK, false), "write");
	engine_thread_free(t);
	free(buf);
}

struct writer {
	pthread_t id;
	uint64_t first, every, count, step;
};

static void *write_some(void *arg)
{
	const struct writer *w = arg;
	struct engine_thread *t = thread_new();
	void *buf = random_bytes(BLOCK);

	for (uint64_t i = w->first; i < w->count; i += w->every)
		must(engine_write(t, buf, i * w->step % image_size(im), BLOCK, false), "write");
	engine_thread_free(t);
	free(buf);
	return NULL;
}

static void write_many(uint64_t count, unsigned depth, uint64_t step)
{
	struct writer *w = calloc(depth, sizeof(*w));
	double begin = milliseconds();

	for (unsigned i = 0; i < depth; i++) {
		w[i] = (struct writer){.first = i, .every = depth, .count = count, .step = step};
		pthread_create(&w[i].id, NULL, write_some, &w[i]);
	}
	for (unsigned i = 0; i < depth; i++)
		pthread_join(w[i].id, NULL);
	printf("%.0f\n", (double)count * 1e3 / (milliseconds() - begin));
	free(w);
}

static atomic_bool writing;
static _Atomic double longest;

static void *write_in_place(void *arg)
{
	struct engine_thread *t = thread_new();
	void *buf = random_bytes(BLOCK);

	(void)arg;
	/* The first 16 MiB: a leaf. */
	for (uint64_t i = 0; writing; i++) {
		double begin = milliseconds();

		must(engine_write(t, buf, i * 69632 % (16u << 20), BLOCK, false), "write");
		begin = milliseconds() - begin;
		if (begin > longest)
			longest = begin;
	}
	engine_thread_free(t);
	free(buf);
	return NULL;
}

static void create(unsigned rounds)
{
	pthread_t writer;

	writing = true;
	pthread_create(&writer, NULL, write_in_place, NULL);
	for (unsigned i = 0; i < rounds; i++) {
		const struct timespec pause = {.tv_nsec = 200000000};
		char name[32];

		nanosleep(&pause, NULL);
		snprintf(name, sizeof(name), "bench-%u-%u", i, (unsigned)time(NULL));
		longest = 0;
		double begin = milliseconds();
		must(snapshot_create(im, name, NULL), "create");
		printf("%.2f %.2f\n", milliseconds() - begin, longest);
	}
	writing = false;
	pthread_join(writer, NULL);
}

static void flush(uint64_t count)
{
	struct engine_thread *t = thread_new();
	void *buf = random_bytes(BLOCK);

	for (uint64_t i = 0; i < count; i++) {
		must(engine_write(t, buf, i * 69632 % image_size(im), BLOCK, false), "write");
		must(engine_flush(t), "flush");
	}
	engine_thread_free(t);
	free(buf);
}

static void delete_named(const char *name)
{
	struct image_stats before, after;
	double begin = milliseconds();
	unsigned steps = 0;
	bool more = true;

	image_get_stats(im, &before);
	must(snapshot_delete(im, name), "delete");
	for (; more; steps++)
		must(snapshot_reclaim(im, 1, &more), "reclaim");
	image_get_stats(im, &after);
	printf("%.1f %u %" PRIu64 "\n", milliseconds() - begin, steps,
	       after.node_loads - before.node_loads);
}

int main(int argc, char **argv)
{
	struct store *st;
	const struct image_open_opts opts = {.read_only = false};
	uint64_t n[3] = {0};

	if (argc < 3) {
		fprintf(stderr, "usage: snapbench IMAGE fill|write|create|flush|delete ...\n");
		return 2;
	}
	for (int i = 3; i < argc && i < 6; i++)
		n[i - 3] = strtoull(argv[i], NULL, 10);
	must(store_file_open(argv[1], 0, &st), argv[1]);
	must(image_open(st, &opts, &im), argv[1]);
	must(engine_new(im, NULL, &engine), "engine");
	if (!strcmp(argv[2], "fill"))
		fill();
	else if (!strcmp(argv[2], "write"))
		write_many(n[0], (unsigned)n[1], n[2]);
	else if (!strcmp(argv[2], "create"))
		create((unsigned)n[0]);
	else if (!strcmp(argv[2], "flush"))
		flush(n[0]);
	else
		delete_named(argv[3]);
	engine_free(engine);
	must(image_close(im), "close");
	store_close(st);
	return 0;
}
