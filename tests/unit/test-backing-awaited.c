/* SPDX-License-Identifier: MIT */
/*
 * An image whose device awaits recovery is nobody's backing: a commit into it would open it for
 * writing, and what had been acknowledged there would be given up.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"
#include "engine/backing.h"
#include "image/store.h"
#include "image/vj.h"

#define DEVICE 7u
#define SIZE   (1u << 20)

static bool device_exists(void *arg, uint32_t device)
{
	(void)arg;
	return device == DEVICE;
}

static void make(const char *path, const struct backing_ref *backing)
{
	const struct image_params params = {
		.size = SIZE, .creator = "test-backing-awaited", .backing = backing};
	struct store *st;

	(void)unlink(path);
	assert_int_equal(store_file_open(path, STORE_FILE_CREATE, &st), 0);
	assert_int_equal(image_create(st, &params), 0);
	store_close(st);
}

struct opened {
	struct store *st;
	struct image *im;
	struct engine *engine;
	struct engine_thread *thread;
};

static void open_it(struct opened *o, const char *path, const struct vj_state *state)
{
	const struct image_open_opts opts = {.state = NULL};
	const struct engine_opts engine = {.state = state};

	assert_int_equal(store_file_open(path, 0, &o->st), 0);
	assert_int_equal(image_open(o->st, &opts, &o->im), 0);
	assert_int_equal(engine_new(o->im, &engine, &o->engine), 0);
	assert_int_equal(engine_thread_new(o->engine, &o->thread), 0);
}

static void close_it(struct opened *o, bool die)
{
	engine_thread_free(o->thread);
	engine_free(o->engine);
	if (die)
		image_abandon(o->im);
	else
		assert_int_equal(image_close(o->im), 0);
	store_close(o->st);
}

static void put(struct opened *o, int with)
{
	uint8_t *buf = store_buffer(SIZE);

	memset(buf, with, SIZE);
	assert_int_equal(engine_write(o->thread, buf, 0, SIZE, false), 0);
	free(buf);
}

static void is_no_backing(void **state)
{
	int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct vj_state awaiting = {.dir = dir, .device_exists = device_exists};
	struct backing_ref ref = {.kind = BACKING_UBLK_IMG, .path = "below.ublk"};
	struct backing_how how = {.state = &awaiting};
	struct backing *b;
	struct vj_info info;
	struct opened o;
	struct image_info about;

	(void)state;
	make("below.ublk", NULL);
	open_it(&o, "below.ublk", &awaiting);
	image_get_info(o.im, &about);
	assert_int_equal(image_vj_start(o.im, dir, DEVICE), 0);
	put(&o, 'a');
	close_it(&o, true);
	assert_int_equal(vj_pending(dir, about.uuid, &info), 0);
	assert_true(info.unretired > 0);

	assert_int_equal(backing_open_new("below.ublk", NULL, &how, &ref, &b), -EBUSY);
	/* An image that was put on top of it by somebody who could not know. */
	how.state = NULL;
	assert_int_equal(backing_open_new("below.ublk", NULL, &how, &ref, &b), 0);
	backing_close(b);
	ref.limit = SIZE;
	make("above.ublk", &ref);
	assert_int_equal(store_file_open("above.ublk", 0, &o.st), 0);
	assert_int_equal(image_open(o.st, &(struct image_open_opts){.state = NULL}, &o.im), 0);
	assert_int_equal(engine_new(o.im, &(struct engine_opts){.state = &awaiting}, &o.engine),
			 -EBUSY);
	assert_int_equal(image_close(o.im), 0);
	store_close(o.st);

	/* It can be recovered still. */
	struct image_open_opts again = {.recover =
						&(struct vj_recover){.dir = dir, .device = DEVICE}};
	assert_int_equal(store_file_open("below.ublk", 0, &o.st), 0);
	assert_int_equal(image_open(o.st, &again, &o.im), 0);
	image_get_info(o.im, &about);
	assert_true(about.recovered > 0);
	assert_int_equal(image_close(o.im), 0);
	store_close(o.st);
	close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_no_backing),
	};

	if (chdir(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
