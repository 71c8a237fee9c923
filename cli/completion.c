/* SPDX-License-Identifier: MIT */
/*
 * The bash completion script.  It depends on nothing but bash: "=" is among COMP_WORDBREAKS there,
 * so that --progress=a arrives as three words.
 */
#include "config.h"

#include <string.h>

#include "cli/commands.h"
#include "cli/help.h"

/* "--name" for options without argument, "--name=" for those with one; both when it is optional. */
static void put_names(FILE *out, const struct cmd_option *rows)
{
	for (; rows && rows->name; rows++) {
		if (!rows->arg || rows->arg_optional)
			fprintf(out, " --%s", rows->name);
		if (rows->arg)
			fprintf(out, " --%s=", rows->name);
	}
}

static void put_words(FILE *out, const char *command, const struct cmd_option *rows)
{
	for (; rows && rows->name; rows++) {
		if (!rows->words)
			continue;
		fprintf(out, "\t'%s:--%s') words='", command, rows->name);
		for (unsigned i = 0; rows->words[i]; i++)
			fprintf(out, "%s%s", i ? " " : "", rows->words[i]);
		fputs("' ;;\n", out);
	}
}

static const char head[] =
	"# bash completion for ublk-img; made by ublk-img help --bash-completion\n"
	"_ublk_img()\n"
	"{\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} option= command= words= i\n"
	"\tCOMPREPLY=()\n"
	"\tlocal families=' ";

static const char search[] =
	"'\n"
	"\tif [[ $cur == = && COMP_CWORD -ge 1 ]]; then\n"
	"\t\toption=${COMP_WORDS[COMP_CWORD - 1]} cur=\n"
	"\telif [[ COMP_CWORD -ge 2 && ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then\n"
	"\t\toption=${COMP_WORDS[COMP_CWORD - 2]}\n"
	"\tfi\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tif [[ ${COMP_WORDS[i]} != -* && ${COMP_WORDS[i]} != = &&\n"
	"\t\t\t${COMP_WORDS[i - 1]} != = ]]; then\n"
	"\t\t\tcommand=\"${command:+$command }${COMP_WORDS[i]}\"\n"
	"\t\t\t[[ $families == *\" $command \"* ]] || break\n"
	"\t\tfi\n"
	"\tdone\n";

static const char tail[] = "\tif [[ -n $option ]]; then\n"
			   "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
			   "\telif [[ $cur == -* ]]; then\n"
			   "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
			   "\t\tif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then\n"
			   "\t\t\tcompopt -o nospace 2>/dev/null\n"
			   "\t\tfi\n"
			   "\telif [[ -z $command || $command == help ]]; then\n"
			   "\t\tCOMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"))\n"
			   "\telif [[ $families == *\" $command \"* ]]; then\n"
			   "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
			   "\tfi\n"
			   "}\n"
			   "complete -o bashdefault -o default -F _ublk_img ublk-img\n";

/* Is @c the first of its family?  Then its first word, as long as *len; else NULL. */
static const char *new_family(const struct command *const *c, int *len)
{
	const char *name = (*c)->name;

	*len = (int)strcspn(name, " ");
	if (!name[*len])
		return NULL;
	if (c > commands && !strncmp(c[-1]->name, name, (size_t)*len + 1))
		return NULL;
	return name;
}

/* The words that a command can begin with. */
static void put_commands(FILE *out)
{
	int len;

	for (const struct command *const *c = commands; *c; c++) {
		const char *family = new_family(c, &len);

		if (family)
			fprintf(out, "%.*s ", len, family);
		else if (!strchr((*c)->name, ' '))
			fprintf(out, "%s ", (*c)->name);
	}
}

static void put_families(FILE *out)
{
	int len;

	for (const struct command *const *c = commands; *c; c++)
		if (new_family(c, &len))
			fprintf(out, "%.*s ", len, (*c)->name);
}

/* What may follow the first word of a family. */
static void put_seconds(FILE *out, const char *family, int len)
{
	fprintf(out, "\t'%.*s:') words='", len, family);
	for (const struct command *const *c = commands; *c; c++)
		if (!strncmp((*c)->name, family, (size_t)len + 1))
			fprintf(out, " %s", (*c)->name + len + 1);
	fputs("' ;;\n", out);
}

void help_bash_completion(FILE *out)
{
	int len;

	fputs(head, out);
	put_families(out);
	fputs(search, out);
	fputs("\tlocal commands='", out);
	put_commands(out);
	fputs("'\n\tcase $command:$option in\n", out);
	for (const struct command *const *c = commands; *c; c++) {
		if (new_family(c, &len))
			put_seconds(out, (*c)->name, len);
		put_words(out, (*c)->name, (*c)->options);
		fprintf(out, "\t'%s:') words='", (*c)->name);
		put_names(out, (*c)->options);
		put_names(out, global_options);
		fputs("' ;;\n", out);
	}
	fputs("\t:) words='", out);
	put_names(out, global_options);
	fputs("' ;;\n\tesac\n", out);
	fputs(tail, out);
}
