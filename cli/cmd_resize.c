/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "bridge/client.h"
#include "cli/attached.h"
#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/size.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "engine/engine.h"

/* Bitmaps and the map of a large image are written. */
#define CALL_MS 120000

struct resize_opts {
	bool shrink, json;
};

/* "+1G", "-1G", "1G" */
struct size_change {
	char sign; /* 0: absolute */
	uint64_t bytes;
};

static errint_t parse_change(const char *text, struct size_change *change)
{
	change->sign = *text == '+' || *text == '-' ? *text : '\0';
	return size_parse("SIZE", text + !!change->sign, &change->bytes);
}

/* What is to be changed. */
struct disk_now {
	const char *path;
	uint64_t size, sector;
};

/* The size to be; whole sectors, rounded up. */
static errint_t new_size(const struct size_change *change, const struct disk_now *disk,
			 uint64_t *size)
{
	*size = change->bytes;
	if (change->sign == '+')
		*size = disk->size + change->bytes; /* both below 2^63 */
	if (change->sign == '-' && change->bytes > disk->size)
		return log_fail(-EINVAL, "%s: the disk has only %" PRIu64 " bytes", disk->path,
				disk->size);
	if (change->sign == '-')
		*size = disk->size - change->bytes;
	if (*size % disk->sector) {
		*size += disk->sector - *size % disk->sector;
		log_warn("the size is rounded up to %" PRIu64 " bytes, a multiple of %" PRIu64,
			 *size, disk->sector);
	}
	return 0;
}

static errint_t print_json(const char *path, uint64_t old, uint64_t size)
{
	json_t *doc = json_document("resize");

	json_put_text(doc, "image", path);
	json_put_u64(doc, "old_virtual_size", old);
	json_put_u64(doc, "virtual_size", size);
	return json_print(doc);
}

/* What is to be done to a disk: *size may be the old size. */
static errint_t plan(const struct resize_opts *o, const struct size_change *change,
		     const struct disk_now *disk, uint64_t *size)
{
	errint_t err = new_size(change, disk, size);

	if (err || *size >= disk->size || o->shrink)
		return err;
	return log_fail(-EINVAL,
			"%s: %" PRIu64 " bytes is less than the disk's %" PRIu64
			", and what lies beyond would be lost; --shrink allows that",
			disk->path, *size, disk->size);
}

/* ---- an image that nobody serves ----------------------------------------------------------- */

/* Without changing the image: opening it for writing would. */
static errint_t look(struct disk_now *disk)
{
	CLEANUP(image_file) struct image_file f;
	errint_t err = image_file_open(disk->path, false, &f);

	if (err)
		return err;
	disk->size = image_size(f.image);
	disk->sector = 1ull << image_geometry(f.image)->sector_shift;
	return image_file_close(&f);
}

static errint_t resize_image(struct image *im, uint64_t size, bool shrink)
{
	struct engine_thread *thread;
	struct engine *engine;
	errint_t err = image_file_engine(im, &engine);

	if (err)
		return err;
	err = engine_thread_new(engine, &thread);
	if (!err) {
		err = engine_resize(thread, size, shrink);
		engine_thread_free(thread);
	}
	engine_free(engine);
	return err;
}

static errint_t resize_file(const char *path, uint64_t size, bool shrink)
{
	CLEANUP(image_file) struct image_file f;
	errint_t err = image_file_open(path, true, &f);

	if (err)
		return err;
	err = resize_image(f.image, size, shrink);
	return err ? err : image_file_close(&f);
}

/* ---- an image that is attached ------------------------------------------------------------- */

static errint_t ask(struct bridge_client *c, struct disk_now *disk)
{
	CLEANUP(json) json_t *info = NULL;
	errint_t err = client_call(c, "info", NULL, -1, CALL_MS, &info);
	json_int_t size = json_integer_value(json_object_get(info, "virtual_size"));
	json_int_t sector = json_integer_value(json_object_get(info, "sector_size"));

	if (err)
		return err;
	if (size <= 0 || sector <= 0)
		return log_fail(-EPROTO, "%s: the bridge does not tell its size", disk->path);
	disk->size = (uint64_t)size;
	disk->sector = (uint64_t)sector;
	return 0;
}

/* -------------------------------------------------------------------------------------------- */

static errint_t resize(const struct resize_opts *o, const struct size_change *change,
		       struct disk_now *disk, uint64_t *size)
{
	CLEANUP(client) struct bridge_client c;
	errint_t found = attached_find(disk->path, &c), err;

	if (found && found != -ENOENT)
		return found;
	err = found ? look(disk) : ask(&c, disk);
	if (!err)
		err = plan(o, change, disk, size);
	if (err || *size == disk->size)
		return err;
	if (found)
		return resize_file(disk->path, *size, o->shrink);
	return client_call(&c, "resize", json_pack("{s:I}", "virtual_size", (json_int_t)*size), -1,
			   CALL_MS, NULL);
}

static errint_t run_resize(struct invocation *inv)
{
	const struct resize_opts *o = inv->opts;
	struct disk_now disk = {.path = inv->args[0]};
	struct size_change change;
	uint64_t size;
	errint_t err = parse_change(inv->args[1], &change);

	inv->usage = err != 0;
	if (!err)
		err = resize(o, &change, &disk, &size);
	if (err)
		return err;
	log_info("%s: the disk has %" PRIu64 " bytes, it had %" PRIu64, disk.path, size, disk.size);
	return o->json ? print_json(disk.path, disk.size, size) : 0;
}

static const struct cmd_option options[] = {
	{
		.name = "shrink",
		.set = option_flag,
		.offset = offsetof(struct resize_opts, shrink),
		.help = "Allow a smaller size. What lies beyond it is lost.",
	},
	OPTION_JSON(struct resize_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"resize disk.ublk +10G", "Make the disk 10 GiB larger."},
	{"resize /dev/ublkb0 +10G", "The same while it is in use."},
	{"resize --shrink disk.ublk 20G", "Cut the disk down to 20 GiB."},
	{NULL, NULL},
};

const struct command cmd_resize = {
	.name = "resize",
	.group = "Images",
	.summary = "Change the size of a disk",
	.operands = "IMAGE|DEVICE [+|-]SIZE",
	.min_args = 2,
	.max_args = 2,
	.signed_operands = true,
	.options = options,
	.opts_size = sizeof(struct resize_opts),
	.help = "Gives the disk in IMAGE a new size, or one that is by SIZE larger (+) or smaller "
		"(-). New space reads as zeros. A size that is no whole number of sectors is "
		"rounded up.\n\n"
		"A disk that is attached can become larger while it is in use, where the kernel has a "
		"way to tell (Linux 6.16; always in mode loop).\n\n"
		"File systems and partition tables on the disk are not changed: make them smaller "
		"before, or larger after.",
	.examples = examples,
	.run = run_resize,
};
