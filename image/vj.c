/* SPDX-License-Identifier: MIT */
/*
 * The file of a volatile journal: making, finding, publishing, retiring.
 *
 * Invariants (docs/format.md section 10):
 *
 * - V2. head covers whole groups only, each complete before it is covered.
 * - V3. A slot is filled once for each time around; it is free before that.
 * - V4. tail covers only what is durable in the image.
 */
#include "config.h"

#include "image/vj_priv.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "image/core.h"
#include "image/reason.h"

#ifndef RAMFS_MAGIC
#define RAMFS_MAGIC 0x858458f6
#endif

/* --- the bytes ----------------------------------------------------------------------------------
 */

uint32_t checksum_vj(const struct disk_vj *h)
{
	static const le32 zero;
	const uint8_t *b = (const uint8_t *)h;
	size_t at = offsetof(struct disk_vj, crc), after = at + sizeof(zero);
	uint32_t crc = crc32c(crc32c(0, b, at), &zero, sizeof(zero));

	return crc32c(crc, b + after, offsetof(struct disk_vj, generation) - after);
}

uint32_t checksum_vj_slot(const struct disk_vj_slot *s)
{
	uint32_t crc = crc32c(0, s, offsetof(struct disk_vj_slot, crc));

	return crc32c(crc, &s->rec, sizeof(s->rec));
}

errint_t validate_vj(const struct disk_vj *h, struct reason *why)
{
	errint_t err;

	if (le64_get(h->magic) != VJ_MAGIC)
		return reason_bad(why, "magic at 0: this is not a volatile journal");
	if ((err = reason_crc(why, offsetof(struct disk_vj, crc), le32_get(h->crc),
			      checksum_vj(h))))
		return err;
	if (le32_get(h->version) != VJ_VERSION)
		return reason_unsupported(why, "version at %zu: %u, this program knows %u",
					  offsetof(struct disk_vj, version), le32_get(h->version),
					  VJ_VERSION);
	if ((err = reason_range(why, FIELD(struct disk_vj, shift), le32_get(h->shift), VJ_SHIFT_MIN,
				VJ_SHIFT_MAX)))
		return err;
	uint64_t head = le64_get(h->head), tail = le64_get(h->tail);
	if (head < tail || head - tail > 1ull << le32_get(h->shift))
		return reason_bad(why, "head at %zu: %llu does not go with tail %llu",
				  offsetof(struct disk_vj, head), (unsigned long long)head,
				  (unsigned long long)tail);
	return reason_zeros(why, "reserved bytes", offsetof(struct disk_vj, zero1), h->zero1,
			    sizeof(h->zero1));
}

errint_t validate_vj_slot(const struct disk_vj_slot *s, uint64_t pos, struct reason *why)
{
	errint_t err = reason_expect(why, "index", 0, le64_get(s->index), pos);

	if (err)
		return err;
	if ((err = reason_crc(why, offsetof(struct disk_vj_slot, crc), le32_get(s->crc),
			      checksum_vj_slot(s))) ||
	    (err = reason_expect(why, "reserved bytes", offsetof(struct disk_vj_slot, zero1),
				 le32_get(s->zero1), 0)))
		return err;
	return reason_expect(why, "reserved bytes", offsetof(struct disk_vj_slot, zero2),
			     le64_get(s->zero2), 0);
}

/* --- finding -------------------------------------------------------------------------------------
 */

void vj_name(const uint8_t uuid[16], char name[40])
{
	char *at = name;

	for (unsigned i = 0; i < 16; i++)
		at += snprintf(at, 4, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
			       uuid[i]);
	strcpy(at, ".vj");
}

/* The kernel's name for the time since it was started. */
static errint_t boot_id(uint8_t id[16])
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	CLEANUP(close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[64] = "";
	unsigned n = 0, byte;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return log_errno("%s: cannot be read; without it no device can be recovered", path);
	for (const char *at = text; n < 16 && sscanf(at, "%2x", &byte) == 1; at += 2) {
		id[n++] = (uint8_t)byte;
		if (at[2] == '-')
			at++;
	}
	return n == 16 ? 0 : log_fail(-EINVAL, "%s: is not an id: %s", path, text);
}

