/* SPDX-License-Identifier: MIT */
/*
 * The store in a file or a block device.
 *
 * Everything goes through one open file description, which also carries the image lock
 * (docs/format.md, L1).  Direct I/O is switched on where the file system has it.  Then requests
 * that are not aligned as the device wants them go through an aligned copy: reads read the window
 * around them, writes read, change and write it back under a lock that keeps other writes away.
 */
#include "config.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "image/format.h"
#include "image/store.h"
#include "image/store_lock.h"

#define WINDOW_MAX (256u << 10) /* bytes of an aligned copy at a time */

struct store_file {
	struct store st;
	int fd;
	bool block_device;
	bool direct;
	pthread_rwlock_t edges; /* write-held while a block is read, changed and written back */
	char *path;
};

static struct store_file *file_of(struct store *st)
{
	return (struct store_file *)st;
}

static errint_t device_size(const struct store_file *f, uint64_t *len)
{
	if (ioctl(f->fd, BLKGETSIZE64, len))
		return log_errno("%s: cannot get the size of the block device", f->path);
	return 0;
}

static errint_t file_length(struct store *st, uint64_t *len)
{
	struct store_file *f = file_of(st);
	struct stat s;

	if (f->block_device)
		return device_size(f, len);
	if (fstat(f->fd, &s))
		return log_errno("%s: cannot get the length of the file", f->path);
	*len = (uint64_t)s.st_size;
	return 0;
}

/* ---- reading ---------------------------------------------------------------------------- */

static errint_t read_failed(const struct store_file *f, size_t len, uint64_t off)
{
	return log_errno("%s: cannot read %zu bytes at offset %" PRIu64, f->path, len, off);
}

/*
 * A read ended in the middle of a block after *@done bytes.  At the end of the file that is all
 * there is; elsewhere, direct I/O can go on only from the block's start.
 */
static errint_t after_odd_read(struct store_file *f, uint64_t off, size_t before, size_t *done,
			       bool *at_end)
{
	uint64_t length;
	errint_t err = file_length(&f->st, &length);

	if (err)
		return err;
	*at_end = off + *done >= length;
	if (*at_end)
		return 0;
	*done -= *done % f->st.align;
	if (*done > before)
		return 0;
	return log_err(-EIO, "%s: reading at offset %" PRIu64 " makes no progress", f->path,
		       off + *done);
}

/* Aligned as direct I/O wants it, or buffered. */
static errint_t read_through(struct store_file *f, char *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(f->fd, buf + done, len - done, (off_t)(off + done));
		size_t before = done;
		bool at_end = false;

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return read_failed(f, len, off);
		}
		done += (size_t)n;
		if (n == 0) {
			at_end = true;
		} else if (f->direct && done % f->st.align) {
			errint_t err = after_odd_read(f, off, before, &done, &at_end);

			if (err)
				return err;
		}
		if (at_end) {
			memset(buf + done, 0, len - done);
			return 0;
		}
	}
	return 0;
}

static bool fits_direct(const struct store_file *f, const void *buf, size_t len, uint64_t off)
{
	unsigned align = f->st.align;

	return !f->direct ||
	       (off % align == 0 && len % align == 0 && (uintptr_t)buf % f->st.mem_align == 0);
}

/* The next aligned window of a request: it begins at *@at and holds @skip bytes before the
 * request's next @take. */
struct window {
	uint64_t at;
	size_t len, skip, take;
};

static struct window next_window(const struct store_file *f, uint64_t off, size_t len)
{
	uint64_t align = f->st.align;
	struct window w = {.at = off - off % align, .skip = off % align};
	uint64_t end = (off + len + align - 1) / align * align;

	w.len = end - w.at < WINDOW_MAX ? end - w.at : WINDOW_MAX;
	w.take = w.len - w.skip < len ? w.len - w.skip : len;
	assert(w.take > 0);
	return w;
}

static errint_t file_read(struct store *st, void *buf, size_t len, uint64_t off)
{
	struct store_file *f = file_of(st);

	if (fits_direct(f, buf, len, off))
		return read_through(f, buf, len, off);

	CLEANUP(free) char *copy = store_buffer(WINDOW_MAX);
	if (!copy)
		return log_err(-ENOMEM, "%s: cannot read", f->path);
	for (char *to = buf; len;) {
		struct window w = next_window(f, off, len);
		errint_t err = read_through(f, copy, w.len, w.at);

		if (err)
			return err;
		memcpy(to, copy + w.skip, w.take);
		to += w.take;
		off += w.take;
		len -= w.take;
	}
	return 0;
}

