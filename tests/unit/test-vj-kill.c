/* SPDX-License-Identifier: MIT */
/*
 * A process that writes to an image through the engine, in a real file and with a volatile journal,
 * is killed with SIGKILL at a random moment; its successor recovers, and everything that had been
 * acknowledged is there: writes, zeros, discards, snapshots.  Again and again on the same image,
 * the successor being killed in its turn, some of them while they recover.
 *
 * TEST_KILL_ROUNDS=n and TEST_KILL_SEED=n.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"
#include "image/check.h"
#include "image/snapshot.h"
#include "tests/lib/rng.h"

#define ROUNDS	 40u
#define WRITERS	 4u
#define CLUSTER	 (64u << 10)
#define BLOCK	 4096u
#define PER	 (CLUSTER / BLOCK)
#define CLUSTERS 64u /* of each writer */
#define BLOCKS	 (WRITERS * CLUSTERS * PER)
#define STRIDE	 11u /* the clusters that are used, so that many leaves are */
#define DISK	 (WRITERS * CLUSTERS * STRIDE * (uint64_t)CLUSTER)
#define DEVICE	 5u

/* What the process that was killed has told: a version of each block, zero in every fourth. */
struct told {
	_Atomic uint32_t issued[BLOCKS], acked[BLOCKS];
	_Atomic uint32_t version;
	_Atomic uint32_t snap_issued, snap_acked; /* name of the newest */
	_Atomic uint32_t gone_issued;		  /* names up to this are being deleted */
	_Atomic bool ready;
	_Atomic uint64_t ops;
};

static struct told *told;

/* Versions that were under way when processes were killed since somebody has looked. */
#define MAYBE 8u
static uint32_t maybe[BLOCKS][MAYBE];

static char path[512], dirname[512];
static int dir;

struct open {
	struct store *st;
	struct image *im;
	struct engine *e;
};

/* In a child, where cmocka cannot help. */
static void must(errint_t err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: error %d\n", what, err);
	abort();
}

/* --- the image ----------------------------------------------------------------------------------
 */

static uint64_t block_offset(unsigned block)
{
	return (block / PER) * STRIDE * (uint64_t)CLUSTER + block % PER * BLOCK;
}

/* Every other version compresses. */
static void fill(uint8_t *to, unsigned block, uint32_t version)
{
	struct rng rng = {(uint64_t)version << 32 | block};
	uint64_t word[2] = {(uint64_t)version << 32 | block, 0};

	for (unsigned i = 0; i < BLOCK; i += sizeof(word)) {
		word[1] = version & 1 ? rng_next(&rng) : i;
		memcpy(to + i, word, sizeof(word));
	}
	if (version % 4 == 0)
		memset(to, 0, BLOCK);
}

static errint_t open_image(struct open *o, bool recover)
{
	const struct vj_recover r = {dir, DEVICE, 0};
	const struct image_open_opts opts = {.recover = recover ? &r : NULL, .vj_shift = 10};
	errint_t err = store_file_open(path, 0, &o->st);

	if (!err)
		err = image_open(o->st, &opts, &o->im);
	if (!err && !recover)
		err = image_vj_start(o->im, dir, DEVICE);
	return err ? err : engine_new(o->im, NULL, &o->e);
}

/* --- the process that is killed ------------------------------------------------------------------
 */

struct writer {
	struct open *o;
	struct engine_thread *t;
	unsigned id;
	struct rng rng;
	pthread_t thread;
};

static void issue(struct writer *w, uint8_t *buf, unsigned first, unsigned n, uint32_t version)
{
	for (unsigned i = 0; i < n; i++) {
		fill(buf + (size_t)i * BLOCK, first + i, version);
		atomic_store(&told->issued[first + i], version);
	}
	(void)w;
}

