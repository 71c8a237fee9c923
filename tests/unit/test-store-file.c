/* SPDX-License-Identifier: MIT */
/*
 * store_file: the same behaviour with direct I/O and without, at every alignment; lengths, holes,
 * locks, and what is refused.
 */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/format.h"
#include "image/store.h"
#include "image/store_lock.h"

#define FILE_LEN (1u << 20)

static char dir[] = "/var/tmp/test-store-file.XXXXXX";
static char path[sizeof(dir) + 16];
static char last_message[1024];

static void keep_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	snprintf(last_message, sizeof(last_message), "%s", message);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	log_set_sink(keep_message, NULL);
	if (tmp && strlen(tmp) + 32 < sizeof(last_message)) {
		snprintf(last_message, sizeof(last_message), "%s", tmp);
		if (chdir(last_message))
			return -1;
	} else if (!mkdtemp(dir) || chdir(dir)) {
		return -1;
	}
	snprintf(path, sizeof(path), "image");
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(path);
	return getenv("TMPDIR") ? 0 : rmdir(dir);
}

static int remove_image(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static struct store *open_store(unsigned flags)
{
	struct store *st = NULL;

	assert_int_equal(store_file_open(path, flags, &st), 0);
	assert_non_null(st);
	assert_true(st->align >= SECTOR_SIZE && st->align <= UNIT_SIZE);
	return st;
}

/* The byte that the tests put at @off in version @v. */
static uint8_t pattern(uint64_t off, unsigned v)
{
	return (uint8_t)(off * 31 + off / 509 + v * 101);
}

static void fill(uint8_t *buf, size_t len, uint64_t off, unsigned v)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = pattern(off + i, v);
}

static void random_io(unsigned flags, unsigned force_align)
{
	struct store *st = open_store(STORE_FILE_CREATE | flags);
	uint8_t *model = calloc(1, FILE_LEN), *buf = store_buffer(FILE_LEN);
	unsigned seed = 12345;

	/* A device with larger blocks than this one has. */
	if (force_align > st->align)
		st->align = force_align;
	for (unsigned i = 0; i < 400; i++) {
		seed = seed * 1103515245 + 12345;
		uint64_t off = (seed >> 8) % (FILE_LEN / SECTOR_SIZE) * SECTOR_SIZE;
		seed = seed * 1103515245 + 12345;
		size_t max = i % 7 ? 16384 : FILE_LEN;
		size_t len = ((seed >> 8) % (max / SECTOR_SIZE) + 1) * SECTOR_SIZE;
		unsigned shift = i % 3 ? 0 : SECTOR_SIZE;

		if (len > FILE_LEN - off)
			len = FILE_LEN - off;
		if (len + shift > FILE_LEN)
			shift = 0;
		if (i % 2) {
			fill(buf + shift, len, off, i);
			memcpy(model + off, buf + shift, len);
			if (i % 5)
				assert_int_equal(store_write(st, buf + shift, len, off), 0);
			else
				assert_int_equal(store_write_dsync(st, buf + shift, len, off), 0);
		} else {
			memset(buf, 0xee, FILE_LEN);
			assert_int_equal(store_read(st, buf + shift, len, off), 0);
			assert_memory_equal(buf + shift, model + off, len);
		}
	}
	assert_int_equal(store_datasync(st), 0);
	store_close(st);

	st = open_store(STORE_FILE_READ_ONLY | STORE_FILE_BUFFERED);
	assert_int_equal(store_read(st, buf, FILE_LEN, 0), 0);
	assert_memory_equal(buf, model, FILE_LEN);
	store_close(st);
	free(buf);
	free(model);
}

static void test_random_direct(void **state)
{
	(void)state;
	random_io(0, 0);
}

static void test_random_buffered(void **state)
{
	(void)state;
	random_io(STORE_FILE_BUFFERED, 0);
}

static void test_random_large_blocks(void **state)
{
	(void)state;
	random_io(0, UNIT_SIZE);
}

