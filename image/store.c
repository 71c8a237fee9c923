/* SPDX-License-Identifier: MIT */
/*
 * The wrappers around a store's operations: the contract of store.h, asserted in one place for
 * every kind of store.
 */
#include "config.h"

#include "image/store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/checked.h"
#include "image/format.h"

static bool aligned(uint64_t value)
{
	return value % SECTOR_SIZE == 0;
}

/* A store's length is an off_t, so no range can end behind INT64_MAX. */
static bool sound_range(uint64_t off, uint64_t len)
{
	uint64_t end;

	return aligned(off) && aligned(len) && len > 0 && checked_add(off, len, &end) &&
	       end <= INT64_MAX;
}

static errint_t sound_result(errint_t err)
{
	assert(err <= 0);
	return err;
}

errint_t store_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	assert(sound_range(off, len));
	assert(buf && aligned((uintptr_t)buf));
	return sound_result(st->ops->read(st, buf, len, off));
}

static errint_t write_checked(struct store *st, const void *buf, size_t len, uint64_t off,
			      bool dsync)
{
	assert(!st->read_only);
	assert(sound_range(off, len));
	assert(buf && aligned((uintptr_t)buf));
	return sound_result(st->ops->write(st, buf, len, off, dsync));
}

errint_t store_write(struct store *st, const void *buf, size_t len, uint64_t off)
{
	return write_checked(st, buf, len, off, false);
}

errint_t store_write_dsync(struct store *st, const void *buf, size_t len, uint64_t off)
{
	return write_checked(st, buf, len, off, true);
}

errint_t store_datasync(struct store *st)
{
	assert(!st->read_only);
	return sound_result(st->ops->datasync(st));
}

errint_t store_punch(struct store *st, uint64_t off, uint64_t len)
{
	assert(!st->read_only);
	assert(sound_range(off, len));
	return sound_result(st->ops->punch(st, off, len));
}

errint_t store_allocate(struct store *st, uint64_t off, uint64_t len)
{
	assert(!st->read_only);
	assert(sound_range(off, len));
	return sound_result(st->ops->allocate(st, off, len));
}

errint_t store_truncate(struct store *st, uint64_t len)
{
	assert(!st->read_only);
	assert(len <= INT64_MAX);
	return sound_result(st->ops->truncate(st, len));
}

errint_t store_length(struct store *st, uint64_t *len)
{
	errint_t err = sound_result(st->ops->length(st, len));

	assert(err || *len <= INT64_MAX);
	return err;
}

uint64_t store_usage(struct store *st)
{
	return st->ops->usage(st);
}

static errint_t lock_checked(struct store *st, enum store_lock how, bool quiet)
{
	assert(how == STORE_LOCK_SHARED || how == STORE_LOCK_EXCLUSIVE);
	assert(how == STORE_LOCK_SHARED || !st->read_only);
	return sound_result(st->ops->lock(st, how, quiet));
}

errint_t store_lock(struct store *st, enum store_lock how)
{
	return lock_checked(st, how, false);
}

errint_t store_try_lock(struct store *st, enum store_lock how)
{
	return lock_checked(st, how, true);
}

errint_t store_identity(struct store *st, struct store_identity *id)
{
	return sound_result(st->ops->identity(st, id));
}

void store_close(struct store *st)
{
	if (st)
		st->ops->close(st);
}

void *store_buffer(size_t len)
{
	uint64_t size;

	if (!checked_round_up(len ? len : 1, UNIT_SIZE, &size))
		return NULL;
	void *buf = aligned_alloc(UNIT_SIZE, size);
	if (buf)
		memset(buf, 0, size);
	return buf;
}
