/* SPDX-License-Identifier: MIT */
/*
 * Batches of compressed clusters; packer.h tells how threads meet in one.
 *
 *   open      packer->open: members join (join()), the leader waits (lead())
 *   closed    the leader writes it (write_batch()): at most one batch at a time
 *   written   or failed: its members leave packer_store()
 *   gone      when each frame has been told to packer_done(), or each member has seen the failure
 *
 * packer->lock protects everything but the contents of a closed batch, which are its leader's
 * until the batch is written.  It is taken before the image's own locks and never held across I/O.
 */
#include "config.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "engine/packer.h"

struct batch {
	unsigned n;
	struct pack_blob blob[PACK_MAX_BLOBS];
	struct packed *packed[PACK_MAX_BLOBS]; /* in memory of members, which wait */

	uint64_t born;	  /* tickets from here on are not waited for */
	unsigned awaited; /* tickets before it that have not come yet */
	bool full;

	bool written;
	errint_t err;
	unsigned refs; /* frames not told to packer_done(), or not seen to have failed */
	struct pack_batch held;
};

struct packer {
	struct image *im;
	struct cache *cache;
	const struct image_wait_ops *wait; /* NULL: changed */
	uint8_t *buf;			   /* PACK_MAX_BYTES, for the batch that is being written */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct batch *open;
	bool writing;
	uint64_t tickets; /* ever announced */
	unsigned coming;  /* of them, neither stored nor nothing yet */
};

static void packer_wake(struct packer *p)
{
	pthread_cond_broadcast(&p->changed);
}

/* Wait for a change.  p->lock held, dropped meanwhile; may return early. */
static void packer_wait(struct packer *p)
{
	if (!p->wait) {
		pthread_cond_wait(&p->changed, &p->lock);
		return;
	}
	pthread_mutex_unlock(&p->lock);
	p->wait->wait(p->wait->arg);
	pthread_mutex_lock(&p->lock);
}

errint_t packer_new(struct image *im, struct cache *cache, const struct image_wait_ops *wait,
		    struct packer **out)
{
	struct packer *p = calloc(1, sizeof(*p));
	uint8_t *buf = store_buffer(PACK_MAX_BYTES);

	if (!p || !buf) {
		free(p);
		free(buf);
		return log_err(-ENOMEM, "cannot set up compressed writes");
	}
	p->im = im;
	p->cache = cache;
	p->wait = wait;
	p->buf = buf;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	*out = p;
	return 0;
}

void packer_free(struct packer *p)
{
	if (!p)
		return;
	assert(!p->open && !p->writing && !p->coming);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p->buf);
	free(p);
}

uint64_t packer_announce(struct packer *p)
{
	SCOPED_LOCK(&p->lock);
	p->coming++;
	return p->tickets++;
}

/* The thread with @ticket is here, with frames or without. */
static void arrive(struct packer *p, uint64_t ticket)
{
	assert(p->coming > 0 && ticket < p->tickets);
	p->coming--;
	if (p->open && ticket < p->open->born) {
		assert(p->open->awaited > 0);
		p->open->awaited--;
		packer_wake(p);
	}
}

void packer_nothing(struct packer *p, uint64_t ticket)
{
	SCOPED_LOCK(&p->lock);
	arrive(p, ticket);
}

/* Add the frames to @b; false when they do not fit. */
static bool try_join(struct packer *p, struct batch *b, struct packed *list, unsigned n)
{
	if (n > PACK_MAX_BLOBS - b->n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		b->blob[b->n + i] = (struct pack_blob){.len = list[i].len};
		b->packed[b->n + i] = &list[i];
	}
	if (pack_layout_for(p->im, b->blob, b->n + n) > PACK_MAX_BYTES)
		return false;
	b->n += n;
	b->refs += n;
	return true;
}

/* The batch that now holds the frames, *leader if the caller opened it; NULL: out of memory. */
static struct batch *join(struct packer *p, struct packed *list, unsigned n, bool *leader)
{
	struct batch *b;

	while (p->open) {
		*leader = false;
		if (try_join(p, p->open, list, n))
			return p->open;
		p->open->full = true;
		packer_wake(p);
		packer_wait(p);
	}
	b = calloc(1, sizeof(*b));
	if (!b) {
		log_err(-ENOMEM, "cannot gather compressed clusters");
		return NULL;
	}
	b->born = p->tickets;
	b->awaited = p->coming;
	p->open = b;
	*leader = true;

	bool fits = try_join(p, b, list, n);

	assert(fits);
	(void)fits;
	return b;
}

/* The batch's bytes in p->buf: frames, the zeros that lengthen them, zeros between them. */
static void compose(struct packer *p, const struct batch *b, uint32_t len)
{
	uint32_t end = 0;

	for (unsigned i = 0; i < b->n; i++) {
		const struct pack_blob *blob = &b->blob[i];

		assert(blob->stored - blob->len < PACK_PAD);
		memset(p->buf + end, 0, blob->at - end);
		memcpy(p->buf + blob->at, b->packed[i]->frame, blob->stored);
		end = blob->at + blob->stored;
	}
	memset(p->buf + end, 0, len - end);
}

static void release_members(struct packer *p, struct batch *b)
{
	for (unsigned i = 0; i < b->n; i++)
		pack_member_done(p->im, &b->held);
}

/* Lay out, reserve, write whole units (P4).  The batch is closed, p->lock not held. */
static errint_t write_batch(struct packer *p, struct batch *b)
{
	uint32_t len = pack_layout_for(p->im, b->blob, b->n);
	errint_t err = pack_reserve(p->im, len, b->n, &b->held);

	if (err)
		return err;
	cache_forget(p->cache, b->held.file_off, len);
	compose(p, b, len);
	err = store_write(image_store(p->im), p->buf, len, b->held.file_off);
	if (err) {
		release_members(p, b);
		return err;
	}
	for (unsigned i = 0; i < b->n; i++) {
		b->packed[i]->file_off = b->held.file_off + b->blob[i].at;
		b->packed[i]->stored = b->blob[i].stored;
	}
	return 0;
}

/* The leader's part: wait until nothing speaks against writing the batch, and write it. */
static void lead(struct packer *p, struct batch *b)
{
	while (p->writing || (b->awaited && !b->full))
		packer_wait(p);
	assert(p->open == b);
	p->open = NULL;
	p->writing = true;
	packer_wake(p); /* those who did not fit */

	pthread_mutex_unlock(&p->lock);
	errint_t err = write_batch(p, b);
	pthread_mutex_lock(&p->lock);

	p->writing = false;
	b->err = err;
	b->written = true;
	packer_wake(p);
}

static void unref(struct batch *b, unsigned n)
{
	assert(b->written && b->refs >= n);
	b->refs -= n;
	if (!b->refs)
		free(b);
}

errint_t packer_store(struct packer *p, uint64_t ticket, struct packed *list, unsigned n,
		      struct batch **out)
{
	struct batch *b;
	bool leader;

	assert(n >= 1 && n <= PACK_MAX_BLOBS);
	SCOPED_LOCK(&p->lock);
	arrive(p, ticket);
	b = join(p, list, n, &leader);
	if (!b)
		return -ENOMEM;
	if (leader)
		lead(p, b);
	while (!b->written)
		packer_wait(p);

	errint_t err = b->err;

	if (err)
		unref(b, n);
	else
		*out = b;
	return err;
}

void packer_done(struct packer *p, struct batch *b)
{
	SCOPED_LOCK(&p->lock);
	assert(b->written && !b->err);
	pack_member_done(p->im, &b->held);
	unref(b, 1);
}
