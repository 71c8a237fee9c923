/* SPDX-License-Identifier: MIT */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * CRC-32C (Castagnoli, reflected, RFC 3720 appendix B.4) of @len bytes, continuing from @crc:
 * crc32c(0, "123456789", 9) == 0xE3069283 and crc32c(crc32c(0, a), b) == crc32c(0, a || b).
 * The processor's instructions are used where it has them; any thread.
 */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

/* The portable version, exported so that a test can compare the two. */
uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len);

#endif
