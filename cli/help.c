/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/help.h"

#include <assert.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/json_output.h"

enum { COLUMNS = 80, OPTION_INDENT = 2, NAME_INDENT = 21, TEXT_INDENT = 26 };

const char help_sizes[] =
	"A SIZE is a number of bytes, or a number with a unit: K, M, G, T, P or E, powers of 1024, "
	"in either case, with or without \"iB\". A number with a unit may have a fraction: 1.5G.";

const char *help_option_form(const struct cmd_option *o, char buf[OPTION_FORM_MAX])
{
	char letter[8] = "    ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	snprintf(buf, OPTION_FORM_MAX, "%s--%s%s%s%s%s", letter, o->name,
		 o->arg_optional ? "[" : "", o->arg ? "=" : "", o->arg ? o->arg : "",
		 o->arg_optional ? "]" : "");
	return buf;
}

const char *help_operand_form(const struct command *c, char buf[128])
{
	snprintf(buf, 128, "%s%s%s", c->options && c->options->name ? "[OPTION]..." : "",
		 c->options && c->options->name && *c->operands ? " " : "", c->operands);
	return buf;
}

const struct cmd_exit *help_exits(const struct command *c)
{
	static const struct cmd_exit usual[] = {
		{EXIT_OK, "success"},
		{EXIT_FAILED, "failure"},
		{EXIT_USAGE, "wrong usage"},
		{0, NULL},
	};

	return c->exits ? c->exits : usual;
}

void help_paragraphs(const char *text, paragraph_fn fn, void *arg)
{
	while (*text) {
		const char *end = strstr(text, "\n\n");
		int len = end ? (int)(end - text) : (int)strlen(text);

		fn(arg, text, len, *text == ' ');
		text += len;
		text += strspn(text, "\n");
	}
}

/* Prints the words of @text, wrapped, in a column that begins at @indent; the cursor stands at
 * @at. */
static void print_wrapped(FILE *out, const char *text, int len, int indent, int at)
{
	const char *end = text + len;

	while (text < end) {
		int word = 0;

		while (text + word < end && text[word] != ' ' && text[word] != '\n')
			word++;
		if (at > indent && at + 1 + word > COLUMNS) {
			fputc('\n', out);
			at = 0;
		}
		if (at <= indent) {
			fprintf(out, "%*s", indent - at, "");
			at = indent;
		} else {
			fputc(' ', out);
			at++;
		}
		fprintf(out, "%.*s", word, text);
		at += word;
		text += word;
		while (text < end && (*text == ' ' || *text == '\n'))
			text++;
	}
	fputc('\n', out);
}

/* A row of two columns. */
static void print_row(FILE *out, const char *left, const char *right, int indent)
{
	int at = fprintf(out, "%*s%s", OPTION_INDENT, "", left);

	if (at + 2 > indent) {
		fputc('\n', out);
		at = 0;
	}
	print_wrapped(out, right, (int)strlen(right), indent, at);
}

static void print_options(FILE *out, const char *heading, const struct cmd_option *rows)
{
	char form[OPTION_FORM_MAX];

	if (!rows || !rows->name)
		return;
	fprintf(out, "\n%s:\n", heading);
	for (; rows->name; rows++)
		print_row(out, help_option_form(rows, form), rows->help, TEXT_INDENT);
}

static void print_paragraph(void *arg, const char *text, int len, bool verbatim)
{
	FILE *out = arg;

	fputc('\n', out);
	if (verbatim)
		fprintf(out, "%.*s\n", len, text);
	else
		print_wrapped(out, text, len, 0, 0);
}

void help_overview(FILE *out)
{
	const char *group = "";

	fprintf(out, "Usage: ublk-img COMMAND [OPTION]... [OPERAND]...\n\n"
		     "Disks kept in one ordinary file: sparse and compressed.\n");
	for (const struct command *const *c = commands; *c; c++) {
		if (strcmp((*c)->group, group) != 0)
			fprintf(out, "\n%s:\n", (*c)->group);
		group = (*c)->group;
		print_row(out, (*c)->name, (*c)->summary, NAME_INDENT);
	}
	print_options(out, "Options of every command", global_options);
	print_paragraph(out, help_sizes, (int)strlen(help_sizes), false);
	fprintf(out, "\n\"ublk-img help COMMAND\" says more about a command.\n");
}

void help_family(FILE *out, const char *word)
{
	char form[128];

	fputs("Usage:\n", out);
	for (const struct command *const *c = commands; *c; c++)
		if (command_second(*c, word))
			fprintf(out, "  ublk-img %s %s\n", (*c)->name, help_operand_form(*c, form));
	fputc('\n', out);
	for (const struct command *const *c = commands; *c; c++)
		if (command_second(*c, word))
			print_row(out, command_second(*c, word), (*c)->summary, NAME_INDENT);
	fprintf(out, "\n\"ublk-img help %s COMMAND\" says more about one of them.\n", word);
}

void help_command(FILE *out, const struct command *c)
{
	char form[128];

	fprintf(out, "Usage: ublk-img %s %s\n\n%s.\n", c->name, help_operand_form(c, form),
		c->summary);
	help_paragraphs(c->help, print_paragraph, out);
	print_options(out, "Options", c->options);
	fprintf(out, "\nExit status:\n");
	for (const struct cmd_exit *e = help_exits(c); e->meaning; e++)
		fprintf(out, "%*s%d  %s\n", OPTION_INDENT, "", e->status, e->meaning);
	if (c->examples)
		fprintf(out, "\nExamples:\n");
	for (const struct cmd_example *e = c->examples; e && e->command; e++)
		fprintf(out, "%*sublk-img %s\n%*s%s\n", OPTION_INDENT, "", e->command,
			4 * OPTION_INDENT, "", e->what);
	fprintf(out, "\n\"ublk-img --help\" lists the options of every command.\n");
}

static json_t *options_json(const struct cmd_option *rows)
{
	json_t *list = json_array();

	for (; rows && rows->name; rows++) {
		json_t *o = json_object();
		const char letter[2] = {rows->letter, '\0'};

		json_put_text(o, "name", rows->name);
		json_put_text(o, "letter", letter);
		json_put_text(o, "argument", rows->arg ? rows->arg : "");
		json_put_bool(o, "argument_optional", rows->arg_optional);
		if (rows->words) {
			json_t *words = json_array();

			for (unsigned i = 0; rows->words[i]; i++)
				json_array_append_new(words, json_string(rows->words[i]));
			json_put(o, "words", words);
		}
		json_put_text(o, "help", rows->help);
		json_array_append_new(list, o);
	}
	return list;
}

errint_t help_json(void)
{
	json_t *doc = json_document("help"), *list = json_array();

	json_put(doc, "options", options_json(global_options));
	for (const struct command *const *c = commands; *c; c++) {
		json_t *o = json_object(), *exits = json_array();

		json_put_text(o, "name", (*c)->name);
		json_put_text(o, "group", (*c)->group);
		json_put_text(o, "summary", (*c)->summary);
		json_put_text(o, "operands", (*c)->operands);
		json_put(o, "options", options_json((*c)->options));
		for (const struct cmd_exit *e = help_exits(*c); e->meaning; e++) {
			json_t *exit = json_object();

			json_put_u64(exit, "status", (uint64_t)e->status);
			json_put_text(exit, "meaning", e->meaning);
			json_array_append_new(exits, exit);
		}
		json_put(o, "exit_statuses", exits);
		json_array_append_new(list, o);
	}
	json_put(doc, "commands", list);
	return json_print(doc);
}
