/* SPDX-License-Identifier: MIT */
/* Opening a backing, and reading it; backing_write.c has what a commit does to it. */
#include "config.h"

#include "engine/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "engine/backing_priv.h"
#include "engine/core.h"
#include "engine/snapshot.h"
#include "image/dump.h"
#include "image/vj.h"

#define STAMP_BYTES (64u << 10)

/* ---- paths -------------------------------------------------------------------------------- */

static bool goes_up(const char *path)
{
	for (const char *at = path; at; at = strchr(at, '/')) {
		at += *at == '/';
		if (!strncmp(at, "..", 2) && (!at[2] || at[2] == '/'))
			return true;
	}
	return false;
}

/* The directory that paths in the image at @image begin in; *out is the caller's. */
static errint_t directory_of(const char *image, char **out)
{
	char *real = realpath(image, NULL), *slash = real ? strrchr(real, '/') : NULL;

	if (!slash)
		return log_errno("%s: cannot find its directory", image);
	slash[slash == real] = '\0';
	*out = real;
	return 0;
}

/* Open @path, which stays below @dir whatever links are in it. */
static int open_beneath(int dir, const char *path, int flags)
{
	const struct open_how how = {
		.flags = (uint64_t)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));

	/* Where there is no such call, links at the end are all that is kept from being followed.
	 */
	return fd < 0 && errno == ENOSYS ? openat(dir, path, flags | O_NOFOLLOW) : fd;
}

static errint_t not_allowed(const char *image, const char *path)
{
	return log_fail(-EPERM,
			"%s: its backing file %s is not at or below the image's own directory, so "
			"that it is not opened without being asked for; if you trust where this "
			"image is from, use --allow-backing, or set UBLK_IMG_ALLOW_BACKING=1",
			image, path);
}

static errint_t cannot_open(const char *image, const char *path)
{
	int err = errno;

	if (err == EXDEV || err == ELOOP)
		return not_allowed(image, path);
	return log_fail(
		-err,
		"%s: cannot open its backing file %s (%s); put it back, or name the one that "
		"has the same content now: ublk-img rebase --unsafe --backing FILE %s",
		image, path, strerror(err), image);
}

/* Open the file at @path as the image at @image names it; *name is where that is, the caller's. */
static errint_t open_named(const char *image, const char *path, bool allow, char **name, int *out)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	CLEANUP(free) char *base = NULL;
	CLEANUP(close) int dir = -1;
	errint_t err;

	if (!allow && (path[0] == '/' || goes_up(path)))
		return not_allowed(image, path);
	err = path[0] == '/' ? 0 : directory_of(image, &base);
	if (err)
		return err;
	if (asprintf(name, "%s%s%s", base ? base : "", base && base[1] ? "/" : "", path) < 0) {
		*name = NULL;
		return log_err(-ENOMEM, "%s: cannot open its backing file", image);
	}
	if (base)
		dir = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	*out = allow ? open(*name, flags) : open_beneath(dir, path, flags);
	if (*out >= 0)
		return 0;
	err = cannot_open(image, path);
	free(*name);
	*name = NULL;
	return err;
}

/* ---- chains ------------------------------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* @fd is to be opened because of those in @chain. */
static errint_t check_chain(const struct backing_chain *chain, int fd, const char *name,
			    struct stat *st)
{
	unsigned depth = 1;

	if (fstat(fd, st))
		return log_errno("%s: cannot examine the file", name);
	for (const struct backing_chain *c = chain; c; c = c->up, depth++)
		if (same_file(&c->st, st))
			return log_fail(-ELOOP, "%s: is, by way of others, its own backing file",
					name);
	if (depth > BACKING_DEPTH)
		return log_fail(
			-ELOOP,
			"%s: more than %u images stand on top of each other; flatten one of "
			"them with `ublk-img rebase --no-backing`",
			name, BACKING_DEPTH);
	return 0;
}

/* ---- opening ------------------------------------------------------------------------------ */

static errint_t find_by_uuid(struct image *im, const uint8_t uuid[16], char name[SNAP_NAME_MAX + 1])
{
	CLEANUP(free) struct snapshot_info *list = NULL;
	errint_t err;
	uint32_t n;

	err = snapshot_list(im, &list, &n);
	if (err)
		return err;
	for (uint32_t i = 0; i < n; i++)
		if (!memcmp(list[i].uuid, uuid, 16) && !list[i].deleting) {
			memcpy(name, list[i].name, SNAP_NAME_MAX);
			name[SNAP_NAME_MAX] = '\0';
			return 0;
		}
	return -ENOENT;
}

