/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/serve.h"

#include <string.h>
#include <unistd.h>

#include "bridge/control.h"
#include "bridge/params.h"
#include "bridge/ublk_device.h"
#include "cli/backing_work.h"
#include "cli/bridge_snapshots.h"
#include "cli/bridge_views.h"
#include "cli/loop_device.h"
#include "common/log.h"
#include "fuse/loop.h"
#include "image/image.h"

static unsigned processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (unsigned)n : 1;
}

/* What speaks for and against each mode here.  *control is there when the driver answers. */
static void find_facts(struct bridge *b, struct mode_facts *f, struct control **control)
{
	const struct store *st = image_store(bridge_image(b));

	*control = NULL;
	*f = (struct mode_facts){
		.stable_fd = store_file_fd(st) >= 0,
		.mem_align = store_mem_align(st),
		.loop = loop_probe(),
	};
	f->driver = control_open(control, &f->features);
}

static errint_t make_ublk(const struct serve *s, struct bridge *b, struct control *control,
			  uint64_t features, const struct mode_choice *choice, struct device **out)
{
	const struct ublk_device_config cfg = {
		.control = control,
		.features = features,
		.choice = choice,
		.image = bridge_image(b),
		.engine = bridge_engine(b),
		.pool = bridge_pool(b),
		.read_only = bridge_opts(b)->read_only,
		.queues = s->queues ? s->queues : params_default_queues(processors()),
		.depth = s->depth ? s->depth : BRIDGE_DEFAULT_DEPTH,
	};

	return ublk_device_new(&cfg, out);
}

static errint_t make_loop(const struct serve *s, struct bridge *b, const struct mode_choice *choice,
			  struct device **out)
{
	const struct loop_device_config cfg = {
		.image = bridge_image(b),
		.engine = bridge_engine(b),
		.path = bridge_opts(b)->image,
		.choice = choice,
		.read_only = bridge_opts(b)->read_only,
	};

	if (s->mode == BRIDGE_MODE_AUTO)
		log_warn("%s; a loop device on FUSE is made instead, which works but is slower",
			 choice->why);
	return loop_device_new(&cfg, out);
}

/* Those that need the bridge get it now: there is no client before there is a device. */
static void make_methods(struct serve *s, struct bridge *b)
{
	const struct socket_method methods[] = {
		{"mount", bridge_views_mount, s->views},
		{"views", bridge_views_list, s->views},
		{"snapshot-create", bridge_snapshot_create, b},
		{"snapshot-list", bridge_snapshot_list, b},
		{"snapshot-rename", bridge_snapshot_rename, b},
		{"snapshot-delete", bridge_snapshot_delete, b},
		{"snapshot-rollback", bridge_snapshot_rollback, b},
		{"snapshot-diff", bridge_snapshot_diff, b},
		{"resize", bridge_resize, b},
		{"commit", bridge_commit, b},
		{"flatten", bridge_flatten, b},
		{NULL, NULL, NULL},
	};

	_Static_assert(sizeof(methods) <= sizeof(s->methods), "there is room");
	memcpy(s->methods, methods, sizeof(methods));
}

static errint_t make_device(void *arg, struct bridge *b, struct device **out)
{
	struct serve *s = arg;
	struct mode_choice choice;
	struct mode_facts facts;
	struct control *control;
	errint_t err;

	bridge_views_begin(s->views, b);
	make_methods(s, b);
	find_facts(b, &facts, &control);
	err = mode_choose(&facts, s->mode, &choice);
	if (!err && choice.mode != BRIDGE_LOOP)
		return make_ublk(s, b, control, facts.features, &choice, out);
	control_close(control);
	return err ? err : make_loop(s, b, &choice, out);
}

static errint_t end_views(void *arg)
{
	struct serve *s = arg;

	return bridge_views_end(s->views);
}

errint_t serve_parts(struct serve *s, struct bridge_parts *parts)
{
	errint_t err = bridge_views_new(&s->views);

	if (err)
		return err;
	*parts = (struct bridge_parts){
		.make_device = make_device,
		.end = end_views,
		.methods = s->methods,
		.arg = s,
	};
	return 0;
}

void serve_free(struct serve *s)
{
	bridge_views_free(s->views);
}
