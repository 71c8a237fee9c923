/* SPDX-License-Identifier: MIT */
/*
 * getopt_long() does the splitting; its messages are replaced by ours, which are the same with
 * every C library.
 */
#include "config.h"

#include "cli/options.h"

#include <assert.h>
#include <ctype.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/size.h"
#include "cli/suggest.h"
#include "codecs/codec.h"
#include "common/log.h"

const char *const progress_words[] = {"auto", "always", "never", NULL};
const char *const cluster_size_words[] = {"64K", "128K", "256K", NULL};
const char *const sector_size_words[] = {"512", "4096", NULL};

/* What getopt_long() returns for a long option: out of the way of characters. */
enum { LONG_BASE = 256 };

struct parser {
	const struct options_parse *p;
	const struct cmd_option *row[OPTIONS_MAX];
	void *opts[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 * OPTIONS_MAX + 3];
	unsigned n;
};

static void build_tables(struct parser *ps, const struct options_parse *p)
{
	char *s = ps->shorts;

	memset(ps, 0, sizeof(*ps));
	ps->p = p;
	if (p->stop_at_operand)
		*s++ = '+';
	*s++ = ':';
	for (unsigned i = 0; i < 2; i++) {
		for (const struct cmd_option *o = p->sets[i].rows; o && o->name; o++) {
			assert(ps->n < OPTIONS_MAX);
			ps->row[ps->n] = o;
			ps->opts[ps->n] = p->sets[i].opts;
			ps->longs[ps->n] = (struct option){
				.name = o->name,
				.has_arg = !o->arg	     ? no_argument
					   : o->arg_optional ? optional_argument
							     : required_argument,
				.val = LONG_BASE + (int)ps->n,
			};
			ps->n++;
			if (!o->letter)
				continue;
			assert(!strchr(ps->shorts, o->letter) && !o->arg_optional);
			*s++ = o->letter;
			if (o->arg)
				*s++ = ':';
		}
	}
}

