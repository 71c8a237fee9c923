/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/size.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"

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

/* The size to be; whole sectors, rounded up. */
static errint_t new_size(const struct size_change *change, const char *path, struct image *im,
			 uint64_t *size)
{
	uint64_t old = image_size(im), sector = 1ull << image_geometry(im)->sector_shift;

	*size = change->bytes;
	if (change->sign == '+')
		*size = old + change->bytes; /* both below 2^63 */
	if (change->sign == '-' && change->bytes > old)
		return log_fail(-EINVAL, "%s: the disk has only %" PRIu64 " bytes", path, old);
	if (change->sign == '-')
		*size = old - change->bytes;
	if (*size % sector) {
		*size += sector - *size % sector;
		log_warn("the size is rounded up to %" PRIu64 " bytes, a multiple of %" PRIu64,
			 *size, sector);
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

/* What is to be done to an image: *size may be the old size. */
static errint_t plan(const struct resize_opts *o, const struct size_change *change,
		     const char *path, struct image *im, uint64_t *old, uint64_t *size)
{
	errint_t err = new_size(change, path, im, size);

	*old = image_size(im);
	if (err || *size >= *old || o->shrink)
		return err;
	return log_fail(-EINVAL,
			"%s: %" PRIu64 " bytes is less than the disk's %" PRIu64
			", and what lies beyond would be lost; --shrink allows that",
			path, *size, *old);
}

/* The same, without changing the image: opening it for writing would. */
static errint_t plan_read_only(const struct resize_opts *o, const struct size_change *change,
			       const char *path, uint64_t *old, uint64_t *size)
{
	CLEANUP(image_file) struct image_file f;
	errint_t err = image_file_open(path, false, &f);

	if (!err)
		err = plan(o, change, path, f.image, old, size);
	return err ? err : image_file_close(&f);
}

static errint_t resize_image(struct image *im, uint64_t size, bool shrink)
{
	struct engine_thread *thread;
	struct engine *engine;
	errint_t err = engine_new(im, NULL, &engine);

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

static errint_t resize(const struct resize_opts *o, const char *path, uint64_t *old, uint64_t size)
{
	CLEANUP(image_file) struct image_file f;
	errint_t err = image_file_open(path, true, &f);

	if (err)
		return err;
	*old = image_size(f.image); /* somebody else may have been faster */
	err = resize_image(f.image, size, o->shrink);
	return err ? err : image_file_close(&f);
}

static errint_t run_resize(struct invocation *inv)
{
	const struct resize_opts *o = inv->opts;
	const char *path = inv->args[0];
	struct size_change change;
	uint64_t old, size;
	errint_t err = parse_change(inv->args[1], &change);

	inv->usage = err != 0;
	if (!err)
		err = plan_read_only(o, &change, path, &old, &size);
	if (!err && size != old)
		err = resize(o, path, &old, size);
	if (err)
		return err;
	log_info("%s: the disk has %" PRIu64 " bytes, it had %" PRIu64, path, size, old);
	return o->json ? print_json(path, old, size) : 0;
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
	{"resize --shrink disk.ublk 20G", "Cut the disk down to 20 GiB."},
	{NULL, NULL},
};

const struct command cmd_resize = {
	.name = "resize",
	.group = "Images",
	.summary = "Change the size of a disk",
	.operands = "IMAGE [+|-]SIZE",
	.min_args = 2,
	.max_args = 2,
	.signed_operands = true,
	.options = options,
	.opts_size = sizeof(struct resize_opts),
	.help = "Gives the disk in IMAGE a new size, or one that is by SIZE larger (+) or smaller "
		"(-). New space reads as zeros. A size that is no whole number of sectors is "
		"rounded up.\n\n"
		"File systems and partition tables on the disk are not changed: make them smaller "
		"before, or larger after.",
	.examples = examples,
	.run = run_resize,
};