static uint64_t length_for(uint32_t shift)
{
	return UNIT_SIZE + (sizeof(struct disk_vj_slot) << shift);
}

/* Open @name and read its header, or as much as there is.  -ENOENT without a message. */
static errint_t open_file(int dir, const char *name, int flags, int *out, struct disk_vj *h,
			  uint64_t *len)
{
	CLEANUP(close)
	int fd = openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT
				       : log_errno("%s: cannot open the volatile journal", name);
	memset(h, 0, sizeof(*h));
	if (fstat(fd, &st))
		return log_errno("%s: cannot examine the volatile journal", name);
	if (!S_ISREG(st.st_mode))
		return log_fail(-EBADMSG, "%s: is not a file, and no volatile journal", name);
	if (pread(fd, h, sizeof(*h), 0) < 0)
		return log_errno("%s: cannot read the volatile journal", name);
	*len = (uint64_t)st.st_size;
	*out = steal_fd(&fd);
	return 0;
}

static errint_t check_header(const char *name, const struct disk_vj *h, uint64_t len)
{
	struct reason why;
	errint_t err = validate_vj(h, &why);

	if (err)
		return log_fail(err, "%s: the volatile journal cannot be used: %s", name, why.text);
	uint64_t want = length_for(le32_get(h->shift));
	return len == want
		       ? 0
		       : log_fail(
				 -EBADMSG,
				 "%s: the volatile journal is truncated: %llu bytes instead of %llu",
				 name, (unsigned long long)len, (unsigned long long)want);
}

static void fill_info(const struct disk_vj *h, struct vj_info *info)
{
	*info = (struct vj_info){
		.dev = le64_get(h->dev),
		.ino = le64_get(h->ino),
		.device = le32_get(h->device),
		.poisoned = le32_get(h->poison),
		.unretired = le64_get(h->head) - le64_get(h->tail),
		.generation = le64_get(h->generation),
	};
	memcpy(info->session, h->session, sizeof(info->session));
}

errint_t vj_pending(int dir, const uint8_t uuid[16], struct vj_info *info)
{
	CLEANUP(close) int fd = -1;
	struct disk_vj h;
	uint8_t boot[16];
	uint64_t len;
	char name[40];

	vj_name(uuid, name);
	errint_t err = open_file(dir, name, O_RDONLY, &fd, &h, &len);
	if (!err)
		err = boot_id(boot);
	if (err)
		return err;
	err = check_header(name, &h, len);
	if (err)
		return err;
	if (memcmp(h.boot, boot, sizeof(boot)) || memcmp(h.uuid, uuid, sizeof(h.uuid)))
		return -ENOENT;
	fill_info(&h, info);
	return 0;
}

void vj_discard(int dir, const uint8_t uuid[16], uint32_t device)
{
	CLEANUP(close) int fd = -1;
	struct disk_vj h;
	uint64_t len;
	char name[40];

	vj_name(uuid, name);
	if (open_file(dir, name, O_RDONLY, &fd, &h, &len) || le64_get(h.magic) != VJ_MAGIC ||
	    le32_get(h.device) != device)
		return;
	(void)unlinkat(dir, name, 0);
}

/* --- making --------------------------------------------------------------------------------------
 */

/*
 * Remove what an earlier session of this image has left, which nobody can go on with: the image is
 * ours, by its lock.  A file of the same uuid that is not this one has a lock of its own, and may
 * be served at this moment.
 */
static errint_t clear_way(int dir, const char *name, const struct vj_owner *o,
			  const uint8_t boot[16])
{
	CLEANUP(close) int fd = -1;
	struct disk_vj h;
	struct reason why;
	uint64_t len;
	errint_t err = open_file(dir, name, O_RDONLY, &fd, &h, &len);

	if (err)
		return err == -ENOENT ? 0 : err;
	if (!validate_vj(&h, &why) && !memcmp(h.boot, boot, sizeof(h.boot)) &&
	    (le64_get(h.dev) != o->file.dev || le64_get(h.ino) != o->file.ino))
		return log_fail(
			-EEXIST,
			"%s: another file with the uuid of this image, a copy perhaps, has the volatile journal %s of block device number %u; detach or recover that device, then remove the file",
			o->image, name, le32_get(h.device));
	if (unlinkat(dir, name, 0))
		return log_errno("%s: cannot remove a volatile journal of earlier", name);
	return 0;
}

