/* SPDX-License-Identifier: MIT */
/*
 * The zstd codec.
 *
 * Frames are written with their content size and without a checksum, because images have their own
 * over the stored bytes.  Of a frame that is read nothing is believed: the header is parsed here
 * (RFC 8878, section 3.1.1.1), since what libzstd exports for it, ZSTD_getFrameHeader(), is not
 * part of the stable interface that a dynamically linked program may use, and libzstd gets exactly
 * the bytes of one frame and exactly one block of room.
 */
#include <config.h>

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "codecs/codec_ops.h"
#include "common/cleanup.h"
#include "common/log.h"

#define SMALL_BLOCK_MAX (128u << 10)

struct zstd_ctx {
	struct codec_ctx base;
	ZSTD_CCtx *cctx;
	ZSTD_DCtx *dctx;
};

/* The fields of a frame header that decide whether the frame is acceptable. */
struct frame_header {
	uint64_t content_size; /* bytes; 0 also when it is not recorded */
	uint64_t window_size;  /* bytes */
	bool has_dictionary;   /* a dictionary id field is present, whatever it holds */
};

static struct zstd_ctx *to_zstd(struct codec_ctx *ctx)
{
	return (struct zstd_ctx *)ctx; /* base is the first member */
}
_Static_assert(offsetof(struct zstd_ctx, base) == 0, "to_zstd()");

static void zstd_levels(int *min, int *max, int *def)
{
	*min = ZSTD_minCLevel();
	*max = ZSTD_maxCLevel();
	*def = ZSTD_CLEVEL_DEFAULT;
}

static void zstd_ctx_free(struct codec_ctx *ctx)
{
	struct zstd_ctx *z = to_zstd(ctx);

	ZSTD_freeCCtx(z->cctx);
	ZSTD_freeDCtx(z->dctx);
	free(z);
}

static void set_parameter(ZSTD_CCtx *cctx, ZSTD_cParameter parameter, int value)
{
	size_t r = ZSTD_CCtx_setParameter(cctx, parameter, value);

	/* Nothing allocates here and every value is within its range. */
	assert(!ZSTD_isError(r));
	(void)r;
}

/*
 * At the default level libzstd's tables are made for larger inputs than ours: in a small block they
 * are mostly empty, and searching them misses the cache.  Smaller tables pay for shorter matches:
 * frames are smaller (docs/performance.md) and made no slower.  The format of frames is the same.
 */
static void tune_for_small_blocks(ZSTD_CCtx *cctx, int level, size_t block)
{
	if (level != ZSTD_CLEVEL_DEFAULT || block > SMALL_BLOCK_MAX)
		return;
	set_parameter(cctx, ZSTD_c_strategy, ZSTD_dfast);
	set_parameter(cctx, ZSTD_c_minMatch, 4);
	set_parameter(cctx, ZSTD_c_hashLog, block > SMALL_BLOCK_MAX / 2 ? 14 : 13);
	set_parameter(cctx, ZSTD_c_chainLog, 15);
}

static void set_parameters(ZSTD_CCtx *cctx, int level, size_t block)
{
	set_parameter(cctx, ZSTD_c_compressionLevel, level);
	tune_for_small_blocks(cctx, level, block);
	set_parameter(cctx, ZSTD_c_contentSizeFlag, 1);
	set_parameter(cctx, ZSTD_c_checksumFlag, 0);
	set_parameter(cctx, ZSTD_c_dictIDFlag, 0);
}

/* Compress a block of zeros, because libzstd allocates its tables at the first use: what can fail
 * for want of memory fails here, and later blocks of the same size need none.  False: no memory. */
static bool allocate_tables(ZSTD_CCtx *cctx, size_t block)
{
	CLEANUP(free) void *zeros = calloc(1, block);
	char frame[64];
	size_t r;

	if (!zeros)
		return false;
	r = ZSTD_compress2(cctx, frame, sizeof(frame), zeros, block);
	return !ZSTD_isError(r) || ZSTD_getErrorCode(r) == ZSTD_error_dstSize_tooSmall;
}

static errint_t zstd_ctx_new(int level, size_t block, struct codec_ctx **out)
{
	struct zstd_ctx *z = calloc(1, sizeof(*z));

	if (!z)
		goto no_memory;
	z->cctx = ZSTD_createCCtx();
	z->dctx = ZSTD_createDCtx();
	if (!z->cctx || !z->dctx)
		goto no_memory;
	set_parameters(z->cctx, level, block);
	if (!allocate_tables(z->cctx, block))
		goto no_memory;
	*out = &z->base;
	return 0;

no_memory:
	if (z)
		zstd_ctx_free(&z->base);
	return log_err(-ENOMEM, "cannot prepare zstd level %d for blocks of %zu bytes", level,
		       block);
}