/* ---- writing ---------------------------------------------------------------------------- */

static errint_t sync_file(struct store_file *f)
{
	while (fdatasync(f->fd))
		if (errno != EINTR)
			return log_errno("%s: cannot make written data durable", f->path);
	return 0;
}

static errint_t write_failed(const struct store_file *f, size_t len, uint64_t off)
{
	return log_errno("%s: cannot write %zu bytes at offset %" PRIu64 "%s", f->path, len, off,
			 errno == ENOSPC ? " (make space on the host's file system)" : "");
}

/*
 * Make durable what has been written, as a part of that write.  A host without space tells it of a
 * write that it had taken, so it is data lost, and not the refusal that -ENOSPC of a write is.
 */
static errint_t sync_written(struct store_file *f)
{
	errint_t err = sync_file(f);

	return err == -ENOSPC ? -EIO : err;
}

static errint_t write_through(struct store_file *f, const char *buf, size_t len, uint64_t off,
			      bool dsync)
{
	int flags = dsync ? RWF_DSYNC : 0;

	for (size_t done = 0; done < len;) {
		struct iovec iov = {.iov_len = len - done};
		ssize_t n;

		memcpy(&iov.iov_base, &(const char *){buf + done}, sizeof(void *));
		n = pwritev2(f->fd, &iov, 1, (off_t)(off + done), flags);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && flags && errno == EOPNOTSUPP) {
			flags = 0; /* then a sync after the write does it */
			continue;
		}
		if (n == 0)
			errno = ENOSPC; /* the end of a block device */
		if (n <= 0)
			return write_failed(f, len, off);
		if (f->direct && (size_t)n % f->st.align && done + (size_t)n < len) {
			/* Write the started block again: direct I/O begins at blocks only. */
			n -= (ssize_t)((size_t)n % f->st.align);
			if (!n) {
				errno = EIO;
				return write_failed(f, len, off);
			}
		}
		done += (size_t)n;
	}
	return dsync && !flags ? sync_written(f) : 0;
}

static errint_t write_edges(struct store_file *f, const char *from, size_t len, uint64_t off,
			    bool dsync)
{
	CLEANUP(free) char *copy = store_buffer(WINDOW_MAX);

	if (!copy)
		return log_err(-ENOMEM, "%s: cannot write", f->path);
	while (len) {
		struct window w = next_window(f, off, len);
		errint_t err = 0;

		if (w.take < w.len)
			err = read_through(f, copy, w.len, w.at);
		memcpy(copy + w.skip, from, w.take);
		if (!err)
			err = write_through(f, copy, w.len, w.at, dsync);
		if (err)
			return err;
		from += w.take;
		off += w.take;
		len -= w.take;
	}
	return 0;
}

static bool needs_edges(const struct store_file *f, size_t len, uint64_t off)
{
	return f->direct && (off % f->st.align || len % f->st.align);
}

static errint_t file_write(struct store *st, const void *buf, size_t len, uint64_t off, bool dsync)
{
	struct store_file *f = file_of(st);
	bool can_have_edges = f->direct && st->align > SECTOR_SIZE;
	errint_t err;

	if (!can_have_edges)
		return fits_direct(f, buf, len, off) ? write_through(f, buf, len, off, dsync)
						     : write_edges(f, buf, len, off, dsync);
	if (needs_edges(f, len, off))
		pthread_rwlock_wrlock(&f->edges);
	else
		pthread_rwlock_rdlock(&f->edges);
	err = fits_direct(f, buf, len, off) ? write_through(f, buf, len, off, dsync)
					    : write_edges(f, buf, len, off, dsync);
	pthread_rwlock_unlock(&f->edges);
	return err;
}

static errint_t file_datasync(struct store *st)
{
	return sync_file(file_of(st));
}

/* ---- space ------------------------------------------------------------------------------ */

static bool not_supported(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV;
}

