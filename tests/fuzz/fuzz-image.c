/* SPDX-License-Identifier: MIT */
/*
 * A whole image: opened, checked, walked and read.  Input: mode, the image as sparse.h describes
 * it. Mode bit 1: make the counts right as well; bit 2: check the data, too; bit 3: then open it
 * for writing and use it.
 *
 * What must hold besides surviving: an image that is refused is refused with a message, and one
 * that was found sound stays sound in use and holds what was written.  With FUZZ_SHOW in the
 * environment messages and problems are printed.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"
#include "image/check.h"
#include "image/walk.h"
#include "tests/fuzz/fixup.h"
#include "tests/fuzz/sparse.h"

#define FIX_COUNTS 2u
#define DATA	   4u
#define USE	   8u

#define READ_MAX    (256u << 10)
#define MAX_EXTENTS 12u

/* Messages since the last open; the targets are single-threaded where it counts. */
struct messages {
	unsigned errors;
	bool show; /* on standard error, to explain a finding */
};

static void count_message(void *arg, enum log_level level, const char *message)
{
	struct messages *m = arg;

	fuzz_require(message[0], "an empty message");
	m->errors += level == LOG_LEVEL_ERROR;
	if (m->show)
		fprintf(stderr, "%s\n", message);
}

static void show_problem(void *arg, const char *problem)
{
	struct messages *m = arg;

	if (m->show)
		fprintf(stderr, "%s\n", problem);
}

struct extents {
	struct map_extent e[MAX_EXTENTS];
	unsigned n;
	uint64_t end; /* of the one before */
};

static errint_t collect(void *arg, const struct map_extent *e)
{
	struct extents *x = arg;

	fuzz_require(e->off == x->end && e->len, "a walk leaves a gap");
	x->end = e->off + e->len;
	if (e->kind != MAP_HOLE && x->n < MAX_EXTENTS)
		x->e[x->n++] = *e;
	return 0;
}

static void read_some(struct image *im, const struct extents *x)
{
	uint64_t size = image_size(im);
	struct engine *engine;
	struct engine_thread *t;
	CLEANUP(free) uint8_t *buf = malloc(READ_MAX);

	fuzz_require(buf, "out of memory");
	if (engine_new(im, NULL, &engine))
		return;
	if (!engine_thread_new(engine, &t)) {
		for (unsigned i = 0; i <= x->n; i++) {
			/* The last round reads the disk's first bytes, whatever they are. */
			uint64_t off = i < x->n ? x->e[i].off : 0;
			uint64_t len = size - off < READ_MAX ? size - off : READ_MAX;
			if (len && engine_read(t, buf, off, (size_t)len))
				continue;
		}
		engine_thread_free(t);
	}
	engine_free(engine);
}

static bool is_sound(struct image *im, bool data, struct messages *messages)
{
	struct check_opts opts = {
		.data = data, .threads = 1, .report = show_problem, .arg = messages};
	struct check_result res;

	return !check_image(im, &opts, &res) && !res.corruptions && !res.leaks;
}

/* Everything that only reads.  True when the image is sound. */
static bool look_at(struct store *st, uint8_t mode, struct messages *messages)
{
	struct image_open_opts opts = {.read_only = true};
	struct extents x = {.n = 0};
	struct map_totals totals;
	struct image *im;

	messages->errors = 0;
	errint_t err = image_open(st, &opts, &im);
	fuzz_require(!err || messages->errors, "an image is refused without a message");
	if (err)
		return false;
	bool sound = is_sound(im, mode & DATA, messages);
	err = walk_extents(im, 0, image_size(im), collect, &x);
	fuzz_require(err || x.end == image_size(im), "a walk ends early");
	fuzz_require(!sound || !err, "a sound image cannot be walked");
	err = walk_totals(im, &totals);
	fuzz_require(!sound || !err, "a sound image cannot be counted");
	read_some(im, &x);
	image_abandon(im);
	return sound;
}

/* Write @len bytes of a pattern at @off and read them back. */
static errint_t write_and_read(struct engine_thread *t, uint64_t off, size_t len, uint8_t seed)
{
	CLEANUP(free) uint8_t *block = malloc(len);
	CLEANUP(free) uint8_t *back = malloc(len);

	fuzz_require(block && back, "out of memory");
	for (size_t i = 0; i < len; i++)
		block[i] = (uint8_t)(seed + i % 61);
	errint_t err = engine_write(t, block, off, len, false);
	if (!err)
		err = engine_read(t, back, off, len);
	fuzz_require(err || !memcmp(block, back, len), "what was written is not read back");
	return err;
}

/* Some sectors here and there, one whole cluster, and zeros over parts of that. */
static errint_t write_some(struct engine_thread *t, const struct geometry *geo, uint64_t size)
{
	static const uint64_t places[] = {0, 1 << 20, 100 << 20};
	const size_t cluster = (size_t)cluster_size(geo), small = UNIT_SIZE;
	errint_t err = 0;

	for (size_t i = 0; !err && i < sizeof(places) / sizeof(*places); i++) {
		if (size < small || places[i] > size - small)
			break;
		err = write_and_read(t, places[i], small, (uint8_t)i);
	}
	if (!err && size >= 3 * cluster)
		err = write_and_read(t, 2 * cluster, cluster, 77);
	if (!err && size >= 3 * cluster)
		err = engine_write_zeroes(t, 2 * cluster - small, 3 * small);
	if (!err)
		err = engine_discard(t, 0, size < 1 << 17 ? size : 1 << 17);
	return err ? err : engine_flush(t);
}

static void use(struct store *st)
{
	struct image_open_opts opts = {.journal_length = JOURNAL_MIN, .max_regions = 600};
	struct engine_thread *t;
	struct engine *engine;
	struct image *im;

	if (image_open(st, &opts, &im))
		return;
	if (!engine_new(im, NULL, &engine)) {
		if (!engine_thread_new(engine, &t)) {
			errint_t err = write_some(t, image_geometry(im), image_size(im));
			(void)err; /* a full or damaged image may refuse */
			engine_thread_free(t);
		}
		engine_free(engine);
	}
	errint_t err = image_close(im);
	(void)err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t mode = fuzz_u8(&in);
	struct store *st = sparse_new(&in);
	struct messages messages = {.show = getenv("FUZZ_SHOW")};

	log_set_sink(count_message, &messages);
	if (mode & FUZZ_FIX_CRC)
		fixup_image(st, mode & FIX_COUNTS);
	bool sound = look_at(st, mode, &messages);
	if (mode & USE) {
		use(st);
		if (sound && !look_at(st, mode, &messages)) {
			messages.show = true;
			look_at(st, mode, &messages);
			fuzz_require(false, "a sound image is damaged by using it");
		}
	}
	store_close(st);
	log_set_sink(NULL, NULL);
	return 0;
}
