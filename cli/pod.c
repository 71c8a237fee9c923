/* SPDX-License-Identifier: MIT */
/* The man page.  Words that begin with "--" become bold, operands of the command italic. */
#include "config.h"

#include <ctype.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/help.h"

struct pod {
	FILE *out;
	const char *operands; /* of the command at hand, or "" */
};

/* Without the meaning that < and > have in POD. */
static void put_text(FILE *out, const char *text, int len)
{
	for (int i = 0; i < len; i++) {
		if (text[i] == '<')
			fputs("E<lt>", out);
		else if (text[i] == '>')
			fputs("E<gt>", out);
		else
			fputc(text[i], out);
	}
}

/* Letters that @word begins with of those that options are written with. */
static int option_length(const char *word, int len)
{
	int n = 2;

	while (n < len && (isalnum((unsigned char)word[n]) || word[n] == '-'))
		n++;
	return n;
}

static bool is_operand(const char *operands, const char *word, int len)
{
	const char *at = operands;

	while (len && (at = strstr(at, word))) {
		at += len;
		if (!isupper((unsigned char)*at))
			return true;
	}
	return false;
}

static void put_word(const struct pod *pod, const char *word, int len)
{
	int n = 0;

	if (len > 2 && word[0] == '-' && word[1] == '-' && islower((unsigned char)word[2])) {
		n = option_length(word, len);
		fprintf(pod->out, "B<%.*s>", n, word);
	} else {
		char name[32];

		while (n < len && n < 31 && isupper((unsigned char)word[n]))
			n++;
		snprintf(name, sizeof(name), "%.*s", n, word);
		if (n > 0 && is_operand(pod->operands, name, n))
			fprintf(pod->out, "I<%s>", name);
		else
			put_text(pod->out, word, n);
	}
	put_text(pod->out, word + n, len - n);
}

static void put_paragraph(void *arg, const char *text, int len, bool verbatim)
{
	const struct pod *pod = arg;

	for (int i = 0, word; !verbatim && i < len; i += word) {
		for (word = 0; i + word < len && !isspace((unsigned char)text[i + word]); word++)
			;
		put_word(pod, text + i, word);
		if (i + word < len) {
			fputc(text[i + word], pod->out);
			word++;
		}
	}
	if (verbatim)
		fprintf(pod->out, "%.*s", len, text);
	fputs("\n\n", pod->out);
}

static void put_options(const struct pod *pod, const struct cmd_option *rows)
{
	struct pod plain = *pod;

	if (!rows || !rows->name)
		return;
	fputs("=over 4\n\n", pod->out);
	for (; rows->name; rows++) {
		fputs("=item ", pod->out);
		if (rows->letter)
			fprintf(pod->out, "B<-%c>, ", rows->letter);
		fprintf(pod->out, "B<--%s>", rows->name);
		if (rows->arg)
			fprintf(pod->out, "%s=I<%s>%s", rows->arg_optional ? "[" : "", rows->arg,
				rows->arg_optional ? "]" : "");
		fputs("\n\n", pod->out);
		plain.operands = rows->arg ? rows->arg : "";
		put_paragraph(&plain, rows->help, (int)strlen(rows->help), false);
	}
	fputs("=back\n\n", pod->out);
}

static void put_synopsis(FILE *out, const struct command *c)
{
	fprintf(out, "B<ublk-img %s>", c->name);
	if (c->options && c->options->name)
		fputs(" [I<OPTION>]...", out);
	for (const char *p = c->operands; *p;) {
		int n = (int)strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

		if (p == c->operands)
			fputc(' ', out);
		if (n)
			fprintf(out, "I<%.*s>", n, p);
		else
			fputc(*p, out);
		p += n ? n : 1;
	}
	fputs("\n\n", out);
}

static void put_command(FILE *out, const struct command *c)
{
	struct pod pod = {out, c->operands};

	fprintf(out, "=head2 %s\n\n", c->name);
	put_synopsis(out, c);
	fprintf(out, "%s.\n\n", c->summary);
	help_paragraphs(c->help, put_paragraph, &pod);
	put_options(&pod, c->options);
	if (c->exits) {
		fputs("Exit status: ", out);
		for (const struct cmd_exit *e = c->exits; e->meaning; e++)
			fprintf(out, "%s%d: %s", e == c->exits ? "" : "; ", e->status, e->meaning);
		fputs(".\n\n", out);
	}
	for (const struct cmd_example *e = c->examples; e && e->command; e++) {
		fputs(e == c->examples ? "Examples:\n\n" : "", out);
		fprintf(out, "  ublk-img %s\n\n%s\n\n", e->command, e->what);
	}
}

void help_pod(FILE *out)
{
	struct pod pod = {out, ""};

	fputs("=encoding utf8\n\n=head1 NAME\n\n"
	      "ublk-img - disks kept in one ordinary file, sparse and compressed\n\n"
	      "=head1 SYNOPSIS\n\n",
	      out);
	for (const struct command *const *c = commands; *c; c++)
		put_synopsis(out, *c);
	fputs("=head1 DESCRIPTION\n\n"
	      "An image keeps a disk in one ordinary file: parts that were never written, or hold "
	      "only zeros, take no space, and the rest can be compressed. ublk-img makes, "
	      "converts, inspects and verifies images.\n\n"
	      "Results are printed on standard output, messages on standard error.\n\n",
	      out);
	put_paragraph(&pod, help_sizes, (int)strlen(help_sizes), false);
	fputs("=head1 OPTIONS OF EVERY COMMAND\n\n", out);
	put_options(&pod, global_options);
	fputs("=head1 COMMANDS\n\n", out);
	for (const struct command *const *c = commands; *c; c++)
		put_command(out, *c);
	fputs("=head1 EXIT STATUS\n\n"
	      "Unless a command says otherwise: 0 for success, 1 for failure, 2 for wrong usage. "
	      "A result that could not be written to standard output is a failure.\n\n"
	      "=head1 ENVIRONMENT\n\n=over 4\n\n=item UBLK_IMG_FAULTS\n\n"
	      "For tests: named points at which to fail.\n\n=back\n\n"
	      "=head1 SEE ALSO\n\nqemu-img(1), losetup(8), zstd(1)\n\n",
	      out);
}
