/* SPDX-License-Identifier: MIT */
/* How libFuzzer changes the inputs of fuzz-super: see mutate_tlv.h. */
#include "config.h"

#include <stddef.h>
#include <string.h>

#include "tests/fuzz/super_input.h"
#include "tests/fuzz/mutate_tlv.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	struct rng r = {seed};
	struct disk_super sb;
	size_t at = size ? super_at(data[0]) : 0;

	if (!at || at > size || at + sizeof(sb) > max || rng_chance(&r, 60))
		return LLVMFuzzerMutate(data, size, max);
	memset(&sb, 0, sizeof(sb));
	memcpy(&sb, data + at, size - at < sizeof(sb) ? size - at : sizeof(sb));
	mutate_tlv(&r, &sb);
	memcpy(data + at, &sb, sizeof(sb));
	return at + sizeof(sb);
}
