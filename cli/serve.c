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

static errint_t promise(void *arg, const struct device *d, uint32_t id, uint64_t mark)
{
	return bridge_promise(arg, d, id, mark);
}

static struct ublk_device_config ublk_config(const struct serve *s, struct bridge *b,
					     const struct mode_choice *choice)
{
	return (struct ublk_device_config){
		.choice = choice,
		.image = bridge_image(b),
		.engine = bridge_engine(b),
		.pool = bridge_pool(b),
		.read_only = bridge_opts(b)->read_only,
		.recovery = bridge_wants_recovery(b),
		.queues = s->queues ? s->queues : params_default_queues(processors()),
		.depth = s->depth ? s->depth : BRIDGE_DEFAULT_DEPTH,
		.promise = promise,
		.promise_arg = b,
	};
}

static errint_t make_ublk(const struct serve *s, struct bridge *b, struct control *control,
			  uint64_t features, const struct mode_choice *choice, struct device **out)
{
	struct ublk_device_config cfg = ublk_config(s, b, choice);
	errint_t err = 0;

	cfg.control = control;
	cfg.features = features;
	if (cfg.recovery && !ublk_device_can_recover(features)) {
		err = bridge_no_recovery(b, true, "the ublk driver of this kernel has no recovery");
		cfg.recovery = false;
	}
	if (err) {
		control_close(control);
		return err;
	}
	err = ublk_device_new(&cfg, out);
	if (!err || *out || !bridge_promise_failed(b))
		return err;
	/* The flag is one that a device is added with. */
	err = bridge_no_recovery(b, true, "there is no volatile journal");
	if (!err)
		err = control_open(&cfg.control, &cfg.features);
	cfg.recovery = false;
	return err ? err : ublk_device_new(&cfg, out);
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

	if (bridge_wants_recovery(b)) {
		errint_t err = bridge_no_recovery(b, false, "mode loop has no recovery");

		if (err)
			return err;
	}
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

/* The driver answers from here on until the device has been made. */
static errint_t wait_device(void *arg, struct bridge *b)
{
	const struct device_state *state = bridge_opts(b)->takeover;
	struct serve *s = arg;
	errint_t err = control_open(&s->control, &s->features);

	if (err)
		return log_err(err, "%s cannot be taken back: the ublk driver does not answer",
			       state->device);
	return ublk_device_wait_quiesced(s->control, s->features, state->id, state->mark);
}

static errint_t take_back(struct serve *s, struct bridge *b, struct device **out)
{
	const struct device_state *state = bridge_opts(b)->takeover;
	struct mode_choice choice = {.mode = state->mode};
	struct ublk_device_config cfg = ublk_config(s, b, &choice);

	memcpy(choice.why, state->mode_reason, sizeof(choice.why));
	cfg.control = s->control;
	cfg.features = s->features;
	return ublk_device_take_back(&cfg, state->id, out);
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
	if (bridge_opts(b)->takeover)
		return take_back(s, b, out);
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
		.wait_device = wait_device,
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
