/* SPDX-License-Identifier: MIT */
/*
 * The mounted view without a mount: names, attributes, texts, extended attributes; disk against an
 * array of bytes.
 *
 * TEST_VIEW_SEED=n makes other runs.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/json_build.h"
#include "fuse/image_source.h"
#include "fuse/view.h"
#include "image/report.h"
#include "tests/lib/engine_world.h"
#include "tests/lib/live.h"
#include "tests/lib/mem_store.h"

#define SIZE (64 * MIB + 512)

struct fixture {
	struct live live;
	struct image_source source;
	struct view *view;
	struct view_thread *t;
	struct view_file *disk;
};

static void begin(struct fixture *f, bool writable)
{
	struct view_opts opts = {
		.source = &image_source_ops,
		.source_arg = &f->source,
		.writable = writable,
		.uid = 12,
		.gid = 34,
		.mode = 0640,
		.server = 99,
	};

	live_open(&f->live);
	f->source = (struct image_source){.image = f->live.im, .path = "some \xff.ublk"};
	opts.image = f->live.im;
	opts.engine = f->live.e;
	assert_int_equal(view_new(&opts, &f->view), 0);
	assert_int_equal(view_thread_new(f->view, &f->t), 0);
}

static void end(struct fixture *f)
{
	view_thread_free(f->t);
	view_free(f->view);
	live_close(&f->live);
}

static view_ino ino_of(struct fixture *f, const char *name)
{
	view_ino ino;

	assert_int_equal(view_lookup(f->view, VIEW_ROOT, name, &ino), 0);
	return ino;
}

static void setup(struct fixture *f)
{
	live_new(&f->live, GIB, SIZE);
	begin(f, true);
	assert_int_equal(view_open(f->view, ino_of(f, "disk"), true, &f->disk), 0);
}

static void teardown(struct fixture *f)
{
	view_close(f->disk);
	end(f);
	live_check(&f->live);
	live_free(&f->live);
}

/* All of a file, with a NUL behind it, read in pieces of @piece bytes. */
static char *slurp(struct fixture *f, const char *name, size_t piece, size_t *len)
{
	struct view_file *file;
	char *text = malloc(1);
	const void *data;
	size_t got;

	*len = 0;
	assert_int_equal(view_open(f->view, ino_of(f, name), false, &file), 0);
	do {
		assert_int_equal(view_read(file, f->t, *len, piece, &data, &got), 0);
		text = realloc(text, *len + got + 1);
		assert_non_null(text);
		memcpy(text + *len, data, got);
		*len += got;
	} while (got == piece);
	assert_int_equal(view_read(file, f->t, *len, piece, &data, &got), 0);
	assert_int_equal(got, 0);
	text[*len] = '\0';
	view_close(file);
	return text;
}

static void put(struct fixture *f, uint64_t off, size_t len, uint8_t with)
{
	CLEANUP(free) uint8_t *buf = malloc(len);
	size_t done;

	memset(buf, with, len);
	assert_int_equal(view_write(f->disk, f->t, buf, off, len, &done), 0);
	assert_int_equal(done, len);
}

