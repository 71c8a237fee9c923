/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/lib/breaking.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"

static void *copy_of(const void *good, size_t len)
{
	void *copy = aligned_alloc(UNIT_SIZE, (len + UNIT_SIZE - 1) / UNIT_SIZE * UNIT_SIZE);

	assert_non_null(copy);
	return memcpy(copy, good, len);
}

static errint_t judge_poked(const void *good, size_t len, const struct poke *poke, judge_fn judge,
			    struct reason *why)
{
	CLEANUP(free) uint8_t *block = copy_of(good, len);

	assert_true(poke->at + poke->size <= len);
	for (unsigned i = 0; i < poke->size; i++)
		block[poke->at + i] = (uint8_t)(poke->value >> 8 * i);
	memset(why, 0, sizeof(*why));
	return judge(block, why);
}

void break_one(const void *good, size_t len, const struct poke *poke, judge_fn judge)
{
	struct reason why;
	errint_t err = judge_poked(good, len, poke, judge, &why);

	if (err != poke->err)
		fail_msg("0x%" PRIx64 " in %u bytes at %zu: %d (%s), not %d (%s)", poke->value,
			 poke->size, poke->at, err, why.text, poke->err,
			 poke->says ? poke->says : "accepted");
	if (err && !strstr(why.text, poke->says))
		fail_msg("0x%" PRIx64 " in %u bytes at %zu: \"%s\" does not contain \"%s\"",
			 poke->value, poke->size, poke->at, why.text, poke->says);
}

void break_each(const void *good, size_t len, const struct poke *poke, size_t n, judge_fn judge)
{
	for (size_t i = 0; i < n; i++)
		break_one(good, len, &poke[i], judge);
}

void break_reserved(const void *good, size_t len, struct byte_range range, judge_fn judge)
{
	for (size_t i = 0; i < range.len; i++) {
		char says[48];
		struct poke poke = {range.at + i, 1, 1u << i % 8, -EBADMSG, says};
		snprintf(says, sizeof(says), "byte %zu holds 0x%02x", range.at + i, 1u << i % 8);
		break_one(good, len, &poke, judge);
	}
}

static bool contains(const struct byte_range *range, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++) {
		if (at >= range[i].at && at - range[i].at < range[i].len)
			return true;
	}
	return false;
}

void break_every_byte(const void *good, size_t len, const struct byte_range *any, size_t n,
		      judge_fn judge)
{
	unsigned wrong = 0;

	for (size_t at = 0; at < len; at++) {
		uint8_t byte = ((const uint8_t *)good)[at];
		unsigned refused = 0, tried = 0;

		for (unsigned k = 0; k < 10; k++) {
			uint8_t value = k < 8 ? byte ^ (uint8_t)(1u << k) : k == 8 ? 0 : 0xff;
			struct poke poke = {at, 1, value, 0, NULL};
			struct reason why;
			if (value == byte)
				continue;
			tried++;
			refused += judge_poked(good, len, &poke, judge, &why) != 0;
		}
		if (contains(any, n, at) == (refused == 0))
			continue;
		wrong++;
		print_error("byte %zu: %u of %u values are refused, %s expected\n", at, refused,
			    tried, contains(any, n, at) ? "none" : "some");
	}
	assert_int_equal(wrong, 0);
}

void assert_refused(errint_t err, const struct reason *why, const char *says)
{
	if (err != -EBADMSG)
		fail_msg("%d is not -EBADMSG (expected \"%s\")", err, says);
	if (!strstr(why->text, says))
		fail_msg("\"%s\" does not contain \"%s\"", why->text, says);
}
