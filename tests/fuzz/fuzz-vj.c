/* SPDX-License-Identifier: MIT */
/*
 * A volatile journal and the image that it is of: looked for, recovered from, used.  Input: mode,
 * the image as sparse.h describes it, with the units of the file of the volatile journal at
 * SPARSE_OUTSIDE.  Mode bit 1: make the image's counts right as well; bit 2: the file is this
 * boot's and this image's; bit 3: the slots that it says are filled are intact; bit 4: use the
 * image before it is closed; bit 5: the file lacks its last unit.
 *
 * What must hold besides surviving: what is refused is refused with a message and leaves the image
 * as it was; what was recovered and left again, as a process that dies does, can be recovered once
 * more; mappings that a sound image takes over leave it sound.
 */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "engine/engine.h"
#include "image/check.h"
#include "image/checksum.h"
#include "image/vj_priv.h"
#include "tests/fuzz/fixup.h"
#include "tests/fuzz/sparse.h"
#include "tests/lib/vj_box.h"

#define FIX_COUNTS 2u
#define FIX_OWNER  4u
#define FIX_SLOTS  8u
#define USE	   16u
#define SHORT_FILE 32u

#define DEVICE	   7u
#define SHIFT	   VJ_SHIFT_MIN
#define FILE_UNITS (1u + ((unsigned)sizeof(struct disk_vj_slot) << SHIFT) / UNIT_SIZE)

struct vj_bytes {
	struct disk_vj h;
	struct disk_vj_slot slot[1u << SHIFT];
};
_Static_assert(sizeof(struct vj_bytes) == FILE_UNITS * UNIT_SIZE, "a whole file");

struct trial {
	struct store *st;
	struct vj_box *box;
	uint8_t uuid[16];
	uint8_t mode;
	unsigned errors; /* messages */
};

static void count_message(void *arg, enum log_level level, const char *message)
{
	struct trial *t = arg;

	fuzz_require(message[0], "an empty message");
	t->errors += level == LOG_LEVEL_ERROR;
	if (getenv("FUZZ_SHOW"))
		fprintf(stderr, "%s\n", message);
}

/* --- the file -----------------------------------------------------------------------------------
 */

static void get_boot(uint8_t id[16])
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[40] = "";
	unsigned byte;

	fuzz_require(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, path);
	for (unsigned i = 0, at = 0; i < 16; i++, at += 2) {
		at += text[at] == '-';
		fuzz_require(sscanf(text + at, "%2x", &byte) == 1, path);
		id[i] = (uint8_t)byte;
	}
}

/* The session of the newest superblock. */
static void get_session(struct store *st, uint8_t session[16])
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < SUPER_SLOTS; i++) {
		uint64_t off = SUPER_OFFSET + i * SUPER_STRIDE;
		const struct disk_super *sb = (const void *)sparse_unit(st, off >> UNIT_SHIFT);

		if (!sb || le64_get(sb->generation) < newest)
			continue;
		newest = le64_get(sb->generation);
		memcpy(session, sb->session, sizeof(sb->session));
	}
}

static void fix_owner(const struct trial *t, struct disk_vj *h)
{
	struct store_identity id;

	fuzz_require(!store_identity(t->st, &id), "the image has no identity");
	h->magic = le64_make(VJ_MAGIC);
	h->version = le32_make(VJ_VERSION);
	h->shift = le32_make(SHIFT);
	h->device = le32_make(DEVICE);
	h->dev = le64_make(id.dev);
	h->ino = le64_make(id.ino);
	get_boot(h->boot);
	get_session(t->st, h->session);
	memcpy(h->uuid, t->uuid, sizeof(h->uuid));
}

static void fix_slots(struct vj_bytes *b)
{
	uint64_t tail = le64_get(b->h.tail);

	for (uint64_t n = 0; n < 1u << SHIFT && n < le64_get(b->h.head) - tail; n++) {
		struct disk_vj_slot *s = &b->slot[(tail + n) % (1u << SHIFT)];

		s->index = le64_make(tail + n);
		s->crc = le32_make(checksum_vj_slot(s));
	}
}

static void put_file(const struct trial *t, struct vj_bytes *b)
{
	struct vj_copy copy = {.len = sizeof(*b), .bytes = (uint8_t *)b};

	if (t->mode & FIX_OWNER)
		fix_owner(t, &b->h);
	if (t->mode & FUZZ_FIX_CRC)
		b->h.crc = le32_make(checksum_vj(&b->h));
	if (t->mode & FIX_SLOTS)
		fix_slots(b);
	if (t->mode & SHORT_FILE)
		copy.len -= UNIT_SIZE;
	vj_box_put(t->box, &copy);
}

