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
#include <unistd.h>

#include "bridge/block_devices.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	NAME_LEN = 64,
	PATH_LEN = 512,
	SEARCH_MAX = 200000, /* descriptors that are looked at before giving up */
	LOOK_MS = 1000,	     /* who only looks what it is, such as udev, has closed it by then */
	POLL_MS = 20,
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

static bool say_mounted(void *text, const struct block_mount *m)
{
	snprintf(text, IN_USE_TEXT_MAX, "mounted on %s", m->point);
	return false;
}

static bool find_mount(const char *proc, const char *pid, const struct block_devices *b, char *text)
{
	return !block_devices_mounts(b, proc, pid, say_mounted, text);
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
		if (sscanf(line, "%255s", name) == 1 && block_devices_have(b, "", name)) {
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

/* Uses that somebody has to end. */
static bool find_lasting(const char *proc, const char *sys, const char *name, char *text)
{
	struct block_devices b = {0};

	block_devices_find(&b, sys, name, false);
	/* Mounts of this process's namespace, and of the one that most others share. */
	return b.count && (find_mount(proc, "self", &b, text) || find_mount(proc, "1", &b, text) ||
			   find_swap(proc, &b, text) || find_holder(sys, name, &b, text));
}

static bool find_open(const char *proc, const char *sys, const char *name, char *text)
{
	struct block_devices b = {0};

	block_devices_find(&b, sys, name, false);
	return b.count && find_opener(proc, &b, text);
}

bool in_use_find(const char *proc, const char *sys, const char *name, char text[IN_USE_TEXT_MAX])
{
	return find_lasting(proc, sys, name, text) || find_open(proc, sys, name, text);
}

errint_t in_use_refuse(const char *path, const char *what)
{
	return log_fail(-EBUSY,
			"%s is in use: %s; unmount or close it first, or use --force, which fails "
			"what is still to be written",
			path, what);
}

/* The same, not counting who has it open for a moment. */
static bool find_patiently(const char *name, char text[IN_USE_TEXT_MAX])
{
	uint64_t until = clock_ms() + LOOK_MS;

	while (!find_lasting("/proc", "/sys", name, text)) {
		if (!find_open("/proc", "/sys", name, text))
			return false;
		if (clock_ms() >= until)
			return true;
		clock_sleep_ms(POLL_MS);
	}
	return true;
}

errint_t in_use_check(const char *path)
{
	char text[IN_USE_TEXT_MAX];
	int fd;

	assert(!strncmp(path, "/dev/", 5));
	if (find_patiently(path + 5, text))
		return in_use_refuse(path, text);
	/* Mounts in namespaces that cannot be seen from here hold it exclusively. */
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return in_use_refuse(path, "mounted or held exclusively");
	if (fd >= 0)
		close(fd);
	return 0;
}
