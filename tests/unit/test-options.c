/* SPDX-License-Identifier: MIT */
/* Reading a command line by a table (cli/options.h), and suggestions (cli/suggest.h). */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/options.h"
#include "cli/suggest.h"
#include "codecs/codec.h"
#include "common/log.h"

struct opts {
	bool flag, other;
	const char *text;
	uint64_t size;
	int word;
	unsigned threads;
	struct compression compression;
	uint8_t cluster_shift;
};

static const char *const words[] = {"red", "green", "blue", NULL};
static const struct cmd_option rows[] = {
	{.name = "flag", .letter = 'f', .set = option_flag, .offset = offsetof(struct opts, flag)},
	{.name = "flange", .set = option_flag, .offset = offsetof(struct opts, other)},
	{.name = "text",
	 .letter = 't',
	 .arg = "TEXT",
	 .set = option_string,
	 .offset = offsetof(struct opts, text)},
	{.name = "size", .arg = "SIZE", .set = option_size, .offset = offsetof(struct opts, size)},
	{.name = "word",
	 .arg = "WORD",
	 .words = words,
	 .set = option_word,
	 .offset = offsetof(struct opts, word)},
	OPTION_THREADS(struct opts, ""),
	OPTION_ZSTD(struct opts, ""),
	OPTION_CLUSTER_SIZE(struct opts),
	{.name = NULL},
};

static char last[256];

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	snprintf(last, sizeof(last), "%s", message);
}

static struct opts o;
static char *args[16]; /* [0] is the command */
static int first, argc;

/* Parses the words of @line. */
static errint_t parse(const char *line, bool signed_operands)
{
	static char copy[256];
	const struct options_parse p = {
		.context = "paint", .sets = {{rows, &o}}, .signed_operands = signed_operands};

	memset(&o, 0, sizeof(o));
	memset(args, 0, sizeof(args));
	snprintf(copy, sizeof(copy), "paint %s", line);
	argc = 0;
	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		args[argc++] = w;
	last[0] = '\0';
	return options_parse(&p, argc, args, &first);
}

static void test_kinds(void **state)
{
	(void)state;
	assert_int_equal(parse("a --flag -t x --size=1.5K b --word green --threads=256 --zstd "
			       "--cluster-size=131072 c",
			       false),
			 0);
	assert_true(o.flag);
	assert_false(o.other);
	assert_string_equal(o.text, "x");
	assert_true(o.size == 1536);
	assert_int_equal(o.word, 1);
	assert_int_equal(o.threads, 256);
	assert_int_equal(o.compression.codec, CODEC_ZSTD);
	assert_int_equal(o.compression.level, 3);
	assert_int_equal(o.cluster_shift, 17);
	assert_int_equal(argc - first, 3);
	assert_string_equal(args[first], "a");
	assert_string_equal(args[first + 2], "c");
}

static void test_forms(void **state)
{
	(void)state;
	/* Abbreviated, bundled, the last of several, and after "--" operands only. */
	assert_int_equal(parse("--te=1 --text 2 -ft3 -- --flag", false), 0);
	assert_true(o.flag);
	assert_string_equal(o.text, "3");
	assert_int_equal(argc - first, 1);
	assert_string_equal(args[first], "--flag");
	/* An optional argument is never the next word. */
	assert_int_equal(parse("--zstd 7", false), 0);
	assert_int_equal(o.compression.level, 3);
	assert_string_equal(args[first], "7");
	assert_int_equal(parse("--zstd=-7 -", false), 0);
	assert_int_equal(o.compression.level, -7);
	assert_string_equal(args[first], "-");
	/* Nothing at all. */
	assert_int_equal(parse("", false), 0);
	assert_int_equal(argc - first, 0);
}

static void test_signed_operands(void **state)
{
	(void)state;
	assert_int_equal(parse("-1G a --flag", true), 0);
	assert_true(o.flag);
	assert_int_equal(argc - first, 2);
	assert_string_equal(args[first], "a");
	assert_string_equal(args[first + 1], "-1G");
	assert_int_equal(parse("-1 -2 a -3", true), 0);
	assert_int_equal(argc - first, 4);
	assert_string_equal(args[first], "a");
	assert_string_equal(args[first + 1], "-1");
	assert_string_equal(args[first + 3], "-3");
	assert_int_equal(parse("a -- -1G", true), 0);
	assert_string_equal(args[first + 1], "-1G");
	assert_int_equal(parse("a -1G", false), -EINVAL);
	assert_string_equal(last, "paint: unknown option -1");
}

static void test_messages(void **state)
{
	static const struct {
		const char *line, *message;
	} bad[] = {
		{"--fla", "paint: option --fla is ambiguous"},
		{"--flagg", "paint: unknown option --flagg; did you mean --flag?"},
		{"--xyzzy=3", "paint: unknown option --xyzzy"},
		{"a b --xyzzy c", "paint: unknown option --xyzzy"},
		{"-fx", "paint: unknown option -x"},
		{"-f\x01", "paint: unknown option -?"},
		{"--flag=1", "paint: option --flag takes no argument"},
		{"a --text", "paint: option --text needs an argument: TEXT"},
		{"-t", "paint: option --text needs an argument: TEXT"},
		{"--word=gray", "--word: \"gray\" is not one of red, green or blue"},
		{"--threads=0", "--threads: 0 is not in 1..256"},
		{"--threads=1k", "--threads: \"1k\" is not a number"},
		{"--cluster-size=1M", "--cluster-size: \"1M\" is not one of 64K, 128K or 256K"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse(bad[i].line, false), -EINVAL);
		assert_string_equal(last, bad[i].message);
	}
}

static void test_stop_at_operand(void **state)
{
	char *line[] = {(char[]){"x"}, (char[]){"--flag"}, (char[]){"a"}, (char[]){"--xyzzy"},
			NULL};
	const struct options_parse p = {.sets = {{NULL, NULL}, {rows, &o}},
					.stop_at_operand = true};

	(void)state;
	memset(&o, 0, sizeof(o));
	assert_int_equal(options_parse(&p, 4, line, &first), 0);
	assert_true(o.flag);
	assert_int_equal(first, 2);
}

static const char *closest(const char *word)
{
	static const char *const names[] = {"create", "compare", "check", "info", "map", NULL};
	struct suggestion s = {.word = word};

	for (unsigned i = 0; names[i]; i++)
		suggest_offer(&s, names[i]);
	return s.best ? s.best : "";
}

static void test_suggest(void **state)
{
	(void)state;
	assert_string_equal(closest("crate"), "create");
	assert_string_equal(closest("craete"), "create");
	assert_string_equal(closest("ceck"), "check");
	assert_string_equal(closest("comp"), "compare");
	assert_string_equal(closest("ifno"), "info");
	assert_string_equal(closest("mop"), "map");
	assert_string_equal(closest("create"), "create");
	assert_string_equal(closest(""), "");
	assert_string_equal(closest("x"), "");
	assert_string_equal(closest("zzz"), "");
	assert_string_equal(closest("frobnicate"), "");
	assert_string_equal(closest("createcreatecreatecreatecreatecreatecreate"), "");
}

static int begin(void **state)
{
	(void)state;
	log_set_sink(keep, NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_signed_operands), cmocka_unit_test(test_messages),
		cmocka_unit_test(test_stop_at_operand), cmocka_unit_test(test_suggest),
	};

	return cmocka_run_group_tests(tests, begin, NULL);
}
