/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/freeze_find.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/block_devices.h"
#include "common/cleanup.h"
#include "common/log.h"

struct search {
	struct freeze_list *l;
	const char *dir;  /* only the file system of this one; or NULL */
	uint64_t dir_id;  /* of its mount */
	const char *root; /* in front of mount points */
	char numbers[FREEZE_MAX][24];
	errint_t err;
};

static errint_t mount_id(int fd, const char *path, uint64_t *id)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st))
		return log_errno("%s: cannot look at the directory", path);
	if (!(st.stx_mask & STATX_MNT_ID))
		return log_fail(-ENOTSUP, "%s: this kernel does not tell what is mounted there",
				path);
	*id = st.stx_mnt_id;
	return 0;
}

/* The place in the list for the file system of number @number; NULL: there is no more. */
static struct freeze_fs *place(struct search *s, const char *number)
{
	struct freeze_list *l = s->l;

	for (unsigned i = 0; i < l->n; i++)
		if (!strcmp(s->numbers[i], number))
			return &l->fs[i];
	if (l->n == FREEZE_MAX)
		return NULL;
	snprintf(s->numbers[l->n], sizeof(s->numbers[0]), "%s", number);
	l->fs[l->n] = (struct freeze_fs){.fd = -1, .optional = !s->dir};
	return &l->fs[l->n++];
}

/* Opens the mount, unless another one hides it: the file system may have more mounts. */
static errint_t open_mount(const char *path, uint64_t id, int *out)
{
	CLEANUP(close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
	uint64_t got;
	errint_t err;

	if (fd < 0)
		return 0;
	err = mount_id(fd, path, &got);
	if (!err && got == id)
		*out = steal_fd(&fd);
	return err;
}

static bool visit(void *arg, const struct block_mount *m)
{
	struct search *s = arg;
	struct freeze_fs *fs;
	char *path;

	if (s->dir && (uint64_t)m->id != s->dir_id)
		return true;
	fs = place(s, m->number);
	if (!fs || fs->fd >= 0)
		return true;
	if (asprintf(&path, "%s%s", s->dir ? "" : s->root, s->dir ? s->dir : m->point) < 0) {
		s->err = log_err(-ENOMEM, "%s: cannot freeze what is mounted there", m->point);
		return false;
	}
	free(fs->dir);
	fs->dir = path;
	s->err = open_mount(path, (uint64_t)m->id, &fs->fd);
	return !s->err;
}

static errint_t find_dir(struct search *s)
{
	CLEANUP(close) int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? log_errno("%s: cannot open the directory", s->dir)
		      : mount_id(fd, s->dir, &s->dir_id);
}

static errint_t check(const struct search *s, const char *device)
{
	if (s->dir && !s->l->n)
		return log_fail(-EINVAL, "%s: is not on %s", s->dir, device);
	for (unsigned i = 0; i < s->l->n; i++)
		if (s->l->fs[i].fd < 0)
			return log_fail(-EACCES,
					"%s: cannot open what is mounted there, to freeze it",
					s->l->fs[i].dir);
	return 0;
}

errint_t freeze_find(const char *device, const char *dir, struct freeze_list *l)
{
	struct search s = {.l = l, .dir = dir, .root = ""};
	struct block_devices devices;
	errint_t err = 0;

	l->n = 0;
	assert(!strncmp(device, "/dev/", 5));
	block_devices_find(&devices, "/sys", device + 5, true);
	if (dir)
		err = find_dir(&s);
	if (err)
		return err;
	if (block_devices_mounts(&devices, "/proc", "self", visit, &s) && !dir) {
		s.root = "/proc/1/root";
		block_devices_mounts(&devices, "/proc", "1", visit, &s);
	}
	return s.err ? s.err : check(&s, device);
}

void freeze_list_free(struct freeze_list *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (l->fs[i].fd >= 0)
			close(l->fs[i].fd);
		free(l->fs[i].dir);
	}
	l->n = 0;
}
