/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bridge/awaiting.h"
#include "bridge/client.h"
#include "cli/commands.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/size.h"
#include "common/cleanup.h"
#include "common/log.h"

struct list_opts {
	bool json;
};

struct list {
	json_t *items; /* NULL: as text */
	unsigned count;
};

static void add_item(struct list *l, const struct bridge_client *c)
{
	static const char *const texts[] = {"device",	   "image", "name",	      "mode",
					    "mode_reason", "since", "recovery_reason"};
	json_t *item = json_object();

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		json_put_text(item, texts[i], client_text(c, texts[i]));
	json_put(item, "virtual_size", json_incref(json_object_get(c->about, "size")));
	json_put(item, "read_only", json_incref(json_object_get(c->about, "read_only")));
	json_put(item, "recovery", json_incref(json_object_get(c->about, "recovery")));
	json_put(item, "restart", json_incref(json_object_get(c->about, "restart")));
	json_put_text(item, "state", "attached");
	json_put_u64(item, "pid", (uint64_t)client_pid(c));
	json_array_append_new(l->items, item);
}

static void print_line(struct list *l, const char *device, uint64_t size, const char *mode,
		       bool read_only, const char *name, long pid, const char *image)
{
	char process[24] = "-";

	if (pid)
		snprintf(process, sizeof(process), "%ld", pid);
	if (!l->count)
		printf("%-14s %-10s %-18s %-3s %-12s %-8s %s\n", "DEVICE", "SIZE", "MODE", "RO",
		       "NAME", "PID", "IMAGE");
	printf("%-14s %-10s %-18s %-3s %-12s %-8s %s\n", device, SIZE_TEXT(size), mode,
	       read_only ? "ro" : "rw", *name ? name : "-", process, image);
}

static bool visit(void *arg, struct bridge_client *c)
{
	struct list *l = arg;

	if (l->items)
		add_item(l, c);
	else
		print_line(l, client_text(c, "device"),
			   (uint64_t)json_integer_value(json_object_get(c->about, "size")),
			   client_text(c, "mode"),
			   json_is_true(json_object_get(c->about, "read_only")),
			   client_text(c, "name"), client_pid(c), client_text(c, "image"));
	l->count++;
	return true;
}

static void add_awaiting(struct list *l, const struct device_state *s)
{
	json_t *item = json_object();
	char since[32];
	struct tm tm;
	time_t at = (time_t)s->since;

	gmtime_r(&at, &tm);
	strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_put_text(item, "device", s->device);
	json_put_text(item, "image", s->image);
	json_put_text(item, "name", s->name);
	json_put_text(item, "mode", mode_name(s->mode));
	json_put_text(item, "mode_reason", s->mode_reason);
	json_put_text(item, "since", since);
	json_put_text(item, "recovery_reason", "");
	json_put_u64(item, "virtual_size", s->size);
	json_put(item, "read_only", json_boolean(s->read_only));
	json_put(item, "recovery", json_true());
	json_put(item, "restart", json_boolean(s->restart));
	json_put_text(item, "state", "awaiting recovery");
	json_put_u64(item, "pid", 0);
	json_array_append_new(l->items, item);
}

static bool visit_awaiting(void *arg, const struct device_state *s)
{
	struct list *l = arg;

	if (l->items)
		add_awaiting(l, s);
	else
		print_line(l, s->device, s->size, "awaiting recovery", s->read_only, s->name, 0,
			   s->image);
	l->count++;
	return true;
}

static errint_t run_list(struct invocation *inv)
{
	const struct list_opts *o = inv->opts;
	struct list l = {.items = o->json ? json_array() : NULL};
	errint_t err = client_visit_all(visit, &l);
	json_t *doc;

	if (!err)
		err = awaiting_visit(visit_awaiting, &l);
	if (err) {
		json_decref(l.items);
		return err;
	}
	if (!o->json)
		return 0;
	doc = json_document("list");
	json_put(doc, "devices", l.items);
	return json_print(doc);
}

static const struct cmd_option options[] = {
	OPTION_JSON(struct list_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"list", "Show the attached devices."},
	{NULL, NULL},
};

const struct command cmd_list = {
	.name = "list",
	.group = "Devices",
	.summary = "Show the attached devices",
	.operands = "",
	.options = options,
	.opts_size = sizeof(struct list_opts),
	.help = "Prints, for each block device that attach made: its path, the size of the disk, how "
		"it is served, whether it can be written (rw) or not (ro), its name, the process that "
		"serves it, and the image. A device whose process has died awaits recovery (see "
		"recover). One that is being made, taken back or taken away is not listed.",
	.examples = examples,
	.run = run_list,
};
