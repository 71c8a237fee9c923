/* SPDX-License-Identifier: MIT */
/* Sizes as people write and read them: bytes, with K, M, G, T, P, E for powers of 1024. */
#ifndef CLI_SIZE_H
#define CLI_SIZE_H

#include <stdint.h>

#include "common/errint.h"

/*
 * Reads "4096", "64K", "1.5GiB": decimal digits, a fraction when a unit follows, and a unit in
 * either case with or without "iB".  A fraction of a byte is dropped.  @what names the thing in
 * messages ("--offset", "SIZE").  Returns -EINVAL, or -ERANGE for more than 2^63 - 1 bytes, with
 * the message logged.
 */
MUST_CHECK errint_t size_parse(const char *what, const char *text, uint64_t *bytes);

#define SIZE_TEXT_MAX 24

/* "1.5 GiB", "64 KiB", "100 bytes": three significant digits, exact when it says no fraction.
 * Returns @buf. */
const char *size_text(uint64_t bytes, char buf[SIZE_TEXT_MAX]);

/* In an argument list: size_text() in a buffer of the enclosing block. */
#define SIZE_TEXT(bytes) size_text(bytes, (char[SIZE_TEXT_MAX]){0})

#endif
