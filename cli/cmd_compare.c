/* SPDX-License-Identifier: MIT */
/*
 * Threads take pieces of the two disks in order, and each piece that either disk may have data in
 * is read from those that do.  The first difference is the least of those that the threads found:
 * every piece before it had been taken earlier, and is finished when all threads are.
 */
#include "config.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/disk.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/workers.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/store.h"

enum { COMPARE_DIFFERENT = 1, COMPARE_FAILED = 2, PIECE = 1 << 20 };

struct compare_opts {
	int format[2]; /* enum disk_format */
	bool strict, json;
	unsigned threads;
	int progress; /* enum progress_mode */
};

struct compare {
	struct disk *disk[2];
	uint64_t size; /* of the larger */
	struct progress *bar;

	pthread_mutex_t lock; /* protects what follows */
	uint64_t at;	      /* where the next piece begins */
	/* The run of data at or after @at, as of when it was looked up. */
	uint64_t start[2], end[2];
	uint64_t difference; /* least offset known to differ, or UINT64_MAX */
	bool failed;
};

/* Bytes to compare, and which of the disks may hold something else than zeros there. */
struct piece {
	uint64_t off;
	size_t len; /* a multiple of 512 */
	bool data[2];
};

/* Makes the runs those at or after c->at. */
static errint_t find_data(struct compare *c)
{
	for (unsigned i = 0; i < 2; i++) {
		errint_t err;

		if (c->at < c->end[i])
			continue;
		err = disk_next_data(c->disk[i], c->at, &c->start[i], &c->end[i]);
		if (err)
			return err;
		if (c->start[i] == c->end[i]) /* no more */
			c->start[i] = c->end[i] = UINT64_MAX;
	}
	return 0;
}

/* The next piece, or one of length 0 when all is done. */
static errint_t take_piece(struct compare *c, struct piece *p)
{
	SCOPED_LOCK(&c->lock);
	uint64_t end;
	errint_t err;

	*p = (struct piece){0};
	if (c->failed || c->at >= c->size || c->at > c->difference)
		return 0;
	err = find_data(c);
	if (err) {
		c->failed = true;
		return err;
	}
	/* What both have no data in is alike. */
	if (c->at < c->start[0] && c->at < c->start[1])
		c->at = c->start[0] < c->start[1] ? c->start[0] : c->start[1];
	if (c->at >= c->size)
		return 0;
	end = c->at + PIECE;
	for (unsigned i = 0; i < 2; i++) {
		p->data[i] = c->start[i] <= c->at;
		if (p->data[i] && c->end[i] < end)
			end = c->end[i];
		if (!p->data[i] && c->start[i] < end)
			end = c->start[i];
	}
	p->off = c->at;
	p->len = (size_t)(end - c->at + 511) & ~(size_t)511;
	c->at += p->len;
	return 0;
}

/* The first byte in which @a and @b differ, or @len. */
static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t at = 0, step = 4096;

	while (at < len && !memcmp(a + at, b + at, len - at < step ? len - at : step))
		at += step;
	while (at < len && a[at] == b[at])
		at++;
	return at < len ? at : len;
}

static errint_t compare_piece(struct compare *c, struct disk_reader *const reader[2],
			      uint8_t *const buf[2], const struct piece *p)
{
	size_t at;

	for (unsigned i = 0; i < 2; i++) {
		errint_t err = 0;

		if (p->data[i])
			err = disk_read(reader[i], buf[i], p->off, p->len);
		else
			memset(buf[i], 0, p->len);
		if (err)
			return err;
	}
	at = first_difference(buf[0], buf[1], p->len);
	if (at < p->len) {
		SCOPED_LOCK(&c->lock);
		if (p->off + at < c->difference)
			c->difference = p->off + at;
	}
	progress_update(c->bar, p->off);
	return 0;
}

static errint_t compare_worker(void *arg)
{
	struct compare *c = arg;
	CLEANUP(free) uint8_t *buf0 = store_buffer(PIECE);
	CLEANUP(free) uint8_t *buf1 = store_buffer(PIECE);
	CLEANUP(disk_reader) struct disk_reader *reader0 = NULL;
	CLEANUP(disk_reader) struct disk_reader *reader1 = NULL;
	struct piece p;
	errint_t err = 0;

	if (!buf0 || !buf1)
		err = log_err(-ENOMEM, "cannot compare");
	if (!err)
		err = disk_reader_new(c->disk[0], &reader0);
	if (!err)
		err = disk_reader_new(c->disk[1], &reader1);
	while (!err) {
		err = take_piece(c, &p);
		if (err || !p.len)
			break;
		err = compare_piece(c, (struct disk_reader *[]){reader0, reader1},
				    (uint8_t *[]){buf0, buf1}, &p);
	}
	if (err) {
		SCOPED_LOCK(&c->lock);
		c->failed = true;
	}
	return err;
}

