/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/disk.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/size.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/check.h"

enum { CHECK_CORRUPT = 2, CHECK_LEAKS = 3 };

struct check_cmd_opts {
	bool data, json;
	unsigned threads;
	int progress; /* enum progress_mode */
};

struct check_run {
	struct progress *bar;
	bool json;
	pthread_mutex_t lock; /* problems may be found by several threads */
	json_t *problems;
	uint64_t reported;
};

static void report(void *arg, const char *problem)
{
	struct check_run *run = arg;

	SCOPED_LOCK(&run->lock);
	run->reported++;
	if (run->json)
		json_append_text(run->problems, problem);
	else
		printf("%s\n", problem);
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
	struct check_run *run = arg;

	progress_set_total(run->bar, total);
	progress_update(run->bar, done);
}

static void print_summary(const struct check_run *run, const struct check_result *r)
{
	uint64_t problems = r->corruptions + r->leaks;

	if (problems > run->reported)
		printf("... and more that is not listed\n");
	if (r->corruptions)
		printf("\n%" PRIu64 " error%s found: the image is damaged.\n", r->corruptions,
		       r->corruptions == 1 ? " was" : "s were");
	if (r->leaks)
		printf("%s%" PRIu64 " leaked unit%s found: space is marked used that nothing "
		       "uses, %s. No data is lost.\n",
		       r->corruptions ? "" : "\n", r->leaks, r->leaks == 1 ? " was" : "s were",
		       SIZE_TEXT(r->leaks * UNIT_SIZE));
	if (!problems)
		printf("No errors were found on the image.\n");
	printf("%" PRIu64 " raw clusters, %" PRIu64 " compressed clusters in %s, %" PRIu64
	       " map nodes\n",
	       r->raw_clusters, r->blobs, SIZE_TEXT(r->blob_bytes), r->nodes);
	if (r->snapshots)
		printf("%s of the disk and its %" PRIu32
		       " snapshot%s mapped, what they share counted once",
		       SIZE_TEXT(r->data_bytes), r->snapshots, r->snapshots == 1 ? "" : "s");
	else
		printf("%s of the disk mapped", SIZE_TEXT(r->data_bytes));
	printf("; %s of the file in use\n", SIZE_TEXT(r->used_units * UNIT_SIZE));
}

static errint_t print_json(const char *path, bool data, struct check_run *run,
			   const struct check_result *r)
{
	json_t *doc = json_document("check");

	json_put_text(doc, "image", path);
	json_put_bool(doc, "data_checked", data);
	json_put_u64(doc, "corruptions", r->corruptions);
	json_put_u64(doc, "leaked_units", r->leaks);
	json_put(doc, "problems", json_incref(run->problems));
	json_put_u64(doc, "snapshots", r->snapshots);
	json_put_u64(doc, "nodes", r->nodes);
	json_put_u64(doc, "raw_clusters", r->raw_clusters);
	json_put_u64(doc, "compressed_clusters", r->blobs);
	json_put_u64(doc, "compressed_bytes", r->blob_bytes);
	json_put_u64(doc, "mapped_bytes", r->data_bytes);
	json_put_u64(doc, "used_units", r->used_units);
	json_put_u64(doc, "total_units", r->total_units);
	return json_print(doc);
}

static errint_t check_opened(struct invocation *inv, struct image *im, struct check_run *run)
{
	const struct check_cmd_opts *o = inv->opts;
	const struct check_opts opts = {
		.data = o->data,
		.threads = o->threads,
		.report = report,
		.progress = progress,
		.arg = run,
	};
	struct check_result res;
	errint_t err;

	run->bar = progress_begin((enum progress_mode)o->progress, "check", 0);
	err = check_image(im, &opts, &res);
	progress_end(run->bar);
	if (err)
		return err;
	if (res.corruptions)
		inv->status = CHECK_CORRUPT;
	else if (res.leaks)
		inv->status = CHECK_LEAKS;
	if (o->json)
		return print_json(inv->args[0], o->data, run, &res);
	print_summary(run, &res);
	return output_check();
}

/* An image that is too damaged to be opened has been checked; what is none has not. */
static errint_t check_unopened(struct invocation *inv, errint_t err, struct check_run *run)
{
	const struct check_result res = {.corruptions = 1};
	enum disk_format format;

	if (err != -EBADMSG || disk_detect(inv->args[0], &format) || format != DISK_UBLK)
		return err;
	inv->status = CHECK_CORRUPT;
	if (!run->json)
		return 0;
	json_append_text(run->problems, "the image is too damaged to be opened");
	return print_json(inv->args[0], false, run, &res);
}

static errint_t run_check(struct invocation *inv)
{
	const struct check_cmd_opts *o = inv->opts;
	CLEANUP(image_file) struct image_file f;
	CLEANUP(json) json_t *problems = json_array();
	struct check_run run = {
		.json = o->json, .lock = PTHREAD_MUTEX_INITIALIZER, .problems = problems};
	/* Metadata comes in small pieces; the data of a whole disk would only push other things out
	 * of the page cache. */
	const struct image_file_opts opts = {
		.stream = !o->data,
		.accept_delta = true,
		.accept_applying = true,
	};
	errint_t err = image_file_open_as(inv->args[0], &opts, &f);

	if (err)
		return check_unopened(inv, err, &run);
	err = check_opened(inv, f.image, &run);
	return err ? err : image_file_close(&f);
}

static const struct cmd_option options[] = {
	{
		.name = "data",
		.letter = 'd',
		.set = option_flag,
		.offset = offsetof(struct check_cmd_opts, data),
		.help = "Also read all compressed data, compare its checksums and decompress it.",
	},
	OPTION_THREADS(struct check_cmd_opts,
		       "Threads for --data; as many as there are processors unless given."),
	OPTION_PROGRESS(struct check_cmd_opts),
	OPTION_JSON(struct check_cmd_opts),
	{.name = NULL},
};

static const struct cmd_exit exits[] = {
	{0, "the image is sound"},
	{1, "the check could not be carried out, or wrong usage"},
	{CHECK_CORRUPT, "the image is damaged"},
	{CHECK_LEAKS, "the image is sound, but space in it is wasted"},
	{0, NULL},
};

static const struct cmd_example examples[] = {
	{"check --data disk.ublk", "Verify everything that has a checksum."},
	{NULL, NULL},
};

const struct command cmd_check = {
	.name = "check",
	.group = "Images",
	.summary = "Verify that an image is sound",
	.operands = "IMAGE",
	.min_args = 1,
	.max_args = 1,
	.options = options,
	.opts_size = sizeof(struct check_cmd_opts),
	.help = "Verifies every checksum, field and reserved byte of the image's metadata, and that "
		"what the disk uses and what is marked used in the image agree exactly. Nothing is "
		"changed, and there is no repair: none is needed after a crash, and damage is not "
		"guessed at.\n\n"
		"Data that is stored as it is, raw, has no checksums and is not verified. Of an image on a "
		"backing file only the image is, not that file, and not whether it is the right one, which "
		"every command that reads the disk looks at.",
	.exits = exits,
	.exit_usage = 1,
	.examples = examples,
	.run = run_check,
};