static errint_t file_punch(struct store *st, uint64_t off, uint64_t len)
{
	struct store_file *f = file_of(st);

	while (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
			 (off_t)len)) {
		if (errno == EINTR)
			continue;
		if (not_supported(errno))
			return -EOPNOTSUPP;
		/* A block device whose blocks are larger than the request. */
		if (f->block_device && errno == EINVAL)
			return -EOPNOTSUPP;
		return log_errno("%s: cannot punch %" PRIu64 " bytes at offset %" PRIu64, f->path,
				 len, off);
	}
	return 0;
}

static errint_t file_allocate(struct store *st, uint64_t off, uint64_t len)
{
	struct store_file *f = file_of(st);

	if (f->block_device)
		return 0;
	while (fallocate(f->fd, 0, (off_t)off, (off_t)len)) {
		if (errno == EINTR)
			continue;
		if (not_supported(errno))
			return 0;
		return log_errno("%s: cannot allocate %" PRIu64 " bytes at offset %" PRIu64 "%s",
				 f->path, len, off,
				 errno == ENOSPC ? " (make space on the host's file system)" : "");
	}
	return 0;
}

static errint_t file_truncate(struct store *st, uint64_t len)
{
	struct store_file *f = file_of(st);
	uint64_t size;

	if (f->block_device) {
		errint_t err = device_size(f, &size);

		if (err)
			return err;
		if (len <= size)
			return 0; /* a device is as long as it is; what lies behind is not used */
		return log_err(-ENOSPC,
			       "%s: the image needs %" PRIu64 " bytes, the device has %" PRIu64,
			       f->path, len, size);
	}
	while (ftruncate(f->fd, (off_t)len))
		if (errno != EINTR)
			return log_errno("%s: cannot make the file %" PRIu64 " bytes long", f->path,
					 len);
	return 0;
}

static uint64_t file_usage(struct store *st)
{
	struct store_file *f = file_of(st);
	struct stat s;

	if (f->block_device || fstat(f->fd, &s))
		return 0;
	return (uint64_t)s.st_blocks * 512;
}

static errint_t file_lock(struct store *st, enum store_lock how, bool quiet)
{
	struct store_file *f = file_of(st);

	return store_lock_fd(f->fd, f->path, how, quiet);
}

static errint_t file_identity(struct store *st, struct store_identity *id)
{
	struct store_file *f = file_of(st);
	struct stat s;

	if (fstat(f->fd, &s))
		return log_errno("%s: cannot examine the file", f->path);
	/* A device may have several nodes. */
	*id = f->block_device ? (struct store_identity){s.st_rdev, 0}
			      : (struct store_identity){s.st_dev, s.st_ino};
	return 0;
}

static void file_close(struct store *st)
{
	struct store_file *f = file_of(st);

	store_unlock_fd(f->fd);
	close(f->fd);
	pthread_rwlock_destroy(&f->edges);
	free(f->path);
	free(f);
}

static const struct store_ops file_ops = {
	.kind = "file",
	.read = file_read,
	.write = file_write,
	.datasync = file_datasync,
	.punch = file_punch,
	.allocate = file_allocate,
	.truncate = file_truncate,
	.length = file_length,
	.usage = file_usage,
	.lock = file_lock,
	.identity = file_identity,
	.close = file_close,
};

/* ---- opening ---------------------------------------------------------------------------- */

/* What the file system says about direct I/O; false when it says nothing. */
static bool ask_alignment(int fd, unsigned *align, unsigned *mem_align)
{
#ifdef STATX_DIOALIGN
	struct statx s;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) || !(s.stx_mask & STATX_DIOALIGN))
		return false;
	*align = s.stx_dio_offset_align;
	*mem_align = s.stx_dio_mem_align;
	return true;
#else
	(void)fd, (void)align, (void)mem_align;
	return false;
#endif
}

static bool usable_alignment(unsigned align, unsigned mem_align)
{
	return align && align <= UNIT_SIZE && !(align & (align - 1)) && mem_align &&
	       mem_align <= UNIT_SIZE && !(mem_align & (mem_align - 1));
}

static bool trial_read(int fd, void *buf, unsigned len)
{
	ssize_t n;

	do
		n = pread(fd, buf, len, 0);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

static bool set_direct(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT);
}

