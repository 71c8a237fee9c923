/* SPDX-License-Identifier: MIT */
/*
 * Reading the command line by the tables of command.h, and the kinds of options that there are.
 * A setter logs a failure and returns -EINVAL.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdint.h>

#include "cli/command.h"

/* A table and the struct that its offsets are in. */
struct option_set {
	const struct cmd_option *rows;
	void *opts;
};

#define OPTIONS_MAX 32 /* rows of all sets together */

/*
 * Reads the options of @sets (two of them, either may have NULL rows) from @argv[1..].  With
 * @stop_at_operand the first operand ends the options; otherwise operands and options may be mixed,
 * and are sorted.  *first is the index of the first operand.  With @signed_operands an argument
 * such as -1G is an operand, moved behind the others.  @context goes in front of messages; may be
 * NULL.  Returns -EINVAL with the message logged.
 */
struct options_parse {
	const char *context;
	struct option_set sets[2];
	bool stop_at_operand, signed_operands;
};
MUST_CHECK errint_t options_parse(const struct options_parse *p, int argc, char **argv, int *first);

/* bool: becomes true. */
errint_t option_flag(const struct cmd_option *o, const char *arg, void *field);
/* const char *: the argument itself. */
errint_t option_string(const struct cmd_option *o, const char *arg, void *field);
/* uint64_t: a size in bytes. */
errint_t option_size(const struct cmd_option *o, const char *arg, void *field);
/* int (or an enum): the argument's index in o->words. */
errint_t option_word(const struct cmd_option *o, const char *arg, void *field);
/* unsigned: 1..THREADS_MAX. */
#define THREADS_MAX 256u
errint_t option_threads(const struct cmd_option *o, const char *arg, void *field);
/* unsigned: 1..COUNT_MAX, for the command to check further. */
#define COUNT_MAX 65535u
errint_t option_count(const struct cmd_option *o, const char *arg, void *field);
/* const char *: the argument, handed to log_set_debug(). */
errint_t option_debug(const struct cmd_option *o, const char *arg, void *field);

/* How new data is to be compressed; zeros: not at all. */
struct compression {
	uint8_t codec; /* enum codec_id */
	int8_t level;
};
/* struct compression: --zstd[=LEVEL]. */
errint_t option_zstd(const struct cmd_option *o, const char *arg, void *field);

/* uint8_t: a shift, 16..18 for 64K, 128K, 256K. */
errint_t option_cluster_size(const struct cmd_option *o, const char *arg, void *field);
/* uint8_t: a shift, 9 or 12. */
errint_t option_sector_size(const struct cmd_option *o, const char *arg, void *field);

/* Rows that several commands have, worded alike; @type is the command's options. */
#define OPTION_JSON(type)                                                                          \
	{                                                                                          \
		.name = "json", .set = option_flag, .offset = offsetof(type, json),                \
		.help = "Print the result as JSON."                                                \
	}
#define OPTION_PROGRESS(type)                                                                              \
	{                                                                                                  \
		.name = "progress", .arg = "WHEN", .words = progress_words, .set = option_word,            \
		.offset = offsetof(type, progress),                                                        \
		.help = "Show a progress bar on standard error: auto (on a terminal, when the work takes " \
			"longer than a second; the default), always, or never."                            \
	}
#define OPTION_THREADS(type, text)                                                                 \
	{                                                                                          \
		.name = "threads", .arg = "N", .set = option_threads,                              \
		.offset = offsetof(type, threads), .help = text                                    \
	}
#define OPTION_ZSTD(type, text)                                                                    \
	{                                                                                          \
		.name = "zstd", .arg = "LEVEL", .arg_optional = true, .set = option_zstd,          \
		.offset = offsetof(type, compression), .help = text                                \
	}
#define OPTION_CLUSTER_SIZE(type)                                                                         \
	{                                                                                                 \
		.name = "cluster-size", .arg = "SIZE", .words = cluster_size_words,                       \
		.set = option_cluster_size, .offset = offsetof(type, cluster_shift),                      \
		.help = "Bytes that are mapped and compressed as one: 64K (the default; best for disks "  \
			"in daily use), 128K or 256K (smaller images, for archives that are mostly read " \
			"in sequence)."                                                                   \
	}
#define OPTION_SECTOR_SIZE(type)                                                                   \
	{                                                                                          \
		.name = "sector-size", .arg = "SIZE", .words = sector_size_words,                  \
		.set = option_sector_size, .offset = offsetof(type, sector_shift),                 \
		.help = "Bytes in a logical sector of the disk: 512 (the default) or 4096."        \
	}

extern const char *const progress_words[]; /* in the order of enum progress_mode */
extern const char *const cluster_size_words[];
extern const char *const sector_size_words[];

#endif
