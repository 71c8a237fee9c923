/* SPDX-License-Identifier: MIT */
/* The queue on a host that does less than it was asked to: short reads, refused writes, memory that
 * is not aligned as it wants, a full page cache. */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "tests/lib/queue_bench.h"

/* The file ends within an extent: what is missing reads as zeros, never as what was in the client's
 * pages before. */
static void short_read(enum payload_kind kind, unsigned odd)
{
	struct bench *b = bench_begin_directed(kind, false, ALONE);
	uint64_t at;
	struct stat st;

	memset(b->slot[0].mem, 0x77, 65536);
	bench_one(b, REQ_WRITE, 0, 65536);
	bench_one(b, REQ_FLUSH, 0, 0);
	{
		struct read_plan p;

		assert_int_equal(plan_read(b->im, 0, 65536, IMAGE_MAY_BLOCK, &p), 0);
		assert_int_equal(p.nsegs, 1);
		at = p.seg[0].file_off;
		plan_read_done(b->im, &p);
	}
	assert_int_equal(stat(PATH, &st), 0);
	assert_int_equal(truncate(PATH, (off_t)(at + odd)), 0);
	memset(b->slot[0].mem, 0xee, 65536);
	bench_one(b, REQ_READ, 0, 65536);
	for (unsigned i = 0; i < 65536; i++)
		assert_int_equal(b->slot[0].mem[i], i < odd ? 0x77 : 0);
	assert_int_equal(truncate(PATH, st.st_size), 0);
	bench_end(b);
}

static void test_short_read(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < KINDS; kind++) {
		short_read(kind, 0);
		short_read(kind, 8192);
		short_read(kind, 8192 + 700);
	}
}

/* The host refuses a write: the request fails, what it was for stays as it was, and all goes on. */
static void test_refused(void **state)
{
	struct bench *b = bench_begin_directed(REGISTERED, false, ALONE);
	struct rlimit unlimited, limit;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	memset(b->slot[0].mem, 0x11, 65536);
	bench_one(b, REQ_WRITE, 0, 65536);
	bench_one(b, REQ_FLUSH, 0, 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	limit = unlimited;
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	b->expected = -EFBIG;
	memset(b->slot[0].mem, 0x22, 65536);
	bench_one(b, REQ_WRITE, 0, 65536);
	bench_one(b, REQ_WRITE, 1 << 20, 65536);
	b->expected = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	bench_one(b, REQ_READ, 0, 2 << 20 >> 1);
	for (unsigned i = 0; i < 65536; i++)
		assert_int_equal(b->slot[0].mem[i], 0x11);
	memset(b->slot[0].mem, 0x33, 65536);
	bench_one(b, REQ_WRITE, 1 << 20, 65536);
	memset(b->slot[0].mem, 0, 65536);
	bench_one(b, REQ_READ, 1 << 20, 65536);
	assert_int_equal(b->slot[0].mem[65535], 0x33);
	bench_one(b, REQ_FLUSH, 0, 0);
	bench_end(b);
}

/* A host whose direct I/O wants memory aligned, and does not say so. */
static void test_untold_alignment(void **state)
{
	struct bench *b = bench_begin_directed(MEMORY, false, ALONE);
	struct slot *s = &b->slot[0];
	unsigned wanted = b->q->mem_align;
	struct engine_stats before, got;

	(void)state;
	memset(s->mem, 0x44, 65536);
	bench_one(b, REQ_WRITE, 0, 65536);
	b->q->mem_align = 1;
	s->mem++;
	engine_get_stats(b->e, &before);
	for (unsigned fua = 0; fua < 2; fua++) {
		memset(s->mem, (int)(0x55 + fua), 8192);
		s->r.fua = fua;
		s->r.op = REQ_WRITE;
		s->r.off = 4096;
		s->r.len = 8192;
		bench_set_payload(b, s);
		s->busy = true;
		engine_queue_submit(b->q, &s->r);
		bench_drain(b);
		memset(s->mem, 0, 65536);
		bench_one(b, REQ_READ, 0, 65536);
		for (unsigned i = 0; i < 65536; i++)
			assert_int_equal(s->mem[i], i < 4096 || i >= 12288 ? 0x44 : 0x55 + fua);
	}
	got = bench_since(b, &before);
	if (wanted > 1)
		assert_int_equal(got.copied_raw, 2 * (8192 + 65536));
	s->mem--;
	bench_end(b);
}

/* Pages of the image in the page cache. */
static unsigned cached_pages(void)
{
	CLEANUP(close) int fd = open(PATH, O_RDWR | O_CLOEXEC);
	unsigned n = 0;
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);

	size_t pages = ((size_t)st.st_size + 4095) / 4096;
	unsigned char *there = calloc(pages, 1);
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);

	assert_non_null(there);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mincore(map, (size_t)st.st_size, there), 0);
	for (size_t i = 0; i < pages; i++)
		n += there[i] & 1;
	munmap(map, (size_t)st.st_size);
	free(there);
	return n;
}

/* What others have left of the image in the page cache would make each direct write wait. */
static void test_page_cache(void **state)
{
	struct bench *b = bench_begin_directed(MEMORY, false, ALONE);
	static char buf[65536];
	int fd = open(PATH, O_RDONLY | O_CLOEXEC);
	struct statfs fs;

	(void)state;
	assert_true(fd >= 0);
	memset(b->slot[0].mem, 0x66, 1 << 20);
	for (unsigned i = 0; i < 8; i++)
		bench_one(b, REQ_WRITE, (uint64_t)i << 20, 1 << 20);
	bench_one(b, REQ_FLUSH, 0, 0);
	bench_close_image(b);
	for (off_t at = 128 << 20; at < 144 << 20; at += sizeof(buf))
		assert_true(pread(fd, buf, sizeof(buf), at) >= 0);
	close(fd);
	assert_true(cached_pages() >= 2048);
	bench_open_image(b);
	assert_int_equal(statfs(PATH, &fs), 0);
	/* In tmpfs they are the file. */
	if (!b->st->cached && fs.f_type != TMPFS_MAGIC)
		assert_true(cached_pages() < 256);
	bench_end(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_untold_alignment),
		cmocka_unit_test(test_page_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
