/* SPDX-License-Identifier: MIT */
/*
 * Two backends behind a small table: raw (a file or block device) and image.  Where an image's data
 * is, is found by walking its map some thousands of runs at a time.
 */
#include "config.h"

#include "cli/disk.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "cli/delta.h"
#include "cli/source.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "engine/snapshot.h"
#include "image/walk.h"

const char *const disk_format_words[] = {"auto", "raw", "ublk", NULL};

/* Each is called on any thread, may block, and logs its failures. */
struct disk_ops {
	/* As disk_next_data(), one thread at a time; 0 <= off < size. */
	errint_t (*next_data)(struct disk *d, uint64_t off, uint64_t *start, uint64_t *end);
	errint_t (*reader_new)(struct disk *d, struct disk_reader *r);
	void (*reader_free)(struct disk_reader *r);
	/* As disk_read(), but only what lies within the disk, rounded up to 512. */
	errint_t (*read)(struct disk_reader *r, void *buf, uint64_t off, size_t len);
	void (*close)(struct disk *d);
};

struct data_run {
	uint64_t start, end;
};
enum { RUNS_MAX = 4096 };

struct disk {
	const struct disk_ops *ops;
	char *path;
	enum disk_format format;
	uint64_t size;

	/* raw */
	int fd;
	bool no_holes; /* the file system does not tell */

	/* image */
	struct source source;
	struct engine *engine;
	/* The runs of data in [runs_off, runs_end), for disk_next_data(). */
	struct data_run *runs;
	unsigned nruns;
	uint64_t runs_off, runs_end;
};

struct disk_reader {
	struct disk *disk;
	struct engine_thread *thread; /* image */
};

/* Raw ------------------------------------------------------------------------------------------ */

static errint_t raw_next_data(struct disk *d, uint64_t off, uint64_t *start, uint64_t *end)
{
	off_t data, hole;

	*start = off;
	*end = d->size;
	if (d->no_holes)
		return 0;
	data = lseek(d->fd, (off_t)off, SEEK_DATA);
	if (data < 0 && errno == ENXIO) {
		*start = d->size;
		return 0;
	}
	if (data < 0 && errno == EINVAL) {
		d->no_holes = true;
		return 0;
	}
	if (data < 0)
		return log_errno("%s: cannot find its data", d->path);
	hole = lseek(d->fd, data, SEEK_HOLE);
	if (hole < 0)
		return log_errno("%s: cannot find its holes", d->path);
	*start = (uint64_t)data & ~511ull;
	*end = ((uint64_t)hole + 511) & ~511ull;
	/* The file may have grown, or been cut, since it was opened. */
	if (*end > d->size)
		*end = d->size;
	if (*start >= *end)
		*start = *end = d->size;
	return 0;
}

static errint_t raw_reader_new(struct disk *d, struct disk_reader *r)
{
	(void)d, (void)r;
	return 0;
}

static void raw_reader_free(struct disk_reader *r)
{
	(void)r;
}