static void check_end(unsigned flags, uint64_t length)
{
	struct store *st = open_store(flags);
	CLEANUP(free) uint8_t *buf = store_buffer(4 * UNIT_SIZE);

	memset(buf, 0xee, 4 * UNIT_SIZE);
	assert_int_equal(store_read(st, buf, 4 * UNIT_SIZE, 0), 0);
	for (unsigned i = 0; i < 4 * UNIT_SIZE; i++)
		assert_int_equal(buf[i], i < length ? pattern(i, 1) : 0);
	memset(buf, 0xee, 4 * UNIT_SIZE);
	assert_int_equal(store_read(st, buf, SECTOR_SIZE, 1ull << 40), 0);
	for (unsigned i = 0; i < SECTOR_SIZE; i++)
		assert_int_equal(buf[i], 0);
	store_close(st);
}

/* Reads that pass the end are filled with zeros, wherever the end is. */
static void test_end_of_file(void **state)
{
	static const unsigned lengths[] = {0, 1, 511, 512, 4095, 4096, 4097, 5120, 12288, 16383};

	(void)state;
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		FILE *out = fopen(path, "w");

		for (unsigned k = 0; k < lengths[i]; k++)
			putc(pattern(k, 1), out);
		fclose(out);
		check_end(0, lengths[i]);
		check_end(STORE_FILE_BUFFERED, lengths[i]);
		check_end(STORE_FILE_READ_ONLY, lengths[i]);
		unlink(path);
	}
}

