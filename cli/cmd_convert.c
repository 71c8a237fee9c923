/* SPDX-License-Identifier: MIT */
/* What is converted into what; the work itself is in convert.c and its sinks. */
#include "config.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/commands.h"
#include "cli/convert.h"
#include "cli/delta.h"
#include "cli/json_output.h"
#include "cli/new_file.h"
#include "cli/options.h"
#include "cli/size.h"
#include "cli/snapshot_target.h"
#include "cli/source.h"
#include "cli/workers.h"
#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/report.h"

enum { CHUNK = 1 << 20 };

/* In the order of output_words. */
enum output_format { OUTPUT_DEFAULT, OUTPUT_UBLK, OUTPUT_RAW };
static const char *const output_words[] = {"auto", "ublk", "raw", NULL};

struct convert_opts {
	struct compression compression;
	uint8_t cluster_shift, sector_shift;
	int format; /* enum disk_format */
	int output; /* enum output_format */
	unsigned threads;
	int progress; /* enum progress_mode */
	const char *since, *from_snapshot;
	bool force, json;
};

static const struct convert_opts defaults = {.cluster_shift = 16, .sector_shift = 9};

enum target_kind { TARGET_FILE, TARGET_DEVICE, TARGET_STREAM };

struct job {
	const struct convert_opts *o;
	const char *source, *target;
	enum target_kind kind;
	bool raw;	   /* the target is */
	struct disk *disk; /* NULL: standard input */
	uint64_t size;	   /* of the source; of a pipe, when its end has come */
	struct store *st;  /* NULL: standard output */
	struct sink *sink;
	const struct delta *delta; /* NULL: all of the disk is converted */
	struct content content;	   /* of the image */
	struct convert_totals totals;
	uint64_t length, usage; /* of the finished file */
};

static bool is_stdio(const char *name)
{
	return !strcmp(name, "-");
}

/* -- what was asked for -------------------------------------------------- */

static errint_t check_target(struct invocation *inv, struct job *j)
{
	const struct convert_opts *o = j->o;

	if (o->compression.codec != CODEC_NONE && j->raw)
		return usage_error(inv, "--zstd is for images, and %s is to be raw", j->target);
	if (j->kind == TARGET_STREAM && !j->raw)
		return usage_error(inv, "an image cannot be written to a pipe; only -O raw can");
	if (j->kind == TARGET_STREAM && o->json)
		return usage_error(inv, "--json and the disk would both go to standard output");
	if (o->since && j->kind != TARGET_FILE)
		return usage_error(inv, "a delta is kept in a file, and %s is none", j->target);
	if (j->kind == TARGET_DEVICE && !j->raw)
		return usage_error(inv,
				   "%s is a block device, and images are kept in files; "
				   "-O raw writes the disk itself",
				   j->target);
	if (!j->disk && o->format == DISK_UBLK)
		return usage_error(inv, "an image cannot be read from a pipe");
	return 0;
}

static void classify_target(struct job *j)
{
	struct stat st;

	j->kind = TARGET_FILE;
	if (is_stdio(j->target))
		j->kind = TARGET_STREAM;
	else if (!stat(j->target, &st) && S_ISBLK(st.st_mode))
		j->kind = TARGET_DEVICE;
	j->raw = j->o->output == OUTPUT_RAW ||
		 (j->o->output == OUTPUT_DEFAULT && j->kind != TARGET_FILE);
}

static errint_t refuse_same_file(const struct job *j)
{
	struct stat a, b;

	if (!j->disk || j->kind == TARGET_STREAM || stat(j->source, &a) || stat(j->target, &b))
		return 0;
	if ((a.st_dev == b.st_dev && a.st_ino == b.st_ino) ||
	    (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode) && a.st_rdev == b.st_rdev))
		return log_fail(-EINVAL, "%s and %s are the same", j->source, j->target);
	return 0;
}

/* An image of a snapshot can be brought up to date by deltas, so it says what it holds. */
static errint_t note_point(struct job *j)
{
	bool known = false;
	errint_t err = j->raw ? 0 : disk_point(j->disk, &j->content.target, &known);

	if (!err && known && !(j->size % (1ull << j->o->sector_shift)))
		j->content.state = CONTENT_AT;
	return err;
}

static errint_t open_source(struct job *j)
{
	errint_t err = disk_open(j->source, (enum disk_format)j->o->format, &j->disk);

	if (err)
		return err;
	j->size = disk_size(j->disk);
	return note_point(j);
}