static errint_t raw_read(struct disk_reader *r, void *buf, uint64_t off, size_t len)
{
	struct disk *d = r->disk;

	while (len) {
		ssize_t n = pread(d->fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return log_errno("%s: cannot read %zu bytes at %llu", d->path, len,
					 (unsigned long long)off);
		if (!n && off < d->size)
			return log_fail(-EIO,
					"%s: became shorter while it was read: nothing at "
					"%llu of %llu bytes",
					d->path, (unsigned long long)off,
					(unsigned long long)d->size);
		if (!n) {
			memset(buf, 0, len);
			return 0;
		}
		buf = (char *)buf + n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static void raw_close(struct disk *d)
{
	close(d->fd);
}

static const struct disk_ops raw_ops = {
	.next_data = raw_next_data,
	.reader_new = raw_reader_new,
	.reader_free = raw_reader_free,
	.read = raw_read,
	.close = raw_close,
};

static errint_t raw_size(struct disk *d)
{
	struct stat st;

	if (fstat(d->fd, &st))
		return log_errno("%s: cannot look at it", d->path);
	if (S_ISREG(st.st_mode)) {
		d->size = (uint64_t)st.st_size;
		return 0;
	}
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(d->fd, BLKGETSIZE64, &d->size))
			return log_errno("%s: cannot get its size", d->path);
		return 0;
	}
	if (S_ISDIR(st.st_mode))
		return log_fail(-EISDIR, "%s: is a directory", d->path);
	return log_fail(-EINVAL, "%s: is neither a file nor a block device", d->path);
}

/* Image ---------------------------------------------------------------------------------------- */

/* Ends a walk whose runs have filled the table. */
enum { WALK_FULL = -EXFULL };

static errint_t add_data(struct disk *d, uint64_t start, uint64_t end)
{
	struct data_run *last = d->nruns ? &d->runs[d->nruns - 1] : NULL;

	if (last && last->end == start) {
		last->end = end;
		return 0;
	}
	if (d->nruns == RUNS_MAX)
		return WALK_FULL;
	d->runs[d->nruns++] = (struct data_run){start, end};
	return 0;
}

/* What comes from the backing is data where that may have some. */
static errint_t add_backing(struct disk *d, uint64_t off, uint64_t end)
{
	errint_t err = 0;

	while (!err && off < end) {
		uint64_t from, to;

		err = engine_backing_data(d->engine, off, &from, &to);
		if (err || from >= end)
			break;
		to = to < end ? to : end;
		d->runs_end = from;
		err = add_data(d, from, to);
		off = to;
	}
	return err;
}

static errint_t add_run(void *arg, const struct map_extent *e)
{
	struct disk *d = arg;
	uint64_t end = e->off + e->len;
	errint_t err = 0;

	if (e->kind == MAP_RAW || e->kind == MAP_ZSTD)
		err = add_data(d, e->off, end);
	else if (e->kind == MAP_BACKING)
		err = add_backing(d, e->off, end);
	if (!err)
		d->runs_end = end;
	return err;
}

static errint_t load_runs(struct disk *d, uint64_t off)
{
	errint_t err;

	d->nruns = 0;
	d->runs_off = d->runs_end = off;
	err = source_walk(&d->source, off, d->size - off, add_run, d);
	if (err == WALK_FULL)
		return 0;
	if (!err)
		d->runs_end = d->size;
	return err;
}

static errint_t image_next_data(struct disk *d, uint64_t off, uint64_t *start, uint64_t *end)
{
	while (off < d->size) {
		unsigned lo = 0, hi;

		if (off < d->runs_off || off >= d->runs_end) {
			errint_t err = load_runs(d, off);

			if (err)
				return err;
		}
		for (hi = d->nruns; lo < hi;) {
			unsigned mid = lo + (hi - lo) / 2;

			if (d->runs[mid].end <= off)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo < d->nruns) {
			*start = d->runs[lo].start > off ? d->runs[lo].start : off;
			*end = d->runs[lo].end;
			return 0;
		}
		off = d->runs_end;
	}
	*start = *end = d->size;
	return 0;
}

static errint_t image_reader_new(struct disk *d, struct disk_reader *r)
{
	return engine_thread_new(d->engine, &r->thread);
}

static void image_reader_free(struct disk_reader *r)
{
	if (r->thread)
		engine_thread_free(r->thread);
}

static errint_t image_read(struct disk_reader *r, void *buf, uint64_t off, size_t len)
{
	struct snapshot_view *view = r->disk->source.view;

	return view ? engine_snapshot_read(r->thread, view, buf, off, len)
		    : engine_read(r->thread, buf, off, len);
}

static void image_disk_close(struct disk *d)
{
	errint_t err;

	if (d->engine)
		engine_free(d->engine);
	/* Nothing was written, so nothing can be lost. */
	err = source_close(&d->source);
	(void)err;
	free(d->runs);
}

static const struct disk_ops image_ops = {
	.next_data = image_next_data,
	.reader_new = image_reader_new,
	.reader_free = image_reader_free,
	.read = image_read,
	.close = image_disk_close,
};

/* Either --------------------------------------------------------------------------------------- */

/* Anything that can be read at an offset may be an image. */
static errint_t detect_fd(int fd, const char *path, enum disk_format *format)
{
	struct stat st;
	le64 magic;
	ssize_t n;

	*format = DISK_RAW;
	if (fstat(fd, &st))
		return log_errno("%s: cannot look at it", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return 0;
	n = pread(fd, &magic, sizeof(magic), IDENT_OFFSET);
	if (n < 0)
		return log_errno("%s: cannot read its beginning", path);
	if (n == sizeof(magic) && le64_get(magic) == IDENT_MAGIC)
		*format = DISK_UBLK;
	return 0;
}

/* O_NONBLOCK: do not wait for the writer of a FIFO, which is no disk. */
static errint_t open_for_reading(const char *path, int *fd)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return *fd < 0 ? log_errno("%s: cannot open", path) : 0;
}

errint_t disk_detect(const char *path, enum disk_format *format)
{
	CLEANUP(close) int fd = -1;
	errint_t err = open_for_reading(path, &fd);

	return err ? err : detect_fd(fd, path, format);
}

static errint_t open_raw(struct disk *d)
{
	errint_t err;

	d->ops = &raw_ops;
	err = raw_size(d);
	if (!err && d->size > INT64_MAX)
		err = log_fail(-EFBIG, "%s: is too large", d->path);
	return err;
}

static errint_t open_image(struct disk *d)
{
	errint_t err = source_open(&d->source);

	if (err)
		return err;
	/* What a bridge serves is a file, with the holes where they are. */
	if (d->source.root >= 0) {
		err = source_file(&d->source, "disk", &d->fd);
		return err ? err : open_raw(d);
	}
	d->ops = &image_ops;
	err = source_size(&d->source, &d->size);
	if (err)
		return err;
	d->runs = calloc(RUNS_MAX, sizeof(*d->runs));
	if (!d->runs)
		return log_err(-ENOMEM, "%s: cannot open", d->path);
	return image_file_engine(d->source.file.image, &d->engine);
}

/* A snapshot is one of an image, and what is attached is an image as well as a block device, which
 * can be read as that. */
static errint_t open_either(struct disk *d, enum disk_format format)
{
	CLEANUP(close) int fd = -1;
	errint_t err = 0;

	if (!d->source.snapshot && format != DISK_UBLK)
		err = open_for_reading(d->path, &fd);
	else if (format == DISK_RAW)
		err = log_fail(-EINVAL, "%s: a snapshot is not of format raw", d->path);
	else
		format = DISK_UBLK;
	if (!err && format == DISK_DETECT)
		err = detect_fd(fd, d->path, &format);
	if (!err && format == DISK_RAW && !d->source.accept_delta)
		err = delta_refuse_raw(d->path);
	if (err)
		return err;
	d->format = format;
	d->fd = format == DISK_RAW ? steal_fd(&fd) : -1;
	err = format == DISK_RAW ? delta_refuse_marked(d->fd, d->path) : 0;
	if (err)
		return err;
	return format == DISK_RAW ? open_raw(d) : open_image(d);
}

static struct disk *disk_new(const char *path)
{
	struct disk *d = calloc(1, sizeof(*d));

	if (d) {
		d->source = (struct source)SOURCE_NONE;
		d->fd = -1;
		d->path = strdup(path);
	}
	if (d && d->path)
		return d;
	disk_close(d);
	log_err(-ENOMEM, "%s: cannot open", path);
	return NULL;
}

errint_t disk_open(const char *path, enum disk_format format, struct disk **out)
{
	CLEANUP(disk) struct disk *d = disk_new(path);
	errint_t err = d ? source_parse(d->path, &d->source) : -ENOMEM;

	if (!err)
		err = open_either(d, format);
	if (!err)
		*out = steal_pointer(&d);
	return err;
}

errint_t disk_open_at(const char *image, const char *snapshot, struct disk **out)
{
	CLEANUP(disk) struct disk *d = disk_new(image);
	errint_t err = d ? source_set(image, snapshot, &d->source) : -ENOMEM;

	if (!err)
		err = open_either(d, DISK_UBLK);
	if (!err)
		*out = steal_pointer(&d);
	return err;
}

errint_t disk_open_delta(const char *path, struct disk **out)
{
	CLEANUP(disk) struct disk *d = disk_new(path);
	errint_t err = d ? source_set(path, NULL, &d->source) : -ENOMEM;

	if (!err) {
		d->source.accept_delta = true;
		err = open_either(d, DISK_DETECT);
	}
	if (!err)
		*out = steal_pointer(&d);
	return err;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	if (d->ops)
		d->ops->close(d);
	cleanup_source(&d->source);
	free(d->path);
	free(d);
}

const char *disk_path(const struct disk *d)
{
	return d->path;
}

enum disk_format disk_format(const struct disk *d)
{
	return d->format;
}

errint_t disk_point(struct disk *d, struct content_point *p, bool *known)
{
	*known = false;
	return d->format == DISK_UBLK ? source_point(&d->source, p, known) : 0;
}

uint64_t disk_size(const struct disk *d)
{
	return d->size;
}

errint_t disk_next_data(struct disk *d, uint64_t off, uint64_t *start, uint64_t *end)
{
	errint_t err;

	if (off >= d->size) {
		*start = *end = d->size;
		return 0;
	}
	err = d->ops->next_data(d, off, start, end);
	assert(err || (*start >= off && *end <= d->size && *start <= *end));
	assert(err || *start < *end || *start == d->size);
	return err;
}

errint_t disk_reader_new(struct disk *d, struct disk_reader **out)
{
	CLEANUP(free) struct disk_reader *r = calloc(1, sizeof(*r));
	errint_t err;

	if (!r)
		return log_err(-ENOMEM, "%s: cannot read", d->path);
	r->disk = d;
	err = d->ops->reader_new(d, r);
	if (!err)
		*out = steal_pointer(&r);
	return err;
}

void disk_reader_free(struct disk_reader *r)
{
	if (!r)
		return;
	r->disk->ops->reader_free(r);
	free(r);
}

errint_t disk_read(struct disk_reader *r, void *buf, uint64_t off, size_t len)
{
	uint64_t end = (r->disk->size + 511) & ~511ull;
	size_t within;

	assert(!(off % 512) && !(len % 512));
	within = off >= end ? 0 : end - off < len ? (size_t)(end - off) : len;
	memset((char *)buf + within, 0, len - within);
	return within ? r->disk->ops->read(r, buf, off, within) : 0;
}