static void test_space(void **state)
{
	struct store *st = open_store(STORE_FILE_CREATE);
	CLEANUP(free) uint8_t *buf = store_buffer(8 * UNIT_SIZE);
	uint64_t len;
	errint_t err;

	(void)state;
	assert_int_equal(store_length(st, &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(store_truncate(st, 1ull << 40), 0);
	assert_int_equal(store_length(st, &len), 0);
	assert_int_equal(len, 1ull << 40);
	assert_true(store_usage(st) < UNIT_SIZE * 16);
	assert_int_equal(store_truncate(st, 64 * UNIT_SIZE), 0);

	fill(buf, 8 * UNIT_SIZE, 0, 1);
	assert_int_equal(store_write(st, buf, 8 * UNIT_SIZE, 0), 0);
	err = store_punch(st, 2 * UNIT_SIZE, 3 * UNIT_SIZE);
	assert_true(err == 0 || err == -EOPNOTSUPP);
	if (!err)
		memset(buf + 2 * UNIT_SIZE, 0, 3 * UNIT_SIZE);
	CLEANUP(free) uint8_t *back = store_buffer(8 * UNIT_SIZE);
	assert_int_equal(store_read(st, back, 8 * UNIT_SIZE, 0), 0);
	assert_memory_equal(back, buf, 8 * UNIT_SIZE);

	assert_int_equal(store_allocate(st, 0, 96 * UNIT_SIZE), 0);
	assert_int_equal(store_length(st, &len), 0);
	assert_true(len == 96 * UNIT_SIZE || len == 64 * UNIT_SIZE);
	assert_int_equal(store_read(st, back, 8 * UNIT_SIZE, 0), 0);
	assert_memory_equal(back, buf, 8 * UNIT_SIZE);
	/* A punch beyond the end changes nothing, the length least of all. */
	err = store_punch(st, 1ull << 30, UNIT_SIZE);
	assert_true(err == 0 || err == -EOPNOTSUPP);
	uint64_t after;
	assert_int_equal(store_length(st, &after), 0);
	assert_int_equal(after, len);
	store_close(st);
}

/* One process, two descriptions: the lock is the description's. */
static void test_lock(void **state)
{
	struct store *a = open_store(STORE_FILE_CREATE), *b = open_store(0);
	char expect[64];

	(void)state;
	assert_int_equal(store_lock(a, STORE_LOCK_SHARED), 0);
	assert_int_equal(store_lock(b, STORE_LOCK_SHARED), 0);
	assert_int_equal(store_lock(a, STORE_LOCK_EXCLUSIVE), -EBUSY);
	store_close(b);
	assert_int_equal(store_lock(a, STORE_LOCK_EXCLUSIVE), 0);
	b = open_store(0);
	last_message[0] = '\0';
	assert_int_equal(store_lock(b, STORE_LOCK_SHARED), -EBUSY);
	snprintf(expect, sizeof(expect), "in use by pid %d (", (int)getpid());
	assert_non_null(strstr(last_message, path));
	assert_non_null(strstr(last_message, expect));
	store_close(a);
	assert_int_equal(store_lock(b, STORE_LOCK_EXCLUSIVE), 0);
	store_close(b);
}

/* Another process holds it: named by pid; free again as soon as that one is gone. */
static void test_lock_holder(void **state)
{
	struct store *st = open_store(STORE_FILE_CREATE);
	int ready[2];
	char expect[64], byte;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct store *mine;

		if (store_file_open(path, 0, &mine) || store_lock(mine, STORE_LOCK_EXCLUSIVE) ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(store_lock(st, STORE_LOCK_EXCLUSIVE), -EBUSY);
	snprintf(expect, sizeof(expect), "in use by pid %d (", (int)pid);
	assert_non_null(strstr(last_message, expect));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(store_lock(st, STORE_LOCK_EXCLUSIVE), 0);
	store_close(st);
	close(ready[0]);
	close(ready[1]);
}

/* A description that locks the file and that no process has: it is under way in a socket. */
static void make_lingering(int *from, int *to)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	int fd = open(path, O_RDWR | O_CLOEXEC), pair[2];

	assert_true(fd >= 0);
	assert_int_equal(store_lock_fd(fd, path, STORE_LOCK_EXCLUSIVE, false), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	assert_int_equal(sendmsg(pair[0], &msg, 0), 1);
	close(fd);
	*from = pair[0];
	*to = pair[1];
}

static void *close_soon(void *arg)
{
	const int *fd = arg;

	usleep(200000);
	close(*fd);
	return NULL;
}

/* What a process that has died had in flight holds the lock for a moment; it is waited for. */
static void test_lock_lingers(void **state)
{
	struct store *st = open_store(STORE_FILE_CREATE);
	pthread_t thread;
	int from, to;

	(void)state;
	make_lingering(&from, &to);
	assert_int_equal(pthread_create(&thread, NULL, close_soon, &to), 0);
	assert_int_equal(store_lock(st, STORE_LOCK_EXCLUSIVE), 0);
	pthread_join(thread, NULL);
	close(from);
	store_close(st);

	/* But not for ever. */
	st = open_store(0);
	make_lingering(&from, &to);
	last_message[0] = '\0';
	assert_int_equal(store_lock_fd(store_file_fd(st), path, STORE_LOCK_SHARED, true), -EBUSY);
	assert_int_equal(store_lock(st, STORE_LOCK_SHARED), -EBUSY);
	assert_non_null(strstr(last_message, "which this user cannot see"));
	close(from);
	close(to);
	store_close(st);
}

static void expect_refused(const char *name, unsigned flags, errint_t err, const char *text)
{
	struct store *st;

	last_message[0] = '\0';
	assert_int_equal(store_file_open(name, flags, &st), err);
	if (!strstr(last_message, text) || !strstr(last_message, name))
		fail_msg("message \"%s\" lacks \"%s\"", last_message, text);
}

static void test_refused(void **state)
{
	(void)state;
	expect_refused("no-such-file", 0, -ENOENT, "cannot open the image: No such file");
	expect_refused("no-such-dir/x", STORE_FILE_CREATE, -ENOENT, "cannot create the image");
	expect_refused(".", 0, -EISDIR, "is a directory");
	expect_refused(".", STORE_FILE_READ_ONLY, -EINVAL, "neither a regular file nor a block");
	expect_refused("/dev/null", 0, -EINVAL, "neither a regular file nor a block device");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	expect_refused("fifo", STORE_FILE_READ_ONLY, -EINVAL, "neither a regular file");
	unlink("fifo");
	store_close(open_store(STORE_FILE_CREATE));
	expect_refused(path, STORE_FILE_CREATE, -EEXIST, "exists already");
}

static void test_descriptor(void **state)
{
	struct store *st = open_store(STORE_FILE_CREATE);
	int fd = store_file_fd(st);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	store_close(st);
	store_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_random_direct, remove_image),
		cmocka_unit_test_teardown(test_random_buffered, remove_image),
		cmocka_unit_test_teardown(test_random_large_blocks, remove_image),
		cmocka_unit_test_teardown(test_end_of_file, remove_image),
		cmocka_unit_test_teardown(test_space, remove_image),
		cmocka_unit_test_teardown(test_lock, remove_image),
		cmocka_unit_test_teardown(test_lock_holder, remove_image),
		cmocka_unit_test_teardown(test_lock_lingers, remove_image),
		cmocka_unit_test_teardown(test_refused, remove_image),
		cmocka_unit_test_teardown(test_descriptor, remove_image),
	};

	return cmocka_run_group_tests_name("store_file", tests, make_dir, remove_dir);
}
