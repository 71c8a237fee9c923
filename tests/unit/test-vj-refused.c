/* SPDX-License-Identifier: MIT */
/*
 * What a recovery refuses, and which images are not opened because one is due (docs/format.md
 * section 10).
 */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/log.h"
#include "image/snapshot.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/vj_bench.h"

/* --- what is refused ----------------------------------------------------------------------------
 */

static void seal(struct vj_file *f)
{
	f->h.crc = le32_make(checksum_vj(&f->h));
}

static void edit_boot(struct vj_file *f)
{
	f->h.boot[3] ^= 1;
	seal(f);
}

static void edit_uuid(struct vj_file *f)
{
	f->h.uuid[3] ^= 1;
	seal(f);
}

static void edit_session(struct vj_file *f)
{
	f->h.session[3] ^= 1;
	seal(f);
}

static void edit_file(struct vj_file *f)
{
	f->h.ino = le64_make(99);
	seal(f);
}

static void edit_device(struct vj_file *f)
{
	f->h.device = le32_make(8);
	seal(f);
}

static void edit_version(struct vj_file *f)
{
	f->h.version = le32_make(2);
	seal(f);
}

static void edit_reserved(struct vj_file *f)
{
	f->h.zero1[5] = 1;
	seal(f);
}

static void edit_shift(struct vj_file *f)
{
	f->h.shift = le32_make(40);
	seal(f);
}

static void edit_longer(struct vj_file *f)
{
	f->h.shift = le32_make(VJ_SHIFT_MIN + 1);
	seal(f);
}

static void edit_magic(struct vj_file *f)
{
	f->h.magic = le64_make(1);
}

static void edit_crc(struct vj_file *f)
{
	f->h.session[0] ^= 1;
}

static void edit_poison(struct vj_file *f)
{
	f->h.poison = le32_make(1);
}

static void edit_head(struct vj_file *f)
{
	f->h.head = le64_make(le64_get(f->h.tail) + (2u << VJ_SHIFT_MIN));
}

static void edit_tail(struct vj_file *f)
{
	f->h.tail = le64_make(le64_get(f->h.head) + 1);
}

static void edit_generation(struct vj_file *f)
{
	f->h.generation = le64_make(le64_get(f->h.generation) + 1);
}

static struct disk_vj_slot *slot(struct vj_file *f, unsigned i)
{
	return &f->slot[le64_get(f->h.tail) + i];
}

static void seal_slot(struct disk_vj_slot *s)
{
	s->crc = le32_make(checksum_vj_slot(s));
}

static void edit_slot(struct vj_file *f)
{
	slot(f, 1)->rec.b.w0.raw ^= 1;
}

static void edit_slot_index(struct vj_file *f)
{
	slot(f, 1)->index = le64_make(1000);
	seal_slot(slot(f, 1));
}

static void edit_slot_zero(struct vj_file *f)
{
	slot(f, 1)->zero2 = le64_make(1);
}

static void edit_slot_record(struct vj_file *f)
{
	slot(f, 1)->rec.type = 99;
	seal_slot(slot(f, 1));
}

static void edit_slot_old(struct vj_file *f)
{
	slot(f, 0)->rec.x32 = le32_make(1);
	seal_slot(slot(f, 0));
}

static void edit_slot_place(struct vj_file *f)
{
	slot(f, 0)->rec.a = le64_make(1ull << 20);
	seal_slot(slot(f, 0));
}

static void edit_sequence_gap(struct vj_file *f)
{
	slot(f, 2)->sequence = le64_make(le64_get(slot(f, 0)->sequence) + 2);
	seal_slot(slot(f, 2));
}

static void edit_sequence_first(struct vj_file *f)
{
	for (unsigned i = 0; i < le64_get(f->h.head) - le64_get(f->h.tail); i++) {
		slot(f, i)->sequence = le64_make(le64_get(slot(f, i)->sequence) + 1);
		seal_slot(slot(f, i));
	}
}

static void edit_sequence_falls(struct vj_file *f)
{
	slot(f, 1)->sequence = le64_make(le64_get(slot(f, 0)->sequence) - 1);
	seal_slot(slot(f, 1));
}