static errint_t complain(const struct parser *ps, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static errint_t complain(const struct parser *ps, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return log_fail(-EINVAL, "%s%s%s", ps->p->context ? ps->p->context : "",
			ps->p->context ? ": " : "", text);
}

/* An argument such as "--foo=bar" that is no option, or the beginning of several. */
static errint_t unknown_long(const struct parser *ps, const char *arg)
{
	char name[64];
	size_t len = strcspn(arg + 2, "=");
	unsigned matches = 0;
	struct suggestion s = {.word = name};

	snprintf(name, sizeof(name), "%.*s", (int)len, arg + 2);
	for (unsigned i = 0; i < ps->n; i++) {
		matches += !strncmp(ps->row[i]->name, name, strlen(name));
		suggest_offer(&s, ps->row[i]->name);
	}
	if (matches > 1)
		return complain(ps, "option --%s is ambiguous", name);
	if (s.best)
		return complain(ps, "unknown option --%s; did you mean --%s?", name, s.best);
	return complain(ps, "unknown option --%s", name);
}

static errint_t bad_option(const struct parser *ps, int code, const char *arg)
{
	bool is_long = optopt >= LONG_BASE;
	const struct cmd_option *o = is_long ? ps->row[optopt - LONG_BASE] : NULL;

	if (code == ':') {
		for (unsigned i = 0; !o && i < ps->n; i++)
			if (ps->row[i]->letter == optopt)
				o = ps->row[i];
		assert(o);
		return complain(ps, "option --%s needs an argument: %s", o->name, o->arg);
	}
	if (is_long)
		return complain(ps, "option --%s takes no argument", o->name);
	if (optopt)
		return complain(ps, "unknown option -%c", isprint(optopt) ? optopt : '?');
	return unknown_long(ps, arg);
}

/*
 * Operands such as -1G would be taken for options: moves them behind everything else, where *argc
 * no longer counts them.  Returns their number.
 */
static int set_aside_signed(int *argc, char **argv)
{
	int aside = 0;

	for (int i = 1; i < *argc;) {
		char *arg = argv[i];

		if (!strcmp(arg, "--"))
			break;
		if (arg[0] != '-' || !isdigit((unsigned char)arg[1])) {
			i++;
			continue;
		}
		memmove(argv + i, argv + i + 1, (size_t)(*argc + aside - i - 1) * sizeof(*argv));
		argv[*argc + aside - 1] = arg;
		(*argc)--;
		aside++;
	}
	return aside;
}

errint_t options_parse(const struct options_parse *p, int argc, char **argv, int *first)
{
	struct parser ps;
	int code;

	build_tables(&ps, p);
	if (p->signed_operands)
		set_aside_signed(&argc, argv);
	opterr = 0;
	optind = 0; /* glibc, musl: start afresh, and read the '+' again */
	while ((code = getopt_long(argc, argv, ps.shorts, ps.longs, NULL)) != -1) {
		unsigned i = 0;
		errint_t err;

		if (code == '?' || code == ':')
			return bad_option(&ps, code, argv[optind - 1]);
		if (code >= LONG_BASE)
			i = (unsigned)(code - LONG_BASE);
		else
			while (ps.row[i]->letter != code)
				i++;
		assert(i < ps.n);
		err = ps.row[i]->set(ps.row[i], optarg, (char *)ps.opts[i] + ps.row[i]->offset);
		if (err)
			return err;
	}
	*first = optind;
	return 0;
}

errint_t option_flag(const struct cmd_option *o, const char *arg, void *field)
{
	assert(!o->arg && !arg);
	*(bool *)field = true;
	return 0;
}

errint_t option_string(const struct cmd_option *o, const char *arg, void *field)
{
	assert(o->arg && arg);
	*(const char **)field = arg;
	return 0;
}

/* "--offset", for messages. */
static const char *option_label(const struct cmd_option *o, char buf[40])
{
	snprintf(buf, 40, "--%s", o->name);
	return buf;
}

errint_t option_size(const struct cmd_option *o, const char *arg, void *field)
{
	char label[40];

	return size_parse(option_label(o, label), arg, field);
}

errint_t option_word(const struct cmd_option *o, const char *arg, void *field)
{
	char known[128] = "";

	assert(arg && o->words);
	for (int i = 0; o->words[i]; i++) {
		size_t used = strlen(known);

		if (!strcmp(o->words[i], arg)) {
			*(int *)field = i;
			return 0;
		}
		snprintf(known + used, sizeof(known) - used, "%s%s",
			 !i		   ? ""
			 : o->words[i + 1] ? ", "
					   : " or ",
			 o->words[i]);
	}
	return log_fail(-EINVAL, "--%s: \"%s\" is not one of %s", o->name, arg, known);
}

/* A whole number in [@min, @max]. */
static errint_t parse_number(const struct cmd_option *o, const char *arg, long min, long max,
			     long *out)
{
	char *end;

	errno = 0;
	*out = strtol(arg, &end, 10);
	if (end == arg || *end || isspace((unsigned char)*arg))
		return log_fail(-EINVAL, "--%s: \"%s\" is not a number", o->name, arg);
	if (errno || *out < min || *out > max)
		return log_fail(-EINVAL, "--%s: %s is not in %ld..%ld", o->name, arg, min, max);
	return 0;
}

errint_t option_threads(const struct cmd_option *o, const char *arg, void *field)
{
	long n;
	errint_t err = parse_number(o, arg, 1, THREADS_MAX, &n);

	if (!err)
		*(unsigned *)field = (unsigned)n;
	return err;
}

errint_t option_count(const struct cmd_option *o, const char *arg, void *field)
{
	long n;
	errint_t err = parse_number(o, arg, 1, COUNT_MAX, &n);

	if (!err)
		*(unsigned *)field = (unsigned)n;
	return err;
}

errint_t option_debug(const struct cmd_option *o, const char *arg, void *field)
{
	errint_t err = log_set_debug(arg);

	(void)o;
	if (!err)
		*(const char **)field = arg;
	return err;
}

errint_t option_zstd(const struct cmd_option *o, const char *arg, void *field)
{
	struct compression *c = field;
	const struct codec *codec;
	int min, max, def;
	errint_t err = codec_find(CODEC_ZSTD, &codec);
	long level;

	if (err)
		return err;
	codec_levels(codec, &min, &max, &def);
	if (min < INT8_MIN)
		min = INT8_MIN; /* what an image can record */
	level = def;
	if (arg)
		err = parse_number(o, arg, min, max, &level);
	if (err)
		return err;
	assert(level >= INT8_MIN && level <= INT8_MAX && max <= INT8_MAX);
	*c = (struct compression){CODEC_ZSTD, (int8_t)level};
	return 0;
}

/* A size that is one of o->words, in any spelling; *shift is its logarithm. */
static errint_t parse_shift(const struct cmd_option *o, const char *arg, void *field)
{
	uint64_t size, word;
	char label[40];
	errint_t err = size_parse(option_label(o, label), arg, &size);
	int index;

	if (err)
		return err;
	for (unsigned i = 0; o->words[i]; i++) {
		err = size_parse(label, o->words[i], &word);
		assert(!err && word);
		if (word == size) {
			*(uint8_t *)field = (uint8_t)__builtin_ctzll(size);
			return 0;
		}
	}
	return option_word(o, arg, &index);
}

errint_t option_cluster_size(const struct cmd_option *o, const char *arg, void *field)
{
	return parse_shift(o, arg, field);
}

errint_t option_sector_size(const struct cmd_option *o, const char *arg, void *field)
{
	return parse_shift(o, arg, field);
}
