/* SPDX-License-Identifier: MIT */
/* What opening an image does with a volatile journal (docs/format.md section 10). */
#include "config.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "image/core.h"
#include "image/limbo.h"
#include "image/replay.h"
#include "image/super.h"
#include "image/vj_priv.h"

#define LOCK_MS	     60000u /* for what a dead process has in flight */
#define LOCK_POLL_US 5000u

static errint_t owner_of(struct image *im, uint32_t device, struct vj_owner *o)
{
	*o = (struct vj_owner){
		.image = im->st->name, .uuid = im->uuid, .session = im->session, .device = device};
	return store_identity(im->st, &o->file);
}

/* --- beginning -----------------------------------------------------------------------------------
 */

/* Everything that is durable is behind us; nothing else is known. */
static bool go_live(struct image *im, struct vj *vj)
{
	if (im->txns.open.n || im->txns.closing.n || im->txns.reserved > vj->slots)
		return false;
	vj_set_generation(vj, le64_get(im->super.generation));
	vj->live = true;
	im->vj = vj;
	return true;
}

errint_t image_vj_start(struct image *im, int dir, uint32_t device)
{
	struct vj_owner owner;
	struct vj *vj;
	bool live = false;

	assert(!im->vj);
	if (im->read_only)
		return log_fail(-EROFS, "%s: is open read-only and needs no volatile journal",
				im->st->name);
	errint_t err = owner_of(im, device, &owner);
	if (!err)
		err = vj_create(dir, &owner, im->vj_shift, &vj);
	if (err)
		return err;
	while (!err && !live) {
		err = txn_commit(im);
		SCOPED_LOCK(&im->lock);
		if (!err)
			err = im->failed;
		if (!err)
			live = go_live(im, vj);
	}
	if (err)
		vj_remove(vj);
	return err;
}

/* --- recovering ----------------------------------------------------------------------------------
 */

errint_t recover_lock(struct image *im, const struct vj_recover *r)
{
	uint64_t end = clock_ms() + (r->lock_ms ? r->lock_ms : LOCK_MS);
	errint_t err;

	while ((err = store_try_lock(im->st, STORE_LOCK_EXCLUSIVE)) == -EBUSY && clock_ms() < end) {
		if (RULE_BROKEN(im, late_write))
			return 0;
		if (im->wait)
			im->wait->wait(im->wait->arg);
		else
			usleep(LOCK_POLL_US);
	}
	/* Once more, to say who has it. */
	return err == -EBUSY ? store_lock(im->st, STORE_LOCK_EXCLUSIVE) : err;
}

errint_t recover_attach(struct image *im, const struct vj_recover *r)
{
	struct vj_owner owner;
	errint_t err = owner_of(im, r->device, &owner);

	if (!err)
		err = vj_attach(r->dir, &owner, &im->vj);
	if (err)
		return err;
	const struct disk_vj *h = im->vj->map;
	if (memcmp(h->session, im->super.session, sizeof(h->session)) && !RULE_BROKEN(im, vj_stale))
		return log_fail(-ESTALE,
				"%s: was opened for writing since its device lost its server, so "
				"what that had not flushed is given up; remove the device",
				im->st->name);
	if (le64_get(h->generation) > le64_get(im->super.generation))
		return log_fail(-EBADMSG,
				"%s: superblock generation %llu was durable, and generation %llu "
				"is the newest that is left; remove the device and see what "
				"`ublk-img check` says",
				im->st->name, (unsigned long long)le64_get(h->generation),
				(unsigned long long)le64_get(im->super.generation));
	memcpy(im->session, h->session, sizeof(im->session));
	return 0;
}

void recover_poison(struct image *im, const struct vj_recover *r)
{
	struct disk_ident ident;
	struct vj_owner owner;
	struct vj *vj;

	if (super_read_ident(im->st, &ident))
		return;
	memcpy(im->uuid, ident.uuid, sizeof(im->uuid));
	if (owner_of(im, r->device, &owner) || vj_attach(r->dir, &owner, &vj))
		return;
	vj_poison(vj);
	vj_detach(vj);
}