/* As if the image had lost the transaction that was retired last. */
static void edit_retired(struct vj_file *f)
{
	struct disk_vj_slot *s = &f->slot[le64_get(f->h.tail) - 1];

	s->sequence = le64_make(le64_get(s->sequence) + 5);
	seal_slot(s);
}

static const struct refusal {
	void (*edit)(struct vj_file *f);
	errint_t err;
	const char *says;
} refusals[] = {
	{edit_boot, -ESTALE, "is of an earlier boot"},
	{edit_uuid, -ESTALE, "is of another image"},
	{edit_session, -ESTALE, "was opened for writing since"},
	{edit_file, -ESTALE, "is of another file"},
	{edit_device, -ESTALE, "is of block device number 8, not 7"},
	{edit_version, -ENOTSUP, "version at 12: 2"},
	{edit_reserved, -EBADMSG, "reserved bytes"},
	{edit_shift, -EBADMSG, "shift at 84"},
	{edit_longer, -EBADMSG, "is truncated"},
	{edit_magic, -EBADMSG, "is not a volatile journal"},
	{edit_crc, -EBADMSG, "crc"},
	{edit_poison, -EIO, "had stopped after a failed write"},
	{edit_head, -EBADMSG, "does not go with tail"},
	{edit_tail, -EBADMSG, "does not go with tail"},
	{edit_generation, -EBADMSG, "was durable, and generation"},
	{edit_slot, -EBADMSG, "is damaged: crc"},
	{edit_slot_index, -EBADMSG, "is damaged: index"},
	{edit_slot_zero, -EBADMSG, "is damaged: reserved"},
	{edit_slot_record, -EBADMSG, "is damaged: type"},
	{edit_slot_old, -EBADMSG, "it replaces another entry"},
	{edit_slot_place, -EBADMSG, "beyond the end of the disk"},
	{edit_sequence_gap, -EBADMSG, "a transaction before it is missing"},
	{edit_sequence_first, -EBADMSG, "a transaction before it is missing"},
	{edit_sequence_falls, -EBADMSG, "comes before that of the slot before"},
	{edit_retired, -EBADMSG, "was durable, and the journal now ends"},
};

static void wrong_ones_are_refused(void **state)
{
	struct vj_bench *b = *state;
	struct vj_file sound, f;

	vj_bench_die_with_something(b);
	vj_bench_load(b, &sound);
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		f = sound;
		refusals[i].edit(&f);
		vj_bench_save(b, &f);
		vj_bench_refused(b, refusals[i].err, refusals[i].says);
	}
	vj_bench_save(b, &sound);
	vj_bench_recover(b);
	live_expect(&b->l, 2 * LEAF, 4096, 3);
	live_close(&b->l);
}

static void short_and_absent_ones_are_refused(void **state)
{
	struct vj_bench *b = *state;
	char path[600];

	vj_bench_die_with_something(b);
	snprintf(path, sizeof(path), "%s/" VJ_NAME, b->path);
	assert_int_equal(truncate(path, VJ_FILE_LEN - 64), 0);
	vj_bench_refused(b, -EBADMSG, "is truncated");
	assert_int_equal(truncate(path, 100), 0);
	vj_bench_refused(b, -EBADMSG, "is truncated: 100 bytes");
	assert_int_equal(truncate(path, 0), 0);
	vj_bench_refused(b, -EBADMSG, "cannot be used");
	unlink(path);
	vj_bench_refused(b, -ENOENT, "there is no volatile journal");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	vj_bench_refused(b, -ELOOP, "cannot open the volatile journal");
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	vj_bench_refused(b, -EISDIR, "cannot open the volatile journal");
	rmdir(path);
	live_open(&b->l);
	live_expect(&b->l, 0, 4096, 1);
	live_close(&b->l);
}

/* The session of an opening of its own is another. */
static void opening_makes_it_stale(void **state)
{
	struct vj_bench *b = *state;

	vj_bench_die_with_something(b);
	live_open(&b->l);
	live_crash(&b->l);
	vj_bench_refused(b, -ESTALE, "was opened for writing since");
	vj_bench_start(b); /* in its place */
	live_put(&b->l, LEAF, 4096, 4);
	live_crash(&b->l);
	vj_bench_recover(b);
	live_expect(&b->l, LEAF, 4096, 4);
	live_close(&b->l);
}

