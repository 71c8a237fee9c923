/* SPDX-License-Identifier: MIT */
/*
 * The registry of codecs, and the wrappers that hold both sides of the vtable to its contract.
 *
 * An id can be known without being built: then it has a name, and no entry in the table of codecs.
 */
#include <config.h>

#include "codecs/codec.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "codecs/codec_ops.h"
#include "common/log.h"

/* A test takes the codecs out, to see what the user of such a build sees. */
#ifdef TEST_WITHOUT_CODECS
#undef HAVE_ZSTD
#endif

static const char *const names[CODEC_NIDS] = {
	[CODEC_NONE] = "none",
	[CODEC_ZSTD] = "zstd",
};

static const struct codec *const codecs[CODEC_NIDS] = {
#ifdef HAVE_ZSTD
	[CODEC_ZSTD] = &codec_zstd,
#endif
};

const char *codec_name(unsigned id)
{
	static _Thread_local char unknown[sizeof("codec 4294967295")];

	if (id < CODEC_NIDS)
		return names[id];
	snprintf(unknown, sizeof(unknown), "codec %u", id);
	return unknown;
}

bool codec_built(unsigned id)
{
	return id < CODEC_NIDS && codecs[id];
}

errint_t codec_find(unsigned id, const struct codec **out)
{
	if (id == CODEC_NONE || id >= CODEC_NIDS)
		return log_fail(-EINVAL, "compression id %u is unknown to this version", id);
	if (!codecs[id])
		return log_fail(-ENOTSUP,
				"%s compression is not part of this build: use one that was "
				"configured with it",
				names[id]);
	assert(codecs[id]->id == id);
	*out = codecs[id];
	return 0;
}

unsigned codec_by_name(const char *name)
{
	unsigned id = 0;

	assert(name);
	while (id < CODEC_NIDS && strcmp(names[id], name))
		id++;
	return id;
}

void codec_levels(const struct codec *c, int *min, int *max, int *def)
{
	c->levels(min, max, def);
	assert(*min <= *def && *def <= *max);
}

errint_t codec_ctx_new(const struct codec *c, int level, size_t block, struct codec_ctx **out)
{
	struct codec_ctx *ctx = NULL;
	int min, max, def;

	assert(c && out);
	assert(block && !(block & (block - 1)));
	codec_levels(c, &min, &max, &def);
	if (level < min || level > max)
		return log_fail(-EINVAL, "%s compression level %d is outside of %d to %d",
				names[c->id], level, min, max);

	errint_t err = c->ctx_new(level, block, &ctx);

	assert(err <= 0);
	assert(!err == !!ctx);
	if (err)
		return err;
	ctx->codec = c;
	ctx->block = block;
	*out = ctx;
	return 0;
}

void codec_ctx_free(struct codec_ctx *ctx)
{
	if (ctx)
		ctx->codec->ctx_free(ctx);
}

errint_t codec_compress(struct codec_ctx *ctx, const void *src, void *dst, size_t *dst_len)
{
	const size_t space = *dst_len;

	assert(ctx && src);
	assert(dst || !space);
	if (!space)
		return -ENOSPC;

	errint_t err = ctx->codec->compress(ctx, src, dst, dst_len);

	assert(err == 0 || err == -ENOSPC);
	assert(err ? *dst_len == space : *dst_len > 0 && *dst_len <= space);
	return err;
}

errint_t codec_decompress(struct codec_ctx *ctx, const void *src, size_t *src_len, void *dst)
{
	const size_t available = *src_len;

	assert(ctx && dst);
	assert(src || !available);
	if (!available)
		return -EBADMSG;

	errint_t err = ctx->codec->decompress(ctx, src, src_len, dst);

	assert(err == 0 || err == -EBADMSG);
	assert(err ? *src_len == available : *src_len > 0 && *src_len <= available);
	return err;
}