static void expect(struct fixture *f, uint64_t off, size_t len, uint8_t with)
{
	const void *data;
	size_t got;

	assert_int_equal(view_read(f->disk, f->t, off, len, &data, &got), 0);
	assert_int_equal(got, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(((const uint8_t *)data)[i], with);
}

/* ---- the tree ---------------------------------------------------------------------------- */

static void names(void **state)
{
	static const char *const want[] = {"info.json", "stats.json", "metrics",
					   "map",	"disk",	      "snapshots"};
	struct view_dir *dir;
	struct fixture f;
	const char *name;
	struct view_attr a;
	view_ino ino, found;
	unsigned n;

	(void)state;
	setup(&f);
	assert_int_equal(view_opendir(f.view, VIEW_ROOT, &dir), 0);
	for (n = 0; view_dir_entry(dir, n, &name, &ino); n++) {
		assert_string_equal(name, want[n]);
		assert_int_equal(view_lookup(f.view, VIEW_ROOT, name, &found), 0);
		assert_int_equal(found, ino);
		assert_int_equal(view_getattr(f.view, ino, &a), 0);
		assert_int_equal(a.ino, ino);
		if (view_is_dir(ino))
			assert_int_equal(a.mode, S_IFDIR | 0550);
		else
			assert_int_equal(a.mode, S_IFREG | (view_is_disk(ino) ? 0640 : 0440));
		assert_int_equal(a.uid, 12);
		assert_int_equal(a.gid, 34);
	}
	assert_int_equal(n, 6);
	view_closedir(dir);
	assert_int_equal(view_opendir(f.view, VIEW_ROOT, &dir), 0); /* left to view_free() */
	assert_int_equal(view_getattr(f.view, VIEW_ROOT, &a), 0);
	assert_int_equal(a.mode, S_IFDIR | 0550);
	assert_int_equal(view_lookup(f.view, VIEW_ROOT, "nothing", &found), -ENOENT);
	assert_int_equal(view_lookup(f.view, ino_of(&f, "disk"), "disk", &found), -ENOENT);
	assert_int_equal(view_opendir(f.view, ino_of(&f, "disk"), &dir), -ENOTDIR);
	assert_int_equal(view_getattr(f.view, 77, &a), -ENOENT);
	teardown(&f);
}

static void opening(void **state)
{
	struct view_file *file;
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(view_open(f.view, VIEW_ROOT, false, &file), -EISDIR);
	assert_int_equal(view_open(f.view, 77, false, &file), -ENOENT);
	assert_int_equal(view_open(f.view, ino_of(&f, "map"), true, &file), -EROFS);
	teardown(&f);

	live_new(&f.live, GIB, SIZE);
	begin(&f, false);
	assert_int_equal(view_open(f.view, ino_of(&f, "disk"), true, &file), -EROFS);
	assert_int_equal(view_open(f.view, ino_of(&f, "disk"), false, &file), 0);
	view_close(file);
	end(&f);
	live_free(&f.live);
}

/* ---- texts ------------------------------------------------------------------------------- */

static void info_is_that_of_the_command(void **state)
{
	struct fixture f;
	struct report r;
	struct view_attr a;
	size_t len;

	(void)state;
	setup(&f);
	put(&f, 0, 100000, 1);

	CLEANUP(free) char *text = slurp(&f, "info.json", 7, &len);
	assert_int_equal(report_gather(f.live.im, &r), 0);
	CLEANUP(json) json_t *want = report_info_json(&r, f.source.path);
	CLEANUP(json) json_t *got = json_loadb(text, len, 0, NULL);

	assert_true(json_equal(want, got));
	assert_int_equal(json_integer_value(json_object_get(got, "raw_bytes")), 25 * 4096);
	assert_string_equal(json_string_value(json_object_get(got, "image")),
			    "some \xef\xbf\xbd.ublk");
	assert_int_equal(text[len - 1], '\n');
	assert_int_equal(view_getattr(f.view, ino_of(&f, "info.json"), &a), 0);
	assert_int_equal(a.size, len);
	teardown(&f);
}

/* The size of a text that was never opened is that of what opening it gives. */
static void sizes_of_texts(void **state)
{
	static const char *const text[] = {"info.json", "stats.json", "metrics", "map"};
	struct fixture f;
	struct view_attr a;
	size_t len;

	(void)state;
	setup(&f);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(view_getattr(f.view, ino_of(&f, text[i]), &a), 0);
		assert_true(a.size > 100);
		free(slurp(&f, text[i], VIEW_MAX_IO, &len));
		assert_int_equal(a.size, len);
	}
	teardown(&f);
}

/* An open file shows what was when it was opened. */
static void text_is_a_snapshot(void **state)
{
	struct view_file *file;
	struct fixture f;
	const void *data;
	size_t got;
	char before[8192];

	(void)state;
	setup(&f);
	assert_int_equal(view_open(f.view, ino_of(&f, "stats.json"), false, &file), 0);
	assert_int_equal(view_read(file, f.t, 0, sizeof(before), &data, &got), 0);
	assert_true(got < sizeof(before));
	memcpy(before, data, got);
	put(&f, 4096, 4096, 1);
	assert_int_equal(view_read(file, f.t, 0, sizeof(before), &data, &got), 0);
	assert_memory_equal(before, data, got);
	view_close(file);
	teardown(&f);
}

