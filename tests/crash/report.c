/* SPDX-License-Identifier: MIT */
/* Counting, and reporting a failure so that it can be reproduced. */
#include "config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/crash/crash.h"

enum { KEPT_MESSAGES = 12, MESSAGE_SIZE = 240 };

struct counts counts;

static struct {
	const char *program;
	uint64_t seed;
	char message[KEPT_MESSAGES][MESSAGE_SIZE];
	unsigned next;
} report;

/* Failures are expected all the time; their messages matter only when a test fails. */
static void keep_message(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	/* Of each image. */
	if (strstr(message, "is not on a tmpfs"))
		return;
	snprintf(report.message[report.next++ % KEPT_MESSAGES], MESSAGE_SIZE, "%s", message);
}

void crash_report_init(const char *program)
{
	const char *slash = strrchr(program, '/');

	sim_trace = getenv("CRASH_TRACE") != NULL;
	report.program = slash ? slash + 1 : program;
	if (!getenv("CRASH_VERBOSE"))
		log_set_sink(keep_message, NULL);
}

void crash_report_seed(uint64_t seed)
{
	report.seed = seed;
}

/* What has made the program another one than its seed alone. */
static void print_settings(void)
{
	static const char *const names[] = {"CRASH_STEPS", "CRASH_RATE", "CRASH_RARELY"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (getenv(names[i]))
			printf(" %s=%s", names[i], getenv(names[i]));
}

void crash_fail(const char *fmt, ...)
{
	va_list ap;

	printf("FAILED after %" PRIu64 " crash images: ", counts_images());
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nreproduce: CRASH_SEED=%" PRIu64 " CRASH_ITERATIONS=1", report.seed);
	print_settings();
	printf(" %s\n", report.program);
	for (unsigned i = 0; i < KEPT_MESSAGES; i++) {
		const char *m = report.message[(report.next + i) % KEPT_MESSAGES];

		if (*m)
			printf("  log: %s\n", m);
	}
	fflush(stdout);
	if (getenv("CRASH_ABORT"))
		abort();
	_exit(1);
}

uint64_t counts_images(void)
{
	uint64_t n = counts.power_all + counts.process + counts.process_all;

	for (unsigned i = 0; i < SIM_LOSSES; i++)
		n += counts.power[i];
	return n;
}

void counts_print(void)
{
	uint64_t power = 0, ops = 0;

	for (unsigned i = 0; i < SIM_LOSSES; i++)
		power += counts.power[i];
	for (unsigned i = 0; i < OPS; i++)
		ops += counts.ops[i];
	printf("operations: %" PRIu64 ":", ops);
	for (unsigned i = 0; i < OPS; i++)
		printf(" %s %" PRIu64, op_names[i], counts.ops[i]);
	printf("\npower losses:");
	for (unsigned i = 0; i < SIM_LOSSES; i++)
		printf(" %s %" PRIu64 ",", sim_loss_name((enum sim_loss)i), counts.power[i]);
	printf(" enumerated %" PRIu64 "\n", counts.power_all);
	printf("devices recovered %" PRIu64 ", volatile journals refused %" PRIu64
	       ", poisoned %" PRIu64 ", deaths with writes in flight %" PRIu64 "\n",
	       counts.recovered, counts.refused, counts.poisoned, counts.late);
	printf("%" PRIu64 " runs, %" PRIu64 " steps, %" PRIu64 " crash images: %" PRIu64
	       " power losses, %" PRIu64 " process deaths, of which enumerated %" PRIu64
	       " and %" PRIu64 "; %" PRIu64 " recoveries killed, %" PRIu64
	       " failed by injected errors, %" PRIu64 " runs with injected errors, %" PRIu64
	       " resumed, %" PRIu64 " closed, %" PRIu64 " read-only, %" PRIu64
	       " out of space, %" PRIu64 " points too large to enumerate\n",
	       counts.runs, counts.steps, counts_images(), power + counts.power_all,
	       counts.process + counts.process_all, counts.power_all, counts.process_all,
	       counts.killed_recoveries, counts.failed_recoveries, counts.injected, counts.resumed,
	       counts.closed, counts.read_only, counts.no_space, counts.skipped);
}
