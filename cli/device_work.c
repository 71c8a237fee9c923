/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/device_work.h"

#include "cli/json_output.h"
#include "common/cleanup.h"
#include "common/log.h"

struct run {
	const struct device_work *w;
	bool force;
	json_t *done; /* with --json: the devices */
	errint_t err; /* the first */
};

static void note(struct run *r, const char *device, errint_t err)
{
	if (!err && r->done)
		json_append_text(r->done, device);
	if (!r->err)
		r->err = err;
}

static bool visit_attached(void *arg, struct bridge_client *c)
{
	struct run *r = arg;

	note(r, client_text(c, "device"), r->w->attached(c, r->force));
	return true;
}

static bool visit_awaiting(void *arg, const struct device_state *s)
{
	struct run *r = arg;

	note(r, s->device, r->w->awaiting(s, r->force));
	return true;
}

static errint_t visit_all(struct run *r)
{
	errint_t err = client_visit_all(visit_attached, r);

	return err || !r->w->all_awaiting ? err : awaiting_visit(visit_awaiting, r);
}

static errint_t visit_named(struct run *r, const char *what)
{
	CLEANUP(client) struct bridge_client c;
	CLEANUP(free) struct device_state *state = NULL;
	errint_t err = client_find(what, &c);

	if (!err)
		visit_attached(r, &c);
	if (err != -ENOENT)
		return err;
	err = awaiting_find(what, &state);
	if (!err)
		visit_awaiting(r, state);
	if (err != -ENOENT)
		return err;
	if (r->w->unknown)
		err = r->w->unknown(what, r->force);
	if (err == -ENOENT)
		return log_fail(err,
				"%s: no such device, image or name is attached; \"ublk-img list\" "
				"shows what is",
				what);
	note(r, what, err);
	return 0;
}

errint_t device_usage(struct invocation *inv, bool all)
{
	if (all != !inv->nargs)
		return usage_error(inv, "give either DEVICE, IMAGE or NAME, or --all");
	if (!all && !inv->args[0][0])
		return usage_error(inv, "the name of a device cannot be empty");
	return 0;
}

errint_t device_work(struct invocation *inv, const struct device_work *w)
{
	const struct device_opts *o = inv->opts;
	struct run r = {.w = w, .force = o->force};
	errint_t err = device_usage(inv, o->all);
	json_t *doc;

	if (err)
		return err;
	if (o->json)
		r.done = json_array();
	err = o->all ? visit_all(&r) : visit_named(&r, inv->args[0]);
	err = err ? err : r.err;
	if (o->json) {
		doc = json_document(w->command);
		json_put(doc, "devices", r.done);
		if (json_print(doc) && !err)
			err = -ENOMEM;
	}
	return err;
}