/* V6, on each way to a fail-stop. */
static void a_failed_sync_poisons(void **state)
{
	struct vj_bench *b = *state;

	vj_bench_start(b);
	live_put(&b->l, 0, 4096, 1);
	mem_store_fail(b->l.st, MEM_SYNC, 1, -EIO);
	assert_int_equal(engine_flush(b->l.t), -EIO);
	assert_true(vj_bench_info(b).poisoned);
	assert_int_equal(live_try_close(&b->l), -EIO);
	assert_true(vj_bench_exists(b));
	vj_bench_refused(b, -EIO, "had stopped after a failed write");
	live_open(&b->l);
	live_close(&b->l);
}

/* A sync that fails in the recovery has told what it had to tell: the next one would succeed. */
static void a_failed_sync_of_a_recovery_poisons(void **state)
{
	struct vj_bench *b = *state;
	struct vj_file sound;

	vj_bench_die_with_something(b);
	vj_bench_load(b, &sound);
	for (unsigned nth = 1;; nth++) {
		vj_bench_save(b, &sound);
		mem_store_fail(b->l.st, MEM_SYNC, nth, -EIO);
		errint_t err = vj_bench_try_recover(b);
		mem_store_fail(b->l.st, MEM_SYNC, 0, 0);
		if (!err)
			break;
		assert_int_equal(err, -EIO);
		assert_true(vj_bench_info(b).poisoned);
		vj_bench_refused(b, -EIO, "had stopped after a failed write");
		assert_true(nth < 10);
	}
	live_expect(&b->l, LEAF, 4096, 2);
	live_close(&b->l);
}

/* A read that fails can be tried again. */
static void a_failed_read_of_a_recovery_does_not(void **state)
{
	struct vj_bench *b = *state;

	vj_bench_die_with_something(b);
	for (unsigned nth = 1;; nth++) {
		mem_store_fail(b->l.st, MEM_READ, nth, -EIO);
		errint_t err = vj_bench_try_recover(b);
		mem_store_fail(b->l.st, MEM_READ, 0, 0);
		assert_false(vj_bench_info(b).poisoned);
		if (!err)
			break;
		assert_true(nth < 100);
	}
	live_expect(&b->l, LEAF, 4096, 2);
	live_close(&b->l);
}

/* --- other openings -----------------------------------------------------------------------------
 */

static void who_awaits_recovery_is_not_opened(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;
	struct image *im;

	vj_bench_die_with_something(b);
	l->opts.state = &b->state;
	assert_int_equal(live_try_open(l), -EBUSY);
	vj_bench_expect_said("block device number 7 awaits recovery; recover it");

	struct image_open_opts ro = {.read_only = true, .state = &b->state};
	assert_int_equal(image_open(l->st, &ro, &im), 0);
	vj_bench_expect_said(
		"awaits recovery; what it had acknowledged and not flushed is missing");
	assert_int_equal(image_close(im), 0);

	b->state.refuse_readers = true;
	assert_int_equal(image_open(l->st, &ro, &im), -EBUSY);
	vj_bench_expect_said("block device number 7 awaits recovery; recover it");
	b->state.refuse_readers = false;

	/* It can still be recovered, */
	vj_bench_recover(b);
	live_expect(l, LEAF, 4096, 2);
	live_put(l, LEAF, 4096, 5);
	live_put(l, 9 * LEAF, 4096, 5);
	live_crash(l);
	/* until that is given up. */
	l->opts.force = true;
	live_open(l);
	vj_bench_expect_said("giving up what block device number 7");
	live_expect(l, 9 * LEAF, 4096, 0);
	live_crash(l);
	l->opts = (struct image_open_opts){.vj_shift = VJ_SHIFT_MIN};
	vj_bench_refused(b, -ESTALE, "was opened for writing since");
}

