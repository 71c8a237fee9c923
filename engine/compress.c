/* SPDX-License-Identifier: MIT */
/*
 * Is a cluster worth compressing, and the compressing itself.
 */
#include "config.h"

#include <string.h>

#include "engine/core.h"

bool all_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	/* Each byte equals the one before it, and the first is zero. */
	assert(len > 0);
	return p[0] == 0 && !memcmp(p, p + 1, len - 1);
}

#define SAMPLE_PIECES 16u
#define SAMPLE_PIECE  256u
#define SAMPLE	      (SAMPLE_PIECES * SAMPLE_PIECE)

/*
 * Encrypted or already compressed data: every byte value is about equally frequent in a sample.
 * For SAMPLE independent random bytes the sum of squared counts has the mean SAMPLE + SAMPLE *
 * (SAMPLE - 1) / 256 = 69616 and a standard deviation of about SAMPLE * sqrt(2 / 256) = 362.  What
 * stays within four of them is taken for random.
 *
 * Data that repeats long random stretches is misjudged.  That costs space, never correctness.
 */
static bool looks_random(const uint8_t *src, size_t len)
{
	const size_t step = len / SAMPLE_PIECES;
	uint32_t count[256] = {0};
	uint32_t squares = 0;

	assert(step >= SAMPLE_PIECE);
	for (size_t at = 0; at < len; at += step)
		for (unsigned i = 0; i < SAMPLE_PIECE; i++)
			count[src[at + i]]++;
	for (unsigned i = 0; i < 256; i++)
		squares += count[i] * count[i];
	return squares < 69616 + 4 * 362;
}

static size_t max_frame(const struct engine *e)
{
	return (size_t)BLOB_MAX_GRANULES << granule_shift(&e->geo);
}

size_t frame_space(const struct engine *e)
{
	return max_frame(e) + PACK_PAD;
}

uint32_t compress_cluster(struct engine_thread *t, const void *src, uint8_t *frame)
{
	struct codec_ctx *ctx = t->ctx[t->e->codec_id];
	size_t len = max_frame(t->e);

	assert(ctx);
	if (looks_random(src, t->e->cluster) || codec_compress(ctx, src, frame, &len))
		return 0;
	memset(frame + len, 0, PACK_PAD);
	return (uint32_t)len;
}