/* A disk has whole sectors, a file any number of bytes. */
static void tell_rounding(const struct job *j)
{
	unsigned sector = 1u << j->o->sector_shift;

	if (!j->raw && j->size % sector)
		log_warn("%s: %" PRIu64 " bytes are no whole number of sectors: the disk ends with "
			 "%" PRIu64 " bytes of zeros more",
			 j->source, j->size, sector - j->size % sector);
}

/* -- conversion ---------------------------------------------------------- */

static errint_t make_sink(struct job *j)
{
	const struct convert_opts *o = j->o;
	uint64_t sector = 1ull << o->sector_shift;
	const struct image_params params = {
		.size = (j->size + sector - 1) & ~(sector - 1),
		.cluster_shift = j->delta ? j->delta->geo.cluster_shift : o->cluster_shift,
		.sector_shift = j->delta ? j->delta->geo.sector_shift : o->sector_shift,
		.codec = o->compression.codec,
		.level = o->compression.level,
		.creator = PACKAGE_STRING,
		.content = j->content.state == CONTENT_UNKNOWN ? NULL : &j->content,
	};

	if (j->kind == TARGET_STREAM)
		return sink_stream_new(STDOUT_FILENO, "standard output", &j->sink);
	if (j->raw)
		return sink_raw_new(j->st, j->kind == TARGET_DEVICE, &j->sink);
	return sink_image_new(j->st, &params, &j->sink);
}

static errint_t run_pipeline(struct job *j)
{
	uint64_t data = j->size, zero = 0;

	if (j->delta)
		changes_total(&j->delta->changes, &data, &zero);

	CLEANUP(progress)
	struct progress *bar =
		progress_begin((enum progress_mode)j->o->progress, "convert", data + zero);
	struct convert c = {
		.source = j->source,
		.disk = j->disk,
		.changes = j->delta ? &j->delta->changes : NULL,
		.sink = j->sink,
		.chunk_bytes = CHUNK,
		.bar = bar,
	};
	errint_t err = convert_run(&c, workers_count(j->o->threads));

	if (!j->disk)
		j->size = c.at;
	j->totals = j->sink->totals;
	return err;
}

static errint_t convert_into(struct job *j)
{
	errint_t err = make_sink(j);

	if (!err)
		err = run_pipeline(j);
	sink_free(j->sink);
	j->sink = NULL;
	if (!err && j->st) {
		j->usage = store_usage(j->st);
		err = store_length(j->st, &j->length);
	}
	return err;
}

static errint_t convert_to_file(struct job *j)
{
	struct new_file file;
	errint_t err = new_file_begin(&file, j->target, j->o->force);

	if (!err)
		err = store_file_open(file.temp, STORE_FILE_CREATE, &j->st);
	/* Not written beyond the end while threads write at once. */
	if (!err && j->raw)
		err = store_truncate(j->st, j->size);
	if (!err)
		err = convert_into(j);
	store_close(j->st);
	if (!err)
		err = new_file_finish(&file);
	if (err)
		new_file_abandon(&file);
	return err;
}

/* That it is none of a whole disk is written down before it is there. */
static errint_t convert_to_raw_delta(struct job *j)
{
	errint_t err = delta_write_extents(j->target, j->delta);

	if (err)
		return err;
	err = convert_to_file(j);
	if (err)
		delta_remove_extents(j->target);
	return err;
}

static errint_t check_device_size(struct job *j)
{
	uint64_t length;
	errint_t err = store_length(j->st, &length);

	if (err || j->size <= length)
		return err;
	return log_fail(-ENOSPC, "%s: has %s, too few for %s, which has %s", j->target,
			SIZE_TEXT(length), j->source, SIZE_TEXT(j->size));
}

static errint_t convert_to_device(struct job *j)
{
	/* The kernel's exclusive hold: nobody has it mounted or in use otherwise. */
	CLEANUP(close) int hold = -1;
	errint_t err;

	if (!j->o->force)
		return log_fail(-EEXIST, "%s: is a block device; --force overwrites its content",
				j->target);
	hold = open(j->target, O_RDWR | O_EXCL | O_CLOEXEC);
	if (hold < 0)
		return log_errno("%s: cannot write to it", j->target);
	err = store_file_open(j->target, 0, &j->st);
	if (!err)
		err = check_device_size(j);
	if (!err)
		err = convert_into(j);
	store_close(j->st);
	return err;
}

