/* SPDX-License-Identifier: MIT */
/* Disks as commands read them (cli/disk.h): raw files with holes, images, and what is neither. */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/disk.h"
#include "common/log.h"
#include "engine/engine.h"

static void drop(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
}

static void write_at(int fd, uint64_t off, size_t len, int byte)
{
	char *buf = malloc(len);

	assert_non_null(buf);
	memset(buf, byte, len);
	assert_int_equal(pwrite(fd, buf, len, (off_t)off), (ssize_t)len);
	free(buf);
}

static bool knows_holes(int fd)
{
	return lseek(fd, 0, SEEK_DATA) > 0;
}

static struct disk *open_disk(const char *path, enum disk_format format)
{
	struct disk *d;

	assert_int_equal(disk_open(path, format, &d), 0);
	assert_string_equal(disk_path(d), path);
	return d;
}

static void check_bytes(struct disk_reader *r, uint64_t off, size_t len, int byte)
{
	unsigned char *buf = malloc(len);

	assert_non_null(buf);
	memset(buf, 0xee, len);
	assert_int_equal(disk_read(r, buf, off, len), 0);
	for (size_t i = 0; i < len; i++)
		if (buf[i] != byte)
			fail_msg("byte %llu is %#x, not %#x", (unsigned long long)(off + i), buf[i],
				 byte);
	free(buf);
}

/* Data is exactly in the @n runs; off-by-one questions included. */
static void check_runs(struct disk *d, const uint64_t (*runs)[2], unsigned n)
{
	uint64_t off = 0, start, end;

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(disk_next_data(d, off, &start, &end), 0);
		assert_true(start == runs[i][0] && end == runs[i][1]);
		assert_int_equal(disk_next_data(d, end - 512, &start, &end), 0);
		assert_true(start == runs[i][1] - 512 && end == runs[i][1]);
		off = runs[i][1];
	}
	assert_int_equal(disk_next_data(d, off, &start, &end), 0);
	assert_true(start == disk_size(d) && end == start);
	assert_int_equal(disk_next_data(d, UINT64_MAX, &start, &end), 0);
	assert_true(start == disk_size(d) && end == start);
}

