/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* Rather not, but better than a machine that hangs (proc(5), oom_score_adj). */
#define OOM_SCORE "-900\n"

void process_set_name(void)
{
	prctl(PR_SET_NAME, "ublk-bridge");
}

/* --- mounts -------------------------------------------------------------------------------------
 */

/* Needed to the end: device nodes, control sockets and the system log, users of the device. */
static bool is_kept(const char *point)
{
	static const char *const kept[] = {"/", "/dev", "/proc", "/sys", "/run"};

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (!strcmp(point, kept[i]))
			return true;
	return false;
}

/* The mount point in a line of mountinfo (proc(5)), its fifth word with octal escapes. */
static char *mount_point(char *line)
{
	char *word = line, *out;

	for (unsigned i = 0; i < 4 && word; i++)
		word = strchr(word, ' ') ? strchr(word, ' ') + 1 : NULL;
	if (!word)
		return NULL;
	word[strcspn(word, " \n")] = '\0';
	out = word;
	for (const char *p = word; *p; p++) {
		unsigned c;

		if (*p == '\\' && sscanf(p + 1, "%3o", &c) == 1) {
			*out++ = (char)c;
			p += 3;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	return word;
}

/* Detaches what is mounted in this namespace but is not kept: open files stay usable. */
static void drop_mounts(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	CLEANUP(free) char *line = NULL;
	size_t size = 0;

	if (!f)
		return;
	/* The list changes under us; what one pass misses, the next one finds. */
	for (unsigned dropped = 1, pass = 0; dropped && pass < 100; pass++) {
		dropped = 0;
		rewind(f);
		while (getline(&line, &size, f) > 0) {
			const char *point = mount_point(line);

			if (point && !is_kept(point) && !umount2(point, MNT_DETACH))
				dropped++;
		}
	}
	fclose(f);
}

static errint_t leave_namespace(void)
{
	if (unshare(CLONE_NEWNS))
		return log_errno("cannot leave the mount namespace (run this command as root)");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return log_errno("cannot make the mount namespace private");
	drop_mounts();
	return 0;
}

/* --- the rest -----------------------------------------------------------------------------------
 */

static void lower_oom_score(void)
{
	CLEANUP(close) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
		log_info("cannot protect the bridge from being killed for want of memory");
}

void process_set_flusher(void)
{
	/* Threads inherit it. */
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
		log_warn("cannot set PR_SET_IO_FLUSHER (%m): with too little memory the device "
			 "may hang");
}

errint_t process_prepare(void)
{
	errint_t err = leave_namespace();

	if (err)
		return err;
	process_set_flusher();
	lower_oom_score();
	/* Nothing is allocated on the way of a request, so few arenas do for many threads, and a
	 * free buffer goes back to the kernel. */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	return 0;
}

void process_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	CLEANUP(close) int fd = -1;
	size_t len;

	if (!path || (path[0] != '/' && path[0] != '@'))
		return;
	len = strlen(path);
	if (len >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0'; /* an abstract address */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&addr,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_info("cannot notify the service manager at %s", path);
}
