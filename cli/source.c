/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/attached.h"
#include "cli/attached_view.h"
#include "cli/report_read.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "image/report.h"

/* ---- names --------------------------------------------------------------------------------- */

static bool exists(const char *what)
{
	CLEANUP(client) struct bridge_client c = {.sock = -1};
	struct stat st;

	return !stat(what, &st) || !attached_find(what, &c);
}

errint_t source_parse(const char *text, struct source *s)
{
	struct stat st;

	*s = (struct source)SOURCE_NONE;
	s->text = text;
	s->image = strdup(text);
	if (!s->image)
		return log_err(-ENOMEM, "%s: cannot open", text);
	if (!stat(text, &st))
		return 0;
	for (char *at = strchr(s->image, '@'); at; at = strchr(at + 1, '@')) {
		*at = '\0';
		if (at > s->image && exists(s->image)) {
			s->snapshot = text + (at - s->image) + 1;
			return 0;
		}
		*at = '@';
	}
	return 0;
}

errint_t source_set(const char *image, const char *snapshot, struct source *s)
{
	*s = (struct source)SOURCE_NONE;
	s->snapshot = snapshot;
	s->text = s->image = strdup(image);
	return s->image ? 0 : log_err(-ENOMEM, "%s: cannot open", image);
}

/* ---- opening ------------------------------------------------------------------------------- */

static errint_t open_here(struct source *s)
{
	const struct image_file_opts opts = {
		.stream = true,
		.accept_delta = s->accept_delta,
		.accept_applying = s->snapshot,
	};
	errint_t err = image_file_open_as(s->image, &opts, &s->file);

	if (!err && s->snapshot)
		err = snapshot_view_open(s->file.image, s->snapshot, &s->view);
	return err;
}

static errint_t open_source(struct source *s, bool live)
{
	CLEANUP(client) struct bridge_client c;
	errint_t err = attached_find(s->image, &c);

	/* Others may read what nobody writes. */
	if (err == -ENOENT || (!err && json_is_true(json_object_get(c.about, "read_only")))) {
		if (err == -ENOENT || !strcmp(s->image, client_text(&c, "image")))
			return open_here(s);
		if (s->text == s->image)
			s->text = s->named = s->image;
		else
			free(s->image);
		s->image = strdup(client_text(&c, "image"));
		return s->image ? open_here(s) : log_err(-ENOMEM, "%s: cannot open", s->text);
	}
	if (!err && !s->snapshot && !live)
		return log_fail(
			-EBUSY,
			"%s is attached as %s (pid %ld), and changes: name a snapshot of it, "
			"%s@NAME, or detach it first",
			s->image, client_text(&c, "device"), client_pid(&c), s->image);
	return err ? err : attached_view_open(&c, &s->root);
}

errint_t source_open(struct source *s)
{
	return open_source(s, false);
}

errint_t source_open_live(struct source *s)
{
	return open_source(s, true);
}

errint_t source_file(struct source *s, const char *file, int *fd)
{
	return attached_view_file(s->root, s->image, s->snapshot, file, fd);
}

/* ---- the map ------------------------------------------------------------------------------- */

errint_t source_size(struct source *s, uint64_t *size)
{
	CLEANUP(close) int fd = -1;
	struct stat st;
	errint_t err;

	if (s->root < 0) {
		*size = s->view ? snapshot_view_size(s->view) : image_size(s->file.image);
		return 0;
	}
	err = source_file(s, "disk", &fd);
	if (err)
		return err;
	if (fstat(fd, &st))
		return log_errno("%s: cannot get its size", s->text);
	*size = (uint64_t)st.st_size;
	return 0;
}

static errint_t point_of_view(struct source *s, struct content_point *p)
{
	CLEANUP(close) int fd = -1;
	CLEANUP(json) json_t *about = NULL;
	errint_t err = source_file(s, "info.json", &fd);

	if (err)
		return err;
	about = json_loadfd(fd, 0, NULL);
	return about ? report_read_point(about, p)
		     : log_fail(-EPROTO, "%s: cannot describe it", s->text);
}