static json_int_t stat_of(struct fixture *f, const char *op, const char *what)
{
	size_t len;
	CLEANUP(free) char *text = slurp(f, "stats.json", VIEW_MAX_IO, &len);
	CLEANUP(json) json_t *doc = json_loadb(text, len, 0, NULL);
	json_t *o = json_object_get(json_object_get(doc, "view"), op);

	assert_true(json_is_integer(json_object_get(o, what)));
	return json_integer_value(json_object_get(o, what));
}

static void counters(void **state)
{
	struct fixture f;
	size_t done, len;

	(void)state;
	setup(&f);
	put(&f, 100, 1000, 1);
	put(&f, 5000, 10, 1);
	expect(&f, 100, 1000, 1);
	assert_int_equal(view_zero(f.disk, f.t, 0, 4096), 0);
	assert_int_equal(view_sync(f.disk, f.t), 0);
	assert_int_equal(view_write(f.disk, f.t, "x", SIZE, 1, &done), -ENOSPC);
	assert_int_equal(stat_of(&f, "write", "requests"), 3);
	assert_int_equal(stat_of(&f, "write", "bytes"), 1010);
	assert_int_equal(stat_of(&f, "write", "errors"), 1);
	assert_int_equal(stat_of(&f, "read", "requests"), 1);
	assert_int_equal(stat_of(&f, "read", "bytes"), 1000);
	assert_int_equal(stat_of(&f, "zero", "bytes"), 4096);
	assert_int_equal(stat_of(&f, "sync", "requests"), 1);

	CLEANUP(free) char *text = slurp(&f, "metrics", 100, &len);
	assert_non_null(strstr(text, "# TYPE ublk_img_view_write_bytes_total counter\n"
				     "ublk_img_view_write_bytes_total{uuid=\""));
	assert_non_null(strstr(text, "\"} 1010\n"));
	assert_non_null(strstr(text, "# TYPE ublk_img_virtual_size gauge\n"));
	assert_null(strstr(text, "schema"));
	teardown(&f);
}

/* ---- the map ----------------------------------------------------------------------------- */

/* The lines of @text are the extents of the map; returns their number. */
struct lines {
	const char *at;
	unsigned n;
};

static errint_t compare_line(void *arg, const struct map_extent *e)
{
	struct lines *l = arg;
	unsigned long long off, len;
	char kind[8], place[24], stored[24], origin[24], want[24];
	int used;

	assert_int_equal(sscanf(l->at, "%llu %llu %7s %23s %23s %23s%n", &off, &len, kind, place,
				stored, origin, &used),
			 6);
	assert_int_equal(off, e->off);
	assert_int_equal(len, e->len);
	assert_string_equal(kind, report_kind(e->kind));
	snprintf(want, sizeof(want), "%llu", (unsigned long long)e->file_off);
	assert_string_equal(place, report_is_stored(e) ? want : "-");
	snprintf(want, sizeof(want), "%llu", (unsigned long long)report_stored_bytes(e));
	assert_string_equal(stored, report_is_stored(e) ? want : "-");
	assert_string_equal(origin, "-");
	assert_int_equal(l->at[used], '\n');
	l->at += used + 1;
	l->n++;
	return 0;
}

static unsigned expect_map(struct fixture *f, const char *text)
{
	struct lines l = {.at = strchr(text, '\n') + 1};

	assert_int_equal(text[0], '#');
	assert_int_equal(walk_extents(f->live.im, 0, UINT64_MAX, compare_line, &l), 0);
	assert_int_equal(*l.at, '\0');
	return l.n;
}

static void map(void **state)
{
	struct fixture f;
	size_t len;

	(void)state;
	setup(&f);
	put(&f, 8192, 4096, 1);
	put(&f, 20 * MIB, 200000, 1);
	put(&f, SIZE - 512, 512, 1);

	CLEANUP(free) char *text = slurp(&f, "map", 10, &len);

	assert_true(expect_map(&f, text) >= 6);
	teardown(&f);
}

