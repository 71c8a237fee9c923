/* SPDX-License-Identifier: MIT */
/*
 * What a bridge records for the one that may have to take its device back, and how that one goes
 * about it:
 *
 *	state file	volatile journal	the next bridge
 *	closed: no	of the session		replays the journal (image_open_opts.recover)
 *	closed: yes	of the session, empty	the same, which keeps others off the image till then
 *	closed: yes	of another version	opens the image, unless its file has changed
 *
 * Both are there before the device answers, which for one that is taken back is before its first
 * queue fetches: newer drivers (6.18) do not wait for END_USER_RECOVERY with requests that are new.
 * The image of a read-only device is closed at any time, and has no volatile journal.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bridge/awaiting.h"
#include "bridge/bridge_priv.h"
#include "bridge/process.h"
#include "common/fault.h"
#include "common/log.h"

/* ---- a new device ------------------------------------------------------------------------ */

static errint_t attach_claim(struct bridge *b)
{
	(void)b;
	return 0;
}

static errint_t attach_open(struct bridge *b, struct image_open_opts *o)
{
	o->state = &b->vj_state;
	return 0;
}

const struct bridge_way bridge_way_attach = {
	.done = "attached",
	.claim = attach_claim,
	.open = attach_open,
};

/* ---- one that is there ------------------------------------------------------------------- */

static errint_t take_back_claim(struct bridge *b)
{
	const struct device_state *seen = b->opts->takeover;
	errint_t err;

	process_set_flusher();
	err = state_file_take(b->dir, state_file_device(seen), &b->state, &b->state_lock);

	if (err == -ENOENT || err == -EBADMSG || (!err && b->state.mark != seen->mark))
		return log_fail(-ENOENT, "%s does not await recovery any more", seen->device);
	if (!err)
		err = b->parts->wait_device(b->parts->arg, b);
	return err ? err : fault_point("take_back_claimed");
}

/* Nobody may have written to an image that was left in order, nor put another one in its place. */
static errint_t check_unchanged(struct bridge *b)
{
	const struct device_state *s = &b->state;
	struct stat st;

	if (fstat(store_file_fd(b->store), &st))
		return log_errno("%s: cannot look at the file", b->opts->image);
	bool same = S_ISBLK(st.st_mode) || (st.st_dev == s->image_dev && st.st_ino == s->image_ino);
	if (same && (!s->mtime || state_file_mtime(&st) == s->mtime))
		return 0;
	return log_fail(
		-ESTALE,
		"%s has been changed or replaced since %s lost its bridge, whose users would take old "
		"data for new: it cannot be recovered; \"ublk-img detach --force %s\" "
		"removes the device",
		b->opts->image, s->device, s->device);
}

/* Is there a volatile journal to go on with?  Of an image that was closed it is not needed, but
 * tells whether somebody has opened it since. */
static bool find_journal(struct bridge *b)
{
	struct vj_info info;

	if (!b->state.closed)
		return true;
	return !b->state.read_only && !vj_pending(b->dir, b->state.uuid, &info) &&
	       info.device == b->state.id;
}

static errint_t take_back_open(struct bridge *b, struct image_open_opts *o)
{
	errint_t err;

	b->replays = find_journal(b);
	if (b->replays) {
		b->recover = (struct vj_recover){.dir = b->dir, .device = b->state.id};
		o->recover = &b->recover;
		return 0;
	}
	err = check_unchanged(b);
	if (err || b->state.read_only)
		return err;
	/* From here on it is this bridge that changes it. */
	b->state.mtime = 0;
	err = state_file_write(b->dir, &b->state, &b->state_lock);
	return err ? err : fault_point("take_back_changes");
}

const struct bridge_way bridge_way_take_back = {
	.done = "taken back",
	.claim = take_back_claim,
	.open = take_back_open,
	.device_stays = true,
};

/* ---- promising --------------------------------------------------------------------------- */

