/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/in_use.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

enum {
	PARTS_MAX = 64, /* a device and its partitions */
	NAME_LEN = 64,
	PATH_LEN = 512,
	SEARCH_MAX = 200000, /* descriptors that are looked at before giving up */
};

/* The device and its partitions. */
struct block_devices {
	unsigned count;
	struct {
		char name[NAME_LEN];
		char number[24]; /* "259:0" */
		dev_t dev;
	} at[PARTS_MAX];
};

static void cleanup_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* The first line of a small file, without its newline; empty when it cannot be read. */
static void read_line(const char *path, char *buf, size_t size)
{
	CLEANUP(file) FILE *f = fopen(path, "re");

	buf[0] = '\0';
	if (f && fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = '\0';
}

static void add_device(struct block_devices *b, const char *dir, const char *name)
{
	char path[PATH_LEN];
	unsigned major, minor;

	if (b->count == PARTS_MAX || strlen(name) >= NAME_LEN)
		return;
	snprintf(path, sizeof(path), "%s/dev", dir);
	read_line(path, b->at[b->count].number, sizeof(b->at[0].number));
	if (sscanf(b->at[b->count].number, "%u:%u", &major, &minor) != 2)
		return;
	b->at[b->count].dev = makedev(major, minor);
	snprintf(b->at[b->count].name, NAME_LEN, "%s", name);
	b->count++;
}

static void find_devices(const char *sys, const char *name, struct block_devices *b)
{
	char dir[256], part[PATH_LEN];
	CLEANUP(dir) DIR *d = NULL;
	struct dirent *e;

	snprintf(dir, sizeof(dir), "%s/block/%s", sys, name);
	add_device(b, dir, name);
	d = opendir(dir);
	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, name, strlen(name))) {
			snprintf(part, sizeof(part), "%s/%s", dir, e->d_name);
			add_device(b, part, e->d_name);
		}
}

/* A mount point or device name as mountinfo has it: octal escapes for white space. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *p = text; *p; p++)
		if (*p == '\\' && isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]) &&
		    isdigit((unsigned char)p[3])) {
			*out++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*out++ = *p;
		}
	*out = '\0';
}

/* Is this mount, of device number @number from @source, one of the devices? */
static bool is_ours(const struct block_devices *b, const char *number, const char *source)
{
	for (unsigned i = 0; i < b->count; i++) {
		if (!strcmp(b->at[i].number, number))
			return true;
		/* A file system of several devices has a number of its own. */
		if (!strncmp(source, "/dev/", 5) && !strcmp(source + 5, b->at[i].name))
			return true;
	}
	return false;
}

struct mount {
	char number[24], point[256], source[256];
};

/* "36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw": a line of mountinfo. */
static bool parse_mount(const char *line, struct mount *m)
{
	const char *dash = strstr(line, " - ");

	if (!dash || sscanf(line, "%*s %*s %23s %*s %255s", m->number, m->point) != 2 ||
	    sscanf(dash, " - %*s %255s", m->source) != 1)
		return false;
	unescape(m->point);
	return true;
}

static bool find_mount(const char *proc, const char *pid, const struct block_devices *b, char *text)
{
	CLEANUP(free) char *line = NULL;
	CLEANUP(file) FILE *f = NULL;
	char path[PATH_LEN];
	struct mount m;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/%s/mountinfo", proc, pid);
	f = fopen(path, "re");
	while (f && getline(&line, &size, f) > 0)
		if (parse_mount(line, &m) && is_ours(b, m.number, m.source)) {
			snprintf(text, IN_USE_TEXT_MAX, "mounted on %s", m.point);
			return true;
		}
	return false;
}

static bool find_swap(const char *proc, const struct block_devices *b, char *text)
{
	char path[PATH_LEN], name[256];
	CLEANUP(free) char *line = NULL;
	CLEANUP(file) FILE *f = NULL;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/swaps", proc);
	f = fopen(path, "re");
	while (f && getline(&line, &size, f) > 0)
		if (sscanf(line, "%255s", name) == 1 && is_ours(b, "", name)) {
			snprintf(text, IN_USE_TEXT_MAX, "%s is used as swap space", name);
			return true;
		}
	return false;
}

static bool find_holder(const char *sys, const char *name, const struct block_devices *b,
			char *text)
{
	for (unsigned i = 0; i < b->count; i++) {
		CLEANUP(dir) DIR *d = NULL;
		char path[PATH_LEN];
		struct dirent *e;

		if (i)
			snprintf(path, sizeof(path), "%s/block/%s/%s/holders", sys, name,
				 b->at[i].name);
		else
			snprintf(path, sizeof(path), "%s/block/%s/holders", sys, name);
		d = opendir(path);
		while (d && (e = readdir(d)))
			if (e->d_name[0] != '.') {
				snprintf(text, IN_USE_TEXT_MAX, "used by the block device %.64s",
					 e->d_name);
				return true;
			}
	}
	return false;
}

