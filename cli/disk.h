/* SPDX-License-Identifier: MIT */
/*
 * A disk to read from: a raw file, a block device, or an image.  Commands that take either use it
 * and need not know which they were given.
 */
#ifndef CLI_DISK_H
#define CLI_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "common/errint.h"
#include "image/content.h"

struct disk;

enum disk_format { DISK_DETECT, DISK_RAW, DISK_UBLK };
extern const char *const disk_format_words[]; /* "auto", "raw", "ublk", in that order */

/* What @path is: DISK_UBLK when it begins with an image's magic, else DISK_RAW. */
MUST_CHECK errint_t disk_detect(const char *path, enum disk_format *format);

/* Opens @path read-only, which may be IMAGE@NAME, a snapshot (source.h).  DISK_DETECT: as
 * disk_detect() says.  Messages are logged. */
MUST_CHECK errint_t disk_open(const char *path, enum disk_format format, struct disk **out);
/* The snapshot of an image, attached or not; or (@snapshot NULL) an image.  The name of the
 * snapshot has to outlive the disk. */
MUST_CHECK errint_t disk_open_at(const char *image, const char *snapshot, struct disk **out);
/* A delta (delta.h), of either kind: where nothing has changed, zeros are read. */
MUST_CHECK errint_t disk_open_delta(const char *path, struct disk **out);
void disk_close(struct disk *d); /* NULL is allowed */

static inline void cleanup_disk(struct disk **d)
{
	disk_close(*d);
}

const char *disk_path(const struct disk *d);
/* DISK_RAW or DISK_UBLK. */
enum disk_format disk_format(const struct disk *d);
/* Bytes; a raw file's may be any number. */
uint64_t disk_size(const struct disk *d);
/* Which state of which disk it is: source_point(). */
MUST_CHECK errint_t disk_point(struct disk *d, struct content_point *p, bool *known);
/*
 * The first run of possible data at or after @off: *start and *end, *end > *start; all between @off
 * and *start reads as zeros.  *start == *end == disk_size() when no data follows.  Both are
 * multiples of 512, except that *end may be disk_size().  One thread at a time.
 */
MUST_CHECK errint_t disk_next_data(struct disk *d, uint64_t off, uint64_t *start, uint64_t *end);

/* One thread's way of reading a disk. */
struct disk_reader;
MUST_CHECK errint_t disk_reader_new(struct disk *d, struct disk_reader **out);
void disk_reader_free(struct disk_reader *r); /* NULL is allowed */

static inline void cleanup_disk_reader(struct disk_reader **r)
{
	disk_reader_free(*r);
}

/* Reads [off, off + len), multiples of 512; what lies beyond the disk's end reads as zeros.
 * Messages are logged. */
MUST_CHECK errint_t disk_read(struct disk_reader *r, void *buf, uint64_t off, size_t len);

#endif
