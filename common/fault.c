/* SPDX-License-Identifier: MIT */
/*
 * Named fault points: parsing the list of faults, and counting passages.
 *
 * The list is written by fault_set() before threads start and constant afterwards, except for the
 * counters, which are atomic: of many threads that pass a point, exactly one is the COUNT-th.  It
 * is process-wide because a fault is asked for from outside of the process.
 */
#include <config.h>

#include "common/fault.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

/* The largest errno value that the kernel can return. */
enum { ERRNO_MAX = 4095 };

struct fault {
	const char *name;  /* in fault_list.spec, terminated */
	unsigned long nth; /* the passage that fails; 1 is the first */
	errint_t err;	   /* 0: the process is killed */
	atomic_ulong passed;
};

struct fault_list {
	char *spec; /* a copy, cut into names */
	size_t n;
	struct fault faults[];
};

bool fault_active;

static struct fault_list *installed;

static void fault_list_free(struct fault_list *list)
{
	if (list)
		free(list->spec);
	free(list);
}

static void cleanup_fault_list(struct fault_list **list)
{
	fault_list_free(*list);
}

/* Parse the digits at @text, which end with it, as a number in 1..max. */
static bool parse_number(const char *text, unsigned long max, unsigned long *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false; /* strtoul() takes spaces and signs */
	errno = 0;
	*out = strtoul(text, &end, 10);
	return !errno && !*end && *out >= 1 && *out <= max;
}

/* An ERRNO, or "kill". */
static bool parse_outcome(const char *text, errint_t *out)
{
	unsigned long err;

	if (!strcmp(text, "kill")) {
		*out = 0;
		return true;
	}
	if (!parse_number(text, ERRNO_MAX, &err))
		return false;
	*out = -(errint_t)err;
	return true;
}

/* Parse one NAME[:COUNT[:ERRNO]], cutting it into its parts. */
static bool parse_fault(char *text, struct fault *fault)
{
	char *count = strchr(text, ':');
	char *error = count ? strchr(count + 1, ':') : NULL;

	if (count)
		*count++ = '\0';
	if (error)
		*error++ = '\0';
	fault->name = text;
	fault->nth = 1;
	fault->err = -EIO;
	if (!*text)
		return false;
	if (count && !parse_number(count, ULONG_MAX, &fault->nth))
		return false;
	if (error && !parse_outcome(error, &fault->err))
		return false;
	atomic_init(&fault->passed, 0);
	return true;
}

static size_t count_items(const char *spec)
{
	size_t n = 1;

	while ((spec = strchr(spec, ',')))
		n++, spec++;
	return n;
}

static errint_t parse_list(const char *spec, struct fault_list **out)
{
	size_t n = count_items(spec);
	CLEANUP(fault_list)
	struct fault_list *list = calloc(1, sizeof(*list) + n * sizeof(list->faults[0]));

	if (list)
		list->spec = strdup(spec);
	if (!list || !list->spec)
		return log_err(-ENOMEM, "cannot set fault points");
	for (char *item = list->spec, *next; item; item = next) {
		next = strchr(item, ',');
		if (next)
			*next++ = '\0';
		assert(list->n < n);
		if (!parse_fault(item, &list->faults[list->n++]))
			return log_fail(-EINVAL,
					"fault points \"%s\": item %zu is not NAME[:COUNT[:ERRNO]] "
					"with COUNT from 1 and ERRNO from 1 to %d, or \"kill\"",
					spec, list->n, ERRNO_MAX);
	}
	*out = steal_pointer(&list);
	return 0;
}

errint_t fault_set(const char *spec)
{
	struct fault_list *list = NULL;

	if (spec && *spec) {
		errint_t err = parse_list(spec, &list);

		if (err)
			return err;
	}
	fault_list_free(installed);
	installed = list;
	fault_active = list != NULL;
	return 0;
}

errint_t fault_hit(const char *name)
{
	errint_t err = 0;

	assert(fault_active && installed && name);
	/* No early return: a point may be listed twice, and each entry counts every passage. */
	for (size_t i = 0; i < installed->n; i++) {
		struct fault *fault = &installed->faults[i];

		if (strcmp(fault->name, name))
			continue;
		if (atomic_fetch_add_explicit(&fault->passed, 1, memory_order_relaxed) + 1 !=
		    fault->nth)
			continue;
		if (!fault->err)
			raise(SIGKILL);
		err = fault->err;
	}
	return err;
}
