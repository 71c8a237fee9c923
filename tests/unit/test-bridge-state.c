/* SPDX-License-Identifier: MIT */
/* What bridges leave behind (bridge/state_file.h): written, read, locked, replaced, damaged. */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/state_file.h"
#include "common/log.h"

static char path[] = "/tmp/ublk-img-state.XXXXXX";
static int dir = -1;
static char last[1024];

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	snprintf(last, sizeof(last), "%s", message);
}

/* Large, and only one at a time. */
static struct device_state *sample(uint32_t id)
{
	static struct device_state s;

	s = (struct device_state){
		.id = id,
		.mark = 0x75626b6900001234,
		.image = "/images/\xc3\xa9\xff one.ublk", /* no UTF-8 */
		.image_dev = 0xfd01,
		.image_ino = 123456789012,
		.name = "data",
		.log = "/var/log/x \"y\"\n.log",
		.mode = BRIDGE_USER_COPY,
		.mode_reason = "asked for",
		.restart = true,
		.allow_backing = true,
		.size = 1ull << 49,
		.since = 1764300000,
		.pid = 77,
		.mtime = 1764300000123456789,
	};
	for (unsigned i = 0; i < 16; i++)
		s.uuid[i] = (uint8_t)(i * 17);
	snprintf(s.device, sizeof(s.device), "/dev/ublkb%u", id);
	state_file_boot_id(s.boot);
	return &s;
}

static void assert_same(const struct device_state *a, const struct device_state *b)
{
	assert_string_equal(a->device, b->device);
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->mark, b->mark);
	assert_string_equal(a->boot, b->boot);
	assert_string_equal(a->image, b->image);
	assert_memory_equal(a->uuid, b->uuid, 16);
	assert_int_equal(a->image_dev, b->image_dev);
	assert_int_equal(a->image_ino, b->image_ino);
	assert_string_equal(a->name, b->name);
	assert_string_equal(a->log, b->log);
	assert_int_equal(a->mode, b->mode);
	assert_string_equal(a->mode_reason, b->mode_reason);
	assert_int_equal(a->read_only, b->read_only);
	assert_int_equal(a->foreground, b->foreground);
	assert_int_equal(a->restart, b->restart);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->since, b->since);
	assert_int_equal(a->pid, b->pid);
	assert_int_equal(a->closed, b->closed);
	assert_int_equal(a->mtime, b->mtime);
}

static void test_round_trip(void **state)
{
	struct device_state *s = sample(3), *got = malloc(sizeof(*got));
	int lock = -1;

	(void)state;
	assert_non_null(got);
	assert_int_equal(state_file_read(dir, "ublkb3", got), -ENOENT);
	assert_int_equal(state_file_write(dir, s, &lock), 0);
	assert_true(lock >= 0);
	assert_int_equal(state_file_read(dir, "ublkb3", got), 0);
	assert_same(got, s);
	assert_string_equal(state_file_device(got), "ublkb3");

	/* In place of what was there. */
	s->closed = s->read_only = s->foreground = true;
	s->mtime = 0;
	s->log[0] = s->name[0] = '\0';
	strcpy(s->image, "/plain");
	assert_int_equal(state_file_write(dir, s, &lock), 0);
	assert_int_equal(state_file_read(dir, "ublkb3", got), 0);
	assert_same(got, s);
	state_file_remove(dir, s, &lock);
	assert_int_equal(lock, -1);
	assert_int_equal(state_file_read(dir, "ublkb3", got), -ENOENT);
	free(got);
}

static void test_lock(void **state)
{
	struct device_state *s = sample(0), *got = malloc(sizeof(*got));
	int lock = -1, other = -1;

	(void)state;
	assert_non_null(got);
	assert_int_equal(state_file_write(dir, s, &lock), 0);
	assert_int_equal(state_file_take(dir, "ublkb0", got, &other), -EBUSY);
	assert_non_null(strstr(last, "/dev/ublkb0: another process serves"));
	assert_int_equal(other, -1);
	/* Also when it is not the first to be written, and by another description. */
	assert_int_equal(state_file_write(dir, s, &lock), 0);
	assert_int_equal(state_file_take(dir, "ublkb0", got, &other), -EBUSY);

	/* Its holder has gone. */
	close(lock);
	lock = -1;
	assert_int_equal(state_file_take(dir, "ublkb0", got, &other), 0);
	assert_same(got, s);
	assert_int_equal(state_file_take(dir, "ublkb0", got, &lock), -EBUSY);
	assert_int_equal(lock, -1);

	/* What it takes over it may replace, without anybody getting between. */
	got->pid = 78;
	assert_int_equal(state_file_write(dir, got, &other), 0);
	assert_int_equal(state_file_take(dir, "ublkb0", got, &lock), -EBUSY);
	state_file_remove(dir, s, &other);
	assert_int_equal(state_file_take(dir, "ublkb0", got, &lock), -ENOENT);
	free(got);
}

