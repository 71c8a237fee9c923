/* SPDX-License-Identifier: MIT */
/* ublk-img: finds the command, reads its options, runs it, and turns the outcome into an exit
 * status. */
#include "config.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/image_file.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/suggest.h"
#include "cli/terminal.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"

static void apply_globals(const struct global_opts *g)
{
	if (g->quiet)
		log_set_level(LOG_LEVEL_ERROR);
	else if (g->verbose)
		log_set_level(LOG_LEVEL_INFO);
	terminal_set_quiet(g->quiet);

	const char *allow = getenv("UBLK_IMG_ALLOW_BACKING");

	image_file_allow_backing(g->allow_backing || (allow && !strcmp(allow, "1")));
}

/* Standard output's errors count as the command's. */
static int finish(int status, int failed)
{
	if (output_close() && status == EXIT_OK)
		return failed;
	return status;
}

static errint_t check_operands(struct invocation *inv)
{
	const struct command *c = inv->command;
	char form[128];

	if (inv->nargs < c->min_args)
		return usage_error(inv, "operands are missing; usage: ublk-img %s %s", c->name,
				   help_operand_form(c, form));
	if (inv->nargs > c->max_args)
		return usage_error(inv, "unexpected operand \"%s\"; usage: ublk-img %s %s",
				   inv->args[c->max_args], c->name, help_operand_form(c, form));
	return 0;
}

static int run_command(const struct command *c, struct global_opts *g, int argc, char **argv)
{
	CLEANUP(free) void *opts = calloc(1, c->opts_size + 1);
	struct invocation inv = {.command = c, .opts = opts, .status = EXIT_OK};
	const struct options_parse parse = {
		.context = c->name,
		.sets = {{c->options, opts}, {global_options, g}},
		.signed_operands = c->signed_operands,
	};
	int failed = c->exit_failed ? c->exit_failed : EXIT_FAILED;
	int first;
	errint_t err;

	if (!opts) {
		log_err(-ENOMEM, "%s: cannot start", c->name);
		return failed;
	}
	if (c->defaults)
		memcpy(opts, c->defaults, c->opts_size);
	err = options_parse(&parse, argc, argv, &first);
	inv.usage = err != 0;
	if (!err && (g->help || g->version)) {
		if (g->help)
			help_command(stdout, c);
		else
			puts(PACKAGE_STRING);
		return finish(EXIT_OK, failed);
	}
	if (!err) {
		apply_globals(g);
		inv.args = argv + first;
		inv.nargs = (unsigned)(argc - first);
		err = check_operands(&inv);
	}
	if (!err)
		err = c->run(&inv);
	if (err && inv.usage) {
		char hint[128];

		snprintf(hint, sizeof(hint), "Try \"ublk-img %s --help\".", c->name);
		terminal_line(hint);
		return c->exit_usage ? c->exit_usage : EXIT_USAGE;
	}
	return finish(err ? failed : inv.status, failed);
}

static int unknown_command(const char *name)
{
	struct suggestion s = {.word = name};

	for (const struct command *const *c = commands; *c; c++)
		suggest_offer(&s, (*c)->name);
	if (s.best)
		log_fail(-EINVAL, "unknown command \"%s\"; did you mean \"%s\"?", name, s.best);
	else
		log_fail(-EINVAL, "unknown command \"%s\"", name);
	terminal_line("Try \"ublk-img --help\".");
	return EXIT_USAGE;
}

/* The first word of a command's name, and not, or not yet, a second one. */
static int run_family(const char *family, int argc, char **argv)
{
	char name[64], hint[64];

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		help_family(stdout, family);
		return finish(EXIT_OK, EXIT_FAILED);
	}
	if (argc > 1 && argv[1][0] != '-') {
		snprintf(name, sizeof(name), "%s %s", family, argv[1]);
		return unknown_command(name);
	}
	log_fail(-EINVAL, "%s: what is to be done is missing", family);
	snprintf(hint, sizeof(hint), "Try \"ublk-img %s --help\".", family);
	terminal_line(hint);
	return EXIT_USAGE;
}

/* The options before the command, and the command. */
static int run(int argc, char **argv)
{
	struct global_opts g = {0};
	const struct options_parse parse = {
		.sets = {{global_options, &g}, {NULL, NULL}},
		.stop_at_operand = true,
	};
	const struct command *c;
	int first, used;

	if (options_parse(&parse, argc, argv, &first)) {
		terminal_line("Try \"ublk-img --help\".");
		return EXIT_USAGE;
	}
	if (g.version) {
		puts(PACKAGE_STRING);
		return finish(EXIT_OK, EXIT_FAILED);
	}
	if (first == argc) {
		help_overview(g.help ? stdout : stderr);
		return finish(g.help ? EXIT_OK : EXIT_USAGE, EXIT_FAILED);
	}
	c = command_find(argv + first, argc - first, &used);
	if (c)
		return run_command(c, &g, argc - first - used + 1, argv + first + used - 1);
	if (command_is_family(argv[first]))
		return run_family(argv[first], argc - first, argv + first);
	return unknown_command(argv[first]);
}

int main(int argc, char **argv)
{
	terminal_begin();
	output_begin();
	/* A reader that went away is an error of writing, noticed where it is written. */
	signal(SIGPIPE, SIG_IGN);
	if (fault_set(getenv("UBLK_IMG_FAULTS")))
		return EXIT_USAGE;
	return run(argc, argv);
}
