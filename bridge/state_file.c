/* SPDX-License-Identifier: MIT */
/*
 * The lock is one of an open file description (F_OFD_SETLK): it can be asked for without taking it,
 * so that looking around does not get into anybody's way.
 */
#include "config.h"

#include "bridge/state_file.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json_build.h"
#include "common/log.h"

enum {
	FORM = 1,	     /* of the file: another one is of another version of this program */
	FILE_MAX = 64 << 10, /* bytes */
	LOCK_TRIES = 100,    /* against a file that is replaced all the time */
	OLD_TRIES = 1000,    /* each 10 ms: for one that somebody is about to remove */
	FILE_NAME_MAX = 64 + 16,
};

static const char suffix[] = ".json";

const char *state_file_device(const struct device_state *s)
{
	assert(!strncmp(s->device, "/dev/", 5));
	return s->device + 5;
}

int64_t state_file_mtime(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

void state_file_set_image(struct device_state *s, const struct stat *st)
{
	s->image_dev = st->st_dev;
	s->image_ino = st->st_ino;
	s->mtime = state_file_mtime(st);
}

void state_file_boot_id(char id[40])
{
	CLEANUP(close) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, id, 39);

	id[n > 0 ? n : 0] = '\0';
	id[strcspn(id, "\n")] = '\0';
}

/* ---- the document ------------------------------------------------------------------------ */

/* A path may be any bytes, a text of JSON is UTF-8: what is not becomes an array of numbers. */
static json_t *path_to_json(const char *path)
{
	json_t *j = json_string(path);

	if (j)
		return j;
	j = json_array();
	for (const char *p = path; *p; p++)
		if (json_array_append_new(j, json_integer((unsigned char)*p))) {
			json_decref(j);
			return NULL;
		}
	return j;
}

static json_t *uuid_to_json(const uint8_t uuid[16])
{
	char text[33];

	for (unsigned i = 0; i < 16; i++)
		snprintf(text + i * 2, 3, "%02x", uuid[i]);
	return json_string(text);
}

static json_t *to_json(const struct device_state *s)
{
	struct json_build o;

	json_build_begin(&o);
	json_build_u64(&o, "form", FORM);
	json_build_text(&o, "version", PACKAGE_VERSION);
	json_build_text(&o, "device", s->device);
	json_build_u64(&o, "id", s->id);
	json_build_u64(&o, "mark", s->mark);
	json_build_text(&o, "boot", s->boot);
	json_build_put(&o, "image", path_to_json(s->image));
	json_build_put(&o, "log", path_to_json(s->log));
	json_build_put(&o, "uuid", uuid_to_json(s->uuid));
	json_build_u64(&o, "image_device", s->image_dev);
	json_build_u64(&o, "image_inode", s->image_ino);
	json_build_text(&o, "name", s->name);
	json_build_text(&o, "mode", mode_name(s->mode));
	json_build_text(&o, "mode_reason", s->mode_reason);
	json_build_bool(&o, "read_only", s->read_only);
	json_build_bool(&o, "foreground", s->foreground);
	json_build_bool(&o, "restart", s->restart);
	json_build_bool(&o, "allow_backing", s->allow_backing);
	json_build_u64(&o, "size", s->size);
	json_build_u64(&o, "since", (uint64_t)s->since);
	json_build_u64(&o, "pid", (uint64_t)s->pid);
	json_build_bool(&o, "closed", s->closed);
	json_build_put(&o, "mtime", json_integer(s->mtime));
	return json_build_finish(&o);
}

static bool get_text(const json_t *o, const char *key, char *to, size_t size)
{
	const json_t *j = json_object_get(o, key);

	if (!json_is_string(j) || json_string_length(j) >= size)
		return false;
	memcpy(to, json_string_value(j), json_string_length(j) + 1);
	return true;
}

static bool get_path(const json_t *o, const char *key, char *to, size_t size)
{
	const json_t *j = json_object_get(o, key);
	size_t n = json_array_size(j);

	if (!json_is_array(j))
		return get_text(o, key, to, size);
	if (n >= size)
		return false;
	for (size_t i = 0; i < n; i++) {
		json_int_t c = json_integer_value(json_array_get(j, i));

		if (c < 1 || c > 255)
			return false;
		to[i] = (char)c;
	}
	to[n] = '\0';
	return true;
}

