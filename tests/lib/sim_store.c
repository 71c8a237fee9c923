/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/sim_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/sim_pages.h"
#include "tests/lib/sim_sched.h"

bool sim_trace;

static const char *const io_names[SIM_IOS] = {
	[SIM_READ] = "read", [SIM_WRITE] = "write", [SIM_DSYNC] = "dsync",
	[SIM_SYNC] = "sync", [SIM_PUNCH] = "punch", [SIM_TRUNCATE] = "truncate",
};

static struct sim_store *sim_of(struct store *st)
{
	return (struct sim_store *)st;
}

/* Most operations are over soon; some are overtaken by a lot. */
static void take_time(const char *what)
{
	static const uint8_t times[] = {1, 1, 1, 1, 1, 2, 3, 5, 12, 30};
	unsigned n;

	if (!sim_in_task())
		return;
	n = times[rng_below(sim_rng(), sizeof(times))];
	while (n--)
		sim_yield(what);
}

/* Counts the operation; whether it is the one that has to fail. */
static bool fails(struct sim_store *s, enum sim_io io, uint64_t off)
{
	s->count[io]++;
	if (++s->ios == s->fail_at) {
		s->failed = true;
		s->failed_io = io;
		s->failed_off = off;
		return true;
	}
	return s->failed && s->fail_on && io == s->failed_io;
}

static void tell(struct sim_store *s, enum sim_io io, uint64_t off, size_t len, bool completed)
{
	if (sim_trace)
		printf("  %p %s %s %#" PRIx64 " %#zx\n", (void *)s->disk,
		       completed ? "done " : "issue", io_names[io], off, len);
	if (s->event)
		s->event(s->event_arg, io, off, len, completed);
}

static void tell_failed(const struct sim_store *s, enum sim_io io, uint64_t off, size_t len)
{
	if (sim_trace)
		printf("  %p FAIL  %s %#" PRIx64 " %#zx\n", (void *)s->disk, io_names[io], off,
		       len);
}

/* A read sees the disk at any time between its issue and its completion. */
static errint_t sim_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	struct sim_store *s = sim_of(st);
	bool fail = fails(s, SIM_READ, off);

	sim_yield("read");
	sim_disk_read(s->disk, buf, len, off);
	take_time("read");
	if (fail) {
		tell_failed(s, SIM_READ, off, len);
		return -EIO; /* reading does not need space */
	}
	if (sim_in_task() && rng_chance(sim_rng(), 70)) {
		/* The later part of it, or all, as it is now. */
		size_t skip =
			rng_chance(sim_rng(), 70)
				? 0
				: rng_below(sim_rng(), len / SIM_SECTOR_SIZE) * SIM_SECTOR_SIZE;

		sim_disk_read(s->disk, (char *)buf + skip, len - skip, off + skip);
	}
	return 0;
}

static errint_t sim_write(struct store *st, const void *buf, size_t len, uint64_t off, bool dsync)
{
	struct sim_store *s = sim_of(st);
	enum sim_io io = dsync ? SIM_DSYNC : SIM_WRITE;
	const char *what = dsync ? "dsync" : "write";
	sim_op op;

	if (s->max_length && off + len > s->max_length)
		return -ENOSPC;
	bool fail = fails(s, io, off);
	tell(s, io, off, len, false);
	sim_yield(what);
	op = sim_disk_issue_write(s->disk, buf, len, off);
	take_time(what);
	if (fail) {
		sim_disk_fail(s->disk, op, &s->fail_rng);
		/* Lost data is reported once, to whoever asks first. */
		if (dsync && s->fail_err != -ENOSPC)
			sim_disk_lose(s->disk, &s->fail_rng);
		tell_failed(s, io, off, len);
		sim_yield(what);
		return s->fail_err;
	}
	if (dsync)
		sim_disk_complete_dsync(s->disk, op);
	else
		sim_disk_complete(s->disk, op);
	tell(s, io, off, len, true);
	sim_yield(what);
	return 0;
}

static errint_t sim_datasync(struct store *st)
{
	struct sim_store *s = sim_of(st);
	bool fail = fails(s, SIM_SYNC, 0);
	sim_op op;

	tell(s, SIM_SYNC, 0, 0, false);
	sim_yield("sync");
	op = sim_disk_issue_sync(s->disk);
	take_time("sync");
	if (fail) {
		sim_disk_fail_sync(s->disk, op, &s->fail_rng);
		tell_failed(s, SIM_SYNC, 0, 0);
		return s->fail_err;
	}
	sim_disk_complete(s->disk, op);
	tell(s, SIM_SYNC, 0, 0, true);
	sim_yield("sync");
	return 0;
}

static errint_t sim_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct sim_store *s = sim_of(st);
	sim_op op;

	if (s->no_punch)
		return -EOPNOTSUPP;
	bool fail = fails(s, SIM_PUNCH, off);
	tell(s, SIM_PUNCH, off, len, false);
	sim_yield("punch");
	op = sim_disk_issue_punch(s->disk, off, len);
	take_time("punch");
	if (fail) {
		sim_disk_fail(s->disk, op, &s->fail_rng);
		tell_failed(s, SIM_PUNCH, off, len);
		return s->fail_err;
	}
	sim_disk_complete(s->disk, op);
	tell(s, SIM_PUNCH, off, len, true);
	sim_yield("punch");
	return 0;
}

static errint_t sim_truncate(struct store *st, uint64_t len)
{
	struct sim_store *s = sim_of(st);
	sim_op op;

	if (s->max_length && len > s->max_length)
		return -ENOSPC;
	bool fail = fails(s, SIM_TRUNCATE, len);
	if (fail)
		return s->fail_err;
	tell(s, SIM_TRUNCATE, len, 0, false);
	sim_yield("truncate");
	op = sim_disk_issue_truncate(s->disk, len);
	take_time("truncate");
	sim_disk_complete(s->disk, op);
	tell(s, SIM_TRUNCATE, len, 0, true);
	sim_yield("truncate");
	return 0;
}

/* Of all that allocating means, only the length can be seen. */
static errint_t sim_allocate(struct store *st, uint64_t off, uint64_t len)
{
	if (off + len <= sim_disk_length(sim_of(st)->disk))
		return 0;
	return sim_truncate(st, off + len);
}

static errint_t sim_length(struct store *st, uint64_t *len)
{
	*len = sim_disk_length(sim_of(st)->disk);
	return 0;
}

static uint64_t sim_usage(struct store *st)
{
	(void)st;
	return 0;
}

static errint_t sim_lock(struct store *st, enum store_lock how, bool quiet)
{
	(void)how, (void)quiet;
	return sim_disk_late(sim_of(st)->disk) ? -EBUSY : 0;
}

static errint_t sim_identity(struct store *st, struct store_identity *id)
{
	(void)st;
	*id = (struct store_identity){1, 1};
	return 0;
}

static void sim_close(struct store *st)
{
	(void)st;
}

static const struct store_ops sim_ops = {
	.kind = "simulated",
	.read = sim_read,
	.write = sim_write,
	.datasync = sim_datasync,
	.punch = sim_punch,
	.allocate = sim_allocate,
	.truncate = sim_truncate,
	.length = sim_length,
	.usage = sim_usage,
	.lock = sim_lock,
	.identity = sim_identity,
	.close = sim_close,
};

void sim_store_init(struct sim_store *s, struct sim_disk *disk)
{
	memset(s, 0, sizeof(*s));
	s->st = (struct store){.ops = &sim_ops, .name = "simulated", .align = 512};
	s->disk = disk;
	s->fail_err = -EIO;
}
