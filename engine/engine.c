/* SPDX-License-Identifier: MIT */
/*
 * The engine and its threads: what they own, made and released.
 */
#include "config.h"

#include <string.h>

#include "common/log.h"
#include "common/room.h"
#include "engine/core.h"
#include "image/checksum.h"

/* Of decompressed clusters that are kept; see cache.h. */
#define CACHE_BYTES (16u << 20)
/* Of blobs that queues read at a time. */
#define BLOB_BYTES (4u << 20)

static errint_t no_memory(void)
{
	return log_err(-ENOMEM, "cannot set up the data path");
}

/* How new data is compressed.  An image that asks for what is not there can still be written to. */
static errint_t find_codec(struct engine *e, const struct image_info *info)
{
	const char *name = e->st->name;
	const struct codec *codec;
	int min, max, def;

	if (info->codec == CODEC_NONE || info->read_only)
		return 0;
	if (!codec_built(info->codec)) {
		log_warn(
			"%s: is to be compressed with %s, which this build does not have: new data is stored uncompressed",
			name, codec_name(info->codec));
		return 0;
	}
	errint_t err = codec_find(info->codec, &codec);
	if (err)
		return err;
	codec_levels(codec, &min, &max, &def);
	if (info->level < min || info->level > max) {
		log_warn(
			"%s: is to be compressed with %s at level %d, which is not in %d..%d: new data is stored uncompressed",
			name, codec_name(info->codec), info->level, min, max);
		return 0;
	}
	e->codec = codec;
	e->codec_id = info->codec;
	e->level = info->level;
	return 0;
}

static errint_t open_backing(struct engine *e, const struct engine_opts *opts)
{
	struct backing_chain chain = {.up = opts ? opts->chain : NULL};
	struct backing_how how = {.chain = &chain};
	int fd = store_file_fd(e->st);
	struct backing_ref ref;

	image_get_backing(e->im, &ref);
	if (ref.kind == BACKING_NONE)
		return 0;
	if (opts && opts->below) {
		e->backing = opts->below;
		e->borrowed = true;
		return 0;
	}
	if (opts && opts->backing)
		return backing_of_store(opts->backing, &ref, &e->backing);
	if (opts) {
		how.allow = opts->allow_backing;
		how.wait = opts->wait;
		how.state = opts->state;
	}
	if (fd < 0 || fstat(fd, &chain.st))
		return log_fail(-ENOTSUP,
				"%s: is not in a file, so that its backing file %s cannot be found",
				e->st->name, ref.path);
	return backing_open(&ref, e->st->name, &how, &e->backing);
}

errint_t engine_backing_data(struct engine *e, uint64_t off, uint64_t *start, uint64_t *end)
{
	*start = *end = UINT64_MAX;
	return e->backing ? backing_next_data(e->backing, off, start, end) : 0;
}

static errint_t engine_init(struct engine *e, struct image *im, const struct engine_opts *opts)
{
	struct image_info info;

	image_get_info(im, &info);
	pthread_mutex_init(&e->queues_lock, NULL);
	e->im = im;
	e->st = image_store(im);
	e->geo = info.geo;
	e->cluster = cluster_size(&info.geo);
	e->uuid_seed = checksum_uuid(info.uuid);
	e->zeros = store_buffer(e->cluster);
	if (!e->zeros)
		return no_memory();

	errint_t err = open_backing(e, opts);

	if (!err)
		err = cache_new(e->cluster, CACHE_BYTES, &e->cache);
	if (!err)
		err = buffers_new(blob_space(e), BLOB_BYTES, &e->blobs);
	if (!err)
		err = find_codec(e, &info);
	if (err || !e->codec)
		return err;
	err = packer_new(im, e->cache, opts ? opts->wait : NULL, &e->packer);
	return err ? err : repacker_new(&e->repacker);
}

errint_t engine_new(struct image *im, const struct engine_opts *opts, struct engine **out)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return no_memory();

	errint_t err = engine_init(e, im, opts);

	if (err) {
		engine_free(e);
		return err;
	}
	*out = e;
	return 0;
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	assert(!e->queues);
	engine_thread_free(e->janitor);
	repacker_free(e->repacker);
	pthread_mutex_destroy(&e->queues_lock);
	packer_free(e->packer);
	cache_free(e->cache);
	buffers_free(e->blobs);
	if (!e->borrowed)
		backing_close(e->backing);
	free(e->zeros);
	free(e);
}

static size_t frames_space(const struct engine *e)
{
	return frame_space(e) * (ROUND_BYTES / e->cluster);
}

static errint_t thread_compression(struct engine_thread *t)
{
	const struct engine *e = t->e;
	struct codec_ctx *ctx;

	t->frames = room_new(frames_space(e));
	if (!t->frames)
		return no_memory();
	return thread_codec(t, e->codec_id, &ctx);
}

static errint_t thread_init(struct engine_thread *t)
{
	const struct engine *e = t->e;

	t->stored = store_buffer(blob_space(e));
	t->plain = store_buffer(e->cluster);
	t->cluster = store_buffer(e->cluster);
	t->bounce = store_buffer(e->cluster);
	if (!t->stored || !t->plain || !t->cluster || !t->bounce)
		return no_memory();
	if (e->codec) {
		errint_t err = thread_compression(t);

		if (err)
			return err;
	}
	return image_writer_new(e->im, &t->writer);
}

errint_t engine_thread_new(struct engine *e, struct engine_thread **out)
{
	struct engine_thread *t = calloc(1, sizeof(*t));

	if (!t)
		return no_memory();
	t->e = e;

	errint_t err = thread_init(t);

	if (err) {
		engine_thread_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void engine_thread_free(struct engine_thread *t)
{
	if (!t)
		return;
	if (t->writer)
		image_writer_free(t->writer);
	backing_reader_free(t->backing);
	for (unsigned i = 0; i < CODEC_NIDS; i++)
		codec_ctx_free(t->ctx[i]);
	free(t->stored);
	free(t->plain);
	free(t->cluster);
	free(t->bounce);
	room_free(t->frames, frames_space(t->e));
	free(t->request);
	free(t);
}

void engine_thread_shrink(struct engine_thread *t)
{
	if (t->frames)
		room_empty(t->frames, frames_space(t->e));
}

errint_t thread_codec(struct engine_thread *t, unsigned id, struct codec_ctx **out)
{
	const struct engine *e = t->e;
	const struct codec *codec;
	int min, max, level;

	assert(id < CODEC_NIDS);
	if (!t->ctx[id]) {
		errint_t err = codec_find(id, &codec);

		if (err)
			return err;
		codec_levels(codec, &min, &max, &level);
		if (id == e->codec_id)
			level = e->level;
		err = codec_ctx_new(codec, level, e->cluster, &t->ctx[id]);
		if (err)
			return err;
	}
	*out = t->ctx[id];
	return 0;
}

errint_t engine_flush(struct engine_thread *t)
{
	return image_flush(t->e->im);
}
