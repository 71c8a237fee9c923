/* SPDX-License-Identifier: MIT */
/* A simulated disk and the image on it. */
#include "config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "image/backing.h"
#include "image/check.h"
#include "image/plan.h"
#include "tests/crash/crash.h"
#include "tests/lib/sim_pages.h"

#define MAX_STEPS  2000000u /* of one operation; far more than any needs */
#define FILLER_OFF (1ull << 30)

struct world *world_new(const struct config *cfg, struct sim_disk *disk, uint64_t seed)
{
	struct world *w = sim_calloc(1, sizeof(*w));

	w->cfg = cfg;
	w->disk = disk;
	w->rng.state = seed;
	w->sched = sim_sched_new(rng_next(&w->rng));
	sim_store_init(&w->store, disk);
	w->store.no_punch = cfg->no_punch;
	if (cfg->backing)
		w->backing = w->pattern = backing_pattern(cfg);
	w->store.fail_rng.state = rng_next(&w->rng);
	w->box = cfg->vj ? vj_box_new(cfg->params.uuid) : NULL;
	return w;
}

void world_recover(struct world *w, const struct vj_copy *vj)
{
	vj_box_put(w->box, vj);
	w->recover = true;
}

struct vj_copy *world_vj(const struct world *w)
{
	return w->box ? vj_box_take(w->box) : NULL;
}

static void free_engine(struct world *w)
{
	for (unsigned i = 0; i < MAX_TASKS; i++) {
		assert(!w->thread_busy[i]);
		if (w->thread[i])
			engine_thread_free(w->thread[i]);
		w->thread[i] = NULL;
		image_writer_free(w->writer[i]);
		w->writer[i] = NULL;
	}
	if (w->engine)
		engine_free(w->engine);
	w->engine = NULL;
}

void world_free(struct world *w)
{
	if (!w)
		return;
	free_engine(w);
	image_abandon(w->im);
	vj_box_free(w->box);
	sim_sched_free(w->sched);
	sim_disk_free(w->disk);
	free(w->pattern);
	free(w);
}

/* ---- tasks ------------------------------------------------------------------------------ */

void world_drain(struct world *w)
{
	enum sim_state state = sim_run(w->sched, MAX_STEPS);

	if (state == SIM_DONE)
		return;
	sim_sched_dump(w->sched, stdout);
	crash_fail(state == SIM_STUCK ? "deadlock" : "no end after %u steps", MAX_STEPS);
}

struct doing {
	struct world *w;
	errint_t (*fn)(struct world *w, void *arg);
	void *arg;
	errint_t result;
};

static void do_it(void *arg)
{
	struct doing *d = arg;

	d->result = d->fn(d->w, d->arg);
}

errint_t world_do(struct world *w, errint_t (*fn)(struct world *w, void *arg), void *arg)
{
	struct doing d = {w, fn, arg, 0};

	sim_spawn(w->sched, "test", do_it, &d);
	world_drain(w);
	return d.result;
}

/* ---- opening and closing ---------------------------------------------------------------- */

#define DEVICE 3u

static errint_t open_image(struct world *w, bool read_only)
{
	const struct vj_recover recover = {w->box ? vj_box_dir(w->box) : -1, DEVICE, 0};
	struct image_open_opts opts = {
		.recover = w->recover ? &recover : NULL,
		.vj_shift = VJ_SHIFT_MIN,
		.read_only = read_only,
		.wait = &sim_wait_ops,
		.max_regions = w->cfg->max_regions,
		.journal_length = w->cfg->journal_length,
		.dirty_cap = w->cfg->dirty_cap,
		.cache_nodes = w->cfg->cache_nodes,
		.first_fit = w->cfg->first_fit,
		.broken_rules = w->cfg->broken_rules,
	};
	struct engine_opts engine_opts = {.wait = &sim_wait_ops, .backing = w->backing};
	errint_t err = image_open(&w->store.st, &opts, &w->im);

	if (err)
		return err;
	if (w->box && !read_only && !w->recover)
		err = image_vj_start(w->im, recover.dir, DEVICE);
	if (err)
		return err;
	err = engine_new(w->im, &engine_opts, &w->engine);
	for (unsigned i = 0; i < MAX_TASKS && !err; i++) {
		err = engine_thread_new(w->engine, &w->thread[i]);
		if (!err)
			err = image_writer_new(w->im, &w->writer[i]);
	}
	return err;
}

