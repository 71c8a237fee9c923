/* SPDX-License-Identifier: MIT */
/* What a delta says of itself: the superblock of an image, or the document beside a raw file. */
#include "config.h"

#include "cli/delta.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/disk.h"
#include "cli/image_file.h"
#include "cli/report_read.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "image/dump.h"
#include "image/report.h"
#include "image/walk.h"

static errint_t extents_name(const char *path, char name[PATH_MAX])
{
	int n = snprintf(name, PATH_MAX, "%s.extents", path);

	return n > 0 && n < PATH_MAX ? 0
				     : log_fail(-ENAMETOOLONG, "%s: the name is too long", path);
}

bool delta_is_raw(const char *path)
{
	char name[PATH_MAX];
	struct stat st;

	return (size_t)snprintf(name, sizeof(name), "%s.extents", path) < sizeof(name) &&
	       !stat(name, &st) && S_ISREG(st.st_mode);
}

errint_t delta_refuse_raw(const char *path)
{
	return delta_is_raw(path)
		       ? log_fail(
				 -EINVAL,
				 "%s: is no whole disk but a delta, with only what changed, as "
				 "%s.extents says; `ublk-img apply` brings a copy of the disk up to "
				 "date with it",
				 path, path)
		       : 0;
}

/* ---- raw files on the way ------------------------------------------------------------------ */

static const char mark_name[] = "user.ublk-img.applying";
enum { MARK_MAX = 2 * 37 };

static void mark_text(const struct delta *d, char text[MARK_MAX])
{
	char from[37], to[37];

	dump_uuid(d->content.base.uuid, from);
	dump_uuid(d->content.target.uuid, to);
	snprintf(text, MARK_MAX, "%s %s", from, to);
}