/* A bridge that hands its device over leaves an image that is in order, which nobody else opens. */
static void who_is_handed_over_is_not_opened(void **state)
{
	struct vj_bench *b = *state;
	struct live *l = &b->l;

	vj_bench_start(b);
	live_put(l, 0, 4096, 1);
	live_put(l, LEAF, 4096, 2);
	assert_int_equal(live_leave(l), 0);
	assert_int_equal(vj_bench_unretired(b), 0);
	l->opts.state = &b->state;
	assert_int_equal(live_try_open(l), -EBUSY);
	vj_bench_expect_said("block device number 7 awaits recovery; recover it");

	/* Whoever takes it over dies, in turn, at once and with something. */
	for (unsigned i = 0; i < 2; i++) {
		vj_bench_recover(b);
		assert_int_equal(l->im->recovered, 0);
		live_expect(l, 0, 4096, 1);
		live_expect(l, LEAF, 4096, 2);
		live_crash(l);
	}
	vj_bench_recover(b);
	live_put(l, 2 * LEAF, 4096, 3);
	live_crash(l);
	vj_bench_recover(b);
	live_expect(l, 2 * LEAF, 4096, 3);
	assert_int_equal(live_leave(l), 0);

	/* Whoever opens it all the same is noticed. */
	l->opts.force = true;
	live_open(l);
	live_put(l, 0, 4096, 9);
	live_crash(l);
	l->opts = (struct image_open_opts){.vj_shift = VJ_SHIFT_MIN};
	vj_bench_refused(b, -ESTALE, "was opened for writing since");
}

static void without_a_device_nobody_waits(void **state)
{
	struct vj_bench *b = *state;

	vj_bench_die_with_something(b);
	b->exists = false;
	b->l.opts.state = &b->state;
	live_open(&b->l);
	live_close(&b->l);
	assert_string_equal(vj_message, "");
}

static void nor_for_another_file(void **state)
{
	struct vj_bench *b = *state;
	struct vj_file f;

	vj_bench_die_with_something(b);
	vj_bench_load(b, &f);
	edit_file(&f);
	vj_bench_save(b, &f);
	b->l.opts.state = &b->state;
	live_open(&b->l);
	/* But its volatile journal is not for us to remove. */
	assert_int_equal(image_vj_start(b->l.im, b->dir, VJ_DEVICE), -EEXIST);
	vj_bench_expect_said("a copy perhaps");
	struct vj_file after;
	vj_bench_load(b, &after);
	assert_memory_equal(&f, &after, sizeof(f));
	live_put(&b->l, 0, 4096, 8);
	live_close(&b->l);
	assert_true(vj_bench_exists(b));
}

static void nor_in_another_boot(void **state)
{
	struct vj_bench *b = *state;
	struct vj_info i;
	struct vj_file f;

	vj_bench_die_with_something(b);
	vj_bench_load(b, &f);
	edit_boot(&f);
	vj_bench_save(b, &f);
	assert_int_equal(vj_pending(b->dir, vj_uuid, &i), -ENOENT);
	b->l.opts.state = &b->state;
	vj_bench_start(b); /* in its place */
	live_close(&b->l);
	assert_false(vj_bench_exists(b));
}

static void what_pending_tells(void **state)
{
	struct vj_bench *b = *state;
	struct vj_info i;

	assert_int_equal(vj_pending(b->dir, vj_uuid, &i), -ENOENT);
	vj_bench_die_with_something(b);
	assert_int_equal(vj_pending(b->dir, vj_uuid, &i), 0);
	assert_int_equal(i.device, VJ_DEVICE);
	assert_false(i.poisoned);
	assert_int_equal(i.dev, 1);
	assert_int_equal(i.ino, 2);
	assert_true(i.unretired >= 2);
	live_open(&b->l);
	assert_memory_not_equal(i.session, b->l.im->session, 16);
	live_close(&b->l);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, vj_bench_setup, vj_bench_teardown)
	const struct CMUnitTest tests[] = {
		T(wrong_ones_are_refused),
		T(short_and_absent_ones_are_refused),
		T(opening_makes_it_stale),
		T(a_failed_sync_poisons),
		T(a_failed_sync_of_a_recovery_poisons),
		T(a_failed_read_of_a_recovery_does_not),
		T(who_awaits_recovery_is_not_opened),
		T(who_is_handed_over_is_not_opened),
		T(without_a_device_nobody_waits),
		T(nor_for_another_file),
		T(nor_in_another_boot),
		T(what_pending_tells),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
