/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/payload.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

static errint_t memory_in(const struct payload *p, void *dst, uint32_t from, uint32_t len)
{
	memcpy(dst, p->mem + from, len);
	return 0;
}

static errint_t memory_out(const struct payload *p, const void *src, uint32_t from, uint32_t len)
{
	memcpy(p->mem + from, src, len);
	return 0;
}

const struct payload_ops payload_memory_ops = {.copy_in = memory_in, .copy_out = memory_out};

/* A call moved @n bytes, or failed.  False: go on. */
static bool copy_failed(ssize_t n, errint_t *err)
{
	if (n > 0 || (n < 0 && errno == EINTR))
		return false;
	*err = n < 0 ? log_errno("cannot copy the bytes of a request")
		     : log_fail(-EIO, "the bytes of a request ended early");
	return true;
}

static errint_t file_in(const struct payload *p, void *dst, uint32_t from, uint32_t len)
{
	uint8_t *at = dst;
	errint_t err;

	while (len) {
		ssize_t n = pread(p->fd, at, len, (off_t)(p->pos + from));

		if (copy_failed(n, &err))
			return err;
		if (n < 0)
			continue;
		at += n;
		from += (uint32_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

static errint_t file_out(const struct payload *p, const void *src, uint32_t from, uint32_t len)
{
	const uint8_t *at = src;
	errint_t err;

	while (len) {
		ssize_t n = pwrite(p->fd, at, len, (off_t)(p->pos + from));

		if (copy_failed(n, &err))
			return err;
		if (n < 0)
			continue;
		at += n;
		from += (uint32_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

const struct payload_ops payload_file_ops = {.copy_in = file_in, .copy_out = file_out};