static void open_task(void *arg)
{
	struct world *w = arg;

	w->result = open_image(w, w->store.st.read_only);
}

/* W6: what is visible may be volatile; nothing is read before it is made durable. */
static void first_of_open(void *arg, enum sim_io io, uint64_t off, size_t len, bool completed)
{
	struct world *w = arg;

	(void)off, (void)len, (void)completed;
	if (io != SIM_SYNC || w->store.count[SIM_READ] != w->reads_before)
		crash_fail("opening has read or written before it made durable what is visible");
	w->store.event = NULL;
}

/* What the process before has left in flight lands at any time. */
static void late_task(void *arg)
{
	struct world *w = arg;

	do
		for (uint64_t n = rng_below(sim_rng(), w->cfg->late_wait); n; n--)
			sim_yield("late");
	while (sim_disk_land(w->disk, sim_rng()));
}

void world_open_begin(struct world *w, bool read_only)
{
	assert(!w->im);
	w->reads_before = w->store.count[SIM_READ];
	w->store.event = read_only ? NULL : first_of_open;
	w->store.event_arg = w;
	w->store.st.read_only = read_only;
	sim_spawn(w->sched, "open", open_task, w);
	if (sim_disk_late(w->disk))
		sim_spawn(w->sched, "late", late_task, w);
}

errint_t world_open_end(struct world *w)
{
	struct image_info info;

	world_drain(w);
	w->store.event = NULL;
	if (w->result)
		return w->result;
	image_get_info(w->im, &info);
	sim_disk_set_journal(w->disk, info.journal_offset, info.journal_length);
	return 0;
}

errint_t world_open(struct world *w, bool read_only)
{
	world_open_begin(w, read_only);
	return world_open_end(w);
}

static errint_t close_image(struct world *w, void *arg)
{
	struct image *im = w->im;

	(void)arg;
	w->im = NULL;
	return image_close(im);
}

errint_t world_close(struct world *w)
{
	free_engine(w);
	return world_do(w, close_image, NULL);
}

/* ---- what must hold --------------------------------------------------------------------- */

static void print_problem(void *arg, const char *problem)
{
	(void)arg;
	printf("  check: %s\n", problem);
}

static errint_t check_exact(struct world *w, void *arg)
{
	struct check_opts opts = {.report = print_problem, .max_reports = 20, .threads = 1};

	return check_image(w->im, &opts, arg);
}

struct verify {
	const struct oracle *o;
	bool acked; /* nothing that was acknowledged may be missing, flushed or not */
	struct oracle *next;
	const char *when;
	uint64_t size;
};

static void verify_sector(const struct verify *v, unsigned k, value found)
{
	char history[512];

	bool ok = v->acked ? oracle_allows(v->o, k, found, oracle_acked(v->o, k))
			   : oracle_allows_after_crash(v->o, k, found);

	if (!ok)
		crash_fail("%s: sector %u holds %s%" PRIu32 ", allowed%s: %s", v->when, k,
			   found == VALUE_BAD ? "no value of it, " : "", found,
			   v->acked ? " from what was acknowledged" : "",
			   oracle_describe(v->o, k, history, sizeof(history)));
	if (v->next && found) {
		oracle_issue(v->next, k, found);
		oracle_ack_durable(v->next, k, 1);
	}
}

static errint_t verify_zone(struct world *w, struct verify *v, const struct zone *z)
{
	uint64_t len = (uint64_t)z->sectors * 512;
	uint8_t *buf = sim_calloc(1, len);
	errint_t err;

	if (z->off >= v->size)
		len = 0;
	else if (len > v->size - z->off)
		len = v->size - z->off;
	err = len ? engine_read(w->thread[0], buf, z->off, len) : 0;
	for (unsigned i = 0; i < len / 512 && !err; i++)
		verify_sector(v, z->first + i, value_read(buf + i * 512, z->first + i));
	free(buf);
	return err;
}