/* -- results ------------------------------------------------------------- */

static errint_t print_json(const struct job *j)
{
	json_t *doc = json_document("convert");

	json_put_text(doc, "source", j->source);
	json_put_text(doc, "target", j->target);
	json_put_text(doc, "format", j->raw ? "raw" : "ublk");
	json_put_u64(doc, "source_size", j->size);
	json_put_u64(doc, "file_length", j->length);
	json_put_u64(doc, "disk_usage", j->usage);
	json_put_u64(doc, "raw_bytes", j->totals.raw);
	json_put_u64(doc, "compressed_bytes", j->totals.compressed);
	json_put_u64(doc, "stored_bytes", j->totals.stored);
	if (j->delta) {
		json_put(doc, "base", report_point_json(&j->delta->content.base));
		json_put(doc, "snapshot", report_point_json(&j->delta->content.target));
	}
	if (!j->raw)
		json_put(doc, "compression",
			 report_compression_json(j->o->compression.codec, j->o->compression.level));
	return json_print(doc);
}

static errint_t report_job(const struct job *j)
{
	log_info("%s: converted to %s, %" PRIu64 " bytes for a disk of %" PRIu64, j->source,
		 j->target, j->length, j->size);
	return j->o->json ? print_json(j) : 0;
}

/* -- deltas -------------------------------------------------------------- */

static errint_t convert_delta(struct invocation *inv, struct job *j, const struct delta_range *r,
			      struct snapshot_target *t)
{
	CLEANUP(delta) struct delta d;
	CLEANUP(disk) struct disk *disk = NULL;
	errint_t err = delta_find(r, t, &d);

	if (!err)
		err = disk_open_at(r->image, r->until, &disk);
	if (!err)
		err = delta_confirm(r, t, &d);
	if (err)
		return err;
	j->disk = disk;
	j->size = d.content.target.size;
	j->delta = &d;
	j->content = d.content;
	err = check_target(inv, j);
	if (!err)
		err = refuse_same_file(j);
	if (!err)
		err = j->raw ? convert_to_raw_delta(j) : convert_to_file(j);
	return err ? err : report_job(j);
}

/* IMAGE@NAME, or IMAGE and --from-snapshot NAME. */
static errint_t run_delta(struct invocation *inv, struct job *j)
{
	CLEANUP(snapshot_target) struct snapshot_target t = SNAPSHOT_TARGET_NONE;
	CLEANUP(source) struct source s = SOURCE_NONE;
	struct delta_range r = {.since = j->o->since, .until = j->o->from_snapshot};
	errint_t err;

	if (!r.since)
		return usage_error(inv, "--from-snapshot is for deltas: say --since, or convert "
					"IMAGE@NAME");
	if (is_stdio(j->source))
		return usage_error(inv, "a delta is made of an image, not of a pipe");
	err = snapshot_check_name(r.since);
	if (!err && r.until)
		err = snapshot_check_name(r.until);
	if (!err)
		err = source_parse(j->source, &s);
	if (err)
		return err;
	if (s.snapshot && r.until)
		return usage_error(inv, "%s names a snapshot already", j->source);
	if (s.snapshot)
		r.until = s.snapshot;
	r.image = s.image;
	return convert_delta(inv, j, &r, &t);
}

/* -- command ------------------------------------------------------------- */

static errint_t run_job(struct job *j)
{
	tell_rounding(j);
	switch (j->kind) {
	case TARGET_FILE:
		return convert_to_file(j);
	case TARGET_DEVICE:
		return convert_to_device(j);
	case TARGET_STREAM:
		return convert_into(j);
	}
	assert(!"a kind of target");
	return -EINVAL;
}

static errint_t run_convert(struct invocation *inv)
{
	struct job j = {.o = inv->opts, .source = inv->args[0], .target = inv->args[1]};
	CLEANUP(disk) struct disk *disk = NULL;
	errint_t err;

	classify_target(&j);
	if (j.o->since || j.o->from_snapshot)
		return run_delta(inv, &j);
	if (!is_stdio(j.source)) {
		err = open_source(&j);
		disk = j.disk;
		if (err)
			return err;
	} else {
		j.source = "standard input";
	}
	err = check_target(inv, &j);
	if (!err)
		err = refuse_same_file(&j);
	if (!err)
		err = run_job(&j);
	return err ? err : report_job(&j);
}

