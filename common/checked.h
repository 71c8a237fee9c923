/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic on sizes that come from a disk or from a user.  Each function stores the result and
 * returns true, or returns false when it does not fit, leaving *out unspecified.
 */
#ifndef COMMON_CHECKED_H
#define COMMON_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

__attribute__((warn_unused_result)) static inline bool checked_add(uint64_t a, uint64_t b,
								   uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

__attribute__((warn_unused_result)) static inline bool checked_mul(uint64_t a, uint64_t b,
								   uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

/* Round @a up to a multiple of @to, a power of two. */
__attribute__((warn_unused_result)) static inline bool checked_round_up(uint64_t a, uint64_t to,
									uint64_t *out)
{
	if (!checked_add(a, to - 1, out))
		return false;
	*out &= ~(to - 1);
	return true;
}

/* a / b, rounded up; cannot overflow. b > 0. */
static inline uint64_t div_round_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

#endif