/* A map that is longer than what is made of it at a time: read forwards, and from anywhere. */
static void long_map(void **state)
{
	struct view_file *file;
	struct view_attr a;
	struct fixture f;
	struct rng rng = {1};
	const void *data;
	size_t len, got;

	(void)state;
	setup(&f);
	for (uint64_t off = 0; off < SIZE - 4096; off += 8192)
		live_put(&f.live, off, 4096, 1);

	CLEANUP(free) char *text = slurp(&f, "map", 100001, &len);

	assert_true(len > MIB);
	assert_true(expect_map(&f, text) > 16000);
	assert_int_equal(view_getattr(f.view, ino_of(&f, "map"), &a), 0);
	assert_int_equal(a.size, len);
	assert_int_equal(view_open(f.view, ino_of(&f, "map"), false, &file), 0);
	for (unsigned i = 0; i < 50; i++) {
		uint64_t off = rng_below(&rng, len + 10);
		size_t n = 1 + rng_below(&rng, 100000);
		size_t want = off > len ? 0 : n < len - off ? n : len - off;

		assert_int_equal(view_read(file, f.t, off, n, &data, &got), 0);
		assert_int_equal(got, want);
		assert_memory_equal(data, text + (want ? off : 0), want);
	}
	view_close(file);
	teardown(&f);
}

/* ---- extended attributes ----------------------------------------------------------------- */

static void expect_xattr(struct fixture *f, const char *file, const char *name, const char *want)
{
	view_ino ino = *file ? ino_of(f, file) : VIEW_ROOT;
	CLEANUP(free) char *value = NULL;
	size_t len;
	errint_t err = view_getxattr(f->view, ino, name, &value, &len);

	assert_int_equal(err, want ? 0 : -ENODATA);
	if (!want)
		return;
	assert_int_equal(len, strlen(want));
	assert_memory_equal(value, want, len);
}

static void xattrs(void **state)
{
	struct fixture f;
	unsigned n = 0;
	size_t len;

	(void)state;
	setup(&f);
	expect_xattr(&f, "disk", "user.ublk-img.virtual_size", "67109376");
	expect_xattr(&f, "disk", "user.ublk-img.clusters.raw", "0");
	expect_xattr(&f, "disk", "user.ublk-img.compression", "null");
	expect_xattr(&f, "disk", "user.ublk-img.clean", "false");
	expect_xattr(&f, "disk", "user.ublk-img.clusters", NULL);
	expect_xattr(&f, "disk", "user.ublk-img.clusters.raw.x", NULL);
	expect_xattr(&f, "disk", "user.ublk-img.", NULL);
	expect_xattr(&f, "disk", "user.ublk-img.server_pid", NULL);
	expect_xattr(&f, "disk", "security.capability", NULL);
	expect_xattr(&f, "", "user.ublk-img.server_pid", "99");
	expect_xattr(&f, "", "user.ublk-img.features.incompat", "0x0");
	expect_xattr(&f, "map", "user.ublk-img.virtual_size", NULL);

	/* Each name that is listed is there. */
	CLEANUP(free) char *names = NULL;
	assert_int_equal(view_listxattr(f.view, VIEW_ROOT, &names, &len), 0);
	for (const char *at = names; at < names + len; at += strlen(at) + 1, n++) {
		CLEANUP(free) char *value = NULL;
		size_t size;

		assert_int_equal(view_getxattr(f.view, VIEW_ROOT, at, &value, &size), 0);
	}
	assert_true(n > 30);
	free(steal_pointer(&names));
	assert_int_equal(view_listxattr(f.view, ino_of(&f, "map"), &names, &len), 0);
	assert_int_equal(len, 0);
	teardown(&f);
}

/* ---- disk -------------------------------------------------------------------------------- */

/* Anywhere, with an eye on the borders of sectors and the end. */
static uint64_t pick(struct rng *rng, uint64_t limit)
{
	uint64_t at = rng_below(rng, limit);

	switch (rng_below(rng, 4)) {
	case 0:
		return at & ~511ull;
	case 1:
		return at & ~4095ull;
	case 2:
		return limit - 1 - rng_below(rng, limit < 2000 ? limit : 2000);
	default:
		return at;
	}
}