static errint_t zstd_compress(struct codec_ctx *ctx, const void *src, void *dst, size_t *dst_len)
{
	struct zstd_ctx *z = to_zstd(ctx);
	size_t r = ZSTD_compress2(z->cctx, dst, *dst_len, src, ctx->block);

	if (ZSTD_isError(r)) {
		/* Without assertions any other failure means the same: store the block as it is. */
		assert(ZSTD_getErrorCode(r) == ZSTD_error_dstSize_tooSmall);
		return -ENOSPC;
	}
	*dst_len = r;
	return 0;
}

/* Bytes of a content size field, by the two highest bits of the descriptor byte; without that field
 * in a frame of several segments when they are 0. */
static unsigned content_size_bytes(uint8_t descriptor)
{
	bool single_segment = descriptor & 0x20;

	switch (descriptor >> 6) {
	case 0:
		return single_segment ? 1 : 0;
	case 1:
		return 2;
	case 2:
		return 4;
	default:
		return 8;
	}
}

static uint64_t load_le(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

/* Bytes of window that a window descriptor stands for: at most 15 << 38. */
static uint64_t window_bytes(uint8_t descriptor)
{
	uint64_t base = UINT64_C(1) << (10 + (descriptor >> 3));

	return base + base / 8 * (descriptor & 7);
}

/* Read the header of a frame of the present format: a skippable or legacy frame has another magic
 * number.  False: there is none in the @len bytes at @p. */
static bool parse_frame_header(const uint8_t *p, size_t len, struct frame_header *out)
{
	static const unsigned dictionary_bytes[4] = {0, 1, 2, 4};

	if (len < 5 || load_le(p, 4) != ZSTD_MAGICNUMBER)
		return false;

	uint8_t descriptor = p[4];
	bool single_segment = descriptor & 0x20;
	unsigned skip = 5 + !single_segment + dictionary_bytes[descriptor & 3];
	unsigned size_bytes = content_size_bytes(descriptor);

	if (descriptor & 0x08 || len < skip + size_bytes)
		return false; /* reserved bit, or cut short */
	out->has_dictionary = descriptor & 3;
	out->content_size = load_le(p + skip, size_bytes) + (size_bytes == 2 ? 256 : 0);
	out->window_size = single_segment ? out->content_size : window_bytes(p[5]);
	return true;
}

/* NULL when the frame at @src may be handed to libzstd to become a block of @block bytes, else the
 * reason why not. */
static const char *refuse_frame(const void *src, size_t len, size_t block)
{
	struct frame_header header;

	if (!parse_frame_header(src, len, &header))
		return "no zstd frame";
	if (header.has_dictionary)
		return "the frame needs a dictionary";
	if (header.content_size != block)
		return "the frame's content size is not the block's";
	if (header.window_size > 2 * (uint64_t)block)
		return "the frame's window is larger than two blocks";
	return NULL;
}

static errint_t damaged(const char *why)
{
	/* What was damaged and where it is, only the caller can tell the user. */
	log_debug(LOG_DATA, "zstd: %s", why);
	return -EBADMSG;
}

static errint_t zstd_decompress(struct codec_ctx *ctx, const void *src, size_t *src_len, void *dst)
{
	struct zstd_ctx *z = to_zstd(ctx);
	const char *reason = refuse_frame(src, *src_len, ctx->block);

	if (reason)
		return damaged(reason);

	size_t frame_len = ZSTD_findFrameCompressedSize(src, *src_len);

	if (ZSTD_isError(frame_len))
		return damaged(ZSTD_getErrorName(frame_len));
	assert(frame_len > 0 && frame_len <= *src_len);

	size_t r = ZSTD_decompressDCtx(z->dctx, dst, ctx->block, src, frame_len);

	if (ZSTD_isError(r))
		return damaged(ZSTD_getErrorName(r));
	if (r != ctx->block)
		return damaged("the frame ends before the block");
	*src_len = frame_len;
	return 0;
}

const struct codec codec_zstd = {
	.id = CODEC_ZSTD,
	.levels = zstd_levels,
	.ctx_new = zstd_ctx_new,
	.ctx_free = zstd_ctx_free,
	.compress = zstd_compress,
	.decompress = zstd_decompress,
};
