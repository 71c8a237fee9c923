/* SPDX-License-Identifier: MIT */
/*
 * Small programs, crashed at every step where little is volatile or in flight, in every way that
 * the disk allows: see sim_disk_power_outcomes().  Points with more than OUTCOMES outcomes are
 * crashed once, at random.  And a snapshot of an image that nobody has open, crashed at every step.
 * CRASH_ITERATIONS programs from seed CRASH_SEED on.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "codecs/codec.h"
#include "tests/crash/crash.h"

#define DEFAULT_PROGRAMS 4u
#define OUTCOMES	 40u

static uint64_t number(const char *name, uint64_t def)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : def;
}

/* One zone of a few clusters, one or two tasks, every kind of operation. */
static void make_small(struct config *cfg)
{
	cfg->nearly_full = false;
	cfg->inject = false;
	cfg->params.cluster_shift = 16;
	cfg->params.size = (cfg->seed % 3 + 1) << 17;
	cfg->zones = (struct zones){0};
	zones_add(&cfg->zones, 0, cfg->params.size);
	cfg->max_regions = 3;
	cfg->journal_length = 64 << 10;
	cfg->tasks = 1 + (unsigned)(cfg->seed % 2);
	cfg->steps = 120;
	cfg->crashes = 300;
	cfg->exhaustive = OUTCOMES;
	cfg->weight[OP_CHECKPOINT] += 4;
	cfg->weight[OP_READ] = 2;
}

int main(int argc, char **argv)
{
	uint64_t first = number("CRASH_SEED", 1);
	uint64_t n = number("CRASH_ITERATIONS", DEFAULT_PROGRAMS);
	struct config cfg;

	(void)argc;
	crash_report_init(argv[0]);
	printf("programs: %" PRIu64 " from seed %" PRIu64 "\n", n, first);
	for (uint64_t seed = first; seed < first + n; seed++) {
		config_random(&cfg, seed);
		make_small(&cfg);
		run_program(&cfg);
	}
	config_random(&cfg, first);
	directed_at_rest(&cfg);
	counts_print();
	return 0;
}
