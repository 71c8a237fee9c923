/* SPDX-License-Identifier: MIT */
/* What differs between two states of a disk, as a list in memory. */
#ifndef CLI_CHANGES_H
#define CLI_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/errint.h"

/* [off, off + len) of the disk, bytes; it becomes zeros, or else has other content. */
struct change {
	uint64_t off, len;
	bool zero;
};

/* In ascending order, without overlaps, neighbours of one kind joined. */
struct changes {
	struct change *list;
	size_t n, room;
};

/* Appends what lies behind all that is there.  -ENOMEM, message logged. */
MUST_CHECK errint_t changes_add(struct changes *c, const struct change *e);

/* Adds zeros for what of [@from, @to), the end of the disk, is not mentioned.  As above. */
MUST_CHECK errint_t changes_end_with_zeros(struct changes *c, uint64_t from, uint64_t to);

/* Bytes of both kinds. */
void changes_total(const struct changes *c, uint64_t *data, uint64_t *zero);

void changes_free(struct changes *c);

#endif
