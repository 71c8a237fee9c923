/* SPDX-License-Identifier: MIT */
/* Everything that is told about the commands, made from their tables; printed on standard output
 * unless a stream is named. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

#include "cli/command.h"

/* ublk-img --help */
void help_overview(FILE *out);
/* ublk-img snapshot --help: the commands whose names begin with @word */
void help_family(FILE *out, const char *word);
/* ublk-img COMMAND --help */
void help_command(FILE *out, const struct command *c);

/* The man page, as POD. */
void help_pod(FILE *out);
/* A bash completion script. */
void help_bash_completion(FILE *out);
/* The tables themselves, as a JSON document. */
MUST_CHECK errint_t help_json(void);

/* The exit statuses of @c, ends with a NULL meaning: its own or the usual. */
const struct cmd_exit *help_exits(const struct command *c);

/* "--zstd[=LEVEL]", "--progress=WHEN", "-h, --help": how @o is written. */
#define OPTION_FORM_MAX 64
const char *help_option_form(const struct cmd_option *o, char buf[OPTION_FORM_MAX]);

/* "[OPTION]... IMAGE SIZE" behind a command's name. */
const char *help_operand_form(const struct command *c, char buf[128]);

/* Calls @fn for each paragraph of @text: a run of lines between empty ones.  @verbatim: its lines
 * begin with a space and are kept. */
typedef void (*paragraph_fn)(void *arg, const char *text, int len, bool verbatim);
void help_paragraphs(const char *text, paragraph_fn fn, void *arg);

/* What the help of sizes says, for the overview and the man page. */
extern const char help_sizes[];

#endif
