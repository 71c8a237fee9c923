/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/image_file.h"

#include "cli/attached.h"

#include "common/fault.h"
#include "engine/engine.h"

static bool allow_backing;

void image_file_allow_backing(bool allow)
{
	allow_backing = allow;
}

bool image_file_allows_backing(void)
{
	return allow_backing;
}

errint_t image_file_engine(struct image *im, struct engine **out)
{
	const struct engine_opts opts = {.allow_backing = allow_backing};

	return engine_new(im, &opts, out);
}

static errint_t open_with(const char *path, unsigned flags, struct image_file *f)
{
	const struct image_open_opts opts = {.read_only = flags & STORE_FILE_READ_ONLY};
	errint_t err;

	*f = (struct image_file){0};
	err = attached_refuse(path, !opts.read_only);
	if (!err)
		err = store_file_open(path, flags, &f->store);
	if (!err)
		err = image_open(f->store, &opts, &f->image);
	if (err) {
		store_close(f->store);
		*f = (struct image_file){0};
	}
	return err;
}

errint_t image_file_open(const char *path, bool write, struct image_file *f)
{
	return open_with(path, write ? 0 : STORE_FILE_READ_ONLY, f);
}

errint_t image_file_open_stream(const char *path, struct image_file *f)
{
	return open_with(path, STORE_FILE_READ_ONLY | STORE_FILE_BUFFERED, f);
}

errint_t image_file_close(struct image_file *f)
{
	errint_t err = f->image ? image_close(f->image) : 0;

	if (!err)
		err = fault_point("image_close");
	store_close(f->store);
	*f = (struct image_file){0};
	return err;
}
