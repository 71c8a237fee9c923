/* SPDX-License-Identifier: MIT */
/*
 * Breaking valid blocks one field at a time.  The functions assert through cmocka and say which
 * change was judged wrongly.
 */
#ifndef TESTS_LIB_BREAKING_H
#define TESTS_LIB_BREAKING_H

#include "image/validate.h"

/* Makes the block's checksums right for what it now holds, then validates it. */
typedef errint_t (*judge_fn)(void *block, struct reason *why);

/* @size bytes at @at become @value, little-endian; then the verdict is @err and the reason contains
 * @says.  With err 0, a value that must be accepted. */
struct poke {
	size_t at;
	unsigned size;
	uint64_t value;
	errint_t err;
	const char *says;
};

struct byte_range {
	size_t at, len;
};

void break_one(const void *good, size_t len, const struct poke *poke, judge_fn judge);
void break_each(const void *good, size_t len, const struct poke *poke, size_t n, judge_fn judge);

/* Each of the bytes must be zero, and the reason names its offset. */
void break_reserved(const void *good, size_t len, struct byte_range range, judge_fn judge);

/*
 * Every byte of the block outside the @n ranges of @any can be changed so that the block is
 * refused: no field was forgotten.  Within @any every value is accepted.
 */
void break_every_byte(const void *good, size_t len, const struct byte_range *any, size_t n,
		      judge_fn judge);

/* The verdict on @why is -EBADMSG with @says in the reason. */
void assert_refused(errint_t err, const struct reason *why, const char *says);

#endif
