/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/loop_device.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/in_use.h"
#include "common/container_of.h"
#include "common/log.h"
#include "fuse/image_source.h"
#include "fuse/loop.h"

/* Seconds for requests that are under way. */
enum { STOP_TIMEOUT = 20 };

struct loop_device {
	struct device dev;
	struct image_source source;
	struct view *view;
	struct loop *loop; /* NULL: stopped */
};

static struct loop_device *loop_of(struct device *d)
{
	return container_of(d, struct loop_device, dev);
}

static errint_t stop(struct device *d, bool force)
{
	struct loop_device *l = loop_of(d);
	errint_t err = 0;

	if (!l->loop)
		return 0;
	if (!force)
		err = in_use_check(d->path);
	if (err)
		return err;
	err = loop_stop(l->loop, force, STOP_TIMEOUT);
	if (err == -EBUSY)
		return in_use_refuse(d->path, "somebody has it open");
	if (err != -ETIMEDOUT)
		l->loop = NULL;
	return err;
}

static errint_t resize(struct device *d, uint64_t size)
{
	(void)size; /* the view has it from the image */
	return loop_resize(loop_of(d)->loop);
}

static void maintain(struct device *d)
{
	struct loop_device *l = loop_of(d);

	if (l->loop)
		loop_maintain(l->loop);
}

static void free_device(struct device *d)
{
	struct loop_device *l = loop_of(d);

	assert(!l->loop);
	view_free(l->view);
	free(l);
}

static const struct device_ops loop_device_ops = {
	.kind = "loop",
	.stop = stop,
	.resize = resize,
	.maintain = maintain,
	.free = free_device,
};

static errint_t begin(struct loop_device *l, const struct loop_device_config *cfg)
{
	struct image_info info;
	const struct view_opts view = {
		.image = cfg->image,
		.engine = cfg->engine,
		.source = &image_source_ops,
		.source_arg = &l->source,
		.writable = !cfg->read_only,
		.mode = cfg->read_only ? 0400 : 0600,
	};
	struct loop_opts opts = {.read_only = cfg->read_only};
	errint_t err = view_new(&view, &l->view);

	if (err)
		return err;
	image_get_info(cfg->image, &info);
	opts.view = l->view;
	opts.block_size = 1u << info.geo.sector_shift;
	return loop_start(&opts, &l->loop);
}

errint_t loop_device_new(const struct loop_device_config *cfg, struct device **out)
{
	struct loop_device *l = calloc(1, sizeof(*l));
	errint_t err;

	if (!l)
		return log_err(-ENOMEM, "%s: cannot make a loop device", cfg->path);
	l->dev.ops = &loop_device_ops;
	l->dev.choice = *cfg->choice;
	l->source = (struct image_source){.image = cfg->image, .path = cfg->path};
	err = begin(l, cfg);
	if (err) {
		free_device(&l->dev);
		return err;
	}
	snprintf(l->dev.path, sizeof(l->dev.path), "%s", loop_path(l->loop));
	l->dev.gone_fd = loop_ended_fd(l->loop);
	*out = &l->dev;
	return 0;
}
