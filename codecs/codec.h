/* SPDX-License-Identifier: MIT */
/*
 * Codecs: bytes in, bytes out.  A codec knows nothing of images, clusters or files.
 *
 * A codec compresses one block of bytes into one self-contained frame and back.  Callers go through
 * the codec_* wrappers, which assert the contract of the vtable before and after each call.
 */
#ifndef CODECS_CODEC_H
#define CODECS_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/errint.h"

/* Ids as they stand in images; never reused. */
enum codec_id { CODEC_NONE = 0, CODEC_ZSTD = 1, CODEC_NIDS };

struct codec;

/* One thread's working memory for one codec and level.  Not shared between threads. */
struct codec_ctx;

/* "zstd", or "codec N" for an id that this version does not know.  Static storage; for unknown ids
 * each thread has one, which its next such call overwrites. */
const char *codec_name(unsigned id);

/* Is the codec with @id part of this build?  CODEC_NONE is not a codec. */
bool codec_built(unsigned id);

/*
 * The codec with @id, or an error with the message logged: -ENOTSUP names an id that is known but
 * not in this build, -EINVAL one that is unknown, or CODEC_NONE, which has no codec.
 */
MUST_CHECK errint_t codec_find(unsigned id, const struct codec **out);

/* The id for a name as users type it ("zstd", "none"), or CODEC_NIDS. */
unsigned codec_by_name(const char *name);

/* The levels that the codec accepts, and the one used when the user names none. */
void codec_levels(const struct codec *c, int *min, int *max, int *def);

/*
 * Make working memory.  @level is used by codec_compress() only.  @block is the size in bytes of
 * the blocks to come, a power of two: a frame that would need a larger window or output is refused.
 * Returns -ENOMEM, or -EINVAL for a level outside codec_levels() (message logged).
 */
MUST_CHECK errint_t codec_ctx_new(const struct codec *c, int level, size_t block,
				  struct codec_ctx **out);
void codec_ctx_free(struct codec_ctx *ctx);
static inline void cleanup_codec_ctx(struct codec_ctx **ctx)
{
	codec_ctx_free(*ctx);
}

/*
 * Compress the block @src (exactly the context's block size) into @dst.  *@dst_len holds the space
 * on entry and the frame's length on success.  Returns -ENOSPC when the frame does not fit: the
 * caller's way of saying "not worth it" is a small space.  Then *@dst_len is unchanged and the
 * contents of @dst are undefined.  Never allocates.
 */
MUST_CHECK errint_t codec_compress(struct codec_ctx *ctx, const void *src, void *dst,
				   size_t *dst_len);

/*
 * Decompress exactly one frame at the start of @src into @dst, which has room for exactly one
 * block.  *@src_len holds the bytes available on entry and the frame's length on success; what
 * follows the frame is not looked at.  Returns -EBADMSG for anything but an intact frame of exactly
 * one block with its content size recorded, no dictionary field, and a window of at most two
 * blocks; no message is logged, since only the caller knows whose bytes they are.  Nothing beyond
 * the block is ever written and nothing beyond *@src_len is read, whatever the bytes.  On failure
 * *@src_len is unchanged and the contents of @dst are undefined.
 */
MUST_CHECK errint_t codec_decompress(struct codec_ctx *ctx, const void *src, size_t *src_len,
				     void *dst);

#endif
