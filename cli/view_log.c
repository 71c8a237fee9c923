/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/view_log.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/runtime_dir.h"
#include "cli/terminal.h"
#include "common/cleanup.h"
#include "common/log.h"

enum { NAME_SIZE = 40 };

static void log_name(pid_t pid, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "view-%ld.log", (long)pid);
}

/* A process that was killed leaves a log without anything in it, and nobody who holds it. */
static void remove_if_stale(int dir, const char *name)
{
	CLEANUP(close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB) && !fstat(fd, &st) && !st.st_size)
		unlinkat(dir, name, 0);
}

static void remove_stale(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	long pid;
	int end;

	if (!d && fd >= 0)
		close(fd);
	while (d && (e = readdir(d))) {
		end = 0;
		if (sscanf(e->d_name, "view-%ld.log%n", &pid, &end) == 1 && end && !e->d_name[end])
			remove_if_stale(dir, e->d_name);
	}
	if (d)
		closedir(d);
}

/* The log, held; again when another process took it for stale in between. */
static int open_log(int dir, const char *name)
{
	struct stat st;
	int fd;

	do {
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
			    0600);
		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX) || fstat(fd, &st)) {
			close(fd);
			return -1;
		}
		if (!st.st_nlink)
			close(fd);
	} while (!st.st_nlink);
	/* What an earlier process of the same number has left is of no use to anybody. */
	if (ftruncate(fd, 0))
		log_warn("%s: cannot be emptied: %m", name);
	return fd;
}

int view_log_create(void)
{
	CLEANUP(close) int dir = -1;
	char name[NAME_SIZE];
	int fd;

	if (runtime_dir_open(true, &dir)) {
		log_warn("messages of the view will be lost");
		return -1;
	}
	remove_stale(dir);
	log_name(getpid(), name);
	fd = open_log(dir, name);
	if (fd < 0)
		log_warn("messages of the view will be lost: cannot make %s: %m", name);
	return fd;
}

void view_log_remove(void)
{
	CLEANUP(close) int dir = -1;
	char name[NAME_SIZE];

	log_name(getpid(), name);
	if (!runtime_dir_open(false, &dir))
		unlinkat(dir, name, 0);
}

bool view_log_show(pid_t pid)
{
	CLEANUP(close) int dir = -1;
	char name[NAME_SIZE], line[5200];
	bool any = false;
	FILE *f;
	int fd;

	log_name(pid, name);
	if (runtime_dir_open(false, &dir))
		return false;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		terminal_line(line);
		any = true;
	}
	fclose(f);
	unlinkat(dir, name, 0);
	return any;
}
