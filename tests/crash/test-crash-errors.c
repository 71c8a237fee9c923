/* SPDX-License-Identifier: MIT */
/*
 * An error at each I/O in turn: small programs whose first, second, third... I/O fails, once or
 * from then on, for want of space or for good.  No operation may claim success wrongly, everything
 * that had been flushed is there after the image is opened again, and a full host is the problem of
 * the writer that met it only.  CRASH_ITERATIONS programs from seed CRASH_SEED on.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/crash/crash.h"

#define DEFAULT_PROGRAMS 3u
#define IOS		 70u

static uint64_t number(const char *name, uint64_t def)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : def;
}

static void run_with_error(uint64_t seed, uint64_t io, errint_t err, bool on)
{
	struct config cfg;

	config_random(&cfg, seed);
	cfg.inject = false;
	cfg.fail_at = io;
	cfg.fail_err = err;
	cfg.fail_on = on;
	cfg.steps = 250;
	cfg.crashes = 3;
	cfg.weight[OP_CHECKPOINT] += 6;
	run_program(&cfg);
}

int main(int argc, char **argv)
{
	uint64_t first = number("CRASH_SEED", 1);
	uint64_t n = number("CRASH_ITERATIONS", DEFAULT_PROGRAMS);

	(void)argc;
	crash_report_init(argv[0]);
	printf("programs: %" PRIu64 " from seed %" PRIu64 ", %u I/Os each\n", n, first, IOS);
	for (uint64_t seed = first; seed < first + n; seed++)
		for (uint64_t io = 1; io <= IOS; io++) {
			run_with_error(seed, io, -EIO, io % 3 == 0);
			run_with_error(seed, io, -ENOSPC, false);
		}
	counts_print();
	return 0;
}