static bool get_uuid(const json_t *o, uint8_t uuid[16])
{
	char text[33];

	if (!get_text(o, "uuid", text, sizeof(text)) || strlen(text) != 32 ||
	    strspn(text, "0123456789abcdef") != 32)
		return false;
	for (unsigned i = 0; i < 16; i++) {
		const char byte[3] = {text[i * 2], text[i * 2 + 1]};

		uuid[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return true;
}

static bool get_number(const json_t *o, const char *key, int64_t *to)
{
	const json_t *j = json_object_get(o, key);

	*to = json_integer_value(j);
	return json_is_integer(j);
}

static bool get_bool(const json_t *o, const char *key, bool *to)
{
	const json_t *j = json_object_get(o, key);

	*to = json_is_true(j);
	return json_is_boolean(j);
}

static bool get_mode(const json_t *o, enum bridge_mode *to)
{
	char text[32];

	if (!get_text(o, "mode", text, sizeof(text)))
		return false;
	for (*to = 0; *to < BRIDGE_LOOP; (*to)++)
		if (!strcmp(text, mode_name(*to)))
			return true;
	return false;
}

static bool get_numbers(const json_t *o, struct device_state *s)
{
	int64_t form, id, mark, dev, ino, size, pid;

	if (!get_number(o, "form", &form) || form != FORM || !get_number(o, "id", &id) ||
	    !get_number(o, "mark", &mark) || !get_number(o, "image_device", &dev) ||
	    !get_number(o, "image_inode", &ino) || !get_number(o, "size", &size) ||
	    !get_number(o, "since", &s->since) || !get_number(o, "pid", &pid) ||
	    !get_number(o, "mtime", &s->mtime) || id < 0 || id > UINT32_MAX)
		return false;
	s->id = (uint32_t)id;
	s->mark = (uint64_t)mark;
	s->image_dev = (dev_t)dev;
	s->image_ino = (ino_t)ino;
	s->size = (uint64_t)size;
	s->pid = (pid_t)pid;
	return true;
}

/* Everything must be there, and as it is written here: a bridge acts on it without asking. */
static bool from_json(const json_t *o, const char *device, struct device_state *s)
{
	char path[sizeof(s->device)];

	*s = (struct device_state){.id = 0};
	if (!get_numbers(o, s) || !get_text(o, "device", s->device, sizeof(s->device)) ||
	    !get_text(o, "boot", s->boot, sizeof(s->boot)) || !get_uuid(o, s->uuid) ||
	    !get_path(o, "image", s->image, sizeof(s->image)) ||
	    !get_path(o, "log", s->log, sizeof(s->log)) ||
	    !get_text(o, "name", s->name, sizeof(s->name)) ||
	    !get_text(o, "mode_reason", s->mode_reason, sizeof(s->mode_reason)) ||
	    !get_mode(o, &s->mode) || !get_bool(o, "read_only", &s->read_only) ||
	    !get_bool(o, "foreground", &s->foreground) || !get_bool(o, "restart", &s->restart) ||
	    !get_bool(o, "allow_backing", &s->allow_backing) || !get_bool(o, "closed", &s->closed))
		return false;
	snprintf(path, sizeof(path), "/dev/ublkb%u", s->id);
	return !strcmp(path, s->device) && !strcmp(path + 5, device) && s->image[0] == '/';
}

/* ---- files ------------------------------------------------------------------------------- */

static void file_name(char name[FILE_NAME_MAX], const char *device)
{
	snprintf(name, FILE_NAME_MAX, "%.63s%s", device, suffix);
}

static errint_t read_file(int fd, const char *device, struct device_state *s)
{
	CLEANUP(free) char *text = malloc(FILE_MAX);
	char boot[sizeof(s->boot)];
	json_auto_t *doc = NULL;
	ssize_t n = text ? pread(fd, text, FILE_MAX, 0) : -1;

	if (n <= 0)
		return -EBADMSG;
	doc = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!doc || !from_json(doc, device, s))
		return -EBADMSG;
	/* A file on a disk outlives the device. */
	state_file_boot_id(boot);
	return !strcmp(boot, s->boot) ? 0 : -ENOENT;
}

static bool set_lock(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return !fcntl(fd, F_OFD_SETLK, &l);
}

static bool is_locked(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return !fcntl(fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

static bool still_there(int dir, const char *name, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !fstatat(dir, name, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static errint_t write_all(int fd, const char *text, const char *device)
{
	size_t len = strlen(text);
	ssize_t n = write(fd, text, len);

	if (n >= 0 && (size_t)n < len)
		errno = ENOSPC;
	if (n < 0 || (size_t)n < len)
		return log_errno("cannot write what is needed to recover %s", device);
	return 0;
}

/* Becomes responsible for what is left of an earlier device of that number: whoever removes that is
 * done with it.  *lock is -1 when there is nothing. */
static errint_t lock_old(int dir, const char *name, int *lock)
{
	for (unsigned i = 0; i < OLD_TRIES; i++) {
		CLEANUP(close) int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

		if (fd < 0)
			return errno == ENOENT ? 0 : log_errno("%s: cannot be opened", name);
		if (set_lock(fd) && still_there(dir, name, fd)) {
			*lock = steal_fd(&fd);
			return 0;
		}
		clock_sleep_ms(10);
	}
	return log_fail(-EBUSY, "%s is in use by another process", name);
}

errint_t state_file_write(int dir, const struct device_state *s, int *lock)
{
	char name[FILE_NAME_MAX], temp[FILE_NAME_MAX + 16];
	json_auto_t *doc = to_json(s);
	CLEANUP(free) char *text = doc ? json_dumps(doc, JSON_INDENT(2)) : NULL;
	CLEANUP(close) int fd = -1;
	errint_t err = 0;

	if (!text)
		return log_err(-ENOMEM, "cannot write what is needed to recover %s", s->device);
	file_name(name, state_file_device(s));
	if (*lock < 0)
		err = lock_old(dir, name, lock);
	if (err)
		return err;
	snprintf(temp, sizeof(temp), "%s.%ld", name, (long)getpid());
	fd = openat(dir, temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return log_errno("cannot write what is needed to recover %s", s->device);
	err = write_all(fd, text, s->device);
	/* Locked before it can be found. */
	if (!err && (!set_lock(fd) || renameat(dir, temp, dir, name)))
		err = log_errno("cannot write what is needed to recover %s", s->device);
	if (err) {
		unlinkat(dir, temp, 0);
		return err;
	}
	if (*lock >= 0)
		close(*lock);
	*lock = steal_fd(&fd);
	return 0;
}

errint_t state_file_read(int dir, const char *device, struct device_state *s)
{
	char name[FILE_NAME_MAX];
	CLEANUP(close) int fd = -1;

	file_name(name, device);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : read_file(fd, device, s);
}

errint_t state_file_take(int dir, const char *device, struct device_state *s, int *lock)
{
	char name[FILE_NAME_MAX];

	file_name(name, device);
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		CLEANUP(close) int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		errint_t err;

		if (fd < 0)
			return -errno;
		if (!set_lock(fd))
			return log_fail(
				-EBUSY,
				"/dev/%s: another process serves this device, takes it back "
				"or removes it",
				device);
		if (!still_there(dir, name, fd))
			continue;
		err = read_file(fd, device, s);
		if (!err)
			*lock = steal_fd(&fd);
		return err;
	}
	return log_err(-EAGAIN, "/dev/%s: cannot become responsible for it", device);
}

void state_file_remove(int dir, const struct device_state *s, int *lock)
{
	char name[FILE_NAME_MAX];

	if (*lock < 0)
		return;
	file_name(name, state_file_device(s));
	unlinkat(dir, name, 0);
	close(*lock);
	*lock = -1;
}

/* ---- all of them ------------------------------------------------------------------------- */

/* "ublkb0.json", and not a temporary one. */
static int is_state(const struct dirent *e)
{
	size_t len = strlen(e->d_name), tail = sizeof(suffix) - 1;

	return len > tail && len < FILE_NAME_MAX && !strncmp(e->d_name, "ublkb", 5) &&
	       !strcmp(e->d_name + len - tail, suffix);
}

static bool visit_one(int dir, const char *name, state_file_fn fn, void *arg)
{
	CLEANUP(close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	CLEANUP(free) struct device_state *s = malloc(sizeof(*s));
	char device[FILE_NAME_MAX];
	errint_t err;

	if (fd < 0 || !s)
		return true;
	snprintf(device, sizeof(device), "%.*s", (int)(strlen(name) - sizeof(suffix) + 1), name);
	err = read_file(fd, device, s);
	if (!err)
		return fn(arg, s, is_locked(fd));
	if (err == -EBADMSG)
		log_warn("what is known of /dev/%s cannot be read, or was written by another "
			 "version of this program",
			 device);
	return true;
}

errint_t state_file_visit(int dir, state_file_fn fn, void *arg)
{
	struct dirent **list = NULL;
	int n = scandirat(dir, ".", &list, is_state, versionsort);
	bool more = true;

	if (n < 0)
		return log_errno("cannot list the devices that are known");
	for (int i = 0; i < n; i++) {
		more = more && visit_one(dir, list[i]->d_name, fn, arg);
		free(list[i]);
	}
	free(list);
	return 0;
}
