/* SPDX-License-Identifier: MIT */
/*
 * Random programs, crashed at random.  CRASH_ITERATIONS programs (default: about a minute's worth)
 * from seed CRASH_SEED on; none is begun when CRASH_SECONDS, if set, have passed.  CRASH_STEPS and
 * CRASH_RATE (per mille of steps) make them longer, and crash them less often; CRASH_RARELY=n does
 * so at every nth of those occasions.  Normally there are a few operations between two crashes.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/crash/crash.h"

#define DEFAULT_PROGRAMS 100u

static uint64_t number(const char *name, uint64_t def)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : def;
}

int main(int argc, char **argv)
{
	uint64_t first = number("CRASH_SEED", 1);
	uint64_t n = number("CRASH_ITERATIONS", DEFAULT_PROGRAMS);
	uint64_t seconds = number("CRASH_SECONDS", 0);
	time_t begin = time(NULL);
	struct config cfg;

	(void)argc;
	crash_report_init(argv[0]);
	printf("programs: %" PRIu64 " from seed %" PRIu64 "\n", n, first);
	for (uint64_t seed = first; seed < first + n; seed++) {
		if (seconds && (uint64_t)(time(NULL) - begin) >= seconds)
			break;
		config_random(&cfg, seed);
		cfg.steps = (unsigned)number("CRASH_STEPS", cfg.steps);
		cfg.crashes = (unsigned)number("CRASH_RATE", cfg.crashes);
		cfg.rarely = (unsigned)number("CRASH_RARELY", 1);
		run_program(&cfg);
	}
	counts_print();
	return 0;
}