/* Whoever replaces what is left of an earlier device waits until its remover is done. */
static void test_replace_waits(void **state)
{
	struct device_state *s = sample(1), *got = malloc(sizeof(*got));
	int old = -1, lock = -1, status;
	pid_t child;

	(void)state;
	assert_non_null(got);
	assert_int_equal(state_file_write(dir, s, &old), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		usleep(200000);
		/* Of this process is the lock now: the parent has closed its descriptor. */
		unlinkat(dir, "ublkb1.json", 0);
		_exit(0);
	}
	close(old);
	s->pid = 99;
	assert_int_equal(state_file_write(dir, s, &lock), 0);
	assert_int_equal(waitpid(child, &status, WNOHANG), child); /* not before it had ended */
	assert_int_equal(state_file_read(dir, "ublkb1", got), 0);
	assert_int_equal(got->pid, 99);
	state_file_remove(dir, s, &lock);
	free(got);
}

/* @text is what the file of ublkb2 holds. */
static errint_t read_text(const char *text, struct device_state *got)
{
	int fd = openat(dir, "ublkb2.json", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return state_file_read(dir, "ublkb2", got);
}

static void test_damage(void **state)
{
	static char text[8192], changed[8192];
	struct device_state *s = sample(2), *got = malloc(sizeof(*got));
	int lock = -1, fd;
	ssize_t n;

	(void)state;
	assert_non_null(got);
	strcpy(s->image, "/image");
	assert_int_equal(state_file_write(dir, s, &lock), 0);
	fd = openat(dir, "ublkb2.json", O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	close(fd);
	close(lock);
	assert_int_equal(read_text(text, got), 0);
	assert_int_equal(read_text("", got), -EBADMSG);
	assert_int_equal(read_text("{}", got), -EBADMSG);
	assert_int_equal(read_text("[1, 2]", got), -EBADMSG);
	/* Cut anywhere, the last newline apart. */
	for (ssize_t i = 0; i < n - 1; i += 7) {
		memcpy(changed, text, (size_t)i);
		changed[i] = '\0';
		assert_int_equal(read_text(changed, got), -EBADMSG);
	}
	/* Each member is needed. */
	for (char *at = strstr(text, "\n  \""); at; at = strstr(at + 1, "\n  \"")) {
		if (!strncmp(at, "\n  \"version\"", 12))
			continue;
		strcpy(changed, text);
		changed[at - text + 4] = '#';
		assert_int_equal(read_text(changed, got), -EBADMSG);
	}
	/* Of another boot it is as good as none. */
	strcpy(changed, text);
	char *boot = strstr(changed, s->boot);
	assert_non_null(boot);
	boot[0] = boot[0] == '0' ? '1' : '0';
	assert_int_equal(read_text(changed, got), -ENOENT);
	unlinkat(dir, "ublkb2.json", 0);
	free(got);
}

static unsigned seen[4], owned_mask, count;

static bool note(void *arg, const struct device_state *s, bool owned)
{
	seen[count++] = s->id;
	if (owned)
		owned_mask |= 1u << s->id;
	return !arg;
}

static void test_visit(void **state)
{
	int locks[3] = {-1, -1, -1};
	const uint32_t ids[3] = {10, 2, 9};
	bool first_only = true;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(state_file_write(dir, sample(ids[i]), &locks[i]), 0);
	close(locks[1]);
	close(openat(dir, "ublkb4.json", O_WRONLY | O_CREAT, 0600)); /* damaged */
	close(openat(dir, "other.json", O_WRONLY | O_CREAT, 0600));
	last[0] = '\0';
	assert_int_equal(state_file_visit(dir, note, NULL), 0);
	assert_int_equal(count, 3);
	assert_int_equal(seen[0], 2);
	assert_int_equal(seen[1], 9);
	assert_int_equal(seen[2], 10);
	assert_int_equal(owned_mask, 1u << 9 | 1u << 10);
	assert_non_null(strstr(last, "/dev/ublkb4"));
	count = 0;
	assert_int_equal(state_file_visit(dir, note, &first_only), 0);
	assert_int_equal(count, 1);
	unlinkat(dir, "ublkb4.json", 0);
	unlinkat(dir, "other.json", 0);
	for (unsigned i = 0; i < 3; i++) {
		char name[32];

		if (i != 1)
			close(locks[i]);
		snprintf(name, sizeof(name), "ublkb%u.json", ids[i]);
		assert_int_equal(unlinkat(dir, name, 0), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_lock),
		cmocka_unit_test(test_replace_waits), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_visit),
	};
	int failed;

	if (!mkdtemp(path) || (dir = open(path, O_RDONLY | O_DIRECTORY)) < 0)
		return 1;
	log_set_sink(keep, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	/* Nothing is left of what was written. */
	return rmdir(path) ? 1 : failed;
}