static void test_raw(void **state)
{
	static const uint64_t runs[][2] = {{1 << 20, 2 << 20}, {8 << 20, (8 << 20) + 65536}};
	int fd = open("raw", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct disk_reader *r;
	struct disk *d;

	(void)state;
	assert_true(fd >= 0);
	write_at(fd, 1 << 20, 1 << 20, 'a');
	write_at(fd, 8 << 20, 65536, 'b');
	assert_int_equal(ftruncate(fd, (16 << 20) + 1000), 0);
	d = open_disk("raw", DISK_DETECT);
	assert_int_equal(disk_format(d), DISK_RAW);
	assert_true(disk_size(d) == (16 << 20) + 1000);
	if (knows_holes(fd))
		check_runs(d, runs, 2);
	assert_int_equal(disk_reader_new(d, &r), 0);
	check_bytes(r, 0, 1 << 20, 0);
	check_bytes(r, 1 << 20, 1 << 20, 'a');
	check_bytes(r, 8 << 20, 65536, 'b');
	/* Beyond the end there are zeros, for ever. */
	check_bytes(r, 16 << 20, 4096, 0);
	check_bytes(r, 1ull << 60, 4096, 0);
	disk_reader_free(r);
	disk_close(d);
	close(fd);
}

/* A file that becomes shorter is not read as zeros. */
static void test_cut(void **state)
{
	int fd = open("cut", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct disk_reader *r;
	struct disk *d;
	char buf[2048];

	(void)state;
	write_at(fd, 0, 2048, 'a');
	d = open_disk("cut", DISK_RAW);
	assert_int_equal(disk_reader_new(d, &r), 0);
	assert_int_equal(ftruncate(fd, 1024), 0);
	assert_int_equal(disk_read(r, buf, 0, 1024), 0);
	assert_int_equal(disk_read(r, buf, 0, 2048), -EIO);
	disk_reader_free(r);
	disk_close(d);
	close(fd);
}

static void write_image(const char *path, unsigned nruns)
{
	const struct image_params params = {
		.size = 1 << 30, .codec = 1, .level = 1, .creator = "test-disk"};
	const struct image_open_opts opts = {0};
	struct engine_thread *thread;
	struct engine *engine;
	struct store *st;
	struct image *im;
	char buf[4096];

	assert_int_equal(store_file_open(path, STORE_FILE_CREATE, &st), 0);
	assert_int_equal(image_create(st, &params), 0);
	assert_int_equal(image_open(st, &opts, &im), 0);
	assert_int_equal(engine_new(im, NULL, &engine), 0);
	assert_int_equal(engine_thread_new(engine, &thread), 0);
	memset(buf, 'x', sizeof(buf));
	for (unsigned i = 0; i < nruns; i++)
		assert_int_equal(
			engine_write(thread, buf, i * 131072ull + 65536, sizeof(buf), false), 0);
	engine_thread_free(thread);
	engine_free(engine);
	assert_int_equal(image_close(im), 0);
	store_close(st);
}

/* More runs than are looked up at once. */
static void test_image(void **state)
{
	enum { RUNS = 5000 };
	uint64_t(*runs)[2] = calloc(RUNS, sizeof(*runs));
	struct disk_reader *r, *r2;
	struct disk *d;

	(void)state;
	write_image("image", RUNS);
	d = open_disk("image", DISK_DETECT);
	assert_int_equal(disk_format(d), DISK_UBLK);
	assert_true(disk_size(d) == 1 << 30);
	for (unsigned i = 0; i < RUNS; i++) {
		runs[i][0] = i * 131072ull + 65536;
		runs[i][1] = runs[i][0] + 4096;
	}
	check_runs(d, runs, RUNS);
	check_runs(d, runs, RUNS); /* from the beginning again */
	assert_int_equal(disk_reader_new(d, &r), 0);
	assert_int_equal(disk_reader_new(d, &r2), 0);
	check_bytes(r, 0, 65536, 0);
	check_bytes(r2, 65536, 4096, 'x');
	check_bytes(r, 65536 + 4096, 61440, 0);
	check_bytes(r, (1 << 30) - 512, 1024, 0);
	disk_reader_free(r2);
	disk_reader_free(r);
	disk_close(d);
	/* As the file that it is. */
	d = open_disk("image", DISK_RAW);
	assert_int_equal(disk_format(d), DISK_RAW);
	assert_true(disk_size(d) > 1 << 20);
	disk_close(d);
	free(runs);
}

static void test_neither(void **state)
{
	enum disk_format format;
	struct disk *d;

	(void)state;
	assert_int_equal(mkdir("dir", 0700), 0);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(disk_open("missing", DISK_DETECT, &d), -ENOENT);
	assert_int_equal(disk_open("dir", DISK_DETECT, &d), -EISDIR);
	assert_int_equal(disk_open("fifo", DISK_DETECT, &d), -EINVAL);
	assert_int_equal(disk_open("/dev/zero", DISK_RAW, &d), -EINVAL);
	assert_int_equal(disk_open("raw", DISK_UBLK, &d), -EBADMSG);
	assert_int_equal(disk_detect("image", &format), 0);
	assert_int_equal(format, DISK_UBLK);
	assert_int_equal(disk_detect("raw", &format), 0);
	assert_int_equal(format, DISK_RAW);
	assert_int_equal(disk_detect("missing", &format), -ENOENT);
	disk_close(NULL);
	disk_reader_free(NULL);
}

static int begin(void **state)
{
	const char *dir = getenv("UBLK_IMG_TEST_DIR");

	(void)state;
	log_set_sink(drop, NULL);
	return !dir || chdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_image),
		cmocka_unit_test(test_neither),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
