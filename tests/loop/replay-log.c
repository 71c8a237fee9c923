/* SPDX-License-Identifier: MIT */
/*
 * What a file may hold after a power cut, by the log of what was done to it
 *(tests/lib/log_store.h):
 *
 *	replay-log LOG list			moments at which a sync had just ended, and for each
 *						the highest mark before it: "MOMENT MARK" lines
 *	replay-log LOG make FILE MOMENT SEED	FILE, as it was when the log began, becomes what it
 *may have been at that moment
 *	replay-log LOG make-without-syncs ...	the same on a disk whose syncs do nothing
 *	replay-log LOG make-without-last ...	the same, if the last sync had been forgotten
 *
 * At a moment everything is there that ended before a sync began which has ended, and what was
 * written durably.  Of the rest, what began before the moment, each sector is there or not, as SEED
 * has it.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/format.h"
#include "tests/lib/log_store.h"
#include "tests/lib/rng.h"

struct log {
	const uint8_t *bytes;
	size_t len;
};

struct cut {
	uint64_t moment, synced; /* what ended before that is there */
	struct rng rng;
	int fd;
	uint64_t kept, lost; /* sectors, of those that might be either */
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static struct log open_log(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *p;

	if (fd < 0 || fstat(fd, &st))
		die(path);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die(path);
	close(fd);
	return (struct log){p, (size_t)st.st_size};
}

/* The record at *@at, and its bytes; *at becomes the place of the next.  False at the end. */
static bool next(const struct log *l, size_t *at, struct log_record *r, const uint8_t **data)
{
	if (*at + sizeof(*r) > l->len)
		return false;
	memcpy(r, l->bytes + *at, sizeof(*r));
	*at += sizeof(*r);
	*data = l->bytes + *at;
	if (r->type == LOG_WRITE)
		*at += r->len;
	return *at <= l->len;
}

static void list(const struct log *l)
{
	struct log_record r;
	const uint8_t *data;
	uint64_t mark = 0;

	for (size_t at = 0; next(l, &at, &r, &data);) {
		if (r.type == LOG_MARK)
			mark = r.off;
		if (r.type == LOG_SYNC || (r.type == LOG_WRITE && r.durable))
			printf("%" PRIu64 " %" PRIu64 "\n", r.end, mark);
	}
}

/* When the last sync began that has ended, and the one before that. */
static void find_syncs(const struct log *l, uint64_t moment, uint64_t *last, uint64_t *before)
{
	struct log_record r;
	const uint8_t *data;

	*last = *before = 0;
	for (size_t at = 0; next(l, &at, &r, &data) && r.end <= moment;) {
		if (r.type != LOG_SYNC || r.begin <= *last)
			continue;
		*before = *last;
		*last = r.begin;
	}
}

static bool is_there(const struct cut *c, const struct log_record *r)
{
	return r->end < c->synced || (r->durable && r->end <= c->moment);
}

static void put(const struct cut *c, const uint8_t *data, uint64_t len, uint64_t off)
{
	if (data && pwrite(c->fd, data, len, (off_t)off) != (ssize_t)len)
		die("writing");
	if (!data &&
	    fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		die("punching");
}

/* Three kinds of luck: all of it, none of it, or some of its sectors. */
static void put_perhaps(struct cut *c, const uint8_t *data, uint64_t len, uint64_t off)
{
	unsigned luck = (unsigned)rng_below(&c->rng, 3);

	for (uint64_t at = 0; at < len; at += SECTOR_SIZE) {
		if (luck == 0 || (luck == 1 && rng_below(&c->rng, 2))) {
			c->lost++;
			continue;
		}
		c->kept++;
		put(c, data ? data + at : NULL, SECTOR_SIZE, off + at);
	}
}

static void set_length(struct cut *c, const struct log_record *r, bool there)
{
	struct stat st;

	if (!there && rng_below(&c->rng, 2))
		return;
	if (fstat(c->fd, &st))
		die("looking at the file");
	if ((r->type == LOG_LENGTH || (uint64_t)st.st_size < r->off) &&
	    ftruncate(c->fd, (off_t)r->off))
		die("changing the length");
}

static void apply(struct cut *c, const struct log_record *r, const uint8_t *data)
{
	bool there = is_there(c, r);

	switch (r->type) {
	case LOG_WRITE:
	case LOG_PUNCH:
		if (r->type == LOG_PUNCH)
			data = NULL;
		if (there)
			put(c, data, r->len, r->off);
		else
			put_perhaps(c, data, r->len, r->off);
		break;
	case LOG_LENGTH:
	case LOG_GROW:
		set_length(c, r, there);
		break;
	default:
		break;
	}
}

static void make(const struct log *l, struct cut *c)
{
	struct log_record r;
	const uint8_t *data;

	for (size_t at = 0; next(l, &at, &r, &data);)
		if (r.begin < c->moment)
			apply(c, &r, data);
	printf("%" PRIu64 " sectors kept, %" PRIu64 " lost\n", c->kept, c->lost);
}

int main(int argc, char **argv)
{
	struct cut c = {.moment = 0};
	uint64_t last, before;
	struct log l;

	if (argc < 3)
		return 2;
	l = open_log(argv[1]);
	if (argc == 3 && !strcmp(argv[2], "list")) {
		list(&l);
		return 0;
	}
	if (argc != 6)
		return 2;
	c.moment = strtoull(argv[4], NULL, 10);
	c.rng.state = strtoull(argv[5], NULL, 10);
	find_syncs(&l, c.moment, &last, &before);
	if (!strcmp(argv[2], "make"))
		c.synced = last;
	else if (!strcmp(argv[2], "make-without-last"))
		c.synced = before;
	else if (strcmp(argv[2], "make-without-syncs"))
		return 2;
	c.fd = open(argv[3], O_RDWR | O_CLOEXEC);
	if (c.fd < 0)
		die(argv[3]);
	make(&l, &c);
	return close(c.fd) ? 2 : 0;
}
