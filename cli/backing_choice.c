/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/backing_choice.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/delta.h"
#include "cli/disk.h"
#include "cli/source.h"
#include "common/cleanup.h"
#include "common/log.h"

const char *const backing_format_words[] = {"auto", "raw", "ublk-img", NULL};

bool backing_needs_allowing(const struct backing_ref *ref)
{
	return ref->path[0] == '/';
}

/* The directory that the image at @image is in, or will be; the caller's. */
static errint_t directory_of(const char *image, char **out)
{
	CLEANUP(free) char *real = realpath(image, NULL), *copy = strdup(real ? real : image);

	*out = copy ? realpath(dirname(copy), NULL) : NULL;
	return *out ? 0 : log_errno("%s: cannot find its directory", image);
}

/* How the image calls the file: from its own directory on if it is there, else from the root. */
static errint_t make_path(const char *file, const char *image, struct backing_ref *ref)
{
	CLEANUP(free) char *dir = NULL, *real = realpath(file, NULL);
	errint_t err = real ? directory_of(image, &dir)
			    : log_errno("%s: cannot find the backing file", file);

	if (err)
		return err;

	size_t len = strcmp(dir, "/") ? strlen(dir) : 0;
	const char *path = strncmp(real, dir, len) || real[len] != '/' ? real : real + len + 1;

	if (strlen(path) > BACKING_PATH_MAX)
		return log_fail(-ENAMETOOLONG, "%s: its path is longer than %u bytes", file,
				BACKING_PATH_MAX);
	memcpy(ref->path, path, strlen(path));
	return 0;
}

/* What begins like a qcow2 file is hardly meant as the bytes of a disk. */
static errint_t refuse_qcow2(const char *file)
{
	CLEANUP(close) int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char magic[4];

	if (fd < 0 || pread(fd, magic, sizeof(magic), 0) != sizeof(magic) ||
	    memcmp(magic, "QFI\373", sizeof(magic)))
		return 0;
	return log_fail(-EINVAL,
			"%s: is a qcow2 file, which cannot be a backing file; convert it to raw, "
			"or say --backing-format=raw if its bytes are the disk",
			file);
}

static errint_t find_kind(const char *file, enum backing_format format, const char *snapshot,
			  uint8_t *kind)
{
	enum disk_format found = DISK_UBLK;
	errint_t err = 0;

	if (snapshot && format == BACKING_FORMAT_RAW)
		return log_fail(-EINVAL, "%s: a raw file has no snapshots", file);
	if (format == BACKING_FORMAT_AUTO && !snapshot)
		err = disk_detect(file, &found);
	if (format == BACKING_FORMAT_RAW)
		found = DISK_RAW;
	*kind = found == DISK_UBLK ? BACKING_UBLK_IMG : BACKING_RAW;
	if (!err && *kind == BACKING_RAW)
		err = delta_refuse_raw(file);
	if (!err && *kind == BACKING_RAW && format == BACKING_FORMAT_AUTO)
		err = refuse_qcow2(file);
	return err;
}

errint_t backing_choose(const char *text, enum backing_format format, const char *image,
			struct backing_ref *ref, struct backing **out)
{
	CLEANUP(source) struct source s = SOURCE_NONE;
	struct backing_chain self = {.up = NULL};
	struct backing_how how = {.allow = image_file_allows_backing(),
				  .state = image_file_state()};
	errint_t err = source_parse(text, &s);

	*ref = (struct backing_ref){0};
	if (!err)
		err = find_kind(s.image, format, s.snapshot, &ref->kind);
	if (!err)
		err = make_path(s.image, image, ref);
	if (err)
		return err;
	/* One that is not there yet is one more all the same. */
	if (stat(image, &self.st))
		self.st = (struct stat){0};
	how.chain = &self;
	return backing_open_new(s.image, s.snapshot, &how, ref, out);
}
