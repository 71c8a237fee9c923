/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/vj_bench.h"

const uint8_t vj_uuid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
			     0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

char vj_message[8192];

static void remember(void *arg, enum log_level level, const char *text)
{
	(void)arg;
	if (level == LOG_LEVEL_ERROR || level == LOG_LEVEL_WARN)
		snprintf(vj_message + strlen(vj_message), sizeof(vj_message) - strlen(vj_message),
			 "%s\n", text);
}

void vj_bench_expect_said(const char *text)
{
	if (!strstr(vj_message, text))
		fail_msg("\"%s\" does not say \"%s\"", vj_message, text);
	vj_message[0] = '\0';
}

static bool device_exists(void *arg, uint32_t device)
{
	struct vj_bench *b = arg;

	assert_int_equal(device, VJ_DEVICE);
	return b->exists;
}

int vj_bench_setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	const struct image_params params = {.size = GIB, .uuid = vj_uuid};
	struct vj_bench *b = calloc(1, sizeof(*b));

	vj_message[0] = '\0';
	log_set_sink(remember, NULL);
	snprintf(b->path, sizeof(b->path), "%s/vj.XXXXXX", tmp ? tmp : "/var/tmp");
	assert_non_null(mkdtemp(b->path));
	b->dir = open(b->path, O_RDONLY | O_DIRECTORY);
	assert_true(b->dir >= 0);
	live_new(&b->l, GIB, GIB);
	store_close(b->l.st); /* one with our uuid */
	b->l.st = mem_store_new(GIB);
	assert_int_equal(image_create(b->l.st, &params), 0);
	b->l.opts.vj_shift = VJ_SHIFT_MIN;
	b->recover = (struct vj_recover){b->dir, VJ_DEVICE, 100};
	b->state = (struct vj_state){b->dir, device_exists, b, false};
	b->exists = true;
	*state = b;
	return 0;
}

int vj_bench_teardown(void **state)
{
	struct vj_bench *b = *state;

	live_free(&b->l);
	unlinkat(b->dir, VJ_NAME, 0);
	close(b->dir);
	assert_int_equal(rmdir(b->path), 0);
	free(b);
	log_set_sink(NULL, NULL);
	return 0;
}

void vj_bench_start(struct vj_bench *b)
{
	live_open(&b->l);
	assert_int_equal(image_vj_start(b->l.im, b->dir, VJ_DEVICE), 0);
}

errint_t vj_bench_try_recover(struct vj_bench *b)
{
	b->l.opts.recover = &b->recover;
	errint_t err = live_try_open(&b->l);
	b->l.opts.recover = NULL;
	return err;
}

void vj_bench_recover(struct vj_bench *b)
{
	errint_t err = vj_bench_try_recover(b);

	if (err)
		fail_msg("error %d: %s", err, vj_message);
}

struct vj_info vj_bench_info(struct vj_bench *b)
{
	struct vj_info i;

	assert_int_equal(vj_pending(b->dir, vj_uuid, &i), 0);
	return i;
}

uint64_t vj_bench_unretired(struct vj_bench *b)
{
	return vj_bench_info(b).unretired;
}

void vj_bench_load(struct vj_bench *b, struct vj_file *f)
{
	int fd = openat(b->dir, VJ_NAME, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, f, sizeof(*f)), sizeof(*f));
	close(fd);
}

void vj_bench_save(struct vj_bench *b, const struct vj_file *f)
{
	int fd = openat(b->dir, VJ_NAME, O_WRONLY | O_TRUNC | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, f, sizeof(*f)), sizeof(*f));
	close(fd);
}

bool vj_bench_exists(struct vj_bench *b)
{
	return !faccessat(b->dir, VJ_NAME, F_OK, 0);
}

/* Acknowledged, not flushed, and dead. */
void vj_bench_die_with_something(struct vj_bench *b)
{
	vj_bench_start(b);
	live_put(&b->l, 0, 4096, 1);
	assert_int_equal(engine_flush(b->l.t), 0);
	live_put(&b->l, LEAF, 4096, 2);
	live_put(&b->l, 2 * LEAF, 4096, 3);
	live_crash(&b->l);
	vj_message[0] = '\0';
}

/* The recovery fails, saying why, and touches nothing. */
void vj_bench_refused(struct vj_bench *b, errint_t want, const char *says)
{
	uint64_t writes = mem_store_calls(b->l.st, MEM_WRITE);
	struct vj_file before, after;
	bool there = vj_bench_exists(b);
	struct stat s;

	if (there && !fstatat(b->dir, VJ_NAME, &s, 0) && s.st_size == VJ_FILE_LEN)
		vj_bench_load(b, &before);
	vj_message[0] = '\0';
	assert_int_equal(vj_bench_try_recover(b), want);
	vj_bench_expect_said(says);
	assert_int_equal(mem_store_calls(b->l.st, MEM_WRITE), writes);
	assert_int_equal(vj_bench_exists(b), there);
	if (there && !fstatat(b->dir, VJ_NAME, &s, 0) && s.st_size == VJ_FILE_LEN) {
		vj_bench_load(b, &after);
		assert_memory_equal(&before, &after, sizeof(before));
	}
}
