/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>
#include <string.h>

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
	static const char *const texts[] = {"device", "image",	     "name",
					    "mode",   "mode_reason", "since"};
	json_t *item = json_object();

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		json_put_text(item, texts[i], client_text(c, texts[i]));
	json_put(item, "virtual_size", json_incref(json_object_get(c->about, "size")));
	json_put(item, "read_only", json_incref(json_object_get(c->about, "read_only")));
	json_put_u64(item, "pid", (uint64_t)client_pid(c));
	json_array_append_new(l->items, item);
}

static void print_line(const struct list *l, const struct bridge_client *c)
{
	json_int_t size = json_integer_value(json_object_get(c->about, "size"));
	const char *name = client_text(c, "name");

	if (!l->count)
		printf("%-14s %-10s %-18s %-3s %-12s %-8s %s\n", "DEVICE", "SIZE", "MODE", "RO",
		       "NAME", "PID", "IMAGE");
	printf("%-14s %-10s %-18s %-3s %-12s %-8ld %s\n", client_text(c, "device"),
	       SIZE_TEXT((uint64_t)size), client_text(c, "mode"),
	       json_is_true(json_object_get(c->about, "read_only")) ? "ro" : "rw",
	       *name ? name : "-", client_pid(c), client_text(c, "image"));
}

static bool visit(void *arg, struct bridge_client *c)
{
	struct list *l = arg;

	if (l->items)
		add_item(l, c);
	else
		print_line(l, c);
	l->count++;
	return true;
}

static errint_t run_list(struct invocation *inv)
{
	const struct list_opts *o = inv->opts;
	struct list l = {.items = o->json ? json_array() : NULL};
	errint_t err = client_visit_all(visit, &l);
	json_t *doc;

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
		"serves it, and the image.",
	.examples = examples,
	.run = run_list,
};
