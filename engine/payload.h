/* SPDX-License-Identifier: MIT */
/*
 * Where a request's bytes are.  Every kind of segment works with every kind of payload; what
 * differs is how often the bytes are copied.
 *
 *   registered    pages of the kernel's request, in the ring's buffer table: the kernel moves the
 *                 bytes between them and the file.  What passes through this process all the same
 *                 (compressed data) goes by copy_in() and copy_out().
 *   memory        this process's own.
 *   neither       bytes that only copy_in() and copy_out() reach.
 */
#ifndef ENGINE_PAYLOAD_H
#define ENGINE_PAYLOAD_H

#include <stdint.h>

#include "common/errint.h"

struct payload;

/* Called on any thread, several at once for different parts; may block for as long as copying
 * takes, not for I/O.  0 or -errno, message logged. */
struct payload_ops {
	/* The bytes [from, from + len) of a WRITE request. */
	errint_t (*copy_in)(const struct payload *p, void *dst, uint32_t from, uint32_t len);
	/* Set the bytes [from, from + len) of a READ request. */
	errint_t (*copy_out)(const struct payload *p, const void *src, uint32_t from, uint32_t len);
};

struct payload {
	const struct payload_ops *ops;
	uint8_t *mem;	   /* NULL, or all of the bytes */
	int buf_index;	   /* in the queue's buffer table; -1: not there */
	uint64_t buf_base; /* what addresses within that buffer begin with; ublk: 0 */
	int fd;		   /* for @ops: bytes are at @pos of this file */
	uint64_t pos;
};

/* Of payloads with mem. */
extern const struct payload_ops payload_memory_ops;

/* Bytes that begin at p->pos of p->fd: a ublk request under user copy. */
extern const struct payload_ops payload_file_ops;

#endif
