/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/image_file.h"

#include <assert.h>

#include "bridge/awaiting.h"
#include "bridge/runtime_dir.h"
#include "cli/attached.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "engine/engine.h"
#include "image/snapshot.h"

static bool allow_backing;

void image_file_allow_backing(bool allow)
{
	allow_backing = allow;
}

bool image_file_allows_backing(void)
{
	return allow_backing;
}

const struct vj_state *image_file_state(void)
{
	static struct vj_state state = {.dir = -1, .device_exists = awaiting_device_exists};

	if (state.dir < 0 && runtime_dir_open(false, &state.dir))
		return NULL;
	return &state;
}

errint_t image_file_engine(struct image *im, struct engine **out)
{
	const struct engine_opts opts = {.allow_backing = allow_backing,
					 .state = image_file_state()};

	return engine_new(im, &opts, out);
}

static struct image_open_opts open_opts(const struct image_file_opts *o)
{
	return (struct image_open_opts){
		.read_only = !o->write,
		.state = image_file_state(),
		.accept_delta = o->accept_delta,
		.accept_applying = o->accept_applying,
		.keeps_content = o->keeps_content,
	};
}

static errint_t open_store(const char *path, const struct image_file_opts *o, struct store **st)
{
	unsigned flags =
		(o->write ? 0 : STORE_FILE_READ_ONLY) | (o->stream ? STORE_FILE_BUFFERED : 0);
	errint_t err = attached_refuse(path, o->write);

	assert(!o->stream || !o->write);
	return err ? err : store_file_open(path, flags, st);
}

errint_t image_file_open_as(const char *path, const struct image_file_opts *o, struct image_file *f)
{
	const struct image_open_opts opts = open_opts(o);
	errint_t err;

	*f = (struct image_file){0};
	err = open_store(path, o, &f->store);
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
	const struct image_file_opts opts = {.write = write};

	return image_file_open_as(path, &opts, f);
}

errint_t image_file_open_stream(const char *path, struct image_file *f)
{
	const struct image_file_opts opts = {.stream = true};

	return image_file_open_as(path, &opts, f);
}

errint_t image_file_snapshot(const char *path, const struct image_file_opts *o, const char *name,
			     uint32_t *id)
{
	const struct image_open_opts opts = open_opts(o);
	struct store *st = NULL;
	errint_t err = open_store(path, o, &st);

	if (!err)
		err = snapshot_create_at_rest(st, &opts, name, id);
	store_close(st);
	return err;
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
