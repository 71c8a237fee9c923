/* SPDX-License-Identifier: MIT */
/* The subcommands, in files cmd_NAME.c. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/command.h"

extern const struct command cmd_apply;
extern const struct command cmd_attach;
extern const struct command cmd_check;
extern const struct command cmd_commit;
extern const struct command cmd_compare;
extern const struct command cmd_convert;
extern const struct command cmd_create;
extern const struct command cmd_detach;
extern const struct command cmd_help;
extern const struct command cmd_info;
extern const struct command cmd_list;
extern const struct command cmd_map;
extern const struct command cmd_measure;
extern const struct command cmd_mount;
extern const struct command cmd_rebase;
extern const struct command cmd_recover;
extern const struct command cmd_resize;
extern const struct command cmd_snapshot_create;
extern const struct command cmd_snapshot_delete;
extern const struct command cmd_snapshot_diff;
extern const struct command cmd_snapshot_list;
extern const struct command cmd_snapshot_rename;
extern const struct command cmd_snapshot_rollback;
extern const struct command cmd_umount;
extern const struct command cmd_upgrade;

/* In the order in which help lists them; ends with NULL. */
extern const struct command *const commands[];

/*
 * The command that @words[0..@n) begin with, *used of them, or NULL.  Names have one or two words;
 * those with the same first one are a family.
 */
const struct command *command_find(char *const *words, int n, int *used);

/* Is @word the first of two words of @c's name?  Returns the second, or NULL. */
const char *command_second(const struct command *c, const char *word);
/* Is it that of any command? */
bool command_is_family(const char *word);

/* Options accepted before the command's name and among its own. */
struct global_opts {
	bool help, version;
	bool quiet, verbose;
	bool allow_backing;
	const char *debug;
};
extern const struct cmd_option global_options[];

#endif
