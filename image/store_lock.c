/* SPDX-License-Identifier: MIT */
/*
 * The image lock.
 *
 * It is an open file description lock: it belongs to the description, which every request in flight
 * holds, and not to the process (docs/format.md, L1).  The kernel therefore reports no owner for
 * it; the owner is found by looking for the lock in /proc/PID/fdinfo/FD, which lists the locks of
 * each descriptor without touching the file system behind it.
 */
#include "config.h"

#include "image/store_lock.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

enum {
	LOCK_START = 0,
	LOCK_LEN = 4096,
	FDINFO_MAX = 4096,   /* bytes of an fdinfo file that are looked at */
	SEARCH_MAX = 200000, /* descriptors that are looked at before giving up */
	COMMAND_MAX = 64,
	/* A lock that no process has may be that of one that has just died: what it had in flight
	 * holds it until the kernel is done with that. */
	LINGER_MS = 2000,
	LINGER_POLL_MS = 20,
};

static void cleanup_dir(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* The first bytes of a /proc file as a string; empty when it cannot be read. */
static size_t read_proc(int dir, const char *path, char *buf, size_t size)
{
	CLEANUP(close) int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	while (fd >= 0 && len < size - 1) {
		ssize_t n = read(fd, buf + len, size - 1 - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return len;
}

/* Does this fdinfo text list a lock of inode @ino that covers our bytes and excludes @how? */
static bool lists_lock(const char *text, ino_t ino, enum store_lock how)
{
	for (const char *p = strstr(text, "lock:"); p; p = strstr(p + 1, "lock:")) {
		char kind[16], access[8];
		unsigned long major, minor, inode;
		unsigned long long start;

		/* "lock:  1: OFDLCK  ADVISORY  WRITE -1 fd:00:1234 0 4095" */
		if (sscanf(p, "lock: %*d: %15s %*s %7s %*d %lx:%lx:%lu %llu", kind, access, &major,
			   &minor, &inode, &start) != 6)
			continue;
		if (inode == ino && start < LOCK_START + LOCK_LEN && strcmp(kind, "FLOCK") &&
		    (how == STORE_LOCK_EXCLUSIVE || !strcmp(access, "WRITE")))
			return true;
	}
	return false;
}

/* Process @pid_dir holds the lock if one of its descriptors lists it and leads to our file. */
static bool holds_lock(int pid_dir, const struct stat *file, enum store_lock how, unsigned *budget)
{
	int fd = openat(pid_dir, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(dir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (*budget && (e = readdir(dir))) {
		char text[FDINFO_MAX], path[NAME_MAX + 8];
		struct stat st;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		--*budget;
		read_proc(dirfd(dir), e->d_name, text, sizeof(text));
		if (!lists_lock(text, file->st_ino, how))
			continue;
		/* The device in the listing is not always the one of stat(): ask the file. */
		snprintf(path, sizeof(path), "fd/%s", e->d_name);
		if (!fstatat(pid_dir, path, &st, 0) && st.st_dev == file->st_dev &&
		    st.st_ino == file->st_ino)
			return true;
	}
	return false;
}

/* "ublk-img convert": the program, and its first argument where that is a word. */
static void describe_command(int pid_dir, char *out, size_t size)
{
	char args[512];
	size_t len = read_proc(pid_dir, "cmdline", args, sizeof(args));
	const char *slash = strrchr(args, '/');
	const char *word = args + strlen(args) + 1;
	size_t n;

	if (!len) {
		snprintf(out, size, "unknown");
		return;
	}
	n = word < args + len ? strspn(word, "abcdefghijklmnopqrstuvwxyz-") : 0;
	if (n && (word[n] || word[0] == '-'))
		n = 0;
	snprintf(out, size, "%.30s%s%.*s", slash ? slash + 1 : args, n ? " " : "",
		 n < 30 ? (int)n : 30, word);
}

/* The process that holds the lock, or 0. */
static long find_holder(int fd, enum store_lock how, char *command, size_t size)
{
	CLEANUP(dir) DIR *proc = opendir("/proc");
	unsigned budget = SEARCH_MAX;
	struct dirent *e;
	struct stat file;

	if (!proc || fstat(fd, &file))
		return 0;
	while (budget && (e = readdir(proc))) {
		char *end;
		long pid = strtol(e->d_name, &end, 10);

		if (pid <= 0 || *end)
			continue;
		CLEANUP(close)
		int dir = openat(dirfd(proc), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0 || !holds_lock(dir, &file, how, &budget))
			continue;
		describe_command(dir, command, size);
		return pid;
	}
	return 0;
}

static errint_t try_lock(int fd, const char *name, enum store_lock how)
{
	struct flock lock = {
		.l_type = how == STORE_LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = LOCK_START,
		.l_len = LOCK_LEN,
	};

	while (fcntl(fd, F_OFD_SETLK, &lock)) {
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == EACCES)
			return -EBUSY;
		return log_errno("%s: cannot lock the image; its file system must support locks",
				 name);
	}
	return 0;
}

errint_t store_lock_fd(int fd, const char *name, enum store_lock how, bool quiet)
{
	char command[COMMAND_MAX];
	errint_t err;

	for (unsigned ms = 0;; ms += LINGER_POLL_MS) {
		err = try_lock(fd, name, how);
		if (err != -EBUSY || quiet)
			return err;
		long pid = find_holder(fd, how, command, sizeof(command));
		if (pid)
			return log_fail(
				-EBUSY,
				"%s is in use by pid %ld (%s); stop that process or wait for it",
				name, pid, command);
		if (ms >= LINGER_MS)
			break;
		usleep(LINGER_POLL_MS * 1000);
	}
	return log_fail(err,
			"%s is in use by another process, which this user cannot see; "
			"\"lsof %s\" run as root names it",
			name, name);
}

void store_unlock_fd(int fd)
{
	struct flock lock = {
		.l_type = F_UNLCK,
		.l_whence = SEEK_SET,
		.l_start = LOCK_START,
		.l_len = LOCK_LEN,
	};

	(void)fcntl(fd, F_OFD_SETLK, &lock);
}
