/* SPDX-License-Identifier: MIT */
/*
 * The files map and diff: one line for each extent, made in pieces of bounded size while it is
 * read.
 *
 * A line of a map begins where the line before it ended, so the text has no gaps and no overlaps
 * even if the disk is written to meanwhile; a text that fits into one piece is made when the file
 * is opened and shows one moment.  Reading backwards makes the text again from its start.
 */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "fuse/view_priv.h"
#include "image/report.h"

enum {
	PIECE = 1 << 20,
	LINE_MAX_BYTES = 160,
};

static const char map_heading[] = "#         offset           length kind "
				  "     file_offset           stored origin\n";
static const char diff_heading[] = "#         offset           length kind\n";

struct map_text {
	struct image *im;
	const struct snapshot_view *snapshot; /* NULL: the live disk */
	bool diff;
	struct snapshot_view *since; /* of a diff; NULL: since there was nothing */
	pthread_mutex_t lock;	     /* what follows */
	char *buf;		     /* PIECE bytes */
	uint64_t start;		     /* position of buf in the text */
	size_t len;		     /* bytes in it */
	uint64_t next;		     /* byte of the disk at which the last line has ended */
	bool ended;		     /* that was all */
};

/* Ends a walk without being an error. */
enum { FULL = 1 };

struct line {
	uint64_t end; /* of its extent */
	int len;
	char text[LINE_MAX_BYTES];
};
typedef errint_t (*line_fn)(void *arg, const struct line *l);

/* What makes lines of a walk. */
struct lines {
	line_fn fn;
	void *arg;
	struct diff_extent stored; /* of a diff since nothing: not handed out; len 0: none */
};

static errint_t map_line(void *arg, const struct map_extent *e)
{
	const struct lines *to = arg;
	char place[24] = "-", stored[24] = "-";
	struct line l = {.end = e->off + e->len};

	if (report_is_stored(e)) {
		snprintf(place, sizeof(place), "%" PRIu64, e->file_off);
		snprintf(stored, sizeof(stored), "%" PRIu64, report_stored_bytes(e));
	}
	l.len = snprintf(l.text, sizeof(l.text), "%16" PRIu64 " %16" PRIu64 " %-4s %16s %16s %s\n",
			 e->off, e->len, report_kind(e->kind), place, stored, "-");
	assert(l.len > 0 && l.len < LINE_MAX_BYTES);
	return to->fn(to->arg, &l);
}

static errint_t diff_line(void *arg, const struct diff_extent *e)
{
	const struct lines *to = arg;
	struct line l = {.end = e->off + e->len};

	l.len = snprintf(l.text, sizeof(l.text), "%16" PRIu64 " %16" PRIu64 " %s\n", e->off, e->len,
			 e->zeroed ? "zero" : "data");
	assert(l.len > 0 && l.len < LINE_MAX_BYTES);
	return to->fn(to->arg, &l);
}

static errint_t flush_stored(struct lines *to)
{
	struct diff_extent e = to->stored;

	to->stored.len = 0;
	return e.len ? diff_line(to, &e) : 0;
}

/* Neighbours are one line, however they are stored. */
static errint_t stored_line(void *arg, const struct map_extent *e)
{
	struct lines *to = arg;
	errint_t err;

	if (!report_is_stored(e))
		return 0;
	if (to->stored.len && to->stored.off + to->stored.len == e->off) {
		to->stored.len += e->len;
		return 0;
	}
	err = flush_stored(to);
	to->stored = (struct diff_extent){.off = e->off, .len = e->len};
	return err;
}

static errint_t walk(struct map_text *m, map_extent_fn fn, void *arg)
{
	return m->snapshot ? walk_snapshot_extents(m->snapshot, m->next, UINT64_MAX, fn, arg)
			   : walk_extents(m->im, m->next, UINT64_MAX, fn, arg);
}

/* The lines from there on that @fn takes. */
static errint_t walk_lines(struct map_text *m, line_fn fn, void *arg)
{
	struct lines to = {.fn = fn, .arg = arg};
	errint_t err;

	if (!m->diff)
		return walk(m, map_line, &to);
	if (m->since)
		return snapshot_diff_at(m->im, m->since, m->snapshot, m->next, diff_line, &to);
	err = walk(m, stored_line, &to);
	return err ? err : flush_stored(&to);
}

static errint_t add_line(void *arg, const struct line *l)
{
	struct map_text *m = arg;

	if (PIECE - m->len < (size_t)l->len)
		return FULL;
	memcpy(m->buf + m->len, l->text, (size_t)l->len);
	m->len += (size_t)l->len;
	m->next = l->end;
	return 0;
}

static void add_heading(struct map_text *m)
{
	const char *text = m->diff ? diff_heading : map_heading;

	m->len = strlen(text);
	memcpy(m->buf, text, m->len);
	m->next = 0;
}

/* Put the next piece into the buffer. */
static errint_t fill(struct map_text *m)
{
	errint_t err;

	m->start += m->len;
	m->len = 0;
	if (!m->start)
		add_heading(m);
	err = walk_lines(m, add_line, m);
	m->ended = !err;
	return err == FULL ? 0 : err;
}

static errint_t measure_line(void *arg, const struct line *l)
{
	uint64_t *size = arg;

	*size += (uint64_t)l->len;
	return 0;
}

static errint_t open_text(struct map_text *m, uint64_t *size)
{
	errint_t err = fill(m);

	*size = m->len;
	return err || m->ended ? err : walk_lines(m, measure_line, size);
}

errint_t map_text_open(struct image *im, const struct snapshot_view *snapshot, bool diff,
		       struct map_text **out, uint64_t *size)
{
	struct map_text *m = calloc(1, sizeof(*m));
	errint_t err = 0;

	assert(snapshot || !diff);
	if (!m)
		return view_no_memory();
	m->im = im;
	m->snapshot = snapshot;
	m->diff = diff;
	pthread_mutex_init(&m->lock, NULL);
	m->buf = malloc(PIECE);
	if (!m->buf)
		err = view_no_memory();
	if (!err && diff)
		err = snapshot_view_open_parent(snapshot, &m->since);
	if (!err)
		err = open_text(m, size);
	if (err) {
		map_text_close(m);
		return err;
	}
	*out = m;
	return 0;
}

void map_text_close(struct map_text *m)
{
	if (!m)
		return;
	snapshot_view_close(m->since);
	pthread_mutex_destroy(&m->lock);
	free(m->buf);
	free(m);
}

/* Have the text at @off in the buffer, if there is any. */
static errint_t seek_to(struct map_text *m, uint64_t off)
{
	if (off < m->start) {
		m->start = 0;
		m->len = 0;
		m->ended = false;
	}
	while (off >= m->start + m->len && !m->ended) {
		errint_t err = fill(m);

		if (err)
			return err;
	}
	return 0;
}

errint_t map_text_read(struct map_text *m, uint64_t off, char *buf, size_t len, size_t *got)
{
	SCOPED_LOCK(&m->lock);

	for (*got = 0; *got < len;) {
		errint_t err = seek_to(m, off + *got);
		uint64_t at = off + *got - m->start;
		size_t n = len - *got;

		if (err)
			return err;
		if (at >= m->len)
			return 0;
		if (n > m->len - at)
			n = m->len - at;
		memcpy(buf + *got, m->buf + at, n);
		*got += n;
	}
	return 0;
}