/* V4 was kept: what had been retired is in the image. */
static errint_t check_retired(struct image *im, uint64_t last)
{
	const struct vj *vj = im->vj;
	struct reason why;

	if (!vj->tail)
		return 0;
	const struct disk_vj_slot *s = vj_slot(vj, vj->tail - 1);
	/* It may be free, or filled again. */
	if (validate_vj_slot(s, vj->tail - 1, &why) || le64_get(s->sequence) <= last)
		return 0;
	return log_fail(-EBADMSG,
			"%s: transaction %llu was durable, and the journal now ends at %llu; "
			"remove the device and see what `ublk-img check` says",
			im->st->name, (unsigned long long)le64_get(s->sequence),
			(unsigned long long)last);
}

static errint_t bad_slot(struct image *im, uint64_t pos, const char *why)
{
	return log_fail(-EBADMSG,
			"%s: slot %llu of the volatile journal is damaged: %s; the device cannot "
			"be recovered: remove it",
			im->st->name, (unsigned long long)pos, why);
}

static errint_t replay_slot(struct image *im, uint64_t pos, uint64_t last, uint64_t *seq)
{
	const struct disk_vj_slot *s = vj_slot(im->vj, pos);
	uint64_t is = le64_get(s->sequence);
	struct limits lim;
	struct reason why;
	errint_t err = validate_vj_slot(s, pos, &why);

	if (err)
		return bad_slot(im, pos, why.text);
	if (is < *seq)
		return bad_slot(im, pos, "its transaction comes before that of the slot before");
	if (is <= last && !RULE_BROKEN(im, vj_no_skip)) {
		*seq = is;
		return 0;
	}
	if (is > (*seq > last ? *seq : last) + 1)
		return bad_slot(im, pos, "a transaction before it is missing");
	*seq = is;
	image_limits(im, &lim);
	lim.epoch = le32_get(im->super.epoch);
	if (validate_record(&s->rec, &lim, &why))
		return bad_slot(im, pos, why.text);
	const struct replay_place at = {APPLY_VJ, pos, 0};
	return replay_record(im, &at, &s->rec);
}

static const struct disk_record *record_of(const void *arg, uint64_t i)
{
	const struct vj *vj = arg;
	const struct disk_vj_slot *s = vj_slot(vj, vj->tail + i);
	struct reason why;

	return validate_vj_slot(s, vj->tail + i, &why) ? NULL : &s->rec;
}

errint_t recover_replay(struct image *im, uint64_t *next_seq)
{
	struct vj *vj = im->vj;
	uint64_t last = *next_seq - 1, seq = 0;
	errint_t err = check_retired(im, last);

	if (!err)
		err = replay_prepare(im, vj->head - vj->tail, vj, record_of);
	for (uint64_t pos = vj->tail; !err && pos < vj->head && !RULE_BROKEN(im, no_vj); pos++) {
		err = replay_slot(im, pos, last, &seq);
		im->recovered += !err && seq > last;
	}
	if (err)
		return err;
	if (seq > last)
		*next_seq = seq + 1;
	if (RULE_BROKEN(im, vj_reset_early))
		vj_retire(vj, vj->head);
	return 0;
}

errint_t recover_done(struct image *im)
{
	pthread_mutex_lock(&im->lock);
	vj_retire(im->vj, im->vj->head);
	im->vj->live = true;
	errint_t err = txn_release_replayed(im);
	pthread_mutex_unlock(&im->lock);
	if (!err)
		limbo_step(im);
	return err;
}

/* --- other openings ------------------------------------------------------------------------------
 */

errint_t recover_pending(struct image *im, const struct image_open_opts *opts)
{
	const struct vj_state *s = opts->state;
	struct store_identity id;
	struct vj_info info;
	errint_t err = store_identity(im->st, &id);

	if (err)
		return err;
	/* What cannot be used cannot be recovered either. */
	if (vj_pending(s->dir, im->uuid, &info) || info.dev != id.dev || info.ino != id.ino ||
	    memcmp(info.session, im->super.session, sizeof(info.session)) ||
	    !s->device_exists(s->arg, info.device))
		return 0;
	if (im->read_only && !s->refuse_readers) {
		log_warn(
			"%s: block device number %u awaits recovery; what it had acknowledged and not flushed is missing from what is shown",
			im->st->name, info.device);
		return 0;
	}
	if (opts->force) {
		log_warn(
			"%s: giving up what block device number %u had acknowledged and not flushed; it cannot be recovered any more",
			im->st->name, info.device);
		return 0;
	}
	return log_fail(
		-EBUSY,
		"%s: block device number %u awaits recovery; recover it, or detach it by force, which gives up what it had not flushed",
		im->st->name, info.device);
}
