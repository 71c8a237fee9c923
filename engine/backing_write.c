/* SPDX-License-Identifier: MIT */
/*
 * What a commit does to a backing, and where a backing has data.
 *
 * A raw file is written through a description of its own, which takes over the image lock.  An
 * image is exchanged for itself opened for writing: readers wait for that, and go on.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "engine/backing_priv.h"
#include "engine/core.h"
#include "image/walk.h"

#define ZEROS_BYTES (1u << 20)

/* ---- opening again ------------------------------------------------------------------------ */

/* The file that the backing is, opened once more: not by its path, which a process that serves a
 * device has left behind. */
static errint_t open_again(struct backing *b, bool write, struct store **out)
{
	int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC, fd;
	char path[48];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", store_file_fd(b->store));
	fd = open(path, flags);
	if (fd < 0)
		return log_errno("%s: cannot open the backing file for %s", b->name,
				 write ? "writing" : "reading");
	return store_file_adopt(fd, b->name, write ? 0 : STORE_FILE_READ_ONLY, out);
}

/* Nobody reads.  Write-held. */
static void forget_readers(struct backing *b)
{
	for (struct backing_reader *r = b->readers; r; r = r->next) {
		engine_thread_free(r->thread);
		r->thread = NULL;
	}
}

/*
 * Give a hold of the lock to @to, which is the same file: @from has it until then, so that nobody
 * else changes the file in between.
 */
static errint_t share_lock(struct store *from, struct store *to)
{
	errint_t err = store_lock(from, STORE_LOCK_SHARED);

	return err ? err : store_lock(to, STORE_LOCK_SHARED);
}

/* Open the image in another way than it was.  When it cannot be opened at all it stays as it was.
 * Write-held. */
static errint_t exchange(struct backing *b, bool write)
{
	struct store *st;
	errint_t err = open_again(b, write, &st);

	if (err)
		return err;
	err = share_lock(b->store, st);
	if (err) {
		store_close(st);
		return err;
	}
	forget_readers(b);
	if (b->engine && b->engine->backing && !b->engine->borrowed) {
		b->below = b->engine->backing;
		b->engine->borrowed = true;
	}
	backing_close_image(b);
	store_close(b->store);
	b->store = st;
	err = backing_open_image(b, write);
	if (err)
		backing_close_image(b);
	return err;
}

static errint_t begin_image(struct backing *b)
{
	pthread_rwlock_wrlock(&b->use);
	errint_t err = exchange(b, true);
	/* What failed was logged; when this does, too, reads fail. */
	if (err && !b->engine && exchange(b, false))
		log_err(err, "%s: cannot be read any more", b->name);
	pthread_rwlock_unlock(&b->use);
	if (!err)
		err = engine_thread_new(b->engine, &b->writer);
	return err;
}

static errint_t begin_raw(struct backing *b)
{
	if (!b->owns_store) {
		b->target = b->store;
		return 0;
	}

	struct store *st;
	errint_t err = open_again(b, true, &st);

	if (err)
		return err;
	err = share_lock(b->store, st);
	if (!err) {
		store_file_unlock(b->store);
		err = store_lock(st, STORE_LOCK_EXCLUSIVE);
		/* What failed leaves it shared. */
		if (err && store_lock(b->store, STORE_LOCK_SHARED))
			log_warn("%s: is read on without a lock", b->name);
	}
	if (err)
		store_close(st);
	else
		b->target = st;
	return err;
}

errint_t backing_write_begin(struct backing *b)
{
	assert(!b->writing);
	if (b->view)
		return log_fail(-EROFS,
				"%s: the backing is a snapshot of it, which does not change",
				b->name);

	errint_t err = b->ref.kind == BACKING_RAW ? begin_raw(b) : begin_image(b);

	b->writing = !err;
	return err;
}

/* ---- writing ------------------------------------------------------------------------------ */

errint_t backing_grow(struct backing *b, uint64_t size)
{
	errint_t err;

	if (size <= b->size)
		return 0;
	if (b->target && b->target->fixed)
		return log_fail(-ENOSPC,
				"%s: is a device of %llu bytes, which the disk's %llu do not fit "
				"into",
				b->name, (unsigned long long)b->size, (unsigned long long)size);
	err = b->target ? store_truncate(b->target, size) : engine_resize(b->writer, size, false);
	if (!err)
		b->size = size;
	return err;
}

errint_t backing_write(struct backing *b, const void *buf, size_t len, uint64_t off)
{
	assert(b->writing && off <= b->size && len <= b->size - off);
	return b->target ? store_write(b->target, buf, len, off)
			 : engine_write(b->writer, buf, off, len, false);
}

static errint_t write_zeros(struct backing *b, uint64_t off, uint64_t len)
{
	CLEANUP(free) void *zeros = store_buffer(len < ZEROS_BYTES ? len : ZEROS_BYTES);
	errint_t err = zeros ? 0 : log_err(-ENOMEM, "%s: cannot be written", b->name);

	while (len && !err) {
		size_t n = len < ZEROS_BYTES ? (size_t)len : ZEROS_BYTES;

		err = store_write(b->target, zeros, n, off);
		off += n;
		len -= n;
	}
	return err;
}