/* What is in it changes mappings only: a deletion may free whatever it says. */
static bool only_mappings(const struct vj_bytes *b)
{
	for (unsigned i = 0; i < 1u << SHIFT; i++) {
		uint8_t type = b->slot[i].rec.type;

		if (type && type != REC_MAP && type != REC_RANGE)
			return false;
	}
	return true;
}

/* --- the image ----------------------------------------------------------------------------------
 */

static bool device_exists(void *arg, uint32_t device)
{
	(void)arg;
	return device == DEVICE;
}

static void show_problem(void *arg, const char *problem)
{
	(void)arg;
	if (getenv("FUZZ_SHOW"))
		fprintf(stderr, "%s\n", problem);
}

/* As it is to others, without what only the volatile journal has. */
static bool is_sound(const struct trial *t, bool *snapshots)
{
	const struct vj_state state = {.dir = vj_box_dir(t->box), .device_exists = device_exists};
	const struct image_open_opts opts = {
		.read_only = true, .accept_delta = true, .accept_applying = true, .state = &state};
	const struct check_opts check = {.threads = 1, .report = show_problem};
	struct check_result res;
	struct image_info info;
	struct image *im;

	if (image_open(t->st, &opts, &im))
		return false;
	bool sound = !check_image(im, &check, &res) && !res.corruptions && !res.leaks;
	image_get_info(im, &info);
	*snapshots |= info.nsnapshots;
	image_abandon(im);
	return sound;
}

static errint_t recover(struct trial *t, struct image **im)
{
	const struct vj_recover recover = {.dir = vj_box_dir(t->box), .device = DEVICE};
	const struct image_open_opts opts = {.journal_length = JOURNAL_MIN,
					     .max_regions = 600,
					     .accept_applying = true,
					     .recover = &recover};

	t->errors = 0;
	errint_t err = image_open(t->st, &opts, im);
	fuzz_require(!err || t->errors, "a recovery is refused without a message");
	return err;
}

static void use(struct image *im)
{
	static uint8_t block[UNIT_SIZE] = "not zero";
	struct engine_thread *t;
	struct engine *e;

	if (image_size(im) < sizeof(block) || engine_new(im, NULL, &e))
		return;
	if (!engine_thread_new(e, &t)) {
		errint_t err = engine_write(t, block, 0, sizeof(block), false);

		err = err ? err : engine_flush(t);
		(void)err; /* a full or damaged image may refuse */
		engine_thread_free(t);
	}
	engine_free(e);
}

/* Returns whether it came to its end. */
static bool recover_twice(struct trial *t)
{
	struct vj_info info;
	struct image *im;

	if (recover(t, &im))
		return false;
	image_abandon(im);
	fuzz_require(!vj_pending(vj_box_dir(t->box), t->uuid, &info) && !info.unretired,
		     "a recovery leaves something to be recovered");
	fuzz_require(!recover(t, &im), "what was recovered cannot be recovered again");
	if (t->mode & USE)
		use(im);
	if (image_close(im))
		return false;
	fuzz_require(vj_pending(vj_box_dir(t->box), t->uuid, &info) == -ENOENT,
		     "an image is closed and its volatile journal is there");
	return true;
}

static void try_it(struct trial *t, struct vj_bytes *b)
{
	bool snapshots = false, maps = only_mappings(b);
	struct vj_info info;

	put_file(t, b);
	bool sound = is_sound(t, &snapshots);
	if (!vj_pending(vj_box_dir(t->box), t->uuid, &info))
		fuzz_require(info.unretired <= 1u << SHIFT, "more records than slots");
	bool recovered = recover_twice(t);
	if (sound && (!recovered || (maps && !snapshots)))
		fuzz_require(is_sound(t, &snapshots), "a sound image is damaged");
	vj_discard(vj_box_dir(t->box), t->uuid, DEVICE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct trial t = {.mode = fuzz_u8(&in)};
	CLEANUP(free) struct vj_bytes *b = fuzz_block(sizeof(*b));

	log_set_sink(count_message, &t);
	sparse_outside(in, (uint8_t *)b, FILE_UNITS);
	t.st = sparse_new(&in);
	if (t.mode & FUZZ_FIX_CRC)
		fixup_image(t.st, t.mode & FIX_COUNTS);
	const struct disk_ident *ident = (const void *)sparse_unit(t.st, 0);
	if (ident)
		memcpy(t.uuid, ident->uuid, sizeof(t.uuid));
	t.box = vj_box_new(t.uuid);
	try_it(&t, b);
	vj_box_free(t.box);
	store_close(t.st);
	log_set_sink(NULL, NULL);
	return 0;
}
