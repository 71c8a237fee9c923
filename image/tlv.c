/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "image/tlv.h"

#include <string.h>

/* The entry at *@pos; *pos becomes that of the next.  False at the end. */
static bool next(const struct disk_super *sb, size_t *pos, struct disk_tlv *head)
{
	if (*pos + sizeof(*head) > TLV_BYTES)
		return false;
	memcpy(head, sb->tlv + *pos, sizeof(*head));
	size_t len = le32_get(head->len), room = TLV_BYTES - *pos - sizeof(*head);
	if (!le32_get(head->type) || len > room)
		return false;
	len = (len + 7) & ~(size_t)7;
	*pos += sizeof(*head) + (len < room ? len : room);
	return true;
}

const uint8_t *tlv_find(const struct disk_super *sb, uint32_t type, size_t *len)
{
	struct disk_tlv head;

	for (size_t pos = 0, at = 0; next(sb, &pos, &head); at = pos) {
		if (le32_get(head.type) != type)
			continue;
		*len = le32_get(head.len);
		return sb->tlv + at + sizeof(head);
	}
	return NULL;
}

void tlv_remove(struct disk_super *sb, uint32_t type)
{
	struct disk_tlv head;

	for (size_t pos = 0, at = 0; next(sb, &pos, &head); at = pos) {
		if (le32_get(head.type) != type)
			continue;
		memmove(sb->tlv + at, sb->tlv + pos, TLV_BYTES - pos);
		memset(sb->tlv + TLV_BYTES - (pos - at), 0, pos - at);
		pos = at;
	}
}

bool tlv_add(struct disk_super *sb, uint32_t type, const void *data, size_t len)
{
	const struct disk_tlv entry = {le32_make(type), le32_make((uint32_t)len)};
	struct disk_tlv head;
	size_t end = 0;

	while (next(sb, &end, &head))
		;
	if (end + sizeof(entry) + ((len + 7) & ~(size_t)7) > TLV_BYTES)
		return false;
	memcpy(sb->tlv + end, &entry, sizeof(entry));
	if (len)
		memcpy(sb->tlv + end + sizeof(entry), data, len);
	return true;
}
