/* SPDX-License-Identifier: MIT */
/*
 * Changes an image for the scripts of this directory, which need images that no command makes:
 *
 *	edit-image IMAGE ACTION...
 *
 *	write OFFSET LENGTH SEED	pseudo-random bytes that do not compress
 *	text OFFSET LENGTH SEED		bytes that do
 *	zero OFFSET LENGTH		zeros
 *	discard OFFSET LENGTH
 *	read OFFSET LENGTH		prints the bytes
 *	flush
 *	hold				keeps the image open until standard input ends
 *	crash				ends without closing the image
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"

enum { PIECE = 1 << 20 };

struct editor {
	struct store *st;
	struct image *im;
	struct engine *engine;
	struct engine_thread *thread;
	char **arg; /* not yet used, NULL at the end */
	uint8_t *buf;
};

static uint64_t number(struct editor *e)
{
	char *end;
	unsigned long long n;

	if (!*e->arg) {
		fprintf(stderr, "edit-image: a number is missing\n");
		exit(2);
	}
	n = strtoull(*e->arg, &end, 0);
	if (*end) {
		fprintf(stderr, "edit-image: %s is not a number\n", *e->arg);
		exit(2);
	}
	e->arg++;
	return n;
}

static void fill(uint8_t *buf, size_t len, uint64_t seed, bool text)
{
	uint64_t x = seed * 2 + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf[i] = text ? "etaoin s"[x % 8] : (uint8_t)(x >> 32);
	}
}

static errint_t write_pieces(struct editor *e, bool text)
{
	uint64_t off = number(e), len = number(e), seed = number(e);
	errint_t err = 0;

	while (len && !err) {
		size_t n = len < PIECE ? len : PIECE;

		fill(e->buf, n, seed + off, text);
		err = engine_write(e->thread, e->buf, off, n, false);
		off += n;
		len -= n;
	}
	return err;
}

static errint_t print_pieces(struct editor *e)
{
	uint64_t off = number(e), len = number(e);
	errint_t err = 0;

	while (len && !err) {
		size_t n = len < PIECE ? len : PIECE;

		err = engine_read(e->thread, e->buf, off, n);
		if (!err)
			fwrite(e->buf, 1, n, stdout);
		off += n;
		len -= n;
	}
	return err;
}

static errint_t hold(void)
{
	puts("held");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

static errint_t act(struct editor *e)
{
	const char *action = *e->arg++;
	uint64_t off;

	if (!strcmp(action, "write"))
		return write_pieces(e, false);
	if (!strcmp(action, "text"))
		return write_pieces(e, true);
	if (!strcmp(action, "read"))
		return print_pieces(e);
	if (!strcmp(action, "flush"))
		return engine_flush(e->thread);
	if (!strcmp(action, "hold"))
		return hold();
	if (!strcmp(action, "crash"))
		_exit(0);
	off = number(e);
	if (!strcmp(action, "zero"))
		return engine_write_zeroes(e->thread, off, number(e));
	if (!strcmp(action, "discard"))
		return engine_discard(e->thread, off, number(e));
	fprintf(stderr, "edit-image: no action %s\n", action);
	exit(2);
}

static errint_t edit(struct editor *e, const char *path)
{
	const struct image_open_opts opts = {0};
	errint_t err = store_file_open(path, 0, &e->st);

	if (!err)
		err = image_open(e->st, &opts, &e->im);
	if (!err)
		err = engine_new(e->im, NULL, &e->engine);
	if (!err)
		err = engine_thread_new(e->engine, &e->thread);
	while (!err && *e->arg)
		err = act(e);
	if (e->thread)
		engine_thread_free(e->thread);
	if (e->engine)
		engine_free(e->engine);
	if (e->im && err)
		image_abandon(e->im);
	else if (e->im)
		err = image_close(e->im);
	store_close(e->st);
	return err;
}

int main(int argc, char **argv)
{
	CLEANUP(free) uint8_t *buf = store_buffer(PIECE);
	struct editor e = {.arg = argv + 2, .buf = buf};

	if (argc < 3 || !buf)
		return 2;
	log_set_program("edit-image");
	return edit(&e, argv[1]) ? 1 : fflush(stdout) != 0;
}