/* Has the process in @pid_dir one of the devices open? */
static bool has_open(int pid_dir, const struct block_devices *b, unsigned *budget)
{
	int fd = openat(pid_dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d && fd >= 0)
		close(fd);
	while (d && *budget && (e = readdir(d))) {
		struct stat st;

		--*budget;
		if (!isdigit((unsigned char)e->d_name[0]) || fstatat(fd, e->d_name, &st, 0) ||
		    !S_ISBLK(st.st_mode))
			continue;
		for (unsigned i = 0; i < b->count; i++)
			if (st.st_rdev == b->at[i].dev)
				return true;
	}
	return false;
}

static bool find_opener(const char *proc, const struct block_devices *b, char *text)
{
	CLEANUP(dir) DIR *d = opendir(proc);
	unsigned budget = SEARCH_MAX;
	struct dirent *e;

	while (d && budget && (e = readdir(d))) {
		char path[PATH_LEN], command[NAME_LEN], *end;
		long pid = strtol(e->d_name, &end, 10);

		if (pid <= 0 || *end || pid == (long)getpid())
			continue;
		CLEANUP(close)
		int dir = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0 || !has_open(dir, b, &budget))
			continue;
		snprintf(path, sizeof(path), "%s/%ld/comm", proc, pid);
		read_line(path, command, sizeof(command));
		snprintf(text, IN_USE_TEXT_MAX, "open in pid %ld (%s)", pid, command);
		return true;
	}
	return false;
}

bool in_use_find(const char *proc, const char *sys, const char *name, char text[IN_USE_TEXT_MAX])
{
	struct block_devices b = {0};

	find_devices(sys, name, &b);
	if (!b.count)
		return false;
	/* Mounts of this process's namespace, and of the one that most others share. */
	return find_mount(proc, "self", &b, text) || find_mount(proc, "1", &b, text) ||
	       find_swap(proc, &b, text) || find_holder(sys, name, &b, text) ||
	       find_opener(proc, &b, text);
}

/* ---- file systems on it, and on what is built of it ---------------------------------------- */

static bool is_known(const struct block_devices *b, const char *name)
{
	for (unsigned i = 0; i < b->count; i++)
		if (!strcmp(b->at[i].name, name))
			return true;
	return false;
}

/* Adds the devices that are built of number @i. */
static void add_holders(const char *sys, struct block_devices *b, unsigned i)
{
	char path[PATH_LEN];
	CLEANUP(dir) DIR *d = NULL;
	struct dirent *e;

	snprintf(path, sizeof(path), "%s/dev/block/%s/holders", sys, b->at[i].number);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && !is_known(b, e->d_name))
			find_devices(sys, e->d_name, b);
}

errint_t in_use_mounts(const char *proc, const char *sys, const char *name,
		       errint_t (*fn)(void *arg, const char *point), void *arg)
{
	struct block_devices b = {0};
	CLEANUP(free) char *line = NULL;
	CLEANUP(file) FILE *f = NULL;
	char path[PATH_LEN];
	struct mount m;
	size_t size = 0;
	errint_t err = 0;

	find_devices(sys, name, &b);
	for (unsigned i = 0; i < b.count; i++)
		add_holders(sys, &b, i);
	snprintf(path, sizeof(path), "%s/self/mountinfo", proc);
	f = fopen(path, "re");
	if (!f)
		return log_errno("%s: cannot read the table of mounts", path);
	while (!err && getline(&line, &size, f) > 0)
		if (parse_mount(line, &m) && is_ours(&b, m.number, m.source))
			err = fn(arg, m.point);
	return err;
}

/* ------------------------------------------------------------------------------------------- */

errint_t in_use_refuse(const char *path, const char *what)
{
	return log_fail(-EBUSY,
			"%s is in use: %s; unmount or close it first, or use --force, which fails "
			"what is still to be written",
			path, what);
}

errint_t in_use_check(const char *path)
{
	char text[IN_USE_TEXT_MAX];
	int fd;

	assert(!strncmp(path, "/dev/", 5));
	if (in_use_find("/proc", "/sys", path + 5, text))
		return in_use_refuse(path, text);
	/* Mounts in namespaces that cannot be seen from here hold it exclusively. */
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return in_use_refuse(path, "mounted or held exclusively");
	if (fd >= 0)
		close(fd);
	return 0;
}
