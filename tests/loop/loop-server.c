/* SPDX-License-Identifier: MIT */
/*
 * loop-server [-r] [-b BLOCK-SIZE] [-l LOG] IMAGE: serve the image as a loop device, whose name is
 * printed, until standard input ends.  "force" on standard input ends it although it is in use; any
 * other line tries, prints "busy" when it is in use, and goes on.
 *
 * With -l what is done to the image's file is written to LOG (tests/lib/log_store.h), and the image
 * is maintained as a bridge does.  Then "mark N", "snapshot N" and "delete N" are further lines,
 * answered by "done": note that N has been reached; take, delete the snapshot sN.
 */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/image_file.h"
#include "engine/engine.h"
#include "fuse/image_source.h"
#include "fuse/loop.h"
#include "image/snapshot.h"
#include "tests/lib/log_store.h"

enum { PATIENCE = 5 };

/* ---- with a log ---------------------------------------------------------------------------- */

struct upkeep {
	pthread_t thread;
	atomic_bool end;
	struct engine *engine;
};

static void *maintain(void *arg)
{
	struct upkeep *u = arg;
	errint_t err = 0;

	while (!err && !atomic_load(&u->end)) {
		err = engine_maintain(u->engine);
		usleep(100000);
	}
	if (err)
		fprintf(stderr, "upkeep: %d\n", err);
	return NULL;
}

/* Is @line one of those that are only for logs?  Then it has been obeyed. */
static bool logged(struct image *im, const char *line)
{
	unsigned long n;
	char name[32];
	errint_t err = 0;

	if (sscanf(line, "mark %lu", &n) == 1) {
		log_store_mark(image_store(im), n);
	} else if (sscanf(line, "snapshot %lu", &n) == 1 || sscanf(line, "delete %lu", &n) == 1) {
		snprintf(name, sizeof(name), "s%lu", n);
		err = *line == 's' ? snapshot_create(im, name, NULL) : snapshot_delete(im, name);
	} else {
		return false;
	}
	puts(err ? "failed" : "done");
	fflush(stdout);
	return true;
}

/* -------------------------------------------------------------------------------------------- */

/* 0: it is gone; the loop is freed then. */
static errint_t take_away(struct loop *l, struct image *im)
{
	char line[80];
	errint_t err = -EBUSY;

	while (err == -EBUSY && fgets(line, sizeof(line), stdin)) {
		if (logged(im, line))
			continue;
		err = loop_stop(l, !strcmp(line, "force\n"), PATIENCE);
		if (err == -EBUSY) {
			puts("busy");
			fflush(stdout);
		}
	}
	while (err == -EBUSY) {
		err = loop_stop(l, false, PATIENCE);
		if (err == -EBUSY)
			sleep(1);
	}
	return err;
}

struct options {
	const char *path, *log;
	bool read_only;
	unsigned block_size;
};

static errint_t serve(struct image_file *f, const struct options *o)
{
	struct image_source source = {.image = f->image, .path = o->path};
	struct view_opts view = {
		.image = f->image,
		.source = &image_source_ops,
		.source_arg = &source,
		.writable = !o->read_only,
		.mode = 0600,
	};
	struct loop_opts loop = {.read_only = o->read_only, .block_size = o->block_size};
	struct upkeep upkeep = {.engine = NULL};
	struct loop *l;
	errint_t err = engine_new(f->image, NULL, &view.engine);

	if (!err)
		err = view_new(&view, &loop.view);
	if (!err)
		err = loop_start(&loop, &l);
	if (err)
		return err;
	upkeep.engine = view.engine;
	if (o->log && pthread_create(&upkeep.thread, NULL, maintain, &upkeep))
		return -ENOMEM;
	puts(loop_path(l));
	fflush(stdout);
	err = take_away(l, f->image);
	if (err)
		return err;
	atomic_store(&upkeep.end, true);
	if (o->log)
		pthread_join(upkeep.thread, NULL);
	view_free(loop.view);
	engine_free(view.engine);
	return image_file_close(f);
}

/* The log begins before the image is opened. */
static errint_t open_logged(const struct options *o, struct image_file *f)
{
	const struct image_open_opts opts = {.read_only = false};
	errint_t err = store_file_open(o->path, 0, &f->store);

	if (err)
		return err;
	f->store = log_store_new(f->store, o->log);
	return image_open(f->store, &opts, &f->image);
}

int main(int argc, char **argv)
{
	struct options o = {.block_size = 512};
	struct image_file f;
	errint_t err;
	int c;

	while ((c = getopt(argc, argv, "rb:l:")) != -1) {
		if (c == 'r')
			o.read_only = true;
		else if (c == 'b')
			o.block_size = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'l')
			o.log = optarg;
		else
			return 2;
	}
	if (optind != argc - 1)
		return 2;
	o.path = argv[optind];
	err = o.log ? open_logged(&o, &f) : image_file_open(o.path, !o.read_only, &f);
	if (err)
		return 2;
	return serve(&f, &o) ? 1 : 0;
}
