/* SPDX-License-Identifier: MIT */
/*
 * A backing is opened only if it is what it was, and never by way of itself (engine/backing.h); and
 * a rebase onto another shows how far it is.
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
#include "common/log.h"
#include "engine/backing.h"
#include "image/snapshot.h"
#include "image/store.h"

#define SIZE	(1u << 20)
#define CLUSTER (64u << 10)

/* ---- what was said ------------------------------------------------------------------------- */

static char said[4096]; /* the last error or warning */

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg;
	if (level <= LOG_LEVEL_WARN)
		snprintf(said, sizeof(said), "%s", message);
}

/* @err is @expected, for the reason that @word stands for. */
static void assert_refused_for(errint_t err, errint_t expected, const char *word)
{
	if (err == expected && !strstr(said, word))
		print_error("\"%s\" does not say \"%s\"\n", said, word);
	assert_int_equal(err, expected);
	assert_non_null(strstr(said, word));
}

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

/* A cluster of @with at the beginning of the disk. */
static void write_image(const char *path, int with)
{
	struct engine_thread *t;
	struct engine *e;
	struct opened o;
	uint8_t *buf = store_buffer(CLUSTER);

	memset(buf, with, CLUSTER);
	open_image(&o, path);
	assert_int_equal(engine_new(o.im, NULL, &e), 0);
	assert_int_equal(engine_thread_new(e, &t), 0);
	assert_int_equal(engine_write(t, buf, 0, CLUSTER, false), 0);
	engine_thread_free(t);
	engine_free(e);
	close_image(&o);
	free(buf);
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

/* As the image "above.ublk" opens its backing; the first byte there is @first, if any. */
static errint_t try_open(const struct backing_ref *ref, int first)
{
	const struct backing_how how = {.chain = NULL};
	uint8_t *buf = store_buffer(512);
	struct backing_reader *r;
	struct backing *b;
	errint_t err;

	said[0] = '\0';
	err = backing_open(ref, "above.ublk", &how, &b);
	if (!err) {
		assert_int_equal(backing_reader_new(b, &r), 0);
		assert_int_equal(backing_read(r, buf, 512, 0), 0);
		assert_int_equal(buf[0], first);
		backing_reader_free(r);
		backing_close(b);
	}
	free(buf);
	return err;
}

/* Everything below @path, as a user of the image opens it. */
static errint_t try_engine(const char *path)
{
	/* Links are followed even where there is no openat2(). */
	const struct engine_opts opts = {.allow_backing = true};
	struct engine *e;
	struct opened o;
	errint_t err;

	said[0] = '\0';
	open_image(&o, path);
	err = engine_new(o.im, &opts, &e);
	if (!err)
		engine_free(e);
	close_image(&o);
	return err;
}

static void set_backing(const char *path, const struct backing_ref *ref)
{
	struct opened o;

	open_image(&o, path);
	assert_int_equal(image_set_backing(o.im, ref), 0);
	close_image(&o);
}

/* ---- is it what it was? -------------------------------------------------------------------- */

static void test_raw_changed(void **state)
{
	struct backing_ref ref;

	(void)state;
	make_raw("below.raw", SIZE, 'a');
	ref = ref_to("below.raw", BACKING_RAW, NULL);
	assert_int_equal(ref.size, SIZE);
	assert_int_equal(try_open(&ref, 'a'), 0);
	set_time("below.raw", 2);
	assert_refused_for(try_open(&ref, 'a'), -ESTALE, "its time of last change was");
	make_raw("below.raw", SIZE + 512, 'a');
	assert_refused_for(try_open(&ref, 'a'), -ESTALE, "its size was 1048576, now it is 1049088");
	make_raw("below.raw", SIZE - 1, 'a');
	assert_refused_for(try_open(&ref, 'a'), -ESTALE, "its size was 1048576, now it is 1048575");
	/* A copy that has kept the time. */
	assert_int_equal(unlink("below.raw"), 0);
	assert_refused_for(try_open(&ref, 'a'), -ENOENT, "cannot open its backing file");
	make_raw("below.raw", SIZE, 'a');
	assert_int_equal(try_open(&ref, 'a'), 0);
}

static void test_image_changed(void **state)
{
	struct backing_ref ref, other;
	struct opened o;

	(void)state;
	make_image("below.ublk", NULL);
	write_image("below.ublk", 'a');
	ref = ref_to("below.ublk", BACKING_UBLK_IMG, NULL);
	assert_int_equal(try_open(&ref, 'a'), 0);

	/* Who looks at it does not change it; who writes, or may have, does. */
	assert_int_equal(try_engine("below.ublk"), 0);
	other = ref_to("below.ublk", BACKING_UBLK_IMG, NULL);
	assert_int_equal(try_open(&other, 'a'), 0);
	write_image("below.ublk", 'b');
	assert_refused_for(try_open(&ref, 'a'), -ESTALE, "its generation was");
	ref = ref_to("below.ublk", BACKING_UBLK_IMG, NULL);
	assert_int_equal(try_open(&ref, 'b'), 0);

	/* Each fact by itself. */
	other = ref;
	other.stamp--;
	assert_refused_for(try_open(&other, 'b'), -ESTALE, "its generation was");
	other = ref;
	other.size += 512;
	assert_refused_for(try_open(&other, 'b'), -ESTALE, "its size was");
	other = ref;
	other.id[15] ^= 1;
	assert_refused_for(try_open(&other, 'b'), -ESTALE, "its uuid was");

	/* Larger. */
	open_image(&o, "below.ublk");
	assert_int_equal(image_resize(o.im, 2 * SIZE, false), 0);
	close_image(&o);
	assert_refused_for(try_open(&ref, 'b'), -ESTALE, "its size was 1048576, now it is 2097152");

	/* What it is, is told and not guessed. */
	ref = ref_to("below.ublk", BACKING_UBLK_IMG, NULL);
	ref.kind = BACKING_RAW;
	assert_true(try_open(&ref, 0));
	make_raw("below.raw", SIZE, 'a');
	ref = ref_to("below.raw", BACKING_RAW, NULL);
	ref.kind = BACKING_UBLK_IMG;
	assert_true(try_open(&ref, 'a'));
}

/* A snapshot does not change, and neither does who it is, whatever it is called. */
static void test_snapshot(void **state)
{
	struct backing_ref ref, other;
	struct opened o;
	uint32_t id;

	(void)state;
	make_image("below.ublk", NULL);
	write_image("below.ublk", 'a');
	open_image(&o, "below.ublk");
	assert_int_equal(snapshot_create(o.im, "one", &id), 0);
	close_image(&o);
	ref = ref_to("below.ublk", BACKING_UBLK_IMG, "one");
	assert_int_equal(ref.stamp, 0);
	write_image("below.ublk", 'b');
	assert_int_equal(try_open(&ref, 'a'), 0);

	open_image(&o, "below.ublk");
	assert_int_equal(snapshot_rename(o.im, "one", "two"), 0);
	assert_int_equal(snapshot_create(o.im, "one", &id), 0);
	close_image(&o);
	assert_int_equal(try_open(&ref, 'a'), 0);
	other = ref_to("below.ublk", BACKING_UBLK_IMG, "one");
	assert_int_equal(try_open(&other, 'b'), 0);
	assert_true(memcmp(ref.snapshot, other.snapshot, 16));

	other = ref;
	other.id[0] ^= 1;
	assert_refused_for(try_open(&other, 'a'), -ESTALE, "its uuid was");
	open_image(&o, "below.ublk");
	assert_int_equal(snapshot_delete(o.im, "two"), 0);
	close_image(&o);
	assert_refused_for(try_open(&ref, 'a'), -ESTALE, "is not there any more");
}

/* What a commit that was interrupted has changed is not looked at; that it is the file, is. */
static void test_committing(void **state)
{
	struct backing_ref ref, other;

	(void)state;
	make_raw("below.raw", SIZE, 'a');
	ref = ref_to("below.raw", BACKING_RAW, NULL);
	ref.committing = true;
	set_time("below.raw", 2);
	assert_int_equal(try_open(&ref, 'a'), 0);
	assert_non_null(strstr(said, "a commit was interrupted"));
	make_raw("below.raw", SIZE + 4096, 'b');
	assert_int_equal(try_open(&ref, 'b'), 0);
	make_raw("below.raw", SIZE - 512, 'a');
	assert_refused_for(try_open(&ref, 'a'), -ESTALE, "its size was");

	/* One that ends within a sector shows all of that, and is to be made as large only then. */
	make_raw("below.raw", SIZE - 1, 'a');
	ref = ref_to("below.raw", BACKING_RAW, NULL);
	ref.committing = true;
	assert_int_equal(ref.limit, SIZE);
	assert_int_equal(try_open(&ref, 'a'), 0);
	make_raw("below.raw", SIZE - 2, 'a');
	assert_refused_for(try_open(&ref, 'a'), -ESTALE, "its size was");

	make_image("below.ublk", NULL);
	ref = ref_to("below.ublk", BACKING_UBLK_IMG, NULL);
	ref.committing = true;
	write_image("below.ublk", 'b');
	assert_int_equal(try_open(&ref, 'b'), 0);
	other = ref;
	other.id[7] ^= 1;
	assert_refused_for(try_open(&other, 'b'), -ESTALE, "its uuid was");
}

/* ---- chains -------------------------------------------------------------------------------- */

/* @path stands on @names of it, which are links as well. */
static void is_a_loop(const char *path, const char *name)
{
	struct backing_ref ref = ref_to("1.ublk", BACKING_UBLK_IMG, NULL);

	snprintf(ref.path, sizeof(ref.path), "%s", name);
	set_backing("1.ublk", &ref);
	assert_refused_for(try_engine(path), -ELOOP, "is, by way of others, its own backing file");
	ref = (struct backing_ref){.kind = BACKING_NONE};
	set_backing("1.ublk", &ref);
}

static void test_loops(void **state)
{
	struct backing_ref ref;

	(void)state;
	make_image("1.ublk", NULL);
	ref = ref_to("1.ublk", BACKING_UBLK_IMG, NULL);
	make_image("2.ublk", &ref);
	ref = ref_to("2.ublk", BACKING_UBLK_IMG, NULL);
	make_image("3.ublk", &ref);
	assert_int_equal(try_engine("3.ublk"), 0);

	is_a_loop("1.ublk", "1.ublk");
	assert_int_equal(symlink("1.ublk", "soft.ublk"), 0);
	is_a_loop("1.ublk", "soft.ublk");
	assert_int_equal(link("1.ublk", "hard.ublk"), 0);
	is_a_loop("1.ublk", "hard.ublk");
	/* The stamps are those of before; whether the files are others is looked at first. */
	is_a_loop("1.ublk", "2.ublk");
	is_a_loop("1.ublk", "3.ublk");
	is_a_loop("3.ublk", "3.ublk");
	/* The first is none of those in the circle. */
	is_a_loop("3.ublk", "2.ublk");
	is_a_loop("3.ublk", "1.ublk");
}

static void test_depth(void **state)
{
	struct backing_ref ref;
	char path[16];

	(void)state;
	make_image("1.ublk", NULL);
	for (unsigned i = 1; i <= BACKING_DEPTH; i++) {
		snprintf(path, sizeof(path), "%u.ublk", i);
		assert_int_equal(try_engine(path), 0);
		ref = ref_to(path, BACKING_UBLK_IMG, NULL);
		snprintf(path, sizeof(path), "%u.ublk", i + 1);
		make_image(path, &ref);
	}
	assert_refused_for(try_engine(path), -ELOOP, "more than 16 images");
	/* A raw file is one as well. */
	make_raw("0.raw", SIZE, 'a');
	ref = ref_to("0.raw", BACKING_RAW, NULL);
	set_backing("1.ublk", &ref);
	ref = ref_to("1.ublk", BACKING_UBLK_IMG, NULL);
	for (unsigned i = 2; i < BACKING_DEPTH; i++) {
		snprintf(path, sizeof(path), "%u.ublk", i);
		set_backing(path, &ref);
		ref = ref_to(path, BACKING_UBLK_IMG, NULL);
	}
	assert_int_equal(try_engine("15.ublk"), 0);
	set_backing("16.ublk", &ref);
	assert_refused_for(try_engine("16.ublk"), -ELOOP, "more than 16 images");
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

static int make_above(void **state)
{
	(void)state;
	make_image("above.ublk", NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw_changed), cmocka_unit_test(test_image_changed),
		cmocka_unit_test(test_snapshot),    cmocka_unit_test(test_committing),
		cmocka_unit_test(test_loops),	    cmocka_unit_test(test_depth),
		cmocka_unit_test(test_progress),
	};
	char dir[] = "test-backing.XXXXXX";

	if (chdir(getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp") || !mkdtemp(dir) || chdir(dir))
		return 1;
	setenv("UBLK_IMG_RUNTIME_DIR", "run", 1);
	log_set_sink(keep, NULL);
	return cmocka_run_group_tests(tests, make_above, NULL);
}
