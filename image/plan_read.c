/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "image/core.h"
#include "image/plan_priv.h"
#include "image/snapshot_view.h"

/* Add @len bytes to the plan, merged with its last segment where they continue it.  False: no room.
 */
static bool add_seg(struct read_plan *p, enum seg_kind kind, uint32_t len, uint64_t file_off)
{
	struct seg *last = p->nsegs ? &p->seg[p->nsegs - 1] : NULL;

	if (last && last->kind == kind && kind != SEG_BLOB &&
	    (kind == SEG_ZERO || last->file_off + last->len == file_off)) {
		last->len += len;
	} else {
		if (p->nsegs == PLAN_SEGS)
			return false;
		p->seg[p->nsegs++] = (struct seg){.kind = kind, .len = len, .file_off = file_off};
	}
	p->len += len;
	return true;
}

/* @len bytes at @off of the disk that the image does not have. */
static bool add_missing(struct read_plan *p, uint64_t limit, uint64_t off, uint32_t len)
{
	uint64_t n = off < limit ? limit - off : 0;

	if (n > len)
		n = len;
	if (n && !add_seg(p, SEG_BACKING, (uint32_t)n, off))
		return false;
	return n == len || add_seg(p, SEG_ZERO, len - (uint32_t)n, 0);
}

static bool add_raw(struct image *im, struct read_plan *p, uint64_t limit, uint64_t v,
		    struct desc d, uint32_t skip, uint32_t len)
{
	uint64_t start = v << im->geo.cluster_shift;
	unsigned shift = subblock_shift(&im->geo);
	uint64_t base = desc_unit(d) << UNIT_SHIFT;

	while (len) {
		unsigned sub = skip >> shift;
		uint32_t n = ((sub + 1u) << shift) - skip;
		bool fits;

		if (n > len)
			n = len;
		if (desc_valid(d) >> sub & 1)
			fits = add_seg(p, SEG_FILE, n, base + skip);
		else if (desc_zero(d) >> sub & 1)
			fits = add_seg(p, SEG_ZERO, n, 0);
		else
			fits = add_missing(p, limit, start + skip, n);
		if (!fits)
			return false;
		skip += n;
		len -= n;
	}
	return true;
}

static bool add_blob(struct image *im, struct read_plan *p, uint64_t v, struct desc d,
		     uint32_t skip, uint32_t len)
{
	struct extent e = desc_extent(&im->geo, d);

	if (!add_seg(p, SEG_BLOB, len, e.off))
		return false;
	struct seg *s = &p->seg[p->nsegs - 1];
	s->vcluster = v;
	s->stored = (uint32_t)e.len;
	s->crc = d.aux;
	s->skip = skip;
	s->codec = CODEC_ZSTD;
	return true;
}

bool plan_add_cluster(struct image *im, struct read_plan *p, uint64_t limit, uint64_t v,
		      struct desc d, uint32_t skip, uint32_t len)
{
	switch (desc_type(d)) {
	case DESC_RAW:
		return add_raw(im, p, limit, v, d, skip, len);
	case DESC_ZSTD:
		return add_blob(im, p, v, d, skip, len);
	case DESC_HOLE:
		return add_missing(p, limit, (v << im->geo.cluster_shift) + skip, len);
	default:
		assert(desc_type(d) == DESC_ZERO);
		return add_seg(p, SEG_ZERO, len, 0);
	}
}

/* Plan as much as is in memory.  Lock held. */
static errint_t try_read(struct image *im, const struct snapshot_view *view, uint64_t off,
			 uint32_t len, struct read_plan *p, struct need *need)
{
	uint64_t mask = cluster_size(&im->geo) - 1;
	uint64_t limit = view ? le64_get(view->rec.backing_limit) : im->backing.limit;

	p->off = off;
	p->len = p->nsegs = 0;
	while (p->len < len) {
		uint64_t pos = off + p->len;
		uint64_t n = cluster_size(&im->geo) - (pos & mask);
		struct desc d;
		uint64_t v = pos >> im->geo.cluster_shift;
		errint_t err =
			view ? snapshot_lookup(view, v, &d, need) : map_lookup(im, v, &d, need);

		if (err == -EAGAIN && p->len)
			break;
		if (err)
			return err;
		if (n > len - p->len)
			n = len - p->len;
		if (!plan_add_cluster(im, p, limit, v, d, pos & mask, (uint32_t)n))
			break;
	}
	p->guard = guard_enter(im);
	return 0;
}

errint_t plan_check_range(struct image *im, uint64_t off, uint64_t len)
{
	assert(off % SECTOR_SIZE == 0 && len % SECTOR_SIZE == 0 && len);
	return off < im->size && len <= im->size - off ? 0 : -EINVAL;
}

errint_t plan_read(struct image *im, uint64_t off, uint32_t len, enum image_mode mode,
		   struct read_plan *p)
{
	struct need need = {0};
	errint_t err;

	do {
		pthread_mutex_lock(&im->lock);
		err = plan_check_range(im, off, len);
		if (!err)
			err = try_read(im, NULL, off, len, p, &need);
		pthread_mutex_unlock(&im->lock);
	} while (mode == IMAGE_MAY_BLOCK && image_again(im, &err, &need));
	return err;
}

errint_t plan_read_snapshot(struct snapshot_view *v, uint64_t off, uint32_t len,
			    enum image_mode mode, struct read_plan *p)
{
	struct image *im = v->im;
	uint64_t size = snapshot_view_size(v);
	struct need need = {0};
	errint_t err;

	assert(off % SECTOR_SIZE == 0 && len % SECTOR_SIZE == 0 && len);
	if (off >= size || len > size - off)
		return -EINVAL;
	do {
		pthread_mutex_lock(&im->lock);
		err = try_read(im, v, off, len, p, &need);
		pthread_mutex_unlock(&im->lock);
	} while (mode == IMAGE_MAY_BLOCK && image_again(im, &err, &need));
	return err;
}

void plan_read_done(struct image *im, struct read_plan *p)
{
	SCOPED_LOCK(&im->lock);
	guard_leave(im, p->guard);
}