static errint_t verify_data(struct world *w, void *arg)
{
	struct verify *v = arg;
	errint_t err = 0;

	for (unsigned i = 0; i < w->cfg->zones.n && !err; i++)
		err = verify_zone(w, v, &w->cfg->zones.zone[i]);
	return err;
}

void world_verify_data(struct world *w, const struct oracle *o, struct oracle *next,
		       const char *when)
{
	struct verify v = {
		.o = o, .acked = w->acked, .next = next, .when = when, .size = image_size(w->im)};
	errint_t err;

	if (!oracle_allows_size(o, v.size))
		crash_fail("%s: the disk has %" PRIu64 " bytes", when, v.size);
	if (next)
		oracle_set_size(next, v.size);
	err = world_do(w, verify_data, &v);
	if (err)
		crash_fail("%s: reading the disk: error %d", when, err);
}

void world_verify(struct world *w, const struct oracle *o, struct oracle **next, const char *when)
{
	struct check_result res = {0};
	errint_t err = world_do(w, check_exact, &res);

	if (err || res.corruptions || res.leaks)
		crash_fail("%s: check: error %d, %" PRIu64 " corruptions, %" PRIu64 " leaks", when,
			   err, res.corruptions, res.leaks);
	if (next)
		*next = oracle_new(oracle_sectors(o));
	world_verify_data(w, o, next ? *next : NULL, when);
	snapshot_verify(w, o, next ? *next : NULL, when);
}

/* ---- the images that programs start on -------------------------------------------------- */

/* Use up every cluster, a sub-block each, and free a few again. */
static errint_t fill_up(struct world *w, void *arg)
{
	uint64_t cluster = 1ull << w->cfg->params.cluster_shift;
	uint64_t off = FILLER_OFF;
	void *buf = store_buffer(4096);
	errint_t err;

	(void)arg;
	memset(buf, 'f', 4096);
	while (!(err = engine_write(w->thread[0], buf, off, 4096, false)))
		off += cluster;
	free(buf);
	if (err != -ENOSPC)
		return err;
	err = engine_discard(w->thread[0], FILLER_OFF, 7 * cluster);
	return err ? err : image_checkpoint(w->im);
}

static struct sim_disk *make_base(const struct config *cfg)
{
	struct sim_disk *disk = sim_disk_new();
	struct sim_store store;

	struct image_params params = cfg->params;
	struct backing_ref ref;

	sim_store_init(&store, disk);
	if (cfg->backing) {
		backing_describe(cfg, &ref);
		params.backing = &ref;
	}
	if (image_create(&store.st, &params))
		crash_fail("cannot create the image");
	if (sim_disk_volatile_units(disk))
		crash_fail("a new image is not durable");
	if (cfg->snapshot)
		return snapshot_base(cfg, disk);
	if (!cfg->nearly_full)
		return disk;

	struct config sound = *cfg;
	struct rng rng = {1};
	sound.broken_rules = 0;
	struct world *w = world_new(&sound, disk, 1);
	if (world_open(w, false) || world_do(w, fill_up, NULL) || world_close(w))
		crash_fail("cannot make a nearly full image");
	disk = sim_disk_power_loss(w->disk, SIM_LOSS_NONE_KEPT, &rng);
	world_free(w);
	return disk;
}

/* Filling an image takes a while, so the last one of each kind is kept. */
struct sim_disk *world_base(const struct config *cfg)
{
	static struct {
		struct sim_disk *disk;
		struct image_params params;
		uint64_t journal_length;
	} kept[8];

	if (!cfg->nearly_full)
		return make_base(cfg);
	for (unsigned i = 0;; i++) {
		if (i == 8)
			return make_base(cfg);
		if (!kept[i].disk) {
			kept[i].disk = make_base(cfg);
			kept[i].params = cfg->params;
			kept[i].journal_length = cfg->journal_length;
		}
		if (!memcmp(&kept[i].params, &cfg->params, sizeof(cfg->params)) &&
		    kept[i].journal_length == cfg->journal_length)
			return sim_disk_clone(kept[i].disk);
	}
}
