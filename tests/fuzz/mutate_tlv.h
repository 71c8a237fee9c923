/* SPDX-License-Identifier: MIT */
/*
 * How libFuzzer changes the list of further facts of a superblock (docs/format.md section 3.3) so
 * that it stays a list: what moves bytes about in it would only ever show that padding is checked.
 */
#ifndef TESTS_FUZZ_MUTATE_TLV_H
#define TESTS_FUZZ_MUTATE_TLV_H

#include <stdint.h>

#include "image/format.h"
#include "tests/lib/rng.h"

/* Remove, repeat, exchange, add or change an entry. */
void mutate_tlv(struct rng *r, struct disk_super *sb);

#endif