errint_t source_point(struct source *s, struct content_point *p, bool *known)
{
	struct snapshot_info info;
	struct content c;
	errint_t err;

	*known = s->snapshot;
	if (s->root >= 0)
		return s->snapshot ? point_of_view(s, p) : 0;
	if (!s->view) {
		image_get_content(s->file.image, &c);
		*known = c.state == CONTENT_AT;
		*p = c.target;
		return 0;
	}
	err = snapshot_find_id(s->file.image, snapshot_view_id(s->view), &info);
	if (err)
		return log_err(err, "%s: cannot describe it", s->text);
	*p = (struct content_point){.size = info.size};
	memcpy(p->uuid, info.uuid, sizeof(p->uuid));
	memcpy(p->name, info.name, sizeof(p->name));
	return 0;
}

static bool parse_kind(const char *text, enum map_kind *kind)
{
	for (*kind = MAP_HOLE; *kind < MAP_KINDS; ++*kind)
		if (!strcmp(text, report_kind(*kind)))
			return true;
	return false;
}

/* A line of the file map, docs/view.md; what is there of it of [off, end). */
static errint_t parse_line(const struct source *s, const char *line, struct map_extent *e)
{
	char kind[16], place[24], stored[24];

	*e = (struct map_extent){.off = 0};
	if (sscanf(line, "%" SCNu64 " %" SCNu64 " %15s %23s %23s", &e->off, &e->len, kind, place,
		   stored) != 5 ||
	    !parse_kind(kind, &e->kind))
		return log_fail(-EPROTO, "%s: odd line in its map: %s", s->text, line);
	if (report_is_stored(e)) {
		e->file_off = strtoull(place, NULL, 10);
		e->stored = e->kind == MAP_ZSTD ? (uint32_t)strtoul(stored, NULL, 10) : 0;
	}
	return 0;
}

static bool cut(struct map_extent *e, uint64_t off, uint64_t end)
{
	if (e->off + e->len <= off || e->off >= end)
		return false;
	if (e->off < off) {
		if (e->kind == MAP_RAW)
			e->file_off += off - e->off;
		e->len -= off - e->off;
		e->off = off;
	}
	if (e->off + e->len > end)
		e->len = end - e->off;
	return true;
}

static errint_t walk_text(struct source *s, FILE *in, uint64_t off, uint64_t end, map_extent_fn fn,
			  void *arg)
{
	char line[512];
	errint_t err = 0;

	while (!err && fgets(line, sizeof(line), in)) {
		struct map_extent e;

		if (line[0] == '#')
			continue;
		err = parse_line(s, line, &e);
		if (!err && cut(&e, off, end))
			err = fn(arg, &e);
	}
	if (!err && ferror(in))
		err = log_errno("%s: cannot read its map", s->text);
	return err;
}

errint_t source_walk(struct source *s, uint64_t off, uint64_t len, map_extent_fn fn, void *arg)
{
	CLEANUP(close) int fd = -1;
	FILE *in;
	errint_t err;

	if (s->root < 0 && s->view)
		return walk_snapshot_extents(s->view, off, len, fn, arg);
	if (s->root < 0)
		return walk_extents(s->file.image, off, len, fn, arg);
	err = source_file(s, "map", &fd);
	if (err)
		return err;
	in = fdopen(fd, "r");
	if (!in)
		return log_errno("%s: cannot read its map", s->text);
	fd = -1;
	err = walk_text(s, in, off, len < UINT64_MAX - off ? off + len : UINT64_MAX, fn, arg);
	fclose(in);
	return err;
}

/* -------------------------------------------------------------------------------------------- */

errint_t source_close(struct source *s)
{
	snapshot_view_close(s->view);
	s->view = NULL;
	return s->file.image ? image_file_close(&s->file) : 0;
}

void cleanup_source(struct source *s)
{
	snapshot_view_close(s->view);
	cleanup_image_file(&s->file);
	if (s->root >= 0)
		close(s->root);
	free(s->image);
	free(s->named);
}
