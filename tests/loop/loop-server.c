/* SPDX-License-Identifier: MIT */
/*
 * loop-server [-r] [-b BLOCK-SIZE] IMAGE: serve the image as a loop device, whose name is printed,
 * until standard input ends.  "force" on standard input ends it although it is in use; any other
 * line tries, prints "busy" when it is in use, and goes on.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/image_file.h"
#include "engine/engine.h"
#include "fuse/image_source.h"
#include "fuse/loop.h"

enum { PATIENCE = 5 };

/* 0: it is gone; the loop is freed then. */
static errint_t take_away(struct loop *l)
{
	char line[80];
	errint_t err = -EBUSY;

	while (err == -EBUSY && fgets(line, sizeof(line), stdin)) {
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

static errint_t serve(struct image_file *f, const char *path, bool read_only, unsigned block_size)
{
	struct image_source source = {.image = f->image, .path = path};
	struct view_opts view = {
		.image = f->image,
		.source = &image_source_ops,
		.source_arg = &source,
		.writable = !read_only,
		.mode = 0600,
	};
	struct loop_opts loop = {.read_only = read_only, .block_size = block_size};
	struct loop *l;
	errint_t err = engine_new(f->image, NULL, &view.engine);

	if (!err)
		err = view_new(&view, &loop.view);
	if (!err)
		err = loop_start(&loop, &l);
	if (err)
		return err;
	puts(loop_path(l));
	fflush(stdout);
	err = take_away(l);
	if (err)
		return err;
	view_free(loop.view);
	engine_free(view.engine);
	return image_file_close(f);
}

int main(int argc, char **argv)
{
	unsigned block_size = 512;
	bool read_only = false;
	struct image_file f;
	int c;

	while ((c = getopt(argc, argv, "rb:")) != -1) {
		if (c == 'r')
			read_only = true;
		else if (c == 'b')
			block_size = (unsigned)strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	if (optind != argc - 1 || image_file_open(argv[optind], !read_only, &f))
		return 2;
	return serve(&f, argv[optind], read_only, block_size) ? 1 : 0;
}
