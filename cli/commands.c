/* SPDX-License-Identifier: MIT */
/* The list of subcommands, and the options that all of them share. */
#include "config.h"

#include "cli/commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "common/log.h"

const struct command *const commands[] = {
	&cmd_create,
	&cmd_convert,
	&cmd_info,
	&cmd_map,
	&cmd_check,
	&cmd_resize,
	&cmd_compare,
	&cmd_measure,
	&cmd_commit,
	&cmd_rebase,
	&cmd_snapshot_create,
	&cmd_snapshot_list,
	&cmd_snapshot_diff,
	&cmd_snapshot_rename,
	&cmd_snapshot_delete,
	&cmd_snapshot_rollback,
	&cmd_apply,
	&cmd_attach,
	&cmd_detach,
	&cmd_list,
	&cmd_recover,
	&cmd_upgrade,
	&cmd_mount,
	&cmd_umount,
	&cmd_help,
	NULL,
};

const char *command_second(const struct command *c, const char *word)
{
	size_t len = strlen(word);

	return !strncmp(c->name, word, len) && c->name[len] == ' ' ? c->name + len + 1 : NULL;
}

bool command_is_family(const char *word)
{
	for (const struct command *const *c = commands; *c; c++)
		if (command_second(*c, word))
			return true;
	return false;
}

const struct command *command_find(char *const *words, int n, int *used)
{
	for (const struct command *const *c = commands; *c; c++) {
		const char *second = command_second(*c, words[0]);

		*used = second ? 2 : 1;
		if (n > 1 && second ? !strcmp(second, words[1]) : !strcmp((*c)->name, words[0]))
			return *c;
	}
	return NULL;
}

errint_t usage_error(struct invocation *inv, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	inv->usage = true;
	return log_fail(-EINVAL, "%s: %s", inv->command->name, text);
}

const struct cmd_option global_options[] = {
	{
		.name = "help",
		.letter = 'h',
		.set = option_flag,
		.offset = offsetof(struct global_opts, help),
		.help = "Print help and exit.",
	},
	{
		.name = "version",
		.letter = 'V',
		.set = option_flag,
		.offset = offsetof(struct global_opts, version),
		.help = "Print the version and exit.",
	},
	{
		.name = "quiet",
		.letter = 'q',
		.set = option_flag,
		.offset = offsetof(struct global_opts, quiet),
		.help = "Print no warnings and no progress, only errors and results.",
	},
	{
		.name = "verbose",
		.letter = 'v',
		.set = option_flag,
		.offset = offsetof(struct global_opts, verbose),
		.help = "Say more about what is done.",
	},
	{
		.name = "allow-backing",
		.set = option_flag,
		.offset = offsetof(struct global_opts, allow_backing),
		.help = "Open an image's backing file wherever it is. Without it, only one at or "
			"below the image's own directory is, as an image from somebody else could "
			"name any file. UBLK_IMG_ALLOW_BACKING=1 in the environment says the same.",
	},
	{
		.name = "debug",
		.arg = "SUBSYS",
		.set = option_debug,
		.offset = offsetof(struct global_opts, debug),
		.help = "Print debug messages of a subsystem, or of several separated by commas: "
			"store, alloc, map, journal, txn, data, cli, or all.",
	},
	{.name = NULL},
};