static void *write_for_ever(void *arg)
{
	struct writer *w = arg;
	CLEANUP(free) uint8_t *buf = aligned_alloc(BLOCK, CLUSTER);
	unsigned own = w->id * CLUSTERS * PER;
	errint_t err;

	for (;;) {
		bool whole = rng_chance(&w->rng, 30);
		unsigned n = whole ? PER : 1 + (unsigned)rng_below(&w->rng, 3);
		unsigned first = (unsigned)rng_below(&w->rng, CLUSTERS) * PER +
				 (whole ? 0 : (unsigned)rng_below(&w->rng, PER - 2));
		uint32_t version = atomic_fetch_add(&told->version, 1) + 1;

		first += own;
		issue(w, buf, first, n, version);
		uint64_t off = block_offset(first), len = (uint64_t)n * BLOCK;
		if (version % 4)
			err = engine_write(w->t, buf, off, len, rng_chance(&w->rng, 3));
		else if (whole)
			err = engine_discard(w->t, off, len);
		else
			err = engine_write_zeroes(w->t, off, len);
		must(err, "writing");
		for (unsigned i = 0; i < n; i++)
			atomic_store(&told->acked[first + i], version);
		atomic_fetch_add(&told->ops, 1);
		if (rng_chance(&w->rng, 1))
			must(engine_flush(w->t), "flush");
	}
	return NULL;
}

static void one_snapshot(struct image *im, struct rng *rng)
{
	uint32_t n = atomic_load(&told->snap_acked) + 1, gone;
	char name[32];
	bool more = true;

	/* The one that may or may not have been taken when the process before was killed. */
	if (atomic_load(&told->snap_issued) == n) {
		struct snapshot_info info;

		snprintf(name, sizeof(name), "s%u", n);
		if (!snapshot_find(im, name, &info)) {
			atomic_store(&told->snap_acked, n);
			return;
		}
	}
	atomic_store(&told->snap_issued, n);
	snprintf(name, sizeof(name), "s%u", n);
	must(snapshot_create(im, name, NULL), "taking a snapshot");
	atomic_store(&told->snap_acked, n);
	gone = atomic_load(&told->gone_issued);
	if (n - gone > 2) {
		struct snapshot_info info;

		atomic_store(&told->gone_issued, ++gone);
		snprintf(name, sizeof(name), "s%u", gone);
		if (!snapshot_find(im, name, &info))
			must(snapshot_delete(im, name), "deleting a snapshot");
	}
	for (unsigned i = (unsigned)rng_below(rng, 40); i && more; i--)
		must(snapshot_reclaim(im, 1, &more), "deleting in the background");
}

static void *upkeep(void *arg)
{
	struct writer *w = arg;

	for (;;) {
		usleep((useconds_t)rng_below(&w->rng, 6000));
		if (rng_chance(&w->rng, 40))
			one_snapshot(w->o->im, &w->rng);
		else if (rng_chance(&w->rng, 40))
			must(image_checkpoint(w->o->im), "checkpoint");
		else
			must(engine_maintain(w->o->e), "upkeep");
	}
	return NULL;
}

static void serve(bool recover, uint64_t seed)
{
	struct writer w[WRITERS + 1];
	struct open o;

	must(open_image(&o, recover), "opening");
	for (unsigned i = 0; i <= WRITERS; i++) {
		w[i] = (struct writer){.o = &o, .id = i, .rng = {seed + i}};
		must(engine_thread_new(o.e, &w[i].t), "thread");
		if (pthread_create(&w[i].thread, NULL, i < WRITERS ? write_for_ever : upkeep,
				   &w[i]))
			abort();
	}
	atomic_store(&told->ready, true);
	for (;;)
		pause();
}

/* --- its successor ------------------------------------------------------------------------------
 */

static bool holds(const uint8_t *found, unsigned block, uint32_t version)
{
	uint8_t want[BLOCK];

	fill(want, block, version);
	return !memcmp(found, want, BLOCK);
}

