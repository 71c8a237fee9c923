/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/check.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"

errint_t live_try_open(struct live *l)
{
	errint_t err = image_open(l->st, &l->opts, &l->im);

	if (err)
		return err;
	assert_int_equal(engine_new(l->im, NULL, &l->e), 0);
	assert_int_equal(engine_thread_new(l->e, &l->t), 0);
	return 0;
}

void live_open(struct live *l)
{
	assert_int_equal(live_try_open(l), 0);
}

static void free_engine(struct live *l)
{
	engine_thread_free(l->t);
	engine_free(l->e);
}

errint_t live_try_close(struct live *l)
{
	free_engine(l);
	return image_close(l->im);
}

void live_close(struct live *l)
{
	assert_int_equal(live_try_close(l), 0);
}

errint_t live_leave(struct live *l)
{
	free_engine(l);
	return image_leave(l->im);
}

void live_crash(struct live *l)
{
	free_engine(l);
	image_abandon(l->im);
}

void live_new(struct live *l, uint64_t max, uint64_t size)
{
	const struct image_params params = {.size = size};

	memset(l, 0, sizeof(*l));
	l->st = mem_store_new(max);
	l->buf = aligned_alloc(4096, CLUSTER);
	assert_non_null(l->buf);
	assert_int_equal(image_create(l->st, &params), 0);
}

void live_free(struct live *l)
{
	store_close(l->st);
	free(l->buf);
}

errint_t live_try_put(struct live *l, uint64_t off, uint32_t len, uint8_t with)
{
	memset(l->buf, with, len);
	return engine_write(l->t, l->buf, off, len, false);
}

void live_put(struct live *l, uint64_t off, uint32_t len, uint8_t with)
{
	assert_int_equal(live_try_put(l, off, len, with), 0);
}

void live_expect(struct live *l, uint64_t off, uint32_t len, uint8_t with)
{
	assert_int_equal(engine_read(l->t, l->buf, off, len), 0);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(l->buf[i], with);
}

static void report(void *arg, const char *problem)
{
	(void)arg;
	print_message("check: %s\n", problem);
}

void live_check(struct live *l)
{
	const struct check_opts opts = {.threads = 1, .report = report};
	struct image_open_opts ro = l->opts;
	struct check_result res;
	struct image *im;

	ro.read_only = true;
	assert_int_equal(image_open(l->st, &ro, &im), 0);
	assert_int_equal(check_image(im, &opts, &res), 0);
	assert_int_equal(res.corruptions, 0);
	assert_int_equal(res.leaks, 0);
	assert_int_equal(image_close(im), 0);
}
