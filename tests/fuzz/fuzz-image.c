/* SPDX-License-Identifier: MIT */
/*
 * A whole image: opened, checked, walked and read.  Input: mode, the image as sparse.h describes
 * it. Mode bit 1: make the counts right as well; bit 2: check the data, too; bit 3: then open it
 * for writing and use it; bit 4: its snapshots, too, and what is known of its content; bit 5: roll
 * it back.
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
#include "engine/snapshot.h"
#include "image/check.h"
#include "image/content.h"
#include "image/walk.h"
#include "tests/fuzz/fixup.h"
#include "tests/fuzz/sparse.h"

#define FIX_COUNTS 2u
#define DATA	   4u
#define USE	   8u
#define SNAPSHOTS  16u
#define ROLL_BACK  32u

#define READ_MAX    (256u << 10)
#define MAX_EXTENTS 12u
#define MAX_VIEWS   4u
#define STEPS	    40u /* of a deletion */

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

struct differing {
	uint64_t end;
	unsigned left; /* extents that are looked at */
};

static errint_t note_difference(void *arg, const struct diff_extent *e)
{
	struct differing *d = arg;

	fuzz_require(e->len && e->off >= d->end, "differences go back");
	d->end = e->off + e->len;
	return d->left-- ? 0 : -ECANCELED;
}

/* What a snapshot holds, and what has changed since. */
static void look_at_snapshot(struct engine_thread *t, struct image *im, uint32_t id)
{
	struct differing d = {.left = 1000};
	struct snapshot_view *v;
	CLEANUP(free) uint8_t *buf = malloc(READ_MAX);

	fuzz_require(buf, "out of memory");
	if (snapshot_view_open_id(im, id, &v))
		return;
	uint64_t size = snapshot_view_size(v);
	errint_t err = engine_snapshot_read(t, v, buf, 0, size < READ_MAX ? size : READ_MAX);
	err = snapshot_diff(im, v, NULL, note_difference, &d);
	(void)err;
	snapshot_view_close(v);
}

static void look_at_snapshots(struct engine_thread *t, struct image *im)
{
	CLEANUP(free) struct snapshot_info *list = NULL;
	uint32_t n = 0;

	fuzz_require(!snapshot_list(im, &list, &n), "snapshots cannot be listed");
	for (uint32_t i = 0; i < n && i < MAX_VIEWS; i++)
		look_at_snapshot(t, im, list[i].id);
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
		look_at_snapshots(t, im);
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
	struct image_open_opts opts = {
		.read_only = true, .accept_delta = true, .accept_applying = true};
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

/* One more, one less, and what is known of the disk.  A damaged image may refuse all of it. */
static void use_snapshots(struct image *im, bool roll_back)
{
	CLEANUP(free) struct snapshot_info *list = NULL;
	struct content content = {.state = CONTENT_AT, .target = {.size = image_size(im)}};
	uint32_t n = 0;
	bool more;

	errint_t err = snapshot_create(im, "fuzz", NULL);
	fuzz_require(!snapshot_list(im, &list, &n), "snapshots cannot be listed");
	if (n)
		err = snapshot_delete(im, list[0].name);
	err = snapshot_reclaim(im, STEPS, &more);
	if (roll_back)
		err = snapshot_rollback(im, "fuzz", NULL);
	content.target.size = image_size(im);
	err = image_set_content(im, &content);
	(void)err;
}

static void use_engine(struct image *im)
{
	struct engine_thread *t;
	struct engine *engine;

	if (engine_new(im, NULL, &engine))
		return;
	if (!engine_thread_new(engine, &t)) {
		errint_t err = write_some(t, image_geometry(im), image_size(im));
		(void)err; /* a full or damaged image may refuse */
		engine_thread_free(t);
	}
	engine_free(engine);
}

static void use(struct store *st, uint8_t mode)
{
	struct image_open_opts opts = {.journal_length = JOURNAL_MIN,
				       .max_regions = 600,
				       .accept_applying = true,
				       .keeps_content = mode & SNAPSHOTS};
	struct image *im;
	errint_t err;

	if (mode & SNAPSHOTS)
		err = snapshot_create_at_rest(st, &opts, "at rest", NULL);
	if (image_open(st, &opts, &im))
		return;
	use_engine(im);
	if (mode & SNAPSHOTS)
		use_snapshots(im, mode & ROLL_BACK);
	err = image_close(im);
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
		use(st, mode);
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
