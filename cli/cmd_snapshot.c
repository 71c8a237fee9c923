/* SPDX-License-Identifier: MIT */
/* What changes snapshots: create, rename, delete, rollback. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/freeze_find.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/snapshot_target.h"
#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"

enum { DELETE_MAX = 4096 };

/* "PREFIX2026-11-24T10:15:30Z": for those whom the user gives no name. */
static void time_name(const char *prefix, char name[64])
{
	time_t now = time(NULL);
	char text[32];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	snprintf(name, 64, "%s%s", prefix, text);
}

/* ---- create -------------------------------------------------------------------------------- */

/* Milliseconds that a file system may be frozen for a snapshot, which usually takes some. */
#define FROZEN_MS 20000

/* --freeze[=DIR] */
struct freeze_choice {
	bool wanted;
	const char *dir; /* NULL: all that is mounted of the device */
};

struct create_opts {
	struct freeze_choice freeze;
	bool json;
};

static errint_t option_freeze(const struct cmd_option *o, const char *arg, void *field)
{
	struct stat st;

	if (arg && stat(arg, &st))
		return log_errno("--%s: %s", o->name, arg);
	if (arg && !S_ISDIR(st.st_mode))
		return log_fail(-ENOTDIR, "--%s: %s is not a directory", o->name, arg);
	*(struct freeze_choice *)field = (struct freeze_choice){.wanted = true, .dir = arg};
	return 0;
}

static errint_t create(struct snapshot_target *t, const char *name, uint32_t *id)
{
	CLEANUP(json) json_t *result = NULL;
	errint_t err = snapshot_target_call(t, "snapshot-create", json_pack("{s:s}", "name", name),
					    &result);

	*id = (uint32_t)json_integer_value(json_object_get(result, "id"));
	return err;
}

/* Of file systems that do not change meanwhile. */
static errint_t create_frozen(struct snapshot_target *t, const char *name, struct freeze_list *l,
			      uint32_t *id)
{
	const struct freeze_opts opts = {.fs = l->fs, .n = l->n, .ms = FROZEN_MS};
	struct freezer freezer;
	errint_t err = freeze_begin(&opts, &freezer), thawed;

	if (err)
		return err;
	err = create(t, name, id);
	thawed = freeze_end(&freezer);
	for (unsigned i = 0; i < l->n; i++)
		if (!l->fs[i].is_frozen)
			log_warn("%s: file systems of this kind cannot be frozen; in the snapshot "
				 "it is as after a power failure",
				 l->fs[i].dir);
	if (err || !thawed)
		return err;
	/* Not what was asked for. */
	if (snapshot_target_call(t, "snapshot-delete", json_pack("{s:s}", "name", name), NULL))
		log_warn("the snapshot %s is not one of a frozen file system", name);
	return thawed;
}

static errint_t create_attached(const struct freeze_choice *freeze, struct snapshot_target *t,
				const char *name, struct freeze_list *l, uint32_t *id)
{
	errint_t err = 0;

	if (freeze->wanted)
		err = freeze_find(client_text(&t->client, "device"), freeze->dir, l);
	if (err)
		return err;
	if (l->n)
		return create_frozen(t, name, l, id);
	if (freeze->wanted)
		log_info("%s: nothing is mounted of it, nothing is frozen", t->what);
	return create(t, name, id);
}

static errint_t create_here(const struct freeze_choice *freeze, const char *what, const char *name,
			    uint32_t *id)
{
	if (freeze->dir)
		return log_fail(-EINVAL, "%s: is not attached, so that %s cannot be on it", what,
				freeze->dir);
	if (freeze->wanted)
		log_info("%s: is not attached, nothing is frozen", what);
	return snapshot_target_create_here(what, name, id);
}

static errint_t print_created(const char *what, const char *name, uint32_t id,
			      const struct freeze_list *l)
{
	json_t *doc = json_document("snapshot create"), *frozen = json_array();

	for (unsigned i = 0; i < l->n; i++)
		if (l->fs[i].is_frozen)
			json_append_text(frozen, l->fs[i].dir);
	json_put_text(doc, "image", what);
	json_put_text(doc, "name", name);
	json_put_u64(doc, "id", id);
	json_put(doc, "frozen", frozen);
	return json_print(doc);
}

static errint_t run_create(struct invocation *inv)
{
	const struct create_opts *o = inv->opts;
	CLEANUP(snapshot_target) struct snapshot_target t = SNAPSHOT_TARGET_NONE;
	CLEANUP(freeze_list) struct freeze_list l = {.n = 0};
	char now[64];
	const char *what = inv->args[0], *name = inv->nargs > 1 ? inv->args[1] : now;
	uint32_t id;
	errint_t err = snapshot_check_names(inv->args + 1, inv->nargs - 1);

	time_name("", now);
	if (err)
		return err;
	err = snapshot_target_find(what, &t);
	if (err == -ENOENT)
		err = create_here(&o->freeze, what, name, &id);
	else if (!err)
		err = create_attached(&o->freeze, &t, name, &l, &id);
	if (err)
		return err;
	if (o->json)
		return print_created(what, name, id, &l);
	puts(name);
	return 0;
}

