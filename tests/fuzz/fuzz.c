/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

void fuzz_take(struct fuzz_input *in, void *out, size_t len)
{
	size_t n = len < in->size ? len : in->size;

	if (n)
		memcpy(out, in->data, n);
	memset((uint8_t *)out + n, 0, len - n);
	in->data += n;
	in->size -= n;
}

uint8_t fuzz_u8(struct fuzz_input *in)
{
	uint8_t v;

	fuzz_take(in, &v, sizeof(v));
	return v;
}

uint64_t fuzz_u64(struct fuzz_input *in)
{
	le64 v;

	fuzz_take(in, &v, sizeof(v));
	return le64_get(v);
}

void fuzz_require(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

void fuzz_verdict(errint_t err, const struct reason *why, errint_t also)
{
	if (!err || err == also)
		return;
	fuzz_require(err == -EBADMSG || err == -ENOTSUP, "a validator's return value");
	fuzz_require(memchr(why->text, '\0', sizeof(why->text)), "a reason has no end");
	fuzz_require(why->text[0], "a reason is empty");
}

FILE *fuzz_null(void)
{
	static FILE *null;

	if (!null)
		null = fopen("/dev/null", "w");
	fuzz_require(null, "/dev/null cannot be opened");
	return null;
}

void *fuzz_block(size_t len)
{
	void *p = NULL;

	fuzz_require(!posix_memalign(&p, UNIT_SIZE, len), "out of memory");
	return p;
}