static bool read_mark(int fd, char text[MARK_MAX])
{
	ssize_t n = fgetxattr(fd, mark_name, text, MARK_MAX - 1);

	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

errint_t delta_refuse_marked(int fd, const char *path)
{
	char text[MARK_MAX];

	return read_mark(fd, text)
		       ? log_fail(-EINVAL,
				  "%s: is between two snapshots: `ublk-img apply` was interrupted; "
				  "repeat it with the same delta",
				  path)
		       : 0;
}

errint_t delta_mark(const char *path, const struct delta *d)
{
	CLEANUP(close) int fd = open(path, O_RDWR | O_CLOEXEC);
	char text[MARK_MAX], other[MARK_MAX];

	if (fd < 0)
		return log_errno("%s: cannot write to it", path);
	mark_text(d, text);
	if (read_mark(fd, other))
		return !strcmp(text, other)
			       ? 0
			       : log_fail(-EINVAL,
					  "%s: another delta was interrupted while it was applied; "
					  "repeat that first",
					  path);
	if (fsetxattr(fd, mark_name, text, strlen(text), 0))
		return errno == ENOTSUP ? 0 : log_errno("%s: cannot mark it", path);
	return fsync(fd) ? log_errno("%s: cannot make its mark durable", path) : 0;
}

errint_t delta_unmark(const char *path)
{
	CLEANUP(close) int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return log_errno("%s: cannot write to it", path);
	if (fremovexattr(fd, mark_name) && errno != ENOTSUP && errno != ENODATA)
		return log_errno("%s: cannot remove its mark", path);
	return fsync(fd) ? log_errno("%s: cannot make written data durable", path) : 0;
}

/* ---- writing the document ------------------------------------------------------------------ */

static json_t *document(const struct delta *d)
{
	struct json_build o;
	char uuid[37];

	dump_uuid(d->content.image, uuid);
	json_build_begin(&o);
	json_build_u64(&o, "schema", JSON_SCHEMA);
	json_build_text(&o, "command", "delta-extents");
	json_build_text(&o, "image_uuid", uuid);
	json_build_put(&o, "base", report_point_json(&d->content.base));
	json_build_put(&o, "target", report_point_json(&d->content.target));
	json_build_u64(&o, "cluster_size", 1ull << d->geo.cluster_shift);
	json_build_u64(&o, "sector_size", 1ull << d->geo.sector_shift);
	return json_build_finish(&o);
}

/* One extent in each line, however many there are. */
static errint_t write_document(FILE *out, const char *name, const struct delta *d)
{
	CLEANUP(json) json_t *doc = document(d);
	CLEANUP(free) char *head = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	const char *sep = "\n";

	if (!head)
		return log_err(-ENOMEM, "%s: cannot write", name);
	fprintf(out, "%.*s,\"extents\":[", (int)strlen(head) - 1, head);
	for (size_t i = 0; i < d->changes.n; i++, sep = ",\n")
		fprintf(out, "%s{\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"zero\":%s}", sep,
			d->changes.list[i].off, d->changes.list[i].len,
			d->changes.list[i].zero ? "true" : "false");
	fputs("]}\n", out);
	return fflush(out) || fsync(fileno(out)) ? log_errno("%s: cannot write", name) : 0;
}

errint_t delta_write_extents(const char *path, const struct delta *d)
{
	char name[PATH_MAX];
	errint_t err = extents_name(path, name);
	FILE *out;

	if (err)
		return err;
	if (!access(path, F_OK))
		return log_fail(-EEXIST, "%s: already exists; a raw delta replaces nothing", path);
	out = fopen(name, "wxe");
	if (!out && errno == EEXIST)
		return log_fail(-EEXIST, "%s: already exists; a raw delta replaces nothing", name);
	if (!out)
		return log_errno("%s: cannot create", name);
	err = write_document(out, name, d);
	fclose(out);
	if (err)
		unlink(name);
	return err;
}

void delta_remove_extents(const char *path)
{
	char name[PATH_MAX];

	if (!extents_name(path, name))
		unlink(name);
}

/* ---- reading ------------------------------------------------------------------------------- */

static errint_t bad_document(const char *name, const char *what)
{
	return log_fail(-EINVAL, "%s: does not describe a raw delta: %s", name, what);
}

/* @at: where the last one ended. */
static errint_t read_extent(const char *name, const json_t *item, struct delta *d, uint64_t *at)
{
	json_int_t off = json_integer_value(json_object_get(item, "offset"));
	json_int_t len = json_integer_value(json_object_get(item, "length"));
	const json_t *zero = json_object_get(item, "zero");
	const struct change e = {(uint64_t)off, (uint64_t)len, json_is_true(zero)};
	uint64_t size = d->content.target.size;

	if (off < 0 || len <= 0 || !json_is_boolean(zero) || e.off < *at || e.off > size ||
	    e.len > size - e.off)
		return bad_document(name, "an extent is impossible");
	if (e.off % cluster_size(&d->geo) ||
	    (e.len % cluster_size(&d->geo) && (e.off + e.len != size || size % SECTOR_SIZE)))
		return bad_document(name, "an extent is not made of clusters");
	*at = e.off + e.len;
	return changes_add(&d->changes, &e);
}

static errint_t read_extents(const char *name, const json_t *doc, struct delta *d)
{
	const json_t *list = json_object_get(doc, "extents"), *item;
	errint_t err = json_is_array(list) ? 0 : bad_document(name, "\"extents\" is missing");
	uint64_t at = 0;
	size_t i;

	json_array_foreach(list, i, item)
	{
		if (!err)
			err = read_extent(name, item, d, &at);
	}
	return err;
}

static errint_t check_raw_size(const char *path, uint64_t size)
{
	struct stat st;

	if (stat(path, &st))
		return log_errno("%s: cannot open", path);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return log_fail(-EINVAL,
				"%s: has %" PRIu64 " bytes, and %s.extents tells of %" PRIu64, path,
				(uint64_t)st.st_size, path, size);
	return 0;
}

static errint_t read_raw(const char *path, struct delta *d)
{
	CLEANUP(json) json_t *doc = NULL;
	char name[PATH_MAX];
	json_error_t where;
	errint_t err = extents_name(path, name);

	if (err)
		return err;
	doc = json_load_file(name, 0, &where);
	if (!doc)
		return bad_document(name, where.text);
	if (json_integer_value(json_object_get(doc, "schema")) != JSON_SCHEMA ||
	    report_read_uuid(json_object_get(doc, "image_uuid"), d->content.image) ||
	    report_read_geometry(doc, &d->geo))
		return bad_document(name, "it is not of the form that docs/json.md describes");
	err = report_read_point(json_object_get(doc, "base"), &d->content.base);
	if (!err)
		err = report_read_point(json_object_get(doc, "target"), &d->content.target);
	if (!err)
		err = read_extents(name, doc, d);
	return err ? err : check_raw_size(path, d->content.target.size);
}

static errint_t add_extent(void *arg, const struct map_extent *e)
{
	const struct change change = {e->off, e->len, e->kind == MAP_ZERO};

	return e->kind == MAP_HOLE ? 0 : changes_add(arg, &change);
}

static errint_t read_image(const char *path, struct delta *d)
{
	CLEANUP(image_file) struct image_file f;
	const struct image_file_opts opts = {.stream = true, .accept_delta = true};
	errint_t err = image_file_open_as(path, &opts, &f);

	if (err)
		return err;
	image_get_content(f.image, &d->content);
	d->geo = *image_geometry(f.image);
	if (d->content.state != CONTENT_DELTA)
		return log_fail(-EINVAL,
				"%s: is a whole disk and no delta, such as `ublk-img convert "
				"--since` makes",
				path);
	err = walk_extents(f.image, 0, image_size(f.image), add_extent, &d->changes);
	return err ? err : image_file_close(&f);
}

errint_t delta_read(const char *path, struct delta *d, bool *raw)
{
	enum disk_format format;
	errint_t err = disk_detect(path, &format);

	*d = (struct delta){.content.state = CONTENT_DELTA};
	*raw = false;
	if (err)
		return err;
	if (format == DISK_UBLK)
		return read_image(path, d);
	*raw = true;
	if (!delta_is_raw(path))
		return log_fail(-EINVAL,
				"%s: is no delta: neither an image, nor is there %s.extents", path,
				path);
	return read_raw(path, d);
}
