/* SPDX-License-Identifier: MIT */
/*
 * What is done with the backing of an image: a rebase shows how far it is.
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/backing_work.h"
#include "engine/backing.h"
#include "image/store.h"

#define SIZE	(1u << 20)
#define CLUSTER (64u << 10)

/* ---- files --------------------------------------------------------------------------------- */

static void set_time(const char *path, long ns)
{
	const struct timespec times[2] = {{.tv_sec = 1600000000, .tv_nsec = ns},
					  {.tv_sec = 1600000000, .tv_nsec = ns}};

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* A raw file of @size bytes @with, changed last at a certain time. */
static void make_raw(const char *path, size_t size, int with)
{
	uint8_t *buf = malloc(size);
	FILE *f = fopen(path, "w");

	assert_non_null(buf);
	assert_non_null(f);
	memset(buf, with, size);
	assert_int_equal(fwrite(buf, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
	free(buf);
	set_time(path, 1);
}

static void make_image(const char *path, const struct backing_ref *backing)
{
	const struct image_params params = {
		.size = SIZE, .creator = "test-backing", .backing = backing};
	struct store *st;

	(void)unlink(path);
	assert_int_equal(store_file_open(path, STORE_FILE_CREATE, &st), 0);
	assert_int_equal(image_create(st, &params), 0);
	store_close(st);
}

struct opened {
	struct store *st;
	struct image *im;
};

static void open_image(struct opened *o, const char *path)
{
	assert_int_equal(store_file_open(path, 0, &o->st), 0);
	assert_int_equal(image_open(o->st, &(struct image_open_opts){.state = NULL}, &o->im), 0);
}

static void close_image(struct opened *o)
{
	assert_int_equal(image_close(o->im), 0);
	store_close(o->st);
}

/* What an image says of @path, or of the snapshot @name of it, as it is. */
static struct backing_ref ref_to(const char *path, enum backing_kind kind, const char *name)
{
	const struct backing_how how = {.chain = NULL};
	struct backing_ref ref = {.kind = (uint8_t)kind};
	struct backing *b;

	assert_int_equal(backing_open_new(path, name, &how, &ref, &b), 0);
	backing_close(b);
	snprintf(ref.path, sizeof(ref.path), "%s", path);
	ref.limit = backing_limit(ref.size, SIZE);
	return ref;
}

/* ---- progress ------------------------------------------------------------------------------ */

/* Seconds go by. */
static uint64_t hasty_clock(void)
{
	static uint64_t now;

	return now += 1000000000u;
}

/* What a rebase from one file onto the other, or onto none, shows. */
static void rebase_shows(const struct backing_ref *to, char *text, size_t size)
{
	const struct backing_how how = {.chain = NULL};
	const struct backing_ref from = ref_to("below.raw", BACKING_RAW, NULL);
	int saved = dup(STDERR_FILENO), fd = open("shown", O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct backing *b = NULL;
	struct work_result res;
	struct opened o;
	ssize_t len;

	make_image("above.ublk", &from);
	open_image(&o, "above.ublk");
	if (to)
		assert_int_equal(backing_open(to, "above.ublk", &how, &b), 0);
	assert_true(saved >= 0 && fd >= 0);
	fflush(stderr);
	dup2(fd, STDERR_FILENO);
	progress_set_clock(hasty_clock);
	assert_int_equal(backing_rebase_here(o.im, b, to, PROGRESS_ALWAYS, &res), 0);
	progress_set_clock(NULL);
	dup2(saved, STDERR_FILENO);
	close(saved);
	len = pread(fd, text, size - 1, 0);
	close(fd);
	assert_true(len >= 0);
	text[len] = '\0';
	assert_int_equal(res.bytes, SIZE);
	backing_close(b);
	close_image(&o);
}

static void test_progress(void **state)
{
	const struct backing_ref *targets[2] = {NULL, NULL};
	struct backing_ref to;
	char text[8192];

	(void)state;
	make_raw("below.raw", SIZE, 'a');
	make_raw("other.raw", SIZE, 'b');
	to = ref_to("other.raw", BACKING_RAW, NULL);
	targets[1] = &to;
	for (unsigned i = 0; i < 2; i++) {
		unsigned percent, last = 0, lines = 0;

		rebase_shows(targets[i], text, sizeof(text));
		for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
			assert_int_equal(sscanf(line, "rebase %u %%", &percent), 1);
			assert_in_range(percent, last + 1, 100);
			assert_non_null(strstr(line, " of 1 MiB  "));
			last = percent;
			lines++;
		}
		assert_int_equal(lines, SIZE / CLUSTER);
		assert_int_equal(last, 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress),
	};
	char dir[] = "test-backing.XXXXXX";

	if (chdir(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp") || !mkdtemp(dir) || chdir(dir))
		return 1;
	setenv("UBLK_IMG_RUNTIME_DIR", "run", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