bool bridge_wants_recovery(const struct bridge *b)
{
	return b->opts->takeover || (b->opts->recovery != BRIDGE_RECOVERY_OFF && !*b->no_recovery);
}

bool bridge_promise_failed(const struct bridge *b)
{
	return b->promise_failed;
}

errint_t bridge_no_recovery(struct bridge *b, bool warn, const char *why)
{
	static const char without[] =
		"when its bridge dies the device ends, since it cannot be recovered";

	b->promise_failed = false;
	snprintf(b->no_recovery, sizeof(b->no_recovery), "%s", why);
	if (b->opts->recovery == BRIDGE_RECOVERY_REQUIRE)
		return log_fail(-ENOTSUP, "%s: a device that can be recovered is not possible: %s",
				b->opts->image, why);
	if (warn)
		log_warn("%s: %s: %s", b->opts->image, without, why);
	else
		log_info("%s: %s: %s", b->opts->image, without, why);
	return 0;
}

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static void fill_state(struct bridge *b, const struct device *d, uint32_t id, uint64_t mark)
{
	const struct bridge_opts *o = b->opts;
	struct device_state *s = &b->state;
	struct image_info info;

	*s = (struct device_state){
		.id = id,
		.mark = mark,
		.mode = d->choice.mode,
		.read_only = o->read_only,
		.foreground = o->foreground,
		.restart = o->restart,
		.allow_backing = o->allow_backing,
		.size = image_size(b->image),
		.since = b->since.tv_sec,
		.pid = getpid(),
		.closed = o->read_only,
	};
	copy_text(s->device, sizeof(s->device), d->path);
	copy_text(s->image, sizeof(s->image), o->image);
	copy_text(s->name, sizeof(s->name), o->name);
	copy_text(s->log, sizeof(s->log), o->log_file);
	copy_text(s->mode_reason, sizeof(s->mode_reason), d->choice.why);
	state_file_boot_id(s->boot);
	state_file_set_image(s, &b->file);
	image_get_info(b->image, &info);
	memcpy(s->uuid, info.uuid, sizeof(s->uuid));
}

/* A journal that was replayed is gone on with. */
static errint_t start_journal(struct bridge *b, uint32_t id)
{
	return b->opts->read_only || b->replays ? 0 : image_vj_start(b->image, b->dir, id);
}

/* The state file first: who removes what is left of another device that had this number, a volatile
 * journal included, is done when the file is ours. */
static errint_t promise_new(struct bridge *b, uint32_t id)
{
	errint_t err = state_file_write(b->dir, &b->state, &b->state_lock);

	if (!err)
		err = start_journal(b, id);
	if (err)
		bridge_state_end(b);
	return err;
}

/* The file is ours already, and goes on to say "closed" until there is a journal: a death in
 * between must not leave a device that has to be replayed, and nothing to replay. */
static errint_t promise_again(struct bridge *b, uint32_t id)
{
	errint_t err = fault_point("take_back_opened");

	if (!err)
		err = start_journal(b, id);
	if (!err)
		err = fault_point("take_back_journal");
	return err ? err : state_file_write(b->dir, &b->state, &b->state_lock);
}

errint_t bridge_promise(struct bridge *b, const struct device *d, uint32_t id, uint64_t mark)
{
	errint_t err;

	fill_state(b, d, id, mark);
	if (b->opts->takeover)
		return promise_again(b, id);
	err = promise_new(b, id);
	b->promise_failed = err != 0;
	return err;
}

errint_t bridge_state_closed(struct bridge *b)
{
	errint_t err = fault_point("hand_over_closed");

	b->state.closed = true;
	state_file_set_image(&b->state, &b->file);
	return err ? err : state_file_write(b->dir, &b->state, &b->state_lock);
}

void bridge_state_end(struct bridge *b)
{
	if (b->state_lock >= 0)
		state_file_remove(b->dir, &b->state, &b->state_lock);
}
