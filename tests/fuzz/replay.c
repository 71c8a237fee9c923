/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over the files named as arguments, or over its corpus: the directory
 * fuzz/corpus/NAME of the test sources, where this program is fuzz-NAME.  So `make check` repeats
 * what fuzzing once found, with any compiler.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "tests/fuzz/fuzz.h"

static void fail(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(1);
}

static void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

static void replay_file(const char *path)
{
	CLEANUP(file) FILE *f = fopen(path, "rb");
	struct stat st;

	if (!f || fstat(fileno(f), &st))
		fail(path);
	size_t len = (size_t)st.st_size;
	/* Exactly as long as the input, so that reading beyond it is noticed. */
	CLEANUP(free) uint8_t *data = malloc(len ? len : 1);
	if (!data || fread(data, 1, len, f) != len)
		fail(path);
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, len);
}

static int no_dotfiles(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static unsigned replay_directory(const char *dir)
{
	struct dirent **list;
	int n = scandir(dir, &list, no_dotfiles, alphasort);

	if (n < 0)
		fail(dir);
	for (int i = 0; i < n; i++) {
		CLEANUP(free) char *path = NULL;
		if (asprintf(&path, "%s/%s", dir, list[i]->d_name) < 0)
			fail(dir);
		replay_file(path);
		free(list[i]);
	}
	free(list);
	return (unsigned)n;
}

/* "fuzz-node", also from ".libs/lt-fuzz-node" or a path. */
static const char *target_name(const char *program)
{
	const char *name = strstr(program, "fuzz-"), *next;

	while (name && (next = strstr(name + 1, "fuzz-")))
		name = next;
	return name ? name + strlen("fuzz-") : program;
}

int main(int argc, char **argv)
{
	const char *src = getenv("TEST_SRCDIR");
	CLEANUP(free) char *dir = NULL;
	unsigned n = 0;

	for (int i = 1; i < argc; i++) {
		replay_file(argv[i]);
		n++;
	}
	if (argc == 1) {
		if (asprintf(&dir, "%s/fuzz/corpus/%s", src ? src : "tests", target_name(argv[0])) <
		    0)
			fail("corpus");
		n = replay_directory(dir);
	}
	printf("%u inputs\n", n);
	/* A corpus that was lost must not look like one that passed. */
	return n ? 0 : 1;
}
