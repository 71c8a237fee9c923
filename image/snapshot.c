/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "image/core.h"

static const struct disk_snapshot *find(struct image *im, uint32_t id)
{
	for (uint32_t i = 0; id && i < im->snaps.n; i++)
		if (le32_get(im->snaps.rec[i].id) == id)
			return &im->snaps.rec[i];
	return NULL;
}

errint_t snapshot_open(struct image *im)
{
	struct desc d = desc_from_disk(&im->super.snaptab);
	uint32_t n = le32_get(im->super.nsnapshots);
	size_t len = (size_t)desc_snaptab_units(d) << UNIT_SHIFT;
	struct limits lim;
	struct reason why;

	if (desc_type(d) == DESC_HOLE)
		return 0; /* validate_super() saw that there are no records then */
	CLEANUP(free) struct disk_snapshot *rec = store_buffer(len);
	if (!rec)
		return -ENOMEM;
	errint_t err = store_read(im->st, rec, len, desc_unit(d) << UNIT_SHIFT);
	if (err)
		return err;
	image_limits(im, &lim);
	err = validate_snapshots(rec, n, len, d.aux, &lim, &why);
	if (err)
		return image_damaged(im, "snapshot table", desc_unit(d) << UNIT_SHIFT, why.text);
	im->snaps.rec = steal_pointer(&rec);
	im->snaps.n = n;
	return 0;
}

void snapshot_close(struct image *im)
{
	free(im->snaps.rec);
}

/* Epoch of parent_at() for a range that ends before cluster @end. */
static uint32_t floor_before(struct image *im, uint64_t end)
{
	const struct disk_snapshot *p = find(im, im->head_parent);

	if (p && le32_get(p->flags) & SNAP_ZOMBIE && end <= le64_get(p->cursor))
		p = find(im, le32_get(p->parent));
	return p ? le32_get(p->epoch) : 0;
}

uint32_t snapshot_floor(struct image *im, uint64_t v)
{
	return im->snaps.n ? floor_before(im, v + 1) : 0;
}

uint32_t snapshot_floor_node(struct image *im, unsigned level, uint64_t index)
{
	return im->snaps.n ? floor_before(im, (index + 1) << NODE_SHIFT * (level + 1)) : 0;
}

const struct disk_snapshot *snapshot_records(struct image *im, uint32_t *n)
{
	*n = im->snaps.n;
	return im->snaps.rec;
}
