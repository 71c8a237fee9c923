/* SPDX-License-Identifier: MIT */
/*
 * Applying to an image:
 *
 *	at the base -> [APPLYING, durable] -> size, content -> [AT the target, durable]
 *
 * (docs/format.md, rule D4).  From the first mark to the second the image is neither, and is opened
 *by nobody but who goes on.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/apply.h"
#include "cli/image_file.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "engine/engine.h"
#include "image/snapshot.h"

/* ---- where the target is ------------------------------------------------------------------- */

enum place { ELSEWHERE, AT_BASE, ON_THE_WAY, AT_TARGET };

static errint_t stop_at_first(void *arg, const struct diff_extent *e)
{
	(void)e;
	*(bool *)arg = true;
	return -ECANCELED;
}

/* Is the disk what the snapshot @id holds? */
static errint_t same_as(struct image *im, uint32_t id, bool *same)
{
	struct snapshot_view *view;
	bool differs = false;
	errint_t err = snapshot_view_open_id(im, id, &view);

	if (err)
		return err;
	differs = snapshot_view_size(view) != image_size(im);
	if (!differs)
		err = snapshot_diff(im, view, NULL, stop_at_first, &differs);
	snapshot_view_close(view);
	*same = !differs;
	return err == -ECANCELED ? 0 : err;
}

/* Is the disk what a snapshot of it that is @p holds? */
static errint_t at_snapshot(struct image *im, const struct content_point *p, bool *at)
{
	CLEANUP(free) void *memory = NULL;
	struct snapshot_info *list;
	uint32_t n;
	errint_t err = snapshot_list(im, &list, &n);

	*at = false;
	if (err)
		return err;
	memory = list;
	for (uint32_t i = 0; i < n && !*at && !err; i++)
		if (!list[i].deleting && !memcmp(list[i].uuid, p->uuid, sizeof(p->uuid)))
			err = same_as(im, list[i].id, at);
	return err;
}

static errint_t find_by_snapshots(struct image *im, const struct content *d, enum place *place)
{
	bool at;
	errint_t err = at_snapshot(im, &d->target, &at);

	if (!err && at)
		*place = AT_TARGET;
	if (err || at)
		return err;
	err = at_snapshot(im, &d->base, &at);
	if (!err && at)
		*place = AT_BASE;
	return err;
}

static errint_t find_place(const struct apply *a, struct image *im, enum place *place)
{
	const struct content *d = &a->delta.content;
	char base[POINT_TEXT_MAX], target[POINT_TEXT_MAX];
	struct content c;

	*place = ELSEWHERE;
	image_get_content(im, &c);
	if (c.state == CONTENT_APPLYING) {
		if (point_same(&c.base, &d->base) && point_same(&c.target, &d->target)) {
			*place = ON_THE_WAY;
			return 0;
		}
		return log_fail(-EINVAL,
				"%s: another delta, from %s to %s, was interrupted while it was "
				"applied; repeat that first",
				a->target, point_text(&c.base, base),
				point_text(&c.target, target));
	}
	if (c.state == CONTENT_AT && point_same(&c.target, &d->target))
		*place = AT_TARGET;
	else if (c.state == CONTENT_AT && point_same(&c.target, &d->base))
		*place = AT_BASE;
	return *place == ELSEWHERE ? find_by_snapshots(im, d, place) : 0;
}

static errint_t check_sizes(const struct apply *a, struct image *im)
{
	const struct content *d = &a->delta.content;
	uint64_t size = image_size(im), sector = 1ull << image_geometry(im)->sector_shift;

	if (size != d->base.size && size != d->target.size)
		return log_fail(-EINVAL,
				"%s: its disk has %" PRIu64 " bytes, and the delta is for one of "
				"%" PRIu64,
				a->target, size, d->base.size);
	if (d->target.size % sector)
		return log_fail(-EINVAL,
				"%s: its disk has sectors of %" PRIu64
				" bytes, and is to have %" PRIu64 " bytes",
				a->target, sector, d->target.size);
	return 0;
}

/* May the delta be applied?  *place AT_TARGET: it need not. */
static errint_t check_place(const struct apply *a, struct image *im, enum place *place)
{
	errint_t err = find_place(a, im, place);

	if (err)
		return err;
	if (*place == ELSEWHERE && !a->force)
		return apply_refuse(a, "nothing tells that it is, or it has been written to since");
	return check_sizes(a, im);
}

/* ---- changing it --------------------------------------------------------------------------- */

static errint_t set_size(struct image *im, uint64_t size)
{
	struct engine_thread *thread;
	struct engine *engine;
	errint_t err = size == image_size(im) ? 0 : image_file_engine(im, &engine);

	if (err || size == image_size(im))
		return err;
	err = engine_thread_new(engine, &thread);
	if (!err) {
		err = engine_resize(thread, size, true);
		engine_thread_free(thread);
	}
	engine_free(engine);
	return err;
}

static errint_t write_content(struct apply *a, struct image *im)
{
	CLEANUP(sink) struct sink *sink = NULL;
	errint_t err = set_size(im, a->delta.content.target.size);

	if (!err)
		err = fault_point("apply_content");
	if (!err)
		err = sink_disk_new(im, &sink);
	return err ? err : apply_changes(a, sink);
}

static errint_t change(struct apply *a, struct image *im)
{
	struct content c = a->delta.content;
	enum place place;
	errint_t err = check_place(a, im, &place);

	a->nothing_to_do = place == AT_TARGET;
	if (err || a->nothing_to_do)
		return err;
	c.state = CONTENT_APPLYING;
	if (place != ON_THE_WAY)
		err = image_set_content(im, &c);
	if (!err)
		err = write_content(a, im);
	if (!err)
		err = fault_point("apply_done");
	c.state = CONTENT_AT;
	return err ? err : image_set_content(im, &c);
}

/* Without changing anything, which opening for writing does. */
static errint_t look(struct apply *a)
{
	CLEANUP(image_file) struct image_file f;
	const struct image_file_opts opts = {.accept_applying = true};
	enum place place;
	errint_t err = image_file_open_as(a->target, &opts, &f);

	if (!err)
		err = check_place(a, f.image, &place);
	a->nothing_to_do = !err && place == AT_TARGET;
	return err ? err : image_file_close(&f);
}

errint_t apply_to_image(struct apply *a)
{
	CLEANUP(image_file) struct image_file f = {0};
	const struct image_file_opts opts = {
		.write = true,
		.accept_applying = true,
		.keeps_content = true,
	};
	errint_t err = look(a);

	if (err || a->nothing_to_do)
		return err;
	err = image_file_open_as(a->target, &opts, &f);
	if (!err)
		err = change(a, f.image);
	return err ? err : image_file_close(&f);
}