errint_t backing_zero(struct backing *b, uint64_t off, uint64_t len)
{
	errint_t err;

	assert(b->writing);
	if (off >= b->size || !len)
		return 0;
	if (len > b->size - off)
		len = b->size - off;
	if (!b->target)
		return engine_write_zeroes(b->writer, off, len);
	err = store_punch(b->target, off, len);
	/* A file may end within a sector: it gets longer, which its zeros may. */
	return err == -EOPNOTSUPP ? write_zeros(b, off, (len + SECTOR_SIZE - 1) & ~511ull) : err;
}

errint_t backing_sync(struct backing *b)
{
	assert(b->writing);
	return b->target ? store_datasync(b->target) : engine_flush(b->writer);
}

static errint_t end_image(struct backing *b)
{
	errint_t err, again;

	engine_thread_free(b->writer);
	b->writer = NULL;
	err = engine_repack(b->engine);
	pthread_rwlock_wrlock(&b->use);
	forget_readers(b);
	if (b->engine->backing && !b->engine->borrowed)
		b->below = b->engine->backing;
	b->engine->borrowed = true;
	engine_free(b->engine);
	b->engine = NULL;
	again = image_close(b->image);
	b->image = NULL;
	err = err ? err : again;
	again = exchange(b, false);
	err = err ? err : again;
	if (!err)
		b->size = image_size(b->image);
	pthread_rwlock_unlock(&b->use);
	return err;
}

static errint_t end_raw(struct backing *b)
{
	struct store *st = b->target;
	errint_t err = store_datasync(st);

	b->target = NULL;
	if (!b->owns_store)
		return err;
	if (share_lock(st, b->store))
		log_warn("%s: is read on without a lock", b->name);
	store_close(st);
	return err;
}

errint_t backing_write_end(struct backing *b)
{
	assert(b->writing);
	b->writing = false;
	return b->target ? end_raw(b) : end_image(b);
}

/* ---- where there is data ------------------------------------------------------------------ */

/* Runs that are longer are told in parts. */
#define RUN_BYTES (64ull << 20)

struct run {
	struct backing *below; /* of the image */
	uint64_t start, end;   /* end 0: not found yet */
};

/* Ends a walk without being an error. */
enum { FOUND = 1 };

static errint_t add_data(void *arg, const struct map_extent *e)
{
	uint64_t start = e->off, end = e->off + e->len;
	struct run *r = arg;

	if (e->kind == MAP_BACKING) {
		errint_t err = backing_next_data(r->below, e->off, &start, &end);

		if (err)
			return err;
		if (end > e->off + e->len)
			end = e->off + e->len;
	}
	bool data = (e->kind == MAP_RAW || e->kind == MAP_ZSTD || e->kind == MAP_BACKING) &&
		    start < end;

	if (r->end && (!data || start != r->end))
		return FOUND;
	if (!data)
		return 0;
	if (!r->end)
		r->start = start;
	r->end = end;
	return end < e->off + e->len || end - r->start >= RUN_BYTES ? FOUND : 0;
}

static errint_t next_in_image(struct backing *b, uint64_t off, uint64_t *start, uint64_t *end)
{
	struct run r = {.below = b->engine ? b->engine->backing : NULL};
	errint_t err = 0;

	if (!b->engine)
		return -EIO; /* reading says why */
	if (off < b->size)
		err = b->view ? walk_snapshot_extents(b->view, off, b->size - off, add_data, &r)
			      : walk_extents(b->image, off, b->size - off, add_data, &r);
	if (err && err != FOUND)
		return err;
	*start = r.end ? r.start : UINT64_MAX;
	*end = r.end ? r.end : UINT64_MAX;
	return 0;
}

static errint_t next_in_file(struct backing *b, uint64_t off, uint64_t *start, uint64_t *end)
{
	int fd = store_file_fd(b->store);
	off_t data = fd < 0 ? (off_t)off : lseek(fd, (off_t)off, SEEK_DATA), hole;

	*start = off;
	*end = UINT64_MAX;
	if (fd < 0 || (data < 0 && errno == EINVAL))
		return 0; /* it does not tell */
	if (data < 0 && errno == ENXIO) {
		*start = UINT64_MAX;
		return 0;
	}
	hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);
	if (hole < 0)
		return log_errno("%s: cannot find its data", b->name);
	*start = (uint64_t)data & ~511ull;
	*end = ((uint64_t)hole + 511) & ~511ull;
	if (*start < off)
		*start = off;
	return 0;
}

errint_t backing_next_data(struct backing *b, uint64_t off, uint64_t *start, uint64_t *end)
{
	errint_t err;

	if (b->ref.kind == BACKING_RAW && off >= b->size) {
		*start = *end = UINT64_MAX;
		return 0;
	}
	if (b->ref.kind == BACKING_RAW)
		return next_in_file(b, off, start, end);
	pthread_rwlock_rdlock(&b->use);
	err = next_in_image(b, off, start, end);
	pthread_rwlock_unlock(&b->use);
	return err;
}