/* V1: all that can fail does so now. */
static errint_t make_file(int dir, const char *name, size_t len, int *out)
{
	CLEANUP(close)
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct statfs fs;

	if (fd < 0)
		return log_errno("%s: cannot make a volatile journal", name);
	int error = posix_fallocate(fd, 0, (off_t)len);
	if (error) {
		(void)unlinkat(dir, name, 0);
		return log_err(-error, "%s: cannot allocate %zu bytes for a volatile journal", name,
			       len);
	}
	if (!fstatfs(fd, &fs) && fs.f_type != TMPFS_MAGIC && (unsigned)fs.f_type != RAMFS_MAGIC)
		log_warn("%s: the volatile journal is not on a tmpfs: writes may have to wait for "
			 "the file system that it is on",
			 name);
	*out = steal_fd(&fd);
	return 0;
}

static errint_t map_file(int dir, const char *name, int fd, size_t len, struct vj **out)
{
	CLEANUP(free) struct vj *vj = calloc(1, sizeof(*vj));

	if (!vj)
		return -ENOMEM;
	vj->dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	if (vj->dir < 0)
		return log_errno("%s: cannot keep the directory of the volatile journal", name);
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED) {
		errint_t err = log_errno("%s: cannot map the volatile journal", name);

		close(vj->dir);
		return err;
	}
	(void)mlock(map, len); /* where that is permitted */
	strcpy(vj->name, name);
	vj->len = len;
	vj->map = map;
	vj->slot = (struct disk_vj_slot *)(vj->map + 1);
	*out = steal_pointer(&vj);
	return 0;
}

static void fill_header(struct disk_vj *h, const struct vj_owner *o, unsigned shift,
			const uint8_t boot[16])
{
	struct disk_vj new = {
		.version = le32_make(VJ_VERSION),
		.dev = le64_make(o->file.dev),
		.ino = le64_make(o->file.ino),
		.device = le32_make(o->device),
		.shift = le32_make(shift),
	};

	memcpy(new.boot, boot, sizeof(new.boot));
	memcpy(new.uuid, o->uuid, sizeof(new.uuid));
	memcpy(new.session, o->session, sizeof(new.session));
	new.magic = le64_make(VJ_MAGIC);
	new.crc = le32_make(checksum_vj(&new));
	*h = new;
}

errint_t vj_create(int dir, const struct vj_owner *o, unsigned shift, struct vj **out)
{
	CLEANUP(close) int fd = -1;
	size_t len = length_for(shift);
	uint8_t boot[16];
	char name[40];

	assert(shift >= VJ_SHIFT_MIN && shift <= VJ_SHIFT_MAX);
	vj_name(o->uuid, name);
	errint_t err = boot_id(boot);
	if (!err)
		err = clear_way(dir, name, o, boot);
	if (!err)
		err = make_file(dir, name, len, &fd);
	if (err)
		return err;
	err = map_file(dir, name, fd, len, out);
	if (err) {
		(void)unlinkat(dir, name, 0);
		return err;
	}
	(*out)->slots = 1ull << shift;
	fill_header((*out)->map, o, shift, boot);
	return 0;
}

/* --- going on with one ---------------------------------------------------------------------------
 */

#define GIVE_UP                                                                                    \
	"; its device cannot be recovered: remove that, which gives up what it had not flushed, "  \
	"then attach the image again"

static errint_t check_owner(const char *name, const struct disk_vj *h, const struct vj_owner *o,
			    const uint8_t boot[16])
{
	if (memcmp(h->boot, boot, sizeof(h->boot)))
		return log_fail(-ESTALE,
				"%s: the volatile journal %s is of an earlier boot" GIVE_UP,
				o->image, name);
	if (memcmp(h->uuid, o->uuid, sizeof(h->uuid)))
		return log_fail(-ESTALE, "%s: the volatile journal %s is of another image" GIVE_UP,
				o->image, name);
	if (le64_get(h->dev) != o->file.dev || le64_get(h->ino) != o->file.ino)
		return log_fail(-ESTALE,
				"%s: the volatile journal %s is of another file with the same "
				"uuid; this one is a copy, or the image was moved" GIVE_UP,
				o->image, name);
	if (le32_get(h->device) != o->device)
		return log_fail(-ESTALE,
				"%s: the volatile journal %s is of block device number %u, not "
				"%u; recover that one",
				o->image, name, le32_get(h->device), o->device);
	if (le32_get(h->poison))
		return log_fail(-EIO,
				"%s: the image had stopped after a failed write, which may have "
				"lost what was acknowledged" GIVE_UP,
				o->image);
	return 0;
}