static void verify(struct open *o, unsigned round)
{
	const struct check_opts opts = {.threads = 1};
	CLEANUP(free) uint8_t *buf = aligned_alloc(BLOCK, BLOCK);
	struct engine_thread *t;
	struct check_result res = {0};
	struct snapshot_info info;
	char name[32];

	assert_int_equal(engine_thread_new(o->e, &t), 0);
	for (unsigned b = 0; b < BLOCKS; b++) {
		uint32_t acked = told->acked[b], issued = told->issued[b];

		assert_int_equal(engine_read(t, buf, block_offset(b), BLOCK), 0);
		uint32_t found = acked;
		for (unsigned i = 0; i < MAYBE && !holds(buf, b, found); i++)
			if (maybe[b][i] > acked)
				found = maybe[b][i];
		if (!holds(buf, b, found) && !holds(buf, b, issued))
			fail_msg("round %u: block %u holds version %" PRIu32 " instead of %" PRIu32
				 " or %" PRIu32,
				 round, b, *(uint32_t *)(buf + 4), acked, issued);
		/* What is there now has been told. */
		told->acked[b] = told->issued[b] = holds(buf, b, found) ? found : issued;
	}
	memset(maybe, 0, sizeof(maybe));
	engine_thread_free(t);
	for (uint32_t s = told->gone_issued + 1; s <= told->snap_acked; s++) {
		snprintf(name, sizeof(name), "s%u", s);
		if (snapshot_find(o->im, name, &info))
			fail_msg("round %u: snapshot %s is gone", round, name);
	}
	assert_int_equal(check_image(o->im, &opts, &res), 0);
	assert_int_equal(res.corruptions, 0);
	assert_int_equal(res.leaks, 0);
}

/* Nobody looks: what was under way may be there, and stay for the next one. */
static void note_issued(unsigned nth)
{
	for (unsigned b = 0; b < BLOCKS; b++)
		maybe[b][nth] = told->issued[b];
}

static void stop(pid_t pid, const char *when)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("%s: the process had ended with status %#x", when, status);
}

static pid_t begin(bool recover, uint64_t seed)
{
	told->ready = false;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		serve(recover, seed);
	return pid;
}

static void abandon(struct open *o)
{
	engine_free(o->e);
	image_abandon(o->im);
	store_close(o->st);
}

static unsigned number(const char *name, unsigned def)
{
	const char *text = getenv(name);

	return text && *text ? (unsigned)strtoul(text, NULL, 0) : def;
}

static void nothing_is_lost(void **state)
{
	unsigned rounds = number("TEST_KILL_ROUNDS", ROUNDS), killed = 0, unseen = 0;
	struct rng rng = {number("TEST_KILL_SEED", (unsigned)time(NULL))};
	uint64_t recovered = 0;
	struct image_info info;
	struct open o;

	(void)state;
	print_message("TEST_KILL_SEED=%" PRIu64 "\n", rng.state);
	for (unsigned i = 0; i < rounds; i++) {
		pid_t pid = begin(i, rng_next(&rng));

		/* Some are killed while they still recover. */
		if (i && rng_chance(&rng, 25)) {
			usleep((useconds_t)rng_below(&rng, 15000));
			killed += !told->ready;
		} else {
			while (!told->ready) {
				int status;

				usleep(500);
				if (waitpid(pid, &status, WNOHANG))
					fail_msg("round %u: it has ended by itself: %#x", i,
						 status);
			}
			usleep((useconds_t)rng_below(&rng, 60000));
		}
		stop(pid, "writing");
		if (rng_chance(&rng, 30) && i + 1 < rounds && unseen < MAYBE) {
			note_issued(unseen++);
			continue; /* its successor is another one that is killed */
		}
		unseen = 0;
		assert_int_equal(open_image(&o, true), 0);
		verify(&o, i);
		image_get_info(o.im, &info);
		recovered += info.recovered;
		if (i + 1 < rounds)
			abandon(&o);
	}
	engine_free(o.e);
	assert_int_equal(image_close(o.im), 0);
	store_close(o.st);
	print_message("%u rounds, %u killed while recovering, %" PRIu64 " operations, %" PRIu64
		      " records recovered, %" PRIu32 " snapshots\n",
		      rounds, killed, told->ops, recovered, told->snap_acked);
	assert_true(recovered > 0);
}

/* --- around it ----------------------------------------------------------------------------------
 */

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	const struct image_params params = {.size = DISK, .codec = CODEC_ZSTD, .level = 1};
	struct store *st;

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(told != MAP_FAILED);
	snprintf(dirname, sizeof(dirname), "%s/vj-kill.XXXXXX", tmp ? tmp : "/var/tmp");
	assert_non_null(mkdtemp(dirname));
	dir = open(dirname, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	assert_true(snprintf(path, sizeof(path), "%s/image", dirname) < (int)sizeof(path));
	assert_int_equal(store_file_open(path, STORE_FILE_CREATE, &st), 0);
	assert_int_equal(image_create(st, &params), 0);
	store_close(st);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	close(dir);
	return rmdir(dirname);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
