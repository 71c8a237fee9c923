/* SPDX-License-Identifier: MIT */
/* The queue on a host that does less than it was asked to: short reads, refused writes, memory that
 * is not aligned as it wants. */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_untold_alignment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
