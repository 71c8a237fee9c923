/* SPDX-License-Identifier: MIT */
/* The live half of pack.h: fresh units for a batch, held until its last member has published or
 * dropped out. */
#include "config.h"

#include "image/core.h"
#include "image/pack.h"

uint32_t pack_layout_for(struct image *im, struct pack_blob *blob, unsigned n)
{
	if (RULE_BROKEN(im, pack_last_sector))
		return pack_layout_until(&im->geo, blob, n, UNIT_SIZE);
	return pack_layout(&im->geo, blob, n);
}

errint_t pack_reserve(struct image *im, uint32_t len, unsigned members, struct pack_batch *b)
{
	struct need need = {0};
	uint64_t unit;
	errint_t err;

	assert(len && len % UNIT_SIZE == 0 && members);
	do {
		pthread_mutex_lock(&im->lock);
		err = im->failed ? im->failed
				 : alloc_reserve_batch(im, len >> UNIT_SHIFT, &unit, &need);
		pthread_mutex_unlock(&im->lock);
	} while (image_again(im, &err, &need));
	if (err)
		return err;
	*b = (struct pack_batch){.file_off = unit << UNIT_SHIFT, .len = len, .members = members};
	return 0;
}

void pack_member_done(struct image *im, struct pack_batch *b)
{
	struct extent e = {b->file_off, b->len};

	SCOPED_LOCK(&im->lock);
	assert(b->members > 0);
	b->members--;
	if (RULE_BROKEN(im, blob_busy_bool)) {
		if (b->len)
			alloc_release(im, e);
		b->len = 0;
		return;
	}
	if (!b->members)
		alloc_release(im, e);
}