/* The snapshot that is the backing: the one called @snapshot, or the one of b->ref. */
static errint_t open_snapshot(struct backing *b, const char *snapshot)
{
	char name[SNAP_NAME_MAX + 1], text[37];
	struct snapshot_info info;
	errint_t err;

	if (!snapshot) {
		err = find_by_uuid(b->image, b->ref.snapshot, name);
		dump_uuid(b->ref.snapshot, text);
		if (err == -ENOENT)
			return log_fail(-ESTALE,
					"%s: the snapshot with the uuid %s, the backing of an "
					"image, is not there any more",
					b->name, text);
		if (err)
			return err;
		snapshot = name;
	}
	err = snapshot_view_open(b->image, snapshot, &b->view);
	if (!err)
		err = snapshot_find_id(b->image, snapshot_view_id(b->view), &info);
	if (!err)
		memcpy(b->ref.snapshot, info.uuid, 16);
	return err;
}

errint_t backing_open_image(struct backing *b, bool write)
{
	struct vj_state state = b->how.state ? *b->how.state : (struct vj_state){.dir = -1};
	const struct image_open_opts opts = {
		.read_only = !write, .wait = b->how.wait, .state = b->how.state ? &state : NULL};
	const struct engine_opts engine = {
		.wait = b->how.wait,
		.allow_backing = b->how.allow,
		.chain = b->how.chain,
		.below = b->below,
		.state = b->how.state,
	};

	/* What is built upon it would not go with it once it is recovered. */
	state.refuse_readers = true;
	errint_t err = image_open(b->store, &opts, &b->image);

	return err ? err : engine_new(b->image, &engine, &b->engine);
}

void backing_close_image(struct backing *b)
{
	snapshot_view_close(b->view);
	b->view = NULL;
	engine_free(b->engine);
	b->engine = NULL;
	image_abandon(b->image);
	b->image = NULL;
}

void backing_close(struct backing *b)
{
	if (!b)
		return;
	assert(!b->readers && !b->writing);
	backing_close_image(b);
	if (b->owns_store)
		store_close(b->store);
	pthread_rwlock_destroy(&b->use);
	backing_close(b->below);
	free(b->name);
	free(b);
}

static struct backing *new_backing(uint8_t kind, const char *name)
{
	struct backing *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	pthread_rwlock_init(&b->use, NULL);
	b->ref.kind = kind;
	b->name = strdup(name);
	if (b->name)
		return b;
	backing_close(b);
	return NULL;
}

static errint_t find_size(struct backing *b)
{
	uint64_t size;

	if (b->ref.kind == BACKING_RAW) {
		errint_t err = store_length(b->store, &size);

		b->size = err ? 0 : size;
		return err;
	}
	if (!b->image)
		return log_fail(-EIO, "%s: could not be opened again", b->name);
	b->size = b->view ? snapshot_view_size(b->view) : image_size(b->image);
	return 0;
}

/* What @fd is, which becomes the backing's. */
static errint_t open_what(struct backing *b, int fd, const char *snapshot)
{
	errint_t err = check_chain(b->how.chain, fd, b->name, &b->st);

	if (err) {
		close(fd);
		return err;
	}
	err = store_file_adopt(fd, b->name, STORE_FILE_READ_ONLY, &b->store);
	if (err)
		return err;
	b->owns_store = true;
	if (b->ref.kind == BACKING_RAW) {
		err = store_lock(b->store, STORE_LOCK_SHARED);
	} else if (b->ref.kind == BACKING_UBLK_IMG) {
		err = backing_open_image(b, false);
		if (!err && b->ref.has_snapshot)
			err = open_snapshot(b, snapshot);
	} else {
		err = log_fail(-ENOTSUP,
			       "%s: a qcow2 file cannot be a backing in this version; "
			       "convert it to raw",
			       b->name);
	}
	return err ? err : find_size(b);
}

