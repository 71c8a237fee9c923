/* SPDX-License-Identifier: MIT */
/*
 * Counting is one relaxed atomic operation; the thread that finds a redraw due takes the drawing
 * lock, if it is free, and draws.
 */
#include "config.h"

#include "cli/progress.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/size.h"
#include "cli/terminal.h"
#include "common/clock.h"

enum {
	FIRST_NS = 1000000000, /* nothing is shown before */
	REDRAW_NS = 200000000, /* on a terminal */
	LINE_NS = 1000000000,  /* elsewhere */
	BAR_MAX = 40,
	/* What stands beside the bar, at the most. */
	LINE_TEXT = 160,
};

struct progress {
	const char *what;
	bool redraw; /* one line on a terminal */
	uint64_t begin_ns;
	_Atomic uint64_t done, total;
	_Atomic uint64_t next_ns; /* when to draw next */
	pthread_mutex_t drawing;
};

static uint64_t (*test_clock)(void);

void progress_set_clock(uint64_t (*now)(void))
{
	test_clock = now;
}

static uint64_t now_ns(void)
{
	return test_clock ? test_clock() : clock_ns();
}

struct progress *progress_begin(enum progress_mode mode, const char *what, uint64_t total)
{
	bool redraw = terminal_interactive();
	struct progress *p;

	if (mode == PROGRESS_NEVER || (mode == PROGRESS_AUTO && !redraw))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->what = what;
	p->redraw = redraw;
	p->begin_ns = now_ns();
	atomic_init(&p->total, total);
	atomic_init(&p->next_ns, p->begin_ns + FIRST_NS);
	pthread_mutex_init(&p->drawing, NULL);
	return p;
}

/* "0:05", "1:02:03" */
static const char *duration_text(uint64_t seconds, char buf[32])
{
	if (seconds >= 3600)
		snprintf(buf, 32, "%u:%02u:%02u", (unsigned)(seconds / 3600),
			 (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60));
	else
		snprintf(buf, 32, "%u:%02u", (unsigned)(seconds / 60), (unsigned)(seconds % 60));
	return buf;
}

static void bar_text(char *buf, unsigned width, uint64_t done, uint64_t total)
{
	unsigned full = (unsigned)((double)done / (double)total * width);

	assert(full <= width);
	memset(buf, '=', full);
	memset(buf + full, ' ', width - full);
	buf[width] = '\0';
	if (full < width)
		buf[full] = '>';
}

/* "convert  42 % [====>      ]  1.2 GiB of 3 GiB  410 MiB/s  0:05 left" */
static void format_line(const struct progress *p, uint64_t now, unsigned columns, char *buf,
			size_t len)
{
	uint64_t done = atomic_load(&p->done), total = atomic_load(&p->total);
	double seconds = (double)(now - p->begin_ns) / 1e9;
	double rate = seconds > 0 ? (double)done / seconds : 0;
	char head[64], tail[LINE_TEXT], bar[BAR_MAX + 1] = "", left[32];
	unsigned used;

	if (!total) {
		snprintf(buf, len, "%.30s  %s  %s/s  %s", p->what, SIZE_TEXT(done),
			 SIZE_TEXT((uint64_t)rate), duration_text((uint64_t)seconds, left));
		return;
	}
	if (done > total)
		done = total;
	snprintf(head, sizeof(head), "%.30s %3u %%", p->what,
		 (unsigned)((double)done * 100 / (double)total));
	snprintf(tail, sizeof(tail), "%s of %s  %s/s", SIZE_TEXT(done), SIZE_TEXT(total),
		 SIZE_TEXT((uint64_t)rate));
	if (rate > 0) {
		size_t at = strlen(tail);

		duration_text((uint64_t)((double)(total - done) / rate), left);
		snprintf(tail + at, sizeof(tail) - at, "  %s left", left);
	}
	used = (unsigned)(strlen(head) + strlen(tail)) + 7;
	if (columns >= used + 10) {
		unsigned width = columns - used < BAR_MAX ? columns - used : BAR_MAX;

		bar_text(bar, width, done, total);
		snprintf(buf, len, "%s [%s]  %s", head, bar, tail);
	} else {
		snprintf(buf, len, "%s  %s", head, tail);
	}
}

static void draw(struct progress *p, uint64_t now)
{
	unsigned columns = p->redraw ? terminal_width() : 80;
	char line[512];

	if (columns > sizeof(line) - 1)
		columns = sizeof(line) - 1;
	format_line(p, now, columns, line, sizeof(line));
	if (!p->redraw) {
		terminal_line(line);
		return;
	}
	line[columns - 1] = '\0'; /* a full line would wrap */
	terminal_status(line);
}

static void draw_if_due(struct progress *p)
{
	uint64_t now = now_ns();

	if (now < atomic_load_explicit(&p->next_ns, memory_order_relaxed))
		return;
	if (pthread_mutex_trylock(&p->drawing))
		return;
	if (now >= atomic_load(&p->next_ns)) {
		atomic_store(&p->next_ns, now + (p->redraw ? REDRAW_NS : LINE_NS));
		draw(p, now);
	}
	pthread_mutex_unlock(&p->drawing);
}

void progress_update(struct progress *p, uint64_t done)
{
	uint64_t old;

	if (!p)
		return;
	old = atomic_load_explicit(&p->done, memory_order_relaxed);
	while (old < done && !atomic_compare_exchange_weak(&p->done, &old, done))
		;
	draw_if_due(p);
}

void progress_add(struct progress *p, uint64_t more)
{
	if (!p)
		return;
	atomic_fetch_add_explicit(&p->done, more, memory_order_relaxed);
	draw_if_due(p);
}

void progress_set_total(struct progress *p, uint64_t total)
{
	if (p)
		atomic_store_explicit(&p->total, total, memory_order_relaxed);
}

void progress_end(struct progress *p)
{
	if (!p)
		return;
	if (p->redraw)
		terminal_status(NULL);
	pthread_mutex_destroy(&p->drawing);
	free(p);
}
