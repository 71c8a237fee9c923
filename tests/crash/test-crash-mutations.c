/* SPDX-License-Identifier: MIT */
/*
 * Would the crash tests notice?  For each ordering rule (image/rules.h) the programs run on a build
 * that breaks just this one, and have to fail; and without a broken rule, the same programs pass.
 * A rule that can be broken without anybody noticing fails this test.
 *
 * CRASH_RULE=NAME tests one rule only.  Linked with libimage_mut.a.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codecs/codec.h"
#include "image/rules.h"
#include "tests/crash/crash.h"

#define PROGRAMS 400u /* at the most; most rules are noticed within ten */
#define CONTROLS 2u   /* with no rule broken */

/* ---- what brings a rule's failure about sooner ------------------------------------------- */

static void weigh(struct config *cfg, enum op op, unsigned weight)
{
	cfg->weight[op] = weight;
}

/* Freed space is used again at once. */
static void reused_soon(struct config *cfg)
{
	cfg->first_fit = true;
	cfg->tasks = MAX_TASKS;
	weigh(cfg, OP_RESIZE, 0);
}

static void with_codec(struct config *cfg)
{
	reused_soon(cfg);
	cfg->params.codec = CODEC_ZSTD;
	weigh(cfg, OP_FULL_WRITE, 60);
	weigh(cfg, OP_DISCARD, 12);
}

/* Batches of several writers, whose members publish when their leaves have been read again. */
static void shared_batches(struct config *cfg)
{
	with_codec(cfg);
	cfg->cache_nodes = 1;
	weigh(cfg, OP_FULL_WRITE, 200);
}

/* Blobs of one unit are freed by different transactions, and no snapshot keeps them. */
static void neighbours_freed(struct config *cfg)
{
	with_codec(cfg);
	cfg->snapshot = false;
	cfg->crashes = 30;
	weigh(cfg, OP_SNAPSHOT, 0);
	weigh(cfg, OP_ROLLBACK, 0);
	weigh(cfg, OP_WRITE, 4);
	weigh(cfg, OP_FULL_WRITE, 100);
	weigh(cfg, OP_FLUSH, 40);
	weigh(cfg, OP_DISCARD, 40);
}

static void raw_reused(struct config *cfg)
{
	reused_soon(cfg);
	cfg->params.codec = CODEC_NONE;
	weigh(cfg, OP_DISCARD, 60);
	weigh(cfg, OP_FULL_WRITE, 60);
	weigh(cfg, OP_FLUSH, 40);
}

static void read_while_reused(struct config *cfg)
{
	raw_reused(cfg);
	weigh(cfg, OP_READ, 100);
	cfg->crashes = 1; /* it shows without */
	cfg->steps = 4000;
}

static void many_checkpoints(struct config *cfg)
{
	weigh(cfg, OP_CHECKPOINT, 30);
}

static void many_resizes(struct config *cfg)
{
	cfg->tasks = 1;
	weigh(cfg, OP_RESIZE, 40);
}

static void process_deaths(struct config *cfg)
{
	cfg->process = 100;
}

static void discards(struct config *cfg)
{
	weigh(cfg, OP_DISCARD, 40);
	weigh(cfg, OP_FLUSH, 20);
}

static void flushes(struct config *cfg)
{
	weigh(cfg, OP_FLUSH, 60);
}

/* Snapshots come and go. */
static void snapshots(struct config *cfg)
{
	reused_soon(cfg);
	weigh(cfg, OP_SNAPSHOT, 8);
	weigh(cfg, OP_SNAP_DELETE, 8);
	weigh(cfg, OP_RECLAIM, 30);
	weigh(cfg, OP_CHECKPOINT, 8);
}

/* The device outlives the process. */
static void recoveries(struct config *cfg)
{
	cfg->vj = true;
	cfg->process = 100;
}

static void recoveries_of_flushes(struct config *cfg)
{
	recoveries(cfg);
	weigh(cfg, OP_FLUSH, 60);
}

/* The process leaves many writes in flight, which land throughout the recovery. */
static void late_deaths(struct config *cfg)
{
	recoveries(cfg);
	cfg->late = 100;
	cfg->late_wait = 600;
	cfg->tasks = MAX_TASKS;
}

static void stale_ones(struct config *cfg)
{
	cfg->vj = true;
	cfg->process = 0;
}

static void shrunk_overlays(struct config *cfg)
{
	cfg->backing = true;
	cfg->nearly_full = cfg->snapshot = false;
	weigh(cfg, OP_RESIZE, 40);
	weigh(cfg, OP_FLUSH, 40);
}

static void nothing(struct config *cfg)
{
	(void)cfg;
}