/* A store that is no file is known by what it holds. */
static errint_t content_stamp(struct backing *b, uint64_t *stamp)
{
	CLEANUP(free) void *buf = store_buffer(STAMP_BYTES);
	uint32_t crc = 0;

	if (!buf)
		return -ENOMEM;
	for (uint64_t off = 0; off < b->size; off += STAMP_BYTES) {
		errint_t err = store_read(b->store, buf, STAMP_BYTES, off);

		if (err)
			return err;
		crc = crc32c(crc, buf, STAMP_BYTES);
	}
	*stamp = 1ull << 32 | crc;
	return 0;
}

errint_t backing_identify(struct backing *b, struct backing_ref *ref)
{
	struct image_info info;
	struct stat st;
	errint_t err = find_size(b);

	*ref = b->ref;
	ref->size = b->size;
	ref->stamp = 0;
	if (err)
		return err;
	if (b->image) {
		image_get_info(b->image, &info);
		memcpy(ref->id, info.uuid, sizeof(ref->id));
		ref->stamp = b->view ? 0 : info.generation;
	} else if (!b->owns_store) {
		return content_stamp(b, &ref->stamp);
	} else {
		if (fstat(store_file_fd(b->store), &st))
			return log_errno("%s: cannot examine the file", b->name);
		/* That of a device is when somebody opened it. */
		if (S_ISREG(st.st_mode))
			ref->stamp = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
				     (uint64_t)st.st_mtim.tv_nsec;
	}
	return 0;
}

/* ---- is it what it was? -------------------------------------------------------------------- */

static errint_t is_another(const struct backing *b, const char *image, const char *what,
			   const char *expected, const char *found)
{
	return log_fail(-ESTALE,
			"%s: its backing file %s is not what it was: its %s was %s, now it is %s; "
			"put the right file there, or, if what the image reads from it has not "
			"changed, say so: ublk-img rebase --unsafe --backing %s %s",
			image, b->name, what, expected, found, b->name, image);
}

static errint_t compare_numbers(const struct backing *b, const char *image, const char *what,
				uint64_t expected, uint64_t found)
{
	char a[24], c[24];

	if (expected == found)
		return 0;
	snprintf(a, sizeof(a), "%llu", (unsigned long long)expected);
	snprintf(c, sizeof(c), "%llu", (unsigned long long)found);
	return is_another(b, image, what, a, c);
}

static void time_text(uint64_t ns, char text[40])
{
	time_t t = (time_t)(ns / 1000000000u);
	char digits[16];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, 24, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(digits, sizeof(digits), ".%09uZ", (unsigned)(ns % 1000000000u));
	strcat(text, digits);
}

static errint_t check_stamp(const struct backing *b, const char *image,
			    const struct backing_ref *expected, const struct backing_ref *found)
{
	char a[40], c[40];

	if (expected->stamp == found->stamp)
		return 0;
	if (expected->kind == BACKING_UBLK_IMG)
		return compare_numbers(b, image, "generation", expected->stamp, found->stamp);
	time_text(expected->stamp, a);
	time_text(found->stamp, c);
	return is_another(b, image, "time of last change", a, c);
}

static errint_t check_identity(struct backing *b, const char *image,
			       const struct backing_ref *expected)
{
	struct backing_ref found;
	char a[37], c[37];
	errint_t err = backing_identify(b, &found);

	if (err)
		return err;
	if (memcmp(expected->id, found.id, sizeof(found.id))) {
		dump_uuid(expected->id, a);
		dump_uuid(found.id, c);
		return is_another(b, image, "uuid", a, c);
	}
	/* A commit that was interrupted has changed it, and left what it reads as. */
	if (expected->committing) {
		log_warn("%s: a commit was interrupted; finish it: ublk-img commit %s", image,
			 image);
		if (found.size < expected->limit)
			return compare_numbers(b, image, "size", expected->size, found.size);
		return 0;
	}
	err = compare_numbers(b, image, "size", expected->size, found.size);
	return err ? err : check_stamp(b, image, expected, &found);
}

errint_t backing_of_store(struct store *st, const struct backing_ref *ref, struct backing **out)
{
	struct backing *b = new_backing(BACKING_RAW, st->name);

	if (!b)
		return -ENOMEM;
	b->store = st;
	errint_t err = find_size(b);
	if (!err && ref->stamp)
		err = check_identity(b, st->name, ref);
	if (err)
		backing_close(b);
	else
		*out = b;
	return err;
}

