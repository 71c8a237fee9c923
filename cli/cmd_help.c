/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdio.h>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options.h"

struct help_opts {
	bool pod, bash_completion, json;
};

static errint_t run_help(struct invocation *inv)
{
	const struct help_opts *o = inv->opts;
	const struct command *c = NULL;
	int used = 0;

	if (o->pod + o->bash_completion + o->json + !!inv->nargs > 1)
		return usage_error(inv, "only one of --pod, --bash-completion, --json and COMMAND "
					"can be given");
	if (inv->nargs) {
		c = command_find(inv->args, (int)inv->nargs, &used);
		if (c && used == (int)inv->nargs)
			help_command(stdout, c);
		else if (inv->nargs == 1 && command_is_family(inv->args[0]))
			help_family(stdout, inv->args[0]);
		else
			return usage_error(inv, "there is no command \"%s%s%s\"", inv->args[0],
					   inv->nargs > 1 ? " " : "",
					   inv->nargs > 1 ? inv->args[1] : "");
	} else if (o->pod) {
		help_pod(stdout);
	} else if (o->bash_completion) {
		help_bash_completion(stdout);
	} else if (o->json) {
		return help_json();
	} else {
		help_overview(stdout);
	}
	return 0;
}

static const struct cmd_option options[] = {
	{
		.name = "pod",
		.set = option_flag,
		.offset = offsetof(struct help_opts, pod),
		.help = "Print the manual page in POD form, for pod2man.",
	},
	{
		.name = "bash-completion",
		.set = option_flag,
		.offset = offsetof(struct help_opts, bash_completion),
		.help = "Print a completion script for bash.",
	},
	{
		.name = "json",
		.set = option_flag,
		.offset = offsetof(struct help_opts, json),
		.help = "Print all commands and options as JSON.",
	},
	{.name = NULL},
};

static const struct cmd_example examples[] = {
	{"help create", "Say how disks are created."},
	{"help --bash-completion > /etc/bash_completion.d/ublk-img",
	 "Complete commands and options in bash."},
	{NULL, NULL},
};

const struct command cmd_help = {
	.name = "help",
	.group = "Help",
	.summary = "Say how a command is used",
	.operands = "[COMMAND]",
	.max_args = 2,
	.options = options,
	.opts_size = sizeof(struct help_opts),
	.help = "Without COMMAND, lists the commands. \"ublk-img COMMAND --help\" does the same as "
		"\"ublk-img help COMMAND\".",
	.examples = examples,
	.run = run_help,
};