static const struct mutation {
	const char *name;
	void (*adjust)(struct config *cfg);
	void (*program)(const struct config *cfg); /* NULL: random operations */
} mutations[] = {
	[RULE_INDEX_no_data_sync] = {"no_data_sync", nothing, NULL},
	[RULE_INDEX_ckpt_no_sync] = {"ckpt_no_sync", many_checkpoints, NULL},
	[RULE_INDEX_bm_inplace] = {"bm_inplace", many_checkpoints, NULL},
	[RULE_INDEX_node_reuse_early] = {"node_reuse_early", many_checkpoints, NULL},
	[RULE_INDEX_journal_reuse_early] = {"journal_reuse_early", nothing, directed_journal_wrap},
	[RULE_INDEX_open_no_sync] = {"open_no_sync", process_deaths, NULL},
	[RULE_INDEX_reuse_early] = {"reuse_early", raw_reused, NULL},
	[RULE_INDEX_no_drain] = {"no_drain", read_while_reused, NULL},
	[RULE_INDEX_log_before_data] = {"log_before_data", nothing, NULL},
	[RULE_INDEX_blob_unit_free] = {"blob_unit_free", with_codec, NULL},
	[RULE_INDEX_blob_append] = {"blob_append", with_codec, NULL},
	[RULE_INDEX_blob_busy_bool] = {"blob_busy_bool", shared_batches, NULL},
	[RULE_INDEX_blob_limbo_bool] = {"blob_limbo_bool", neighbours_freed, NULL},
	[RULE_INDEX_pack_last_sector] = {"pack_last_sector", with_codec, NULL},
	[RULE_INDEX_flush_stale_sync] = {"flush_stale_sync", flushes, NULL},
	[RULE_INDEX_super_no_dsync] = {"super_no_dsync", many_resizes, NULL},
	[RULE_INDEX_journal_no_dsync] = {"journal_no_dsync", nothing, NULL},
	[RULE_INDEX_punch_early] = {"punch_early", discards, NULL},
	[RULE_INDEX_repack_touched] = {"repack_touched", nothing, directed_repack},
	[RULE_INDEX_no_snap_drain] = {"no_snap_drain", snapshots, NULL},
	[RULE_INDEX_zombie_volatile] = {"zombie_volatile", snapshots, NULL},
	[RULE_INDEX_walk_in_ckpt] = {"walk_in_ckpt", nothing, directed_reclaim},
	[RULE_INDEX_branch_free] = {"branch_free", nothing, directed_branches},
	[RULE_INDEX_rollback_ungate] = {"rollback_ungate", nothing, directed_rollback},
	[RULE_INDEX_no_vj] = {"no_vj", recoveries, NULL},
	[RULE_INDEX_vj_after_ack] = {"vj_after_ack", recoveries, NULL},
	[RULE_INDEX_vj_retire_early] = {"vj_retire_early", recoveries_of_flushes, NULL},
	[RULE_INDEX_vj_reset_early] = {"vj_reset_early", recoveries, NULL},
	[RULE_INDEX_vj_no_skip] = {"vj_no_skip", recoveries_of_flushes, NULL},
	[RULE_INDEX_vj_group] = {"vj_group", nothing, directed_groups},
	[RULE_INDEX_vj_stale] = {"vj_stale", stale_ones, NULL},
	[RULE_INDEX_vj_free_early] = {"vj_free_early", nothing, directed_recovery},
	[RULE_INDEX_late_write] = {"late_write", late_deaths, NULL},
	[RULE_INDEX_commit_no_mark] = {"commit_no_mark", nothing, directed_commit},
	[RULE_INDEX_commit_no_sync] = {"commit_no_sync", nothing, directed_commit},
	[RULE_INDEX_shrink_backing] = {"shrink_backing", shrunk_overlays, NULL},
};
_Static_assert(sizeof(mutations) / sizeof(*mutations) == NRULES, "a test for each rule");

/* ---- running them ------------------------------------------------------------------------ */

static void run_programs(const struct mutation *m, uint64_t broken)
{
	struct config cfg;

	for (uint64_t seed = 1; seed <= (broken ? PROGRAMS : CONTROLS); seed++) {
		config_random(&cfg, seed);
		m->adjust(&cfg);
		cfg.inject = false;
		cfg.broken_rules = broken;
		(m->program ? m->program : run_program)(&cfg);
	}
}

/* In a process of its own, which the failure ends.  Returns whether there was one, and says how. */
static bool fails(const struct mutation *m, uint64_t broken, char *how, size_t size)
{
	int out[2], status;
	size_t len = 0;
	ssize_t n;

	fflush(stdout);
	if (pipe(out))
		abort();
	pid_t pid = fork();
	if (pid < 0)
		abort();
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		close(out[0]);
		close(out[1]);
		run_programs(m, broken);
		_exit(0);
	}
	close(out[1]);
	while (len < size - 1 && (n = read(out[0], how + len, size - 1 - len)) > 0)
		len += (size_t)n;
	how[len] = '\0';
	close(out[0]);
	if (waitpid(pid, &status, 0) != pid)
		abort();
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

/* The line that tells the failure, without what is around it. */
static void print_result(const char *name, bool caught, char *how)
{
	char *line = strstr(how, "FAILED");

	if (!line)
		line = how;
	line[strcspn(line, "\n")] = '\0';
	printf("%-20s %s %.100s\n", name, caught ? "caught:" : "SURVIVED", caught ? line : "");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const char *only = getenv("CRASH_RULE");
	unsigned survived = 0;
	char how[4096];

	(void)argc;
	crash_report_init(argv[0]);
	for (unsigned i = 0; i < NRULES; i++) {
		if (only && strcmp(only, mutations[i].name))
			continue;
		bool caught = fails(&mutations[i], 1ull << i, how, sizeof(how));
		print_result(mutations[i].name, caught, how);
		survived += !caught;
		if (fails(&mutations[i], 0, how, sizeof(how))) {
			printf("and fails although no rule is broken: %s\n", how);
			survived++;
		}
	}
	return survived ? 1 : 0;
}