/*
 * Switch direct I/O on if it works.  The file system's word about alignment is taken where it gives
 * one.  Else whole units are used, because an empty file has nothing to try smaller requests on, in
 * memory aligned as direct I/O has always wanted it.
 */
static void try_direct(struct store_file *f)
{
	CLEANUP(free) uint8_t *buf = store_buffer((size_t)2 * UNIT_SIZE);
	unsigned align = UNIT_SIZE, mem_align = SECTOR_SIZE;
	bool known = ask_alignment(f->fd, &align, &mem_align);

	if (!buf || (known && !usable_alignment(align, mem_align)) || !set_direct(f->fd, true))
		return;
	if (align < SECTOR_SIZE)
		align = SECTOR_SIZE;
	if (!trial_read(f->fd, buf + mem_align, align)) {
		set_direct(f->fd, false);
		return;
	}
	f->direct = true;
	f->st.align = align;
	f->st.mem_align = mem_align;
}

static errint_t open_fd(const char *path, unsigned flags, int *out)
{
	int how = flags & STORE_FILE_READ_ONLY ? O_RDONLY : O_RDWR;
	int fd;

	if (flags & STORE_FILE_CREATE)
		how |= O_CREAT | O_EXCL;
	/* O_NONBLOCK: a FIFO in the image's place is refused below instead of being waited for. */
	do
		fd = open(path, how | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
	while (fd < 0 && errno == EINTR);
	if (fd >= 0) {
		*out = fd;
		return 0;
	}
	switch (errno) {
	case EEXIST:
		return log_fail(-EEXIST, "%s exists already; choose another name or --force", path);
	case EISDIR:
		return log_fail(-EISDIR, "%s is a directory, not an image file", path);
	case EACCES:
	case EPERM:
	case EROFS:
		return log_errno("%s: cannot open the image for %s", path,
				 flags & STORE_FILE_READ_ONLY ? "reading" : "writing");
	default:
		return log_errno(flags & STORE_FILE_CREATE ? "%s: cannot create the image"
							   : "%s: cannot open the image",
				 path);
	}
}

static errint_t identify(struct store_file *f)
{
	struct stat s;
	int flags = fcntl(f->fd, F_GETFL);

	if (fstat(f->fd, &s) || flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_NONBLOCK))
		return log_errno("%s: cannot examine the file", f->path);
	f->st.fixed = f->block_device = S_ISBLK(s.st_mode);
	if (f->block_device || S_ISREG(s.st_mode))
		return 0;
	return log_fail(-EINVAL, "%s is neither a regular file nor a block device", f->path);
}

errint_t store_file_open(const char *path, unsigned flags, struct store **out)
{
	int fd = -1;
	errint_t err = open_fd(path, flags, &fd);

	return err ? err : store_file_adopt(fd, path, flags, out);
}

void store_file_unlock(struct store *st)
{
	if (st->ops == &file_ops)
		store_unlock_fd(file_of(st)->fd);
}

errint_t store_file_adopt(int opened, const char *path, unsigned flags, struct store **out)
{
	CLEANUP(close) int fd = opened;
	errint_t err;

	CLEANUP(free) struct store_file *f = calloc(1, sizeof(*f));
	CLEANUP(free) char *name = strdup(path);
	if (!f || !name)
		return log_err(-ENOMEM, "%s: cannot open the image", path);
	f->fd = fd;
	f->path = name;
	f->st = (struct store){
		.ops = &file_ops,
		.name = name,
		.align = SECTOR_SIZE,
		.read_only = flags & STORE_FILE_READ_ONLY,
	};
	err = identify(f);
	if (err)
		return err;
	if (!(flags & STORE_FILE_BUFFERED))
		try_direct(f);
	f->st.cached = !f->direct;
	err = -pthread_rwlock_init(&f->edges, NULL);
	if (err)
		return log_err(err, "%s: cannot open the image", path);
	log_debug(LOG_STORE, "%s: %s, alignment %u", path, f->direct ? "direct I/O" : "page cache",
		  f->st.align);
	(void)steal_fd(&fd);
	(void)steal_pointer(&name);
	*out = &steal_pointer(&f)->st;
	return 0;
}

int store_file_fd(const struct store *st)
{
	return st->ops == &file_ops ? ((const struct store_file *)st)->fd : -1;
}
