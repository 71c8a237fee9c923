/* SPDX-License-Identifier: MIT */
/* The subcommands, one file each: cmd_NAME.c. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/command.h"

extern const struct command cmd_attach;
extern const struct command cmd_check;
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
extern const struct command cmd_resize;
extern const struct command cmd_umount;

/* In the order in which help lists them; ends with NULL. */
extern const struct command *const commands[];

/* The command called @name, or NULL. */
const struct command *command_find(const char *name);

/* Options accepted before the command's name and among its own. */
struct global_opts {
	bool help, version;
	bool quiet, verbose;
	const char *debug;
};
extern const struct cmd_option global_options[];

#endif
