/* SPDX-License-Identifier: MIT */
/*
 * Where an image's bytes are: a file, or the simulated disk of the crash tests.  Everything that
 * reads or writes an image goes through a struct store; nothing else knows a file descriptor.
 *
 * All offsets and lengths are bytes.  Reads and writes are multiples of SECTOR_SIZE at multiples of
 * SECTOR_SIZE; buffers are aligned to SECTOR_SIZE (to UNIT_SIZE for speed: some hosts' direct I/O
 * needs that, and anything less is copied there).  Every call may block, from any number of threads
 * at once.
 */
#ifndef IMAGE_STORE_H
#define IMAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/errint.h"

struct store;

enum store_lock { STORE_LOCK_SHARED, STORE_LOCK_EXCLUSIVE };

struct store_identity {
	uint64_t dev, ino; /* of a file; of a block device its own number, and 0 */
};

struct store_ops {
	const char *kind;

	/* Fill @buf with the bytes at @off.  What lies beyond the end reads as zeros: a short read
	 * never reaches the caller. */
	errint_t (*read)(struct store *st, void *buf, size_t len, uint64_t off);

	/* Write all of @buf at @off, extending the file when needed.  On return the bytes are
	 * visible to every later read; they survive a power loss only after datasync() or when
	 * @dsync is set. */
	errint_t (*write)(struct store *st, const void *buf, size_t len, uint64_t off, bool dsync);

	/* Make every write that had returned before this call durable.  A failure is final: the
	 * caller must assume that any of them is lost, and never asks again. */
	errint_t (*datasync)(struct store *st);

	/* Turn [off, off + len) into a hole that reads as zeros; -EOPNOTSUPP where the store
	 * cannot, with the bytes unchanged. */
	errint_t (*punch)(struct store *st, uint64_t off, uint64_t len);

	/* Allocate real space for [off, off + len) without changing what is read, extending the
	 * file when needed.  A store that cannot does nothing and returns 0. */
	errint_t (*allocate)(struct store *st, uint64_t off, uint64_t len);

	/* Make the store exactly @len bytes long. */
	errint_t (*truncate)(struct store *st, uint64_t len);

	/* Current length in bytes. */
	errint_t (*length)(struct store *st, uint64_t *len);

	/* Bytes that really occupy space, for reports; 0 when unknown. */
	uint64_t (*usage)(struct store *st);

	/* Take the image lock (F_OFD_SETLK on bytes 0..4095 of the one open file description; it is
	 * released by close()).  -EBUSY when somebody else holds it: unless @quiet the message is
	 * logged already, naming the holder where it can be found. */
	errint_t (*lock)(struct store *st, enum store_lock how, bool quiet);

	/* Which file this is, as long as the machine runs, by whatever name it was opened. */
	errint_t (*identity)(struct store *st, struct store_identity *id);

	void (*close)(struct store *st);
};

/* The head of every store; a store's own struct begins with it. */
struct store {
	const struct store_ops *ops;
	const char *name;   /* as the user knows it, for messages; owned by the store */
	unsigned align;	    /* direct I/O alignment of offsets and lengths, 512..4096 */
	unsigned mem_align; /* see store_mem_align() */
	bool read_only;	    /* every operation that writes asserts that this is false */
	bool cached;	    /* writes wait in the host's memory: a later sync tells of their loss */
	bool fixed;	    /* a device: it never gets longer */
};

/* What I/O that goes around the store wants buffers aligned to, in bytes; 1: any way, else a power
 * of two up to 4096. */
static inline unsigned store_mem_align(const struct store *st)
{
	return st->mem_align ? st->mem_align : 1;
}

/* The wrappers assert the contract above, then count and call. */
MUST_CHECK errint_t store_read(struct store *st, void *buf, size_t len, uint64_t off);
MUST_CHECK errint_t store_write(struct store *st, const void *buf, size_t len, uint64_t off);
MUST_CHECK errint_t store_write_dsync(struct store *st, const void *buf, size_t len, uint64_t off);
MUST_CHECK errint_t store_datasync(struct store *st);
MUST_CHECK errint_t store_punch(struct store *st, uint64_t off, uint64_t len);
MUST_CHECK errint_t store_allocate(struct store *st, uint64_t off, uint64_t len);
MUST_CHECK errint_t store_truncate(struct store *st, uint64_t len);
MUST_CHECK errint_t store_length(struct store *st, uint64_t *len);
uint64_t store_usage(struct store *st);
MUST_CHECK errint_t store_lock(struct store *st, enum store_lock how);
/* The same, to be repeated: no message when somebody else holds the lock. */
MUST_CHECK errint_t store_try_lock(struct store *st, enum store_lock how);
MUST_CHECK errint_t store_identity(struct store *st, struct store_identity *id);
void store_close(struct store *st); /* NULL is allowed */

static inline void cleanup_store(struct store **st)
{
	store_close(*st);
}

/* Aligned memory for store_read() and store_write(): UNIT_SIZE-aligned, @len rounded up to units,
 * zeroed.  NULL when out of memory.  Released with free(). */
void *store_buffer(size_t len);

enum store_file_flags {
	STORE_FILE_READ_ONLY = 1,
	STORE_FILE_CREATE = 2, /* O_CREAT | O_EXCL: -EEXIST with the message logged */
	STORE_FILE_BUFFERED =
		4, /* do not try O_DIRECT (tools that stream through the page cache) */
};

/* The same of a descriptor that is open, which becomes the store's; @name is for messages. */
MUST_CHECK errint_t store_file_adopt(int fd, const char *name, unsigned flags, struct store **out);

/* Gives the image lock up before the store is closed.  Nothing for another kind. */
void store_file_unlock(struct store *st);

/*
 * Open the file (or block device) at @path.  O_DIRECT is used where the file system supports it and
 * the flags allow; otherwise the page cache, silently.  No lock is taken.  Messages are logged.
 */
MUST_CHECK errint_t store_file_open(const char *path, unsigned flags, struct store **out);

/* The descriptor behind a file store, for the engine's own SQEs on the same open file description
 * (docs/format.md, rule L1); -1 for another kind.  Owned by the store. */
int store_file_fd(const struct store *st);

#endif
