/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/image_file.h"

errint_t image_file_open(const char *path, bool write, struct image_file *f)
{
	const struct image_open_opts opts = {.read_only = !write};
	errint_t err;

	*f = (struct image_file){0};
	err = store_file_open(path, write ? 0 : STORE_FILE_READ_ONLY, &f->store);
	if (!err)
		err = image_open(f->store, &opts, &f->image);
	if (err) {
		store_close(f->store);
		*f = (struct image_file){0};
	}
	return err;
}

errint_t image_file_close(struct image_file *f)
{
	errint_t err = f->image ? image_close(f->image) : 0;

	store_close(f->store);
	*f = (struct image_file){0};
	return err;
}
