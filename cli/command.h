/* SPDX-License-Identifier: MIT */
/*
 * What a subcommand is: data.  --help, the man page, shell completion and the parsing of options
 * are all made from these tables (options.c, help.c, pod.c, completion.c).
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "common/errint.h"

enum exit_status { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct cmd_option;

/*
 * Stores what the user gave for option @o: @arg (NULL when there is none) into the member of the
 * command's options that o->offset names.  On failure the message is logged, naming the option.
 */
typedef errint_t (*option_set_fn)(const struct cmd_option *o, const char *arg, void *field);

/* One option.  A table of them ends with a row whose name is NULL. */
struct cmd_option {
	const char *name;	  /* without the dashes */
	char letter;		  /* its short form, or 0 */
	const char *arg;	  /* what its argument is called in help; NULL: it takes none */
	bool arg_optional;	  /* --name or --name=ARG, never "--name ARG" */
	const char *const *words; /* the only arguments accepted, NULL-terminated; or NULL */
	option_set_fn set;	  /* options.h */
	size_t offset;		  /* in the command's options */
	const char *help;	  /* sentences, without line breaks */
};

struct cmd_exit {
	int status;
	const char *meaning;
};

struct cmd_example {
	const char *command; /* without "ublk-img " */
	const char *what;
};

/* How a command was called, and what it wants the process to exit with. */
struct invocation {
	const struct command *command;
	const void *opts; /* the command's options, of type and size that its table names */
	char **args;	  /* operands; their number is within the table's limits */
	unsigned nargs;
	int status; /* out: exit status of a run that returns 0; EXIT_OK unless set */
	bool usage; /* out: the failure is the caller's fault; see usage_error() */
};

struct command {
	const char *name;
	const char *group;    /* heading in the list of commands */
	const char *summary;  /* half a line, imperative, no full stop */
	const char *operands; /* "IMAGE SIZE" */
	unsigned min_args, max_args;
	bool signed_operands; /* -1G is an operand */
	const struct cmd_option *options;
	size_t opts_size;
	const void *defaults; /* initial options, opts_size bytes; NULL: zeros */
	/* Paragraphs separated by empty lines; a line that begins with a space is kept as it is. */
	const char *help;
	/* Exit statuses other than 0 for success, 1 for failure, 2 for wrong usage; ends with a
	 * NULL meaning.  When given, it replaces the usual list. */
	const struct cmd_exit *exits;
	int exit_failed;			 /* 0: EXIT_FAILED */
	int exit_usage;				 /* 0: EXIT_USAGE */
	const struct cmd_example *examples;	 /* ends with a NULL command */
	errint_t (*run)(struct invocation *inv); /* messages are logged; results on stdout */
};

/* Report wrong usage found by a command itself: logs the message behind the command's name and
 * returns -EINVAL. */
errint_t usage_error(struct invocation *inv, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
