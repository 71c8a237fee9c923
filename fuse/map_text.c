/* SPDX-License-Identifier: MIT */
/*
 * The file map: one line for each extent, made in pieces of bounded size while it is read.
 *
 * A line begins where the line before it ended, so the text has no gaps and no overlaps even if the
 * disk is written to meanwhile; a text that fits into one piece is made when the file is opened and
 * shows one moment.  Reading backwards makes the text again from its start.
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

static const char heading[] = "#         offset           length kind "
			      "     file_offset           stored origin\n";

struct map_text {
	struct image *im;
	const struct snapshot_view *snapshot; /* NULL: the live disk */
	pthread_mutex_t lock;		      /* what follows */
	char *buf;			      /* PIECE bytes */
	uint64_t start;			      /* position of buf in the text */
	size_t len;			      /* bytes in it */
	uint64_t next;			      /* byte of the disk at which the next line begins */
	bool ended;			      /* there is none */
};

/* Ends a walk without being an error. */
enum { FULL = 1 };

/* The line of @e, at most LINE_MAX_BYTES with the NUL; returns its length. */
static size_t put_line(char *to, const struct map_extent *e)
{
	char place[24] = "-", stored[24] = "-";
	int n;

	if (report_is_stored(e)) {
		snprintf(place, sizeof(place), "%" PRIu64, e->file_off);
		snprintf(stored, sizeof(stored), "%" PRIu64, report_stored_bytes(e));
	}
	n = snprintf(to, LINE_MAX_BYTES, "%16" PRIu64 " %16" PRIu64 " %-4s %16s %16s %s\n", e->off,
		     e->len, report_kind(e->kind), place, stored, "-");
	assert(n > 0 && n < LINE_MAX_BYTES);
	return (size_t)n;
}

static errint_t add_line(void *arg, const struct map_extent *e)
{
	struct map_text *m = arg;

	if (PIECE - m->len < LINE_MAX_BYTES)
		return FULL;
	m->len += put_line(m->buf + m->len, e);
	m->next = e->off + e->len;
	return 0;
}

/* What the next line begins with, and what follows. */
static errint_t walk(struct map_text *m, map_extent_fn fn, void *arg)
{
	return m->snapshot ? walk_snapshot_extents(m->snapshot, m->next, UINT64_MAX, fn, arg)
			   : walk_extents(m->im, m->next, UINT64_MAX, fn, arg);
}

/* Put the next piece into the buffer. */
static errint_t fill(struct map_text *m)
{
	errint_t err;

	m->start += m->len;
	m->len = 0;
	if (!m->start) {
		memcpy(m->buf, heading, sizeof(heading) - 1);
		m->len = sizeof(heading) - 1;
		m->next = 0;
	}
	err = walk(m, add_line, m);
	m->ended = !err;
	return err == FULL ? 0 : err;
}

static errint_t measure_line(void *arg, const struct map_extent *e)
{
	uint64_t *size = arg;
	char line[LINE_MAX_BYTES];

	*size += put_line(line, e);
	return 0;
}

errint_t map_text_open(struct image *im, const struct snapshot_view *snapshot,
		       struct map_text **out, uint64_t *size)
{
	struct map_text *m = calloc(1, sizeof(*m));
	errint_t err;

	if (!m)
		return view_no_memory();
	m->im = im;
	m->snapshot = snapshot;
	pthread_mutex_init(&m->lock, NULL);
	m->buf = malloc(PIECE);
	err = m->buf ? fill(m) : view_no_memory();
	*size = m->len;
	if (!err && !m->ended)
		err = walk(m, measure_line, size);
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