static const struct cmd_option options[] = {
	{
		.name = "format",
		.letter = 'f',
		.arg = "FORMAT",
		.words = disk_format_words,
		.set = option_word,
		.offset = offsetof(struct convert_opts, format),
		.help = "What SOURCE is: raw, ublk (an image), or auto, which looks at its first "
			"bytes (the default).",
	},
	{
		.name = "output",
		.letter = 'O',
		.arg = "FORMAT",
		.words = output_words,
		.set = option_word,
		.offset = offsetof(struct convert_opts, output),
		.help = "What TARGET is to be: ublk (an image; the default for files) or raw (the "
			"default for block devices and standard output).",
	},
	OPTION_ZSTD(struct convert_opts,
		    "Compress with zstd at this level (3 unless given; higher is smaller and "
		    "slower, negative is faster still). Clusters that do not shrink are stored as "
		    "they are."),
	OPTION_THREADS(struct convert_opts,
		       "Processors to use for compressing and decompressing; all unless given."),
	OPTION_CLUSTER_SIZE(struct convert_opts),
	OPTION_SECTOR_SIZE(struct convert_opts),
	{
		.name = "since",
		.arg = "NAME",
		.set = option_string,
		.offset = offsetof(struct convert_opts, since),
		.help = "Make a delta: only what has changed since the snapshot NAME.",
	},
	{
		.name = "from-snapshot",
		.arg = "NAME",
		.set = option_string,
		.offset = offsetof(struct convert_opts, from_snapshot),
		.help = "With --since: up to this snapshot, as if SOURCE were IMAGE@NAME. Without it, "
			"up to the disk as it is now.",
	},
	{
		.name = "force",
		.set = option_flag,
		.offset = offsetof(struct convert_opts, force),
		.help = "Replace the file TARGET if it exists, unless it is in use, or overwrite "
			"the block device TARGET, unless it is in use.",
	},
	OPTION_PROGRESS(struct convert_opts),
	OPTION_JSON(struct convert_opts),
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"convert --zstd disk.raw disk.ublk", "Make a compressed image of a raw disk."},
	{"convert -O raw disk.ublk disk.raw", "And back; zeros become holes in the file."},
	{"convert -O raw --force disk.ublk /dev/sdX", "Write the disk to a block device."},
	{"convert --zstd=19 - archive.ublk", "Make an image of what arrives through a pipe."},
	{"convert disk.ublk@monday monday.raw", "A snapshot, as a raw file."},
	{"convert --zstd --since monday disk.ublk@tuesday tuesday.delta",
	 "What changed from one snapshot to the next."},
	{NULL, NULL},
};

const struct command cmd_convert = {
	.name = "convert",
	.group = "Images",
	.summary = "Copy a disk into an image, or out of one",
	.operands = "SOURCE TARGET",
	.min_args = 2,
	.max_args = 2,
	.options = options,
	.opts_size = sizeof(struct convert_opts),
	.defaults = &defaults,
	.help = "Copies the content of the disk SOURCE to TARGET. SOURCE is a raw file, a block "
		"device, an image, its snapshot IMAGE@NAME, or \"-\" for raw content on standard input; TARGET is an image, "
		"a raw file, a block device, or \"-\" for raw content on standard output.\n\n"
		"Holes and zeros take no space in images and raw files. An image is written from "
		"front to back without gaps, so that its length is the space that it takes: it can "
		"be copied as it is.\n\n"
		"TARGET appears under its name when it is complete and safely on disk. An "
		"interrupted or failed convert leaves nothing behind, and with --force the old "
		"file as it was; of a block device it leaves what had been written.\n\n"
		"With --since TARGET is a delta, which \"ublk-img apply\" brings a copy of the snapshot "
		"up to date with. It is found in the map alone what has changed, and nothing else is "
		"read. Such an image cannot be taken for a disk: only apply, info, map and check open "
		"it. It has the clusters and sectors of SOURCE, whatever other options say. With "
		"-O raw there are two files, which belong together and replace none: TARGET, of the "
		"size of the disk, with holes where nothing has changed, and TARGET.extents, a JSON "
		"document that says what it is and where the changes are.\n\n"
		"A raw SOURCE that is no whole number of sectors becomes a disk that ends with "
		"zeros.",
	.examples = examples,
	.run = run_convert,
};