errint_t vj_attach(int dir, const struct vj_owner *o, struct vj **out)
{
	CLEANUP(close) int fd = -1;
	struct disk_vj h;
	uint8_t boot[16];
	uint64_t len;
	char name[40];

	vj_name(o->uuid, name);
	errint_t err = open_file(dir, name, O_RDWR, &fd, &h, &len);
	if (err == -ENOENT)
		return log_fail(err, "%s: there is no volatile journal %s" GIVE_UP, o->image, name);
	if (!err)
		err = boot_id(boot);
	if (!err)
		err = check_header(name, &h, len);
	if (!err)
		err = check_owner(name, &h, o, boot);
	if (!err)
		err = map_file(dir, name, fd, len, out);
	if (err)
		return err;
	(*out)->slots = 1ull << le32_get(h.shift);
	(*out)->head = le64_get(h.head);
	(*out)->tail = le64_get(h.tail);
	return 0;
}

void vj_detach(struct vj *vj)
{
	if (!vj)
		return;
	munmap(vj->map, vj->len);
	close(vj->dir);
	free(vj);
}

void vj_remove(struct vj *vj)
{
	if (!vj)
		return;
	if (unlinkat(vj->dir, vj->name, 0) && errno != ENOENT)
		log_warn("%s: cannot remove the volatile journal, which nobody needs any more: %s",
			 vj->name, strerror(errno));
	vj_detach(vj);
}

/* --- keeping it up -------------------------------------------------------------------------------
 */

static void put64(le64 *at, uint64_t value)
{
	__atomic_store_n(&at->raw, le64_make(value).raw, __ATOMIC_RELEASE);
}

/* A place where a test may kill the process. */
static void step(struct image *im)
{
#ifdef UBLK_IMG_MUTATIONS
	if (im->wait && im->wait->pause)
		im->wait->pause(im->wait->arg);
#else
	(void)im;
#endif
}

static void fill_slot(struct vj *vj, uint64_t pos, uint64_t seq, const struct disk_record *rec)
{
	struct disk_vj_slot *s = &vj->slot[pos & (vj->slots - 1)];

	*s = (struct disk_vj_slot){
		.index = le64_make(pos), .sequence = le64_make(seq), .rec = *rec};
	s->crc = le32_make(checksum_vj_slot(s));
}

void vj_publish(struct image *im, uint64_t seq, const struct disk_record *rec, unsigned n)
{
	struct vj *vj = im->vj;
	uint64_t was = vj->head;

	assert(vj->live && n && n <= vj_room(vj));
	for (unsigned i = 0; i < n; i++) {
		fill_slot(vj, was + i, seq, &rec[i]);
		if (RULE_BROKEN(im, vj_group))
			put64(&vj->map->head, was + i + 1);
		step(im);
	}
	vj->head = was + n;
	put64(&vj->map->head, RULE_BROKEN(im, vj_after_ack) ? was : vj->head);
	step(im);
}

void vj_retire(struct vj *vj, uint64_t upto)
{
	assert(upto >= vj->tail && upto <= vj->head);
	vj->tail = upto;
	put64(&vj->map->tail, upto);
	/* The slots are filled again after this, and not before.  A killed process has made all
	 * stores up to some instruction, so that it is the compiler only that has to be told. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void vj_set_generation(struct vj *vj, uint64_t generation)
{
	put64(&vj->map->generation, generation);
}

void vj_poison(struct vj *vj)
{
	__atomic_store_n(&vj->map->poison.raw, le32_make(1).raw, __ATOMIC_SEQ_CST);
}

const struct disk_vj_slot *vj_slot(const struct vj *vj, uint64_t pos)
{
	return &vj->slot[pos & (vj->slots - 1)];
}