static void one_step(struct fixture *f, struct rng *rng, uint8_t *model, uint64_t size)
{
	uint64_t off = pick(rng, size);
	size_t len = 1 + pick(rng, rng_chance(rng, 70) ? 3000 : 300000), n, done;
	CLEANUP(free) uint8_t *buf = malloc(len + 1);
	const void *data;

	n = len < size - off ? len : size - off;
	switch (rng_below(rng, 5)) {
	case 0:
		assert_int_equal(view_zero(f->disk, f->t, off, len), 0);
		memset(model + off, 0, n);
		break;
	case 1:
	case 2:
		world_random(rng, buf, len);
		/* Of any alignment in memory. */
		memmove(buf + (len & 1), buf, len);
		assert_int_equal(view_write(f->disk, f->t, buf + (len & 1), off, len, &done), 0);
		assert_int_equal(done, n);
		memcpy(model + off, buf + (len & 1), n);
		break;
	default:
		assert_int_equal(view_read(f->disk, f->t, off, len, &data, &done), 0);
		assert_int_equal(done, n);
		assert_memory_equal(data, model + off, n);
	}
}

static void differential(void **state)
{
	const uint64_t size = 3 * MIB + 512;
	uint8_t *model = calloc(1, size);
	struct rng rng = {env_number("TEST_VIEW_SEED", 1)};
	struct fixture f;

	(void)state;
	print_message("TEST_VIEW_SEED=%llu\n", (unsigned long long)rng.state);
	live_new(&f.live, GIB, size);
	begin(&f, true);
	for (unsigned round = 0; round < 4; round++) {
		assert_int_equal(view_open(f.view, ino_of(&f, "disk"), true, &f.disk), 0);
		for (unsigned i = 0; i < 1500; i++)
			one_step(&f, &rng, model, size);
		view_close(f.disk);
		end(&f);
		begin(&f, true);
	}
	assert_int_equal(view_open(f.view, ino_of(&f, "disk"), true, &f.disk), 0);
	teardown(&f);
	free(model);
}

/* Each of several threads owns every so-manieth byte of the same sectors. */
enum { WRITERS = 4, SHARED = 4096 };

struct writer {
	struct fixture *f;
	unsigned id;
	errint_t err;
};

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	struct view_thread *t;
	struct rng rng = {w->id};
	size_t done;

	w->err = view_thread_new(w->f->view, &t);
	for (unsigned round = 1; round <= 3 && !w->err; round++)
		for (unsigned i = w->id; i < SHARED && !w->err; i += WRITERS) {
			uint8_t byte = (uint8_t)(i * 7 + round);

			w->err = view_write(w->f->disk, t, &byte, i, 1, &done);
			/* Whole sectors next to them, too. */
			if (!w->err && rng_below(&rng, 16) == 0)
				w->err = view_zero(w->f->disk, t, SHARED + 512 * w->id, 512);
		}
	view_thread_free(t);
	return NULL;
}