static const struct cmd_option create_options[] = {
	{
		.name = "freeze",
		.arg = "MOUNTPOINT",
		.arg_optional = true,
		.set = option_freeze,
		.offset = offsetof(struct create_opts, freeze),
		.help = "Freeze the file system there for the moment, so that the snapshot holds all "
			"that was written to it, as if it had been unmounted. Without MOUNTPOINT: all file "
			"systems on the device, its partitions, and volumes on it.",
	},
	OPTION_JSON(struct create_opts),
	{.name = NULL},
};

static const struct cmd_example create_examples[] = {
	{"snapshot create disk.ublk before-upgrade", "Remember the disk as it is now."},
	{"snapshot create /dev/ublkb0", "The same while it is in use, named by the time."},
	{"snapshot create --freeze /dev/ublkb0", "With all that was written to its file systems."},
	{NULL, NULL},
};

const struct command cmd_snapshot_create = {
	.name = "snapshot create",
	.group = "Snapshots",
	.summary = "Take a snapshot",
	.operands = "IMAGE|DEVICE [NAME]",
	.min_args = 1,
	.max_args = 2,
	.options = create_options,
	.opts_size = sizeof(struct create_opts),
	.help = "Remembers the disk in IMAGE as it is now, and prints the snapshot's name: NAME, or "
		"else the time. It takes no space by itself; what the disk held then takes space "
		"when the disk is written to later.\n\n"
		"The disk may be in use meanwhile: of a file system that is mounted, the snapshot is "
		"what a power failure would have left, unless it is frozen. Programs that write to it "
		"wait then until the snapshot is taken; whatever happens, it is thawed after 20 "
		"seconds. If that was too early, there is no snapshot. Freezing needs root.",
	.examples = create_examples,
	.run = run_create,
};

/* ---- rename -------------------------------------------------------------------------------- */

struct rename_opts {
	bool json;
};

static errint_t run_rename(struct invocation *inv)
{
	const struct rename_opts *o = inv->opts;
	CLEANUP(snapshot_target) struct snapshot_target t = SNAPSHOT_TARGET_NONE;
	json_t *doc;
	errint_t err = snapshot_check_names(inv->args + 1, 2);

	if (!err)
		err = snapshot_target_open(inv->args[0], true, &t);
	if (!err)
		err = snapshot_target_call(
			&t, "snapshot-rename",
			json_pack("{s:s, s:s}", "name", inv->args[1], "to", inv->args[2]), NULL);
	if (!err)
		err = snapshot_target_close(&t);
	if (err || !o->json)
		return err;
	doc = json_document("snapshot rename");
	json_put_text(doc, "image", inv->args[0]);
	json_put_text(doc, "name", inv->args[1]);
	json_put_text(doc, "new_name", inv->args[2]);
	return json_print(doc);
}

static const struct cmd_option rename_options[] = {
	OPTION_JSON(struct rename_opts),
	{.name = NULL},
};

static const struct cmd_example rename_examples[] = {
	{"snapshot rename disk.ublk before-upgrade good", "Give a snapshot another name."},
	{NULL, NULL},
};

const struct command cmd_snapshot_rename = {
	.name = "snapshot rename",
	.group = "Snapshots",
	.summary = "Give a snapshot another name",
	.operands = "IMAGE|DEVICE NAME NEW",
	.min_args = 3,
	.max_args = 3,
	.options = rename_options,
	.opts_size = sizeof(struct rename_opts),
	.help = "Gives the snapshot NAME the name NEW, which no other may have: 1 to 127 bytes of UTF-8 "
		"without a slash.",
	.examples = rename_examples,
	.run = run_rename,
};

/* ---- delete -------------------------------------------------------------------------------- */

struct delete_opts {
	int progress;
	bool json;
};

static errint_t print_deleted(const char *what, char **names, unsigned n, bool done)
{
	json_t *doc = json_document("snapshot delete"), *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_append_text(list, names[i]);
	json_put_text(doc, "image", what);
	json_put(doc, "names", list);
	json_put_bool(doc, "freed", done);
	return json_print(doc);
}

static errint_t run_delete(struct invocation *inv)
{
	const struct delete_opts *o = inv->opts;
	CLEANUP(snapshot_target) struct snapshot_target t = SNAPSHOT_TARGET_NONE;
	bool done = false;
	errint_t err = snapshot_check_names(inv->args + 1, inv->nargs - 1);

	if (!err)
		err = snapshot_target_open(inv->args[0], true, &t);
	for (unsigned i = 1; i < inv->nargs && !err; i++)
		err = snapshot_target_call(&t, "snapshot-delete",
					   json_pack("{s:s}", "name", inv->args[i]), NULL);
	if (!err)
		err = snapshot_target_reclaim(&t, o->progress, &done);
	if (!err)
		err = snapshot_target_close(&t);
	if (err || !o->json)
		return err;
	return print_deleted(inv->args[0], inv->args + 1, inv->nargs - 1, done);
}

