/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "image/content.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "image/checkpoint.h"
#include "image/core.h"
#include "image/reason.h"
#include "image/tlv.h"

const char *point_text(const struct content_point *p, char buf[POINT_TEXT_MAX])
{
	char name[SNAP_NAME_MAX + 1];

	if (!p->name[0])
		snprintf(buf, POINT_TEXT_MAX, "the disk");
	else
		snprintf(buf, POINT_TEXT_MAX, "'%s'",
			 reason_printable(p->name, sizeof(p->name) - 1, name));
	return buf;
}

/* ---- on disk ------------------------------------------------------------------------------- */

static struct content_point point_from_disk(const struct disk_point *d)
{
	struct content_point p = {.size = le64_get(d->size)};

	memcpy(p.uuid, d->uuid, sizeof(p.uuid));
	memcpy(p.name, d->name, le16_get(d->name_len));
	return p;
}

static struct disk_point point_to_disk(const struct content_point *p)
{
	struct disk_point d = {
		.size = le64_make(p->size),
		.name_len = le16_make((uint16_t)strlen(p->name)),
	};

	memcpy(d.uuid, p->uuid, sizeof(d.uuid));
	memcpy(d.name, p->name, strlen(p->name));
	return d;
}

static bool load_two(const struct disk_super *sb, uint32_t type, struct content *c)
{
	struct disk_tlv_delta d;
	size_t len;
	const uint8_t *data = tlv_find(sb, type, &len);

	if (!data)
		return false;
	memcpy(&d, data, sizeof(d));
	memcpy(c->image, d.image, sizeof(c->image));
	c->base = point_from_disk(&d.base);
	c->target = point_from_disk(&d.target);
	return true;
}

void content_load(const struct disk_super *sb, struct content *c)
{
	struct disk_tlv_content d;
	size_t len;
	const uint8_t *data;

	*c = (struct content){.state = CONTENT_UNKNOWN};
	if (load_two(sb, TLV_DELTA, c)) {
		c->state = CONTENT_DELTA;
		return;
	}
	if (load_two(sb, TLV_APPLYING, c)) {
		c->state = CONTENT_APPLYING;
		return;
	}
	data = tlv_find(sb, TLV_CONTENT, &len);
	if (!data)
		return;
	memcpy(&d, data, sizeof(d));
	if (le64_get(d.generation) != le64_get(sb->generation))
		return;
	c->state = CONTENT_AT;
	c->target = point_from_disk(&d.at);
}

bool content_store(const struct content *c, struct disk_super *sb)
{
	const struct disk_tlv_content at = {sb->generation, point_to_disk(&c->target)};
	struct disk_tlv_delta two = {{0}, point_to_disk(&c->base), at.at};

	memcpy(two.image, c->image, sizeof(two.image));
	tlv_remove(sb, TLV_CONTENT);
	tlv_remove(sb, TLV_DELTA);
	tlv_remove(sb, TLV_APPLYING);
	switch (c->state) {
	case CONTENT_UNKNOWN:
		break;
	case CONTENT_AT:
		return tlv_add(sb, TLV_CONTENT, &at, sizeof(at));
	case CONTENT_DELTA:
		return tlv_add(sb, TLV_DELTA, &two, sizeof(two));
	case CONTENT_APPLYING:
		return tlv_add(sb, TLV_APPLYING, &two, sizeof(two));
	}
	return true;
}

/* ---- of an open image ---------------------------------------------------------------------- */

void image_get_content(struct image *im, struct content *c)
{
	SCOPED_LOCK(&im->lock);
	*c = im->content;
}

static void content_freeze(struct image *im, void *arg)
{
	im->content = *(const struct content *)arg;
}

errint_t image_set_content(struct image *im, const struct content *c)
{
	struct content content = *c;
	struct ckpt_change change = {.freeze = content_freeze, .arg = &content};
	struct disk_super sb;

	pthread_mutex_lock(&im->lock);
	assert(im->keeps_content);
	sb = im->super;
	pthread_mutex_unlock(&im->lock);
	if (!content_store(c, &sb))
		return log_fail(-ENOSPC,
				"%s: its superblock has no room for a note of what it holds",
				im->st->name);
	errint_t err = admin_begin(im);
	if (!err)
		err = checkpoint(im, &change);
	admin_end(im);
	return err;
}