errint_t backing_open(const struct backing_ref *ref, const char *image,
		      const struct backing_how *how, struct backing **out)
{
	CLEANUP(free) char *name = NULL;
	int fd = -1;
	errint_t err = open_named(image, ref->path, how->allow, &name, &fd);

	if (err)
		return err;

	struct backing *b = new_backing(ref->kind, name);

	if (!b) {
		close(fd);
		return log_err(-ENOMEM, "%s: cannot open its backing file", image);
	}
	b->how = *how;
	b->ref = *ref;
	err = open_what(b, fd, NULL);
	if (!err)
		err = check_identity(b, image, ref);
	/* Those it was opened because of are not there for ever. */
	b->how.chain = NULL;
	if (err)
		backing_close(b);
	else
		*out = b;
	return err;
}

errint_t backing_open_new(const char *path, const char *snapshot, const struct backing_how *how,
			  struct backing_ref *ref, struct backing **out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return log_errno("%s: cannot open the backing file", path);

	struct backing *b = new_backing(ref->kind, path);

	if (!b) {
		close(fd);
		return log_err(-ENOMEM, "%s: cannot open the backing file", path);
	}
	b->how = *how;
	b->ref = *ref;
	b->ref.has_snapshot = snapshot;
	errint_t err = open_what(b, fd, snapshot);
	if (!err)
		err = backing_identify(b, ref);
	b->how.chain = NULL;
	if (err)
		backing_close(b);
	else
		*out = b;
	return err;
}

/* ---- facts -------------------------------------------------------------------------------- */

const char *backing_name(const struct backing *b)
{
	return b->name;
}

uint64_t backing_size(const struct backing *b)
{
	return b->size;
}

struct store *backing_raw(const struct backing *b)
{
	return b->ref.kind == BACKING_RAW ? b->store : NULL;
}

/* ---- reading ------------------------------------------------------------------------------ */

errint_t backing_reader_new(struct backing *b, struct backing_reader **out)
{
	struct backing_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return log_err(-ENOMEM, "%s: cannot be read", b->name);
	r->b = b;
	pthread_rwlock_wrlock(&b->use);
	r->next = b->readers;
	b->readers = r;
	pthread_rwlock_unlock(&b->use);
	*out = r;
	return 0;
}

void backing_reader_free(struct backing_reader *r)
{
	if (!r)
		return;

	struct backing_reader **at = &r->b->readers;

	pthread_rwlock_wrlock(&r->b->use);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	engine_thread_free(r->thread);
	pthread_rwlock_unlock(&r->b->use);
	free(r);
}

/* The image is not exchanged meanwhile. */
static errint_t read_image(struct backing_reader *r, uint8_t *buf, size_t len, uint64_t off)
{
	struct backing *b = r->b;
	size_t n = off >= b->size ? 0 : b->size - off < len ? (size_t)(b->size - off) : len;
	errint_t err = 0;

	if (!b->engine)
		return log_fail(-EIO, "%s: cannot be read, since it could not be opened again",
				b->name);
	if (n && !r->thread)
		err = engine_thread_new(b->engine, &r->thread);
	if (!err && n)
		err = b->view ? engine_snapshot_read(r->thread, b->view, buf, off, n)
			      : engine_read(r->thread, buf, off, n);
	if (!err)
		memset(buf + n, 0, len - n);
	return err;
}

/* A file that somebody has cut off does not read as zeros for that. */
static errint_t read_raw(struct backing *b, void *buf, size_t len, uint64_t off)
{
	uint64_t size = b->size, length;
	errint_t err = store_read(b->store, buf, len, off);

	if (err || off >= size)
		return err;
	err = store_length(b->store, &length);
	if (!err && length < size && length < off + len)
		err = log_fail(-EIO, "%s: has %llu bytes, it had %llu when it was opened", b->name,
			       (unsigned long long)length, (unsigned long long)size);
	return err;
}

errint_t backing_read(struct backing_reader *r, void *buf, size_t len, uint64_t off)
{
	struct backing *b = r->b;

	if (b->ref.kind == BACKING_RAW)
		return read_raw(b, buf, len, off);
	pthread_rwlock_rdlock(&b->use);
	errint_t err = read_image(r, buf, len, off);
	pthread_rwlock_unlock(&b->use);
	return err;
}