static const struct cmd_option delete_options[] = {
	OPTION_PROGRESS(struct delete_opts),
	OPTION_JSON(struct delete_opts),
	{.name = NULL},
};

static const struct cmd_example delete_examples[] = {
	{"snapshot delete disk.ublk before-upgrade", "Forget a snapshot."},
	{NULL, NULL},
};

const struct command cmd_snapshot_delete = {
	.name = "snapshot delete",
	.group = "Snapshots",
	.summary = "Delete snapshots",
	.operands = "IMAGE|DEVICE NAME...",
	.min_args = 2,
	.max_args = DELETE_MAX,
	.options = delete_options,
	.opts_size = sizeof(struct delete_opts),
	.help = "Deletes the snapshot NAME, or several, in any order. Neither the disk nor other "
		"snapshots change.\n\n"
		"The space that only the snapshot needed is freed before the command ends. When the "
		"image is attached that is done in the background, and \"snapshot list\" shows how far "
		"it is. Space that two others have in common, because the disk was rolled back, is "
		"freed with one of them.",
	.examples = delete_examples,
	.run = run_delete,
};

/* ---- rollback ------------------------------------------------------------------------------ */

struct rollback_opts {
	const char *keep;
	bool discard, json;
	int progress;
};

static errint_t roll_back(const struct rollback_opts *o, struct snapshot_target *t,
			  const char *name, const char *keep, json_t **result)
{
	json_t *params = json_pack("{s:s}", "name", name);
	bool done = false;
	errint_t err;

	if (keep)
		json_object_set_new(params, "keep", json_string(keep));
	err = snapshot_target_call(t, "snapshot-rollback", params, result);
	if (!err && !keep)
		err = snapshot_target_reclaim(t, o->progress, &done);
	return err ? err : snapshot_target_close(t);
}

static errint_t run_rollback(struct invocation *inv)
{
	const struct rollback_opts *o = inv->opts;
	CLEANUP(snapshot_target) struct snapshot_target t = SNAPSHOT_TARGET_NONE;
	CLEANUP(json) json_t *result = NULL;
	char now[64];
	const char *keep = o->keep ? o->keep : o->discard ? NULL : now;
	json_t *doc;
	errint_t err;

	time_name("before-rollback-", now);
	if (o->keep && o->discard)
		return usage_error(inv, "--keep and --discard-current exclude each other");
	err = snapshot_check_names(inv->args + 1, 1);
	if (!err && keep)
		err = snapshot_check_name(keep);
	if (!err)
		err = snapshot_target_open(inv->args[0], true, &t);
	if (!err)
		err = roll_back(o, &t, inv->args[1], keep, &result);
	if (err)
		return err;
	if (o->json) {
		doc = json_document("snapshot rollback");
		json_put_text(doc, "image", inv->args[0]);
		json_put_text(doc, "name", inv->args[1]);
		json_put(doc, "kept", keep ? json_string(keep) : json_null());
		json_put(doc, "virtual_size", json_incref(json_object_get(result, "virtual_size")));
		return json_print(doc);
	}
	if (keep)
		puts(keep);
	return 0;
}

static const struct cmd_option rollback_options[] = {
	{
		.name = "keep",
		.arg = "NAME",
		.set = option_string,
		.offset = offsetof(struct rollback_opts, keep),
		.help = "Name of the snapshot that the disk as it is now becomes. Without it, "
			"before-rollback- and the time.",
	},
	{
		.name = "discard-current",
		.set = option_flag,
		.offset = offsetof(struct rollback_opts, discard),
		.help = "Keep no snapshot of the disk as it is now: what changed since then is lost.",
	},
	OPTION_PROGRESS(struct rollback_opts),
	OPTION_JSON(struct rollback_opts),
	{.name = NULL},
};

static const struct cmd_example rollback_examples[] = {
	{"snapshot rollback disk.ublk before-upgrade", "Go back, and keep what is there now."},
	{NULL, NULL},
};

const struct command cmd_snapshot_rollback = {
	.name = "snapshot rollback",
	.group = "Snapshots",
	.summary = "Let the disk be what a snapshot holds",
	.operands = "IMAGE|DEVICE NAME",
	.min_args = 2,
	.max_args = 2,
	.options = rollback_options,
	.opts_size = sizeof(struct rollback_opts),
	.help = "Gives the disk the content, and the size, that it had when the snapshot NAME was "
		"taken. That snapshot stays. What the disk held until now becomes a snapshot, whose "
		"name is printed. It takes the same short time whatever the size.\n\n"
		"An attached disk has to be unused: not mounted, not part of another device, and open "
		"in no process.",
	.examples = rollback_examples,
	.run = run_rollback,
};
