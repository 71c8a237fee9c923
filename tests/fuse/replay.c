/* SPDX-License-Identifier: MIT */
/*
 * replay FILE PLAIN SEED OPERATIONS THREADS GRAIN: the same random operations on two files, of
 * which PLAIN is an ordinary one: reads, writes, punched holes and zeroed ranges, from several
 * threads.
 *
 * The files are cut into grains of GRAIN bytes, which belong to the threads in turn, so that
 * threads meet in sectors and pages but never in a byte; hence the end result does not depend on
 * their order. Each read is compared at once; the caller compares the files at the end.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/rng.h"

enum { MAX_THREADS = 64 };

struct job {
	const char *path[2];
	uint64_t size, seed, grain;
	unsigned operations, threads;
	unsigned unit; /* operations begin and end at multiples of it */
	bool device;
};

struct thread {
	const struct job *job;
	pthread_t id;
	unsigned number;
	int fd[2];
	int cached, direct; /* of a device: fd[0] in turn */
	char *buf[2];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void both_written(struct thread *t, struct rng *rng, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		t->buf[0][i] = (char)rng_next(rng);
	for (int i = 0; i < 2; i++)
		if (pwrite(t->fd[i], t->buf[0], len, (off_t)off) != (ssize_t)len)
			die(t->job->path[i]);
}

static void both_read(struct thread *t, uint64_t off, size_t len)
{
	for (int i = 0; i < 2; i++)
		if (pread(t->fd[i], t->buf[i], len, (off_t)off) != (ssize_t)len)
			die(t->job->path[i]);
	if (memcmp(t->buf[0], t->buf[1], len) != 0) {
		fprintf(stderr, "%zu bytes at %llu are not the same\n", len,
			(unsigned long long)off);
		exit(1);
	}
}

static void both_zeroed(struct thread *t, int how, uint64_t off, size_t len)
{
	for (int i = 0; i < 2; i++) {
		if (!fallocate(t->fd[i], how | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
			continue;
		if (i == 0 || errno != EOPNOTSUPP)
			die(t->job->path[i]);
		/* An ordinary file that cannot do that. */
		memset(t->buf[1], 0, len);
		if (pwrite(t->fd[1], t->buf[1], len, (off_t)off) != (ssize_t)len)
			die(t->job->path[1]);
	}
}

static void operate(struct thread *t, struct rng *rng)
{
	const struct job *j = t->job;
	uint64_t grains = j->size / j->grain / j->threads;
	uint64_t grain = rng_below(rng, grains) * j->threads + t->number;
	uint64_t skip = rng_below(rng, j->grain / j->unit) * j->unit;
	uint64_t off = grain * j->grain + skip;
	size_t len = (1 + rng_below(rng, (j->grain - skip) / j->unit)) * j->unit;

	if (j->device)
		t->fd[0] = rng_below(rng, 2) ? t->direct : t->cached;

	switch (rng_below(rng, 8)) {
	case 0:
		both_zeroed(t, FALLOC_FL_PUNCH_HOLE, off, len);
		break;
	case 1:
		both_zeroed(t, FALLOC_FL_ZERO_RANGE, off, len);
		break;
	case 2:
	case 3:
		both_read(t, off, len);
		break;
	case 4:
		if (rng_below(rng, 20) == 0 && fsync(t->fd[0]))
			die(j->path[0]);
		break;
	default:
		both_written(t, rng, off, len);
	}
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	struct rng rng = {t->job->seed * 1000 + t->number};

	for (int i = 0; i < 2; i++) {
		t->fd[i] = open(t->job->path[i], O_RDWR);
		if (t->fd[i] < 0 || posix_memalign((void **)&t->buf[i], 4096, t->job->grain))
			die(t->job->path[i]);
	}
	t->cached = t->fd[0];
	t->direct = t->job->device ? open(t->job->path[0], O_RDWR | O_DIRECT) : -1;
	if (t->job->device && t->direct < 0)
		die(t->job->path[0]);
	for (unsigned i = 0; i < t->job->operations; i++)
		operate(t, &rng);
	t->fd[0] = t->cached;
	if (t->direct >= 0 && close(t->direct))
		die(t->job->path[0]);
	for (int i = 0; i < 2; i++) {
		if (close(t->fd[i]))
			die(t->job->path[i]);
		free(t->buf[i]);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct thread thread[MAX_THREADS] = {0};
	struct job job;
	struct stat st;

	if (argc != 7) {
		fprintf(stderr, "usage: replay FILE PLAIN SEED OPERATIONS THREADS GRAIN\n");
		return 2;
	}
	job = (struct job){
		.path = {argv[1], argv[2]},
		.seed = strtoull(argv[3], NULL, 10),
		.operations = (unsigned)strtoul(argv[4], NULL, 10),
		.threads = (unsigned)strtoul(argv[5], NULL, 10),
		.grain = strtoull(argv[6], NULL, 10),
	};
	if (stat(job.path[0], &st))
		die(job.path[0]);
	job.device = S_ISBLK(st.st_mode);
	job.unit = job.device ? 512 : 1;
	if (stat(job.path[1], &st))
		die(job.path[1]);
	job.size = (uint64_t)st.st_size;
	if (job.grain % (job.device ? 4096 : 1) || !job.threads || job.threads > MAX_THREADS ||
	    !job.grain || job.size / job.grain < job.threads) {
		fprintf(stderr, "replay: bad arguments\n");
		return 2;
	}
	for (unsigned i = 0; i < job.threads; i++) {
		thread[i].job = &job;
		thread[i].number = i;
		if (pthread_create(&thread[i].id, NULL, thread_main, &thread[i]))
			die("pthread_create");
	}
	for (unsigned i = 0; i < job.threads; i++)
		pthread_join(thread[i].id, NULL);
	return 0;
}
