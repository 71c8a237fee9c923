/* SPDX-License-Identifier: MIT */
/*
 * What a codec implements; included by codecs/ only.  Everyone else goes through codec.h.
 */
#ifndef CODECS_CODEC_OPS_H
#define CODECS_CODEC_OPS_H

#include "codecs/codec.h"

/*
 * Embedded by each codec as the first member of its context.  Filled by codec_ctx_new() after
 * ctx_new() returned, constant afterwards.
 */
struct codec_ctx {
	const struct codec *codec;
	size_t block; /* bytes */
};

/*
 * Any thread calls these; calls on one context never overlap.  None may block or log, except as
 * said.  The wrappers in codec.c have checked the arguments: pointers are valid, lengths positive,
 * levels within the range, blocks powers of two.
 */
struct codec {
	unsigned id; /* enum codec_id */

	/* The levels that ctx_new() accepts and the one to use by default; min <= def <= max. */
	void (*levels)(int *min, int *max, int *def);

	/* Allocate everything that the other members will need, so that they never allocate:
	 * -ENOMEM, with the message logged. */
	errint_t (*ctx_new)(int level, size_t block, struct codec_ctx **out);
	void (*ctx_free)(struct codec_ctx *ctx);

	/* codec_compress() and codec_decompress() in codec.h say what these return; they leave the
	 * lengths alone on failure. */
	errint_t (*compress)(struct codec_ctx *ctx, const void *src, void *dst, size_t *dst_len);
	errint_t (*decompress)(struct codec_ctx *ctx, const void *src, size_t *src_len, void *dst);
};

extern const struct codec codec_zstd;

#endif