static void parts_of_sectors_by_many(void **state)
{
	struct writer writer[WRITERS];
	pthread_t thread[WRITERS];
	struct fixture f;
	const void *data;
	size_t got;

	(void)state;
	setup(&f);
	mem_store_dawdle(f.live.st);
	for (unsigned i = 0; i < WRITERS; i++) {
		writer[i] = (struct writer){.f = &f, .id = i};
		assert_int_equal(pthread_create(&thread[i], NULL, writer_main, &writer[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(writer[i].err, 0);
	}
	assert_int_equal(view_read(f.disk, f.t, 0, SHARED, &data, &got), 0);
	for (unsigned i = 0; i < SHARED; i++)
		assert_int_equal(((const uint8_t *)data)[i], (uint8_t)(i * 7 + 3));
	teardown(&f);
}

static void ends_of_the_disk(void **state)
{
	struct fixture f;
	uint8_t buf[1024] = {1};
	const void *data;
	size_t n;

	(void)state;
	setup(&f);
	assert_int_equal(view_read(f.disk, f.t, SIZE, 10, &data, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(view_read(f.disk, f.t, SIZE - 5, 10, &data, &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(view_write(f.disk, f.t, buf, SIZE - 5, 10, &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(view_write(f.disk, f.t, buf, SIZE, 10, &n), -ENOSPC);
	assert_int_equal(view_write(f.disk, f.t, buf, SIZE, 0, &n), 0);
	assert_int_equal(view_write(f.disk, f.t, buf, UINT64_MAX, 10, &n), -ENOSPC);
	assert_int_equal(view_zero(f.disk, f.t, SIZE - 5, UINT64_MAX), 0);
	assert_int_equal(view_zero(f.disk, f.t, SIZE + 5, 10), 0);
	teardown(&f);
}

static void expect_seek(struct fixture *f, uint64_t off, bool data, uint64_t want)
{
	uint64_t found;

	assert_int_equal(view_seek(f->disk, off, data, &found), 0);
	assert_int_equal(found, want);
}

static void holes(void **state)
{
	struct view_attr a;
	struct fixture f;
	uint64_t found;

	(void)state;
	setup(&f);
	assert_int_equal(view_seek(f.disk, 0, true, &found), -ENXIO);
	expect_seek(&f, 5, false, 5);
	put(&f, 4096, 4096, 1);
	put(&f, 8192, 4096, 1);
	put(&f, 50 * MIB, CLUSTER, 1);
	put(&f, 50 * MIB + CLUSTER, CLUSTER, 1);
	expect_seek(&f, 0, true, 4096);
	expect_seek(&f, 0, false, 0);
	expect_seek(&f, 5000, true, 5000);
	expect_seek(&f, 5000, false, 12288);
	expect_seek(&f, 12288, true, 50 * MIB);
	expect_seek(&f, 50 * MIB, false, 50 * MIB + 2 * CLUSTER);
	assert_int_equal(view_seek(f.disk, 50 * MIB + 2 * CLUSTER, true, &found), -ENXIO);
	assert_int_equal(view_seek(f.disk, SIZE, true, &found), -ENXIO);
	assert_int_equal(view_seek(f.disk, SIZE, false, &found), -ENXIO);
	put(&f, SIZE - 1, 1, 1);
	expect_seek(&f, SIZE - 1, false, SIZE);
	/* What is zeroed is a hole again. */
	assert_int_equal(view_zero(f.disk, f.t, 0, MIB), 0);
	expect_seek(&f, 0, true, 50 * MIB);
	view_close(f.disk);
	end(&f);
	begin(&f, true);
	assert_int_equal(view_open(f.view, ino_of(&f, "disk"), true, &f.disk), 0);
	assert_int_equal(view_getattr(f.view, ino_of(&f, "disk"), &a), 0);
	assert_int_equal(a.size, SIZE);
	assert_int_equal(a.blocks, 3 * CLUSTER / 512); /* the last cluster is stored whole */
	teardown(&f);
}

static void errors_are_passed_on(void **state)
{
	struct fixture f;
	const void *data;
	size_t n;

	(void)state;
	setup(&f);
	put(&f, 0, 8192, 1);
	mem_store_fail(f.live.st, MEM_READ, 1, -EIO);
	assert_int_equal(view_read(f.disk, f.t, 0, 4096, &data, &n), -EIO);
	mem_store_fail(f.live.st, MEM_READ, 1, -EIO);
	assert_int_equal(view_write(f.disk, f.t, "x", 5, 1, &n), -EIO);
	mem_store_fail(f.live.st, MEM_WRITE, 1, -ENOSPC);
	assert_int_equal(view_write(f.disk, f.t, "x", 5, 1, &n), -ENOSPC);
	expect(&f, 0, 8192, 1);
	mem_store_fail(f.live.st, MEM_SYNC, 1, -EIO);
	assert_int_equal(view_sync(f.disk, f.t), -EIO);
	/* A failed sync is final. */
	assert_int_equal(view_sync(f.disk, f.t), -EIO);
	expect(&f, 0, 8192, 1);
	view_close(f.disk);
	view_thread_free(f.t);
	view_free(f.view);
	assert_int_equal(live_try_close(&f.live), -EIO);
	live_free(&f.live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(opening),
		cmocka_unit_test(info_is_that_of_the_command),
		cmocka_unit_test(sizes_of_texts),
		cmocka_unit_test(text_is_a_snapshot),
		cmocka_unit_test(counters),
		cmocka_unit_test(map),
		cmocka_unit_test(long_map),
		cmocka_unit_test(xattrs),
		cmocka_unit_test(differential),
		cmocka_unit_test(parts_of_sectors_by_many),
		cmocka_unit_test(ends_of_the_disk),
		cmocka_unit_test(holes),
		cmocka_unit_test(errors_are_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