static errint_t print_json(const struct compare *c, bool identical)
{
	json_t *doc = json_document("compare");

	json_put_text(doc, "a", disk_path(c->disk[0]));
	json_put_text(doc, "b", disk_path(c->disk[1]));
	json_put_u64(doc, "size_a", disk_size(c->disk[0]));
	json_put_u64(doc, "size_b", disk_size(c->disk[1]));
	json_put_bool(doc, "identical", identical);
	if (c->difference == UINT64_MAX)
		json_put(doc, "first_difference", json_null());
	else
		json_put_u64(doc, "first_difference", c->difference);
	return json_print(doc);
}

static errint_t print_result(struct invocation *inv, const struct compare *c)
{
	const struct compare_opts *o = inv->opts;
	uint64_t a = disk_size(c->disk[0]), b = disk_size(c->disk[1]);
	bool sizes_differ = o->strict && a != b;
	bool identical = !sizes_differ && c->difference == UINT64_MAX;

	inv->status = identical ? EXIT_OK : COMPARE_DIFFERENT;
	if (o->json)
		return print_json(c, identical);
	if (sizes_differ)
		printf("The disks differ in size: %" PRIu64 " and %" PRIu64 " bytes.\n", a, b);
	else if (!identical)
		printf("The disks differ at offset %" PRIu64 ".\n", c->difference);
	else if (a != b)
		printf("The disks are identical, but for zeros at the end of the larger: %" PRIu64
		       " and %" PRIu64 " bytes.\n",
		       a, b);
	else
		printf("The disks are identical.\n");
	return 0;
}

static errint_t compare_disks(struct invocation *inv, struct compare *c)
{
	const struct compare_opts *o = inv->opts;
	uint64_t a = disk_size(c->disk[0]), b = disk_size(c->disk[1]);
	errint_t err = 0;

	c->size = a > b ? a : b;
	c->difference = UINT64_MAX;
	if (!o->strict || a == b) {
		c->bar = progress_begin((enum progress_mode)o->progress, "compare", c->size);
		err = workers_run(workers_count(o->threads), compare_worker, c);
		progress_end(c->bar);
	}
	return err ? err : print_result(inv, c);
}

static errint_t run_compare(struct invocation *inv)
{
	const struct compare_opts *o = inv->opts;
	struct compare c = {.lock = PTHREAD_MUTEX_INITIALIZER};
	errint_t err = 0;

	for (unsigned i = 0; i < 2 && !err; i++)
		err = disk_open(inv->args[i], (enum disk_format)o->format[i], &c.disk[i]);
	if (!err)
		err = compare_disks(inv, &c);
	for (unsigned i = 0; i < 2; i++)
		disk_close(c.disk[i]);
	return err;
}

static const struct cmd_option options[] = {
	{
		.name = "format",
		.letter = 'f',
		.arg = "FORMAT",
		.words = disk_format_words,
		.set = option_word,
		.offset = offsetof(struct compare_opts, format[0]),
		.help = "What A is: raw, ublk (an image), or auto (look at it; the default).",
	},
	{
		.name = "format-b",
		.letter = 'F',
		.arg = "FORMAT",
		.words = disk_format_words,
		.set = option_word,
		.offset = offsetof(struct compare_opts, format[1]),
		.help = "What B is.",
	},
	{
		.name = "strict",
		.letter = 's',
		.set = option_flag,
		.offset = offsetof(struct compare_opts, strict),
		.help = "Disks of different sizes differ, whatever is in them.",
	},
	OPTION_THREADS(struct compare_opts,
		       "Threads; as many as there are processors unless given."),
	OPTION_PROGRESS(struct compare_opts),
	OPTION_JSON(struct compare_opts),
	{.name = NULL},
};

static const struct cmd_exit exits[] = {
	{EXIT_OK, "the disks are identical"},
	{COMPARE_DIFFERENT, "the disks differ"},
	{COMPARE_FAILED, "the comparison could not be carried out, or wrong usage"},
	{0, NULL},
};

static const struct cmd_example examples[] = {
	{"compare disk.raw disk.ublk", "Has the conversion changed anything?"},
	{NULL, NULL},
};

const struct command cmd_compare = {
	.name = "compare",
	.group = "Images",
	.summary = "Say whether two disks have the same content",
	.operands = "A B",
	.min_args = 2,
	.max_args = 2,
	.options = options,
	.opts_size = sizeof(struct compare_opts),
	.help = "Compares what is on two disks, each of which is an image, a snapshot IMAGE@NAME of one, a raw file or a "
		"block device. How it is stored makes no difference. When the disks differ, the offset of "
		"the first byte that does is printed.\n\n"
		"A disk that is larger than the other is identical with it when what is beyond the "
		"other's end are zeros, unless --strict is given.",
	.exits = exits,
	.exit_failed = COMPARE_FAILED,
	.exit_usage = COMPARE_FAILED,
	.examples = examples,
	.run = run_compare,
};
