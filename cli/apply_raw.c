/* SPDX-License-Identifier: MIT */
/* Applying to raw files, to block devices, and to the devices of images that are attached. */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/apply.h"
#include "cli/report_read.h"
#include "cli/size.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "image/store.h"

#define CALL_MS 120000

static errint_t overwrite(struct apply *a, struct store *st)
{
	CLEANUP(sink) struct sink *sink = NULL;
	errint_t err = sink_raw_new(st, true, &sink);

	return err ? err : apply_changes(a, sink);
}

/* ---- a file -------------------------------------------------------------------------------- */

static errint_t check_file_length(const struct apply *a, uint64_t length)
{
	const struct content *d = &a->delta.content;

	if (length == d->base.size || length == d->target.size)
		return 0;
	return log_fail(-EINVAL,
			"%s: has %" PRIu64 " bytes, and the delta is for a disk of %" PRIu64,
			a->target, length, d->base.size);
}

/* It gets longer before, or shorter after. */
static errint_t apply_to_file(struct apply *a)
{
	CLEANUP(store) struct store *st = NULL;
	uint64_t size = a->delta.content.target.size, length;
	errint_t err = store_file_open(a->target, 0, &st);

	if (!err)
		err = store_lock(st, STORE_LOCK_EXCLUSIVE);
	if (!err)
		err = store_length(st, &length);
	if (!err)
		err = check_file_length(a, length);
	if (!err)
		err = delta_mark(a->target, &a->delta);
	if (!err && length < size)
		err = store_truncate(st, size);
	if (!err)
		err = overwrite(a, st);
	if (!err && length > size)
		err = store_truncate(st, size);
	if (!err)
		err = store_datasync(st);
	return err ? err : delta_unmark(a->target);
}

/* ---- a device ------------------------------------------------------------------------------ */

static errint_t check_device_length(const struct apply *a, const char *device, uint64_t length)
{
	const struct content *d = &a->delta.content;
	uint64_t least = d->base.size > d->target.size ? d->base.size : d->target.size;

	if (length >= least)
		return 0;
	return log_fail(-ENOSPC, "%s: has %s, too few for a disk of %s", device, SIZE_TEXT(length),
			SIZE_TEXT(least));
}

/* The kernel's exclusive hold: nobody has it mounted or in use otherwise. */
static errint_t hold_device(const char *device, int *fd)
{
	*fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC);
	if (*fd >= 0)
		return 0;
	return errno == EBUSY ? log_fail(-EBUSY, "%s: is in use: unmount or close it first", device)
			      : log_errno("%s: cannot write to it", device);
}

static errint_t write_device(struct apply *a, const char *device)
{
	CLEANUP(store) struct store *st = NULL;
	uint64_t length;
	errint_t err = store_file_open(device, 0, &st);

	if (!err)
		err = store_length(st, &length);
	if (!err)
		err = check_device_length(a, device, length);
	return err ? err : overwrite(a, st);
}

errint_t apply_to_raw(struct apply *a)
{
	CLEANUP(close) int hold = -1;
	struct stat st;
	errint_t err;

	if (stat(a->target, &st))
		return log_errno("%s: cannot open", a->target);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return log_fail(-EINVAL, "%s: is neither a file nor a block device", a->target);
	err = delta_refuse_raw(a->target);
	if (!err && !a->force)
		err = apply_refuse(a, "nothing in a raw file or device tells what it holds");
	if (err || S_ISREG(st.st_mode))
		return err ? err : apply_to_file(a);
	err = hold_device(a->target, &hold);
	return err ? err : write_device(a, a->target);
}

/* ---- an attached image --------------------------------------------------------------------- */

/* The name of the snapshot that is @p, in @name. */
static errint_t name_of(struct bridge_client *c, const struct content_point *p, char *name)
{
	json_int_t after = 0;
	bool more = true;
	errint_t err = 0;

	*name = '\0';
	while (more && !err && !*name) {
		CLEANUP(json) json_t *part = NULL;
		json_t *item;
		size_t i;

		err = client_call(c, "snapshot-list", json_pack("{s:I}", "after", after), -1,
				  CALL_MS, &part);
		more = json_is_true(json_object_get(part, "more"));
		json_array_foreach(json_object_get(part, "snapshots"), i, item)
		{
			struct content_point q;

			after = json_integer_value(json_object_get(item, "id"));
			if (json_is_true(json_object_get(item, "deleting")) ||
			    report_read_point(item, &q) || !point_same(&q, p))
				continue;
			memcpy(name, q.name, sizeof(q.name));
		}
	}
	return err;
}

/* Is the disk, which nobody writes to, what that snapshot holds? */
static errint_t unchanged_since(struct bridge_client *c, const char *name, bool *same)
{
	CLEANUP(close) int fd = memfd_create("ublk-img-diff", MFD_CLOEXEC);
	struct stat st;
	errint_t err;

	if (fd < 0)
		return log_errno("cannot keep what differs");
	err = client_call(c, "snapshot-diff", json_pack("{s:s}", "from", name), fd, CALL_MS, NULL);
	if (!err && fstat(fd, &st))
		err = log_errno("cannot read what differs");
	*same = !err && !st.st_size;
	return err;
}

static errint_t check_attached(const struct apply *a, struct bridge_client *c)
{
	char name[SNAP_NAME_MAX + 1];
	bool same = false;
	errint_t err = name_of(c, &a->delta.content.base, name);

	if (!err && *name)
		err = unchanged_since(c, name, &same);
	if (err || same || a->force)
		return err;
	return apply_refuse(a, *name ? "it has been written to since"
				     : "it has no such snapshot, and is attached");
}

static errint_t check_attached_size(const struct apply *a, int fd)
{
	const struct content *d = &a->delta.content;
	uint64_t size;

	if (ioctl(fd, BLKGETSIZE64, &size))
		return log_errno("%s: cannot get its size", a->target);
	if (size != d->base.size && size != d->target.size)
		return log_fail(-EINVAL,
				"%s: has %" PRIu64
				" bytes, and the delta is for a disk of %" PRIu64,
				a->target, size, d->base.size);
	if (d->base.size != d->target.size)
		return log_fail(-EINVAL,
				"%s: is attached, and its size would change; detach it first",
				a->target);
	return 0;
}

errint_t apply_to_attached(struct apply *a, struct bridge_client *c)
{
	const char *device = client_text(c, "device");
	CLEANUP(close) int hold = -1;
	errint_t err;

	if (json_is_true(json_object_get(c->about, "read_only")))
		return log_fail(-EROFS, "%s: is attached read-only", a->target);
	err = hold_device(device, &hold);
	/* What the kernel has not written yet is a change. */
	if (!err && (fsync(hold) || ioctl(hold, BLKFLSBUF, 0)))
		err = log_errno("%s: cannot write out what is cached", device);
	if (!err)
		err = check_attached(a, c);
	if (!err)
		err = check_attached_size(a, hold);
	return err ? err : write_device(a, device);
}
