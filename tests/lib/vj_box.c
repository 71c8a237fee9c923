/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/vj_box.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/vj_priv.h"
#include "tests/lib/sim_pages.h"

struct vj_box {
	int dir;
	char path[512];
	char name[40];
	struct vj_box *next; /* of those that nobody uses */
};

static struct vj_box *spare;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

static void remove_dirs(void)
{
	for (struct vj_box *b = spare; b; b = b->next)
		(void)rmdir(b->path);
}

struct vj_box *vj_box_new(const uint8_t uuid[16])
{
	struct vj_box *b = spare;

	if (b) {
		spare = b->next;
	} else {
		const char *tmp = getenv("TMPDIR");
		static bool asked;

		b = sim_calloc(1, sizeof(*b));
		snprintf(b->path, sizeof(b->path), "%s/vj.XXXXXX", tmp ? tmp : "/var/tmp");
		must(mkdtemp(b->path), b->path);
		b->dir = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(b->dir >= 0, b->path);
		if (!asked)
			atexit(remove_dirs);
		asked = true;
	}
	vj_name(uuid, b->name);
	return b;
}

void vj_box_free(struct vj_box *b)
{
	if (!b)
		return;
	(void)unlinkat(b->dir, b->name, 0);
	b->next = spare;
	spare = b;
}

int vj_box_dir(const struct vj_box *b)
{
	return b->dir;
}

struct vj_copy *vj_box_take(const struct vj_box *b)
{
	int fd = openat(b->dir, b->name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return NULL;
	must(!fstat(fd, &st), b->name);
	struct vj_copy *c = sim_calloc(1, sizeof(*c));
	c->len = (size_t)st.st_size;
	c->bytes = sim_calloc(1, c->len);
	must(pread(fd, c->bytes, c->len, 0) == (ssize_t)c->len, b->name);
	close(fd);
	return c;
}

void vj_box_put(struct vj_box *b, const struct vj_copy *c)
{
	int fd = openat(b->dir, b->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0, b->name);
	must(pwrite(fd, c->bytes, c->len, 0) == (ssize_t)c->len, b->name);
	close(fd);
}

void vj_copy_free(struct vj_copy *c)
{
	if (!c)
		return;
	free(c->bytes);
	free(c);
}

struct vj_copy *vj_copy_clone(const struct vj_copy *c)
{
	if (!c)
		return NULL;
	struct vj_copy *copy = sim_calloc(1, sizeof(*copy));
	copy->len = c->len;
	copy->bytes = sim_calloc(1, c->len);
	memcpy(copy->bytes, c->bytes, c->len);
	return copy;
}

bool vj_copy_poisoned(const struct vj_copy *c)
{
	const struct disk_vj *h = (const void *)c->bytes;

	return c->len >= sizeof(*h) && le32_get(h->poison);
}
