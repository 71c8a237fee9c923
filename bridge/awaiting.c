/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/awaiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/control.h"
#include "bridge/dead_device.h"
#include "bridge/runtime_dir.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "image/vj.h"

/* What is known of a device, and the driver to be asked about it. */
struct look {
	int dir;
	struct control *control; /* NULL: not connected yet */
	errint_t driver;	 /* of connecting; -EAGAIN: not tried yet */
};

static struct look look_begin(int dir)
{
	return (struct look){.dir = dir, .driver = -EAGAIN};
}

static void cleanup_look(struct look *l)
{
	control_close(l->control);
}

enum awaiting_is awaiting_judge(const struct device_state *s, errint_t err, bool seen,
				const struct ublksrv_ctrl_dev_info *info)
{
	/* Without a driver, or without the device.  Only the driver's node is missing where the
	 * device is to be seen: in a container, perhaps, whose /run is the host's. */
	if ((err == -ENOENT && !seen) || err == -ENODEV)
		return AWAITING_NOT;
	/* It cannot be told: what is there is not to be touched. */
	if (err)
		return AWAITING_YES;
	if (info->ublksrv_flags != s->mark)
		return AWAITING_NOT;
	return info->state == UBLK_S_DEV_DEAD ? AWAITING_DEAD : AWAITING_YES;
}

static enum awaiting_is look_at(struct look *l, const struct device_state *s)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = 0};
	uint64_t features;
	errint_t err;

	if (l->driver == -EAGAIN)
		l->driver = control_open(&l->control, &features);
	err = l->driver ? l->driver : control_find(l->control, s->id, &info);
	return awaiting_judge(s, err, awaiting_device_exists(NULL, s->id), &info);
}

/* A volatile journal without its device is of no use to anybody. */
static void forget(int dir, const struct device_state *s, int *lock)
{
	if (!s->read_only)
		vj_discard(dir, s->uuid, s->id);
	state_file_remove(dir, s, lock);
}

/* What is left of a device that nobody can take back. */
static void clean_up(struct look *l, const struct device_state *seen)
{
	CLEANUP(free) struct device_state *s = malloc(sizeof(*s));
	CLEANUP(close) int lock = -1;
	enum awaiting_is is;

	if (!s || state_file_take(l->dir, state_file_device(seen), s, &lock) ||
	    s->mark != seen->mark)
		return;
	is = look_at(l, s);
	if (is == AWAITING_YES || (is == AWAITING_DEAD && control_delete(l->control, s->id)))
		return;
	forget(l->dir, s, &lock);
	log_info("removed what was left of %s, whose bridge has ended", s->device);
}

/* ---- all of them ------------------------------------------------------------------------- */

struct visit {
	struct look *look;
	awaiting_fn fn;
	void *arg;
};

static bool visit(void *arg, const struct device_state *s, bool owned)
{
	struct visit *v = arg;

	if (owned)
		return true;
	if (look_at(v->look, s) == AWAITING_YES)
		return v->fn(v->arg, s);
	clean_up(v->look, s);
	return true;
}

errint_t awaiting_visit(awaiting_fn fn, void *arg)
{
	CLEANUP(close) int dir = -1;
	errint_t err = runtime_dir_open(false, &dir);

	if (err)
		return err == -ENOENT ? 0 : err;
	CLEANUP(look) struct look look = look_begin(dir);
	struct visit v = {.look = &look, .fn = fn, .arg = arg};

	return state_file_visit(dir, visit, &v);
}

bool awaiting_settle(int dir, const char *device)
{
	CLEANUP(free) struct device_state *s = malloc(sizeof(*s));
	CLEANUP(look) struct look look = look_begin(dir);

	if (!s || state_file_read(dir, device, s)) {
		dead_device_remove(device);
		return false;
	}
	if (look_at(&look, s) == AWAITING_YES)
		return true;
	clean_up(&look, s);
	return false;
}

/* ---- one of them ------------------------------------------------------------------------- */

struct search {
	const char *what; /* NULL: by process */
	bool image_only;
	bool exists; /* @what leads to something, which @st is about */
	struct stat st;
	pid_t pid;
	struct device_state *found; /* NULL: none yet */
	errint_t err;
};

static bool is_device(const struct search *q, const struct device_state *s)
{
	struct stat st;

	if (!strcmp(s->device, q->what) || !strcmp(state_file_device(s), q->what))
		return true;
	return q->exists && S_ISBLK(q->st.st_mode) && !stat(s->device, &st) &&
	       st.st_rdev == q->st.st_rdev;
}

static bool is_meant(const struct search *q, const struct device_state *s)
{
	if (!q->what)
		return s->pid == q->pid;
	if (q->exists && s->image_dev == q->st.st_dev && s->image_ino == q->st.st_ino)
		return true;
	return !q->image_only && (is_device(q, s) || (*s->name && !strcmp(s->name, q->what)));
}

static bool look_for(void *arg, const struct device_state *s)
{
	struct search *q = arg;

	if (!is_meant(q, s))
		return true;
	q->found = malloc(sizeof(*s));
	if (q->found)
		*q->found = *s;
	else
		q->err = log_err(-ENOMEM, "%s: cannot look for its device", s->image);
	return false;
}

static errint_t find(struct search *q, struct device_state **out)
{
	errint_t err;

	q->exists = q->what && !stat(q->what, &q->st);
	err = awaiting_visit(look_for, q);
	if (!err)
		err = q->err;
	*out = q->found;
	return !err && !q->found ? -ENOENT : err;
}

errint_t awaiting_find(const char *what, struct device_state **s)
{
	struct search q = {.what = what};

	return find(&q, s);
}

errint_t awaiting_find_image(const char *path, struct device_state **s)
{
	struct search q = {.what = path, .image_only = true};

	return find(&q, s);
}

errint_t awaiting_find_left(pid_t pid, const struct device_state *before, struct device_state **s)
{
	struct search q = {.what = before ? before->device : NULL, .pid = pid};
	errint_t err = find(&q, s);

	if (!before || err || (*s)->mark == before->mark)
		return err;
	free(*s);
	*s = NULL;
	return -ENOENT;
}

static bool look_for_any(void *arg, const struct device_state *s, bool owned)
{
	(void)owned;
	return look_for(arg, s);
}

bool awaiting_known(const char *what)
{
	struct search q = {.what = what};
	CLEANUP(close) int dir = -1;
	bool any = false;

	q.exists = !stat(what, &q.st);
	if (!runtime_dir_open(false, &dir) && !state_file_visit(dir, look_for_any, &q))
		any = q.found;
	free(q.found);
	return any;
}

bool awaiting_device_exists(void *arg, uint32_t device)
{
	char path[64];

	(void)arg;
	snprintf(path, sizeof(path), "/sys/block/ublkb%u", device);
	return !access(path, F_OK);
}

/* ---- removing ---------------------------------------------------------------------------- */

static uint64_t count_lost(int dir, const struct device_state *s)
{
	struct vj_info info;

	if (s->read_only || s->closed)
		return 0;
	return vj_pending(dir, s->uuid, &info) ? UINT64_MAX : info.unretired;
}

static errint_t remove_device(struct look *l, const struct device_state *s)
{
	enum awaiting_is is = look_at(l, s);
	errint_t err = 0;

	if (l->driver && is != AWAITING_NOT)
		return log_err(l->driver, "%s: cannot ask the ublk driver", s->device);
	if (is == AWAITING_YES)
		err = control_stop(l->control, s->id, false);
	if (!err && is != AWAITING_NOT)
		err = control_delete(l->control, s->id);
	return err;
}

errint_t awaiting_remove(const struct device_state *seen, uint64_t *lost)
{
	CLEANUP(free) struct device_state *s = malloc(sizeof(*s));
	CLEANUP(close) int lock = -1;
	CLEANUP(close) int dir = -1;
	errint_t err = s ? runtime_dir_open(false, &dir) : -ENOMEM;

	*lost = 0;
	if (!err)
		err = state_file_take(dir, state_file_device(seen), s, &lock);
	if (err == -ENOENT || err == -EBADMSG)
		return log_fail(-ENOENT, "%s has gone", seen->device);
	if (err)
		return err;
	CLEANUP(look) struct look look = look_begin(dir);

	*lost = count_lost(dir, s);
	err = remove_device(&look, s);
	if (!err)
		forget(dir, s, &lock);
	return err;
}
