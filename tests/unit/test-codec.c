/* SPDX-License-Identifier: MIT */
/*
 * The codec interface with zstd behind it: what goes in comes out, and whatever else is handed to
 * it is refused.  Buffers end at an inaccessible page, because libzstd itself is not built with the
 * address sanitizer.
 */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "codecs/codec.h"
#include "common/log.h"
#include "tests/unit/random.h"

enum { BLOCK = 65536, ROOM = 2 * BLOCK };

static int messages;

static void count_messages(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level, (void)message;
	messages++;
}

/* Bytes at @p that end where an inaccessible page begins; another lies in front of them. */
struct guarded {
	uint8_t *p;
	uint8_t *mapping;
	size_t mapped;
};

static struct guarded guarded_new(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t inner = (len + page - 1) / page * page;
	struct guarded g = {.mapped = inner + 2 * page};

	g.mapping = mmap(NULL, g.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(g.mapping, MAP_FAILED);
	assert_int_equal(mprotect(g.mapping + page, inner, PROT_READ | PROT_WRITE), 0);
	g.p = g.mapping + page + inner - len;
	return g;
}

static void guarded_free(struct guarded g)
{
	assert_int_equal(munmap(g.mapping, g.mapped), 0);
}

/* What most tests need: a context for BLOCK at the default level, a compressible block, its frame,
 * and a place to decompress to. */
struct fixture {
	struct codec_ctx *ctx;
	uint8_t *block;
	uint8_t *frame; /* ROOM bytes */
	size_t frame_len;
	struct guarded dst;
};

static const struct codec *zstd(void)
{
	const struct codec *codec = NULL;

	assert_int_equal(codec_find(CODEC_ZSTD, &codec), 0);
	assert_non_null(codec);
	return codec;
}

static struct codec_ctx *new_ctx(int level, size_t block)
{
	struct codec_ctx *ctx = NULL;

	assert_int_equal(codec_ctx_new(zstd(), level, block, &ctx), 0);
	assert_non_null(ctx);
	return ctx;
}

static void *allocate(size_t len)
{
	void *p = malloc(len);

	assert_non_null(p);
	return p;
}

/* Words of a small vocabulary, which make zstd use all kinds of its tables. */
static void fill_with_text(uint8_t *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len;) {
		uint64_t word = random_below(&seed, 400);
		size_t letters = 3 + word % 7;

		for (size_t k = 0; k < letters && i < len; k++, i++)
			p[i] = (uint8_t)('a' + (word * 31 + k * k * 7) % 26);
		if (i < len)
			p[i++] = ' ';
	}
}

/* The fixture's content: a quarter of a block of text, then zeros, so that the frame is short
 * enough for tests that try every byte of it. */
static void fill_with_content(uint8_t *p, size_t len)
{
	size_t text = len < BLOCK / 4 ? len : BLOCK / 4;

	fill_with_text(p, text, 1);
	memset(p + text, 0, len - text);
}

static void fill_with_noise(uint8_t *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)random_next(&seed);
}

static size_t compress(struct codec_ctx *ctx, const void *block, void *frame, size_t room)
{
	size_t len = room;

	assert_int_equal(codec_compress(ctx, block, frame, &len), 0);
	return len;
}

static int setup(void **state)
{
	struct fixture *f = allocate(sizeof(*f));

	messages = 0;
	log_set_sink(count_messages, NULL);
	f->ctx = new_ctx(3, BLOCK);
	f->block = allocate(BLOCK);
	f->frame = allocate(ROOM);
	f->dst = guarded_new(BLOCK);
	fill_with_content(f->block, BLOCK);
	f->frame_len = compress(f->ctx, f->block, f->frame, ROOM);
	assert_in_range(f->frame_len, 2000, 6000);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	codec_ctx_free(f->ctx);
	free(f->block);
	free(f->frame);
	guarded_free(f->dst);
	free(f);
	return 0;
}

/* Decompress the @len bytes at @src, moved to the end of a page; *@used gets the frame's length. */
static errint_t decompress(struct fixture *f, const void *src, size_t len, size_t *used)
{
	struct guarded copy = guarded_new(len ? len : 1);
	size_t n = len;

	memcpy(copy.p, src, len);
	memset(f->dst.p, 0xee, BLOCK);

	errint_t err = codec_decompress(f->ctx, copy.p, &n, f->dst.p);

	guarded_free(copy);
	assert_true(err ? n == len : n > 0 && n <= len);
	if (used)
		*used = n;
	return err;
}

static void assert_accepted(struct fixture *f, const void *src, size_t len)
{
	size_t used;

	assert_int_equal(decompress(f, src, len, &used), 0);
	assert_int_equal(used, len);
	assert_memory_equal(f->dst.p, f->block, BLOCK);
}

/* Refused, in silence because only the caller knows what it is, and the context works on. */
static void assert_refused(struct fixture *f, const void *src, size_t len)
{
	assert_int_equal(decompress(f, src, len, NULL), -EBADMSG);
	assert_int_equal(messages, 0);
}

static void test_registry(void **state)
{
	const struct codec *codec = NULL;

	(void)state;
	log_set_sink(count_messages, NULL);
	messages = 0;
	assert_string_equal(codec_name(CODEC_ZSTD), "zstd");
	assert_string_equal(codec_name(CODEC_NONE), "none");
	assert_string_equal(codec_name(CODEC_NIDS), "codec 2");
	assert_string_equal(codec_name(UINT32_MAX), "codec 4294967295");
	assert_int_equal(codec_by_name("zstd"), CODEC_ZSTD);
	assert_int_equal(codec_by_name("none"), CODEC_NONE);
	assert_int_equal(codec_by_name("zst"), CODEC_NIDS);
	assert_int_equal(codec_by_name(""), CODEC_NIDS);
	assert_int_equal(codec_find(CODEC_NONE, &codec), -EINVAL);
	assert_int_equal(codec_find(CODEC_NIDS, &codec), -EINVAL);
	assert_int_equal(codec_find(UINT32_MAX, &codec), -EINVAL);
	assert_null(codec);
	assert_int_equal(messages, 3);
}

static void test_level_range(void **state)
{
	struct codec_ctx *ctx = NULL;
	int min, max, def;

	(void)state;
	log_set_sink(count_messages, NULL);
	messages = 0;
	codec_levels(zstd(), &min, &max, &def);
	assert_int_equal(min, ZSTD_minCLevel());
	assert_int_equal(max, ZSTD_maxCLevel());
	assert_int_equal(def, 3);
	assert_int_equal(codec_ctx_new(zstd(), min - 1, BLOCK, &ctx), -EINVAL);
	assert_int_equal(codec_ctx_new(zstd(), max + 1, BLOCK, &ctx), -EINVAL);
	assert_null(ctx);
	assert_int_equal(messages, 2);
	codec_ctx_free(NULL);
}

/* What FORMAT demands of a frame, read by other code than the codec's. */
static void check_frame(const uint8_t *frame, size_t len, size_t block)
{
	assert_int_equal(ZSTD_getFrameContentSize(frame, len), block);
	assert_int_equal(ZSTD_findFrameCompressedSize(frame, len), len);
	assert_int_equal(ZSTD_getDictID_fromFrame(frame, len), 0);
	assert_int_equal(frame[4] & 0x0f, 0); /* no checksum, no dictionary field */
}

static void check_roundtrip(struct codec_ctx *ctx, const uint8_t *block, size_t size)
{
	size_t room = ZSTD_compressBound(size);
	struct guarded frame = guarded_new(room), back = guarded_new(size);
	size_t len = compress(ctx, block, frame.p, room), used = room;

	check_frame(frame.p, len, size);
	memset(frame.p + len, 0, room - len);
	assert_int_equal(codec_decompress(ctx, frame.p, &used, back.p), 0);
	assert_int_equal(used, len);
	assert_memory_equal(back.p, block, size);
	guarded_free(frame);
	guarded_free(back);
}

/* Zeros, text, noise, and half text half noise. */
static void check_level(int level, size_t size)
{
	struct codec_ctx *ctx = new_ctx(level, size);
	uint8_t *block = calloc(1, size);

	assert_non_null(block);
	check_roundtrip(ctx, block, size);
	fill_with_text(block, size, 2);
	check_roundtrip(ctx, block, size);
	fill_with_noise(block, size / 2, 3);
	check_roundtrip(ctx, block, size);
	fill_with_noise(block, size, 4);
	check_roundtrip(ctx, block, size);
	free(block);
	codec_ctx_free(ctx);
}

static void test_all_levels(void **state)
{
	(void)state;
	check_level(ZSTD_minCLevel(), BLOCK);
	check_level(-1000, BLOCK);
	for (int level = -10; level <= ZSTD_maxCLevel(); level++)
		check_level(level, BLOCK);
}

static void test_block_sizes(void **state)
{
	static const int levels[] = {-5, 1, 3, 12};

	(void)state;
	for (size_t size = 4096; size <= 1 << 20; size *= 2)
		for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
			check_level(levels[i], size);
}

/* A higher level is worth something: the parameter reaches the library. */
static void test_level_matters(void **state)
{
	struct fixture *f = *state;
	struct codec_ctx *fast = new_ctx(-50, BLOCK), *slow = new_ctx(19, BLOCK);

	assert_true(compress(slow, f->block, f->frame, ROOM) < f->frame_len);
	assert_true(compress(fast, f->block, f->frame, ROOM) > f->frame_len);
	codec_ctx_free(fast);
	codec_ctx_free(slow);
}

/* With every space that is too small, and around the one that suffices. */
static void test_tight_space(void **state)
{
	struct fixture *f = *state;
	struct guarded out = guarded_new(ROOM);
	size_t last_refused = 0;

	for (size_t space = 0; space <= f->frame_len + 600; space += 1 + (space < 1000) * 7) {
		uint8_t *at = out.p + ROOM - space; /* the space ends at the guard */
		size_t len = space;
		errint_t err = codec_compress(f->ctx, f->block, at, &len);

		if (err) {
			assert_int_equal(err, -ENOSPC);
			assert_int_equal(len, space);
			last_refused = space;
		} else {
			assert_true(len <= space);
			assert_accepted(f, at, len);
		}
	}
	assert_true(last_refused >= f->frame_len - 1);	/* too small is refused... */
	assert_true(last_refused < f->frame_len + 600); /* ...and enough is enough */
	guarded_free(out);
}

/* The caller's "not worth it": noise does not fit in 15/16 of its size, nor in all of it. */
static void test_incompressible(void **state)
{
	static const size_t spaces[] = {1, 100, BLOCK / 2, BLOCK / 16 * 15, BLOCK};
	struct fixture *f = *state;
	struct guarded out = guarded_new(ROOM);

	fill_with_noise(f->block, BLOCK, 5);
	for (size_t i = 0; i < sizeof(spaces) / sizeof(spaces[0]); i++) {
		size_t len = spaces[i];

		assert_int_equal(codec_compress(f->ctx, f->block, out.p + ROOM - len, &len),
				 -ENOSPC);
		assert_int_equal(len, spaces[i]);
	}
	assert_int_equal(messages, 0);

	size_t len = compress(f->ctx, f->block, out.p, ROOM);

	assert_in_range(len, BLOCK, BLOCK + 64);
	assert_accepted(f, out.p, len);
	guarded_free(out);
}

static void test_every_truncation(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 0; len < f->frame_len; len++)
		assert_refused(f, f->frame, len);
	assert_accepted(f, f->frame, f->frame_len);
}

/* No bit of a frame can be changed so that anything bad happens.  A changed literal goes unnoticed
 * by zstd; the header is ours to check, and of it only the bit that the format calls unused may
 * change. */
static void test_every_bit_flipped(void **state)
{
	struct fixture *f = *state;
	struct guarded copy = guarded_new(f->frame_len);
	const size_t header = 7, nbits = f->frame_len * 8;
	size_t refused = 0, unused_bit = 4 * 8 + 4;

	memcpy(copy.p, f->frame, f->frame_len);
	for (size_t bit = 0; bit < nbits; bit += bit < 4096 ? 1 : 3) {
		size_t used = f->frame_len;

		copy.p[bit / 8] ^= (uint8_t)(1u << bit % 8);

		errint_t err = codec_decompress(f->ctx, copy.p, &used, f->dst.p);

		assert_true(err == 0 || err == -EBADMSG);
		assert_true(used > 0 && used <= f->frame_len);
		if (bit < header * 8)
			assert_int_equal(err, bit == unused_bit ? 0 : -EBADMSG);
		refused += err != 0;
		copy.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(refused > header * 8);
	guarded_free(copy);
	assert_accepted(f, f->frame, f->frame_len);
}

static void test_random_bytes(void **state)
{
	struct fixture *f = *state;
	struct guarded copy = guarded_new(f->frame_len);
	uint64_t rng = 6;

	for (int round = 0; round < 5000; round++) {
		size_t at = 7 + random_below(&rng, f->frame_len - 7);
		size_t n = random_below(&rng, f->frame_len - at), used = f->frame_len;

		memcpy(copy.p, f->frame, f->frame_len);
		fill_with_noise(copy.p + at, n, rng);

		errint_t err = codec_decompress(f->ctx, copy.p, &used, f->dst.p);

		assert_true(err == 0 || err == -EBADMSG);
	}
	guarded_free(copy);
	assert_accepted(f, f->frame, f->frame_len);
}

/* Only the first of two frames is read, and what follows is not looked at. */
static void test_what_follows(void **state)
{
	struct fixture *f = *state;
	size_t used, second;

	fill_with_text(f->dst.p, BLOCK, 7);
	second = compress(f->ctx, f->dst.p, f->frame + f->frame_len, ROOM - f->frame_len);
	assert_int_equal(decompress(f, f->frame, f->frame_len + second, &used), 0);
	assert_int_equal(used, f->frame_len);
	assert_memory_equal(f->dst.p, f->block, BLOCK);

	fill_with_noise(f->frame + f->frame_len, 1000, 8);
	assert_int_equal(decompress(f, f->frame, f->frame_len + 1000, &used), 0);
	assert_int_equal(used, f->frame_len);
	memset(f->frame + f->frame_len, 0, 1000);
	assert_int_equal(decompress(f, f->frame, f->frame_len + 1000, &used), 0);
	assert_int_equal(used, f->frame_len);
}

/* A frame of @size bytes made by libzstd itself, with one parameter set. */
static size_t foreign_frame(struct fixture *f, size_t size, ZSTD_cParameter parameter, int value)
{
	ZSTD_CCtx *cctx = ZSTD_createCCtx();
	uint8_t *content = allocate(size);
	size_t len;

	assert_non_null(cctx);
	fill_with_content(content, size);
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(cctx, parameter, value)));
	len = ZSTD_compress2(cctx, f->frame, ROOM, content, size);
	assert_false(ZSTD_isError(len));
	ZSTD_freeCCtx(cctx);
	free(content);
	return len;
}

static void test_wrong_content_size(void **state)
{
	static const size_t sizes[] = {0, 1, BLOCK / 2, BLOCK - 1, BLOCK + 1, 2 * BLOCK};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		assert_refused(f, f->frame, foreign_frame(f, sizes[i], ZSTD_c_checksumFlag, 0));
	assert_accepted(f, f->frame, foreign_frame(f, BLOCK, ZSTD_c_checksumFlag, 0));
	assert_refused(f, f->frame, foreign_frame(f, BLOCK, ZSTD_c_contentSizeFlag, 0));
}

/* A content size field that says BLOCK in front of less or more than that. */
static void test_lying_content_size(void **state)
{
	static const size_t sizes[] = {256, BLOCK / 2, BLOCK - 1, BLOCK + 1, BLOCK + 255};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t len = foreign_frame(f, sizes[i], ZSTD_c_checksumFlag, 0);

		assert_int_equal(f->frame[4] & 0xe0, 0x60); /* a two-byte field follows */
		f->frame[5] = (BLOCK - 256) & 0xff;
		f->frame[6] = (BLOCK - 256) >> 8;
		assert_int_equal(ZSTD_getFrameContentSize(f->frame, len), BLOCK);
		assert_refused(f, f->frame, len);
	}
}

/* We write none, but a frame with a checksum is a good frame, and it counts. */
static void test_checksum(void **state)
{
	struct fixture *f = *state;
	size_t len = foreign_frame(f, BLOCK, ZSTD_c_checksumFlag, 1);

	assert_accepted(f, f->frame, len);
	f->frame[len - 1] ^= 1;
	assert_refused(f, f->frame, len);
}

static void put_le(uint8_t **p, uint64_t value, int bytes)
{
	for (; bytes; bytes--, value >>= 8)
		*(*p)++ = (uint8_t)value;
}

/* Header fields for a frame made by hand; a field of no bytes is left out. */
struct header {
	uint32_t magic;
	uint8_t descriptor;
	int window_bytes, dictionary_bytes, size_bytes;
	uint8_t window;
	uint32_t dictionary;
	uint64_t size;
};

static size_t put_header(uint8_t *out, const struct header *h)
{
	uint8_t *p = out;

	put_le(&p, h->magic ? h->magic : ZSTD_MAGICNUMBER, 4);
	put_le(&p, h->descriptor, 1);
	put_le(&p, h->window, h->window_bytes);
	put_le(&p, h->dictionary, h->dictionary_bytes);
	put_le(&p, h->size, h->size_bytes);
	return (size_t)(p - out);
}

/* The fixture's frame behind another header, in @out; returns its length. */
static size_t with_header(const struct fixture *f, const struct header *h, uint8_t *out)
{
	size_t len = put_header(out, h);

	memcpy(out + len, f->frame + 7, f->frame_len - 7);
	return len + f->frame_len - 7;
}

static void test_headers(void **state)
{
	enum { SIZE_2 = BLOCK - 256 }; /* two-byte sizes count from 256 */
	const struct {
		struct header h;
		bool good;
	} cases[] = {
		/* every width of the size */
		{{.descriptor = 0x60, .size_bytes = 2, .size = SIZE_2}, true},
		{{.descriptor = 0xa0, .size_bytes = 4, .size = BLOCK}, true},
		{{.descriptor = 0xe0, .size_bytes = 8, .size = BLOCK}, true},
		{{.descriptor = 0xe0, .size_bytes = 8, .size = BLOCK | UINT64_C(1) << 63}, false},
		{{.descriptor = 0xe0, .size_bytes = 8, .size = BLOCK | UINT64_C(1) << 32}, false},
		{{.descriptor = 0xe0, .size_bytes = 8, .size = UINT64_MAX}, false},
		{{.descriptor = 0xe0, .size_bytes = 8, .size = UINT64_MAX - 1}, false},
		{{.descriptor = 0x20, .size_bytes = 1, .size = 0}, false},
		/* a window of 64 KiB, of two blocks, a little more, much more, as much as can be */
		{{.descriptor = 0x40,
		  .window_bytes = 1,
		  .window = 6 << 3,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 true},
		{{.descriptor = 0x40,
		  .window_bytes = 1,
		  .window = 7 << 3,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 true},
		{{.descriptor = 0x40,
		  .window_bytes = 1,
		  .window = 7 << 3 | 1,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		{{.descriptor = 0x40,
		  .window_bytes = 1,
		  .window = 8 << 3,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		{{.descriptor = 0x40,
		  .window_bytes = 1,
		  .window = 17 << 3,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		{{.descriptor = 0x40,
		  .window_bytes = 1,
		  .window = 0xff,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		/* no size */
		{{.descriptor = 0x00, .window_bytes = 1, .window = 6 << 3}, false},
		/* a dictionary id of each width, and one that is zero */
		{{.descriptor = 0x61,
		  .dictionary_bytes = 1,
		  .dictionary = 7,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		{{.descriptor = 0x62,
		  .dictionary_bytes = 2,
		  .dictionary = 7,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		{{.descriptor = 0x63,
		  .dictionary_bytes = 4,
		  .dictionary = 7,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		{{.descriptor = 0x61,
		  .dictionary_bytes = 1,
		  .dictionary = 0,
		  .size_bytes = 2,
		  .size = SIZE_2},
		 false},
		/* the unused and the reserved bit */
		{{.descriptor = 0x70, .size_bytes = 2, .size = SIZE_2}, true},
		{{.descriptor = 0x68, .size_bytes = 2, .size = SIZE_2}, false},
		/* a checksum that is not there */
		{{.descriptor = 0x64, .size_bytes = 2, .size = SIZE_2}, false},
		/* the formats of zstd 0.1 and 0.7 */
		{{.magic = 0xfd2fb51e, .descriptor = 0x60, .size_bytes = 2, .size = SIZE_2}, false},
		{{.magic = 0xfd2fb527, .descriptor = 0x60, .size_bytes = 2, .size = SIZE_2}, false},
	};
	struct fixture *f = *state;
	uint8_t *out = allocate(ROOM);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = with_header(f, &cases[i].h, out);

		if (cases[i].good)
			assert_accepted(f, out, len);
		else
			assert_refused(f, out, len);
	}
	free(out);
}

static void test_skippable_frame(void **state)
{
	struct fixture *f = *state;
	uint8_t *out = allocate(ROOM), *p = out;

	put_le(&p, 0x184d2a50, 4);
	put_le(&p, 12, 4);
	put_le(&p, 0, 8);
	put_le(&p, 0, 4);
	assert_refused(f, out, (size_t)(p - out));
	memcpy(p, f->frame, f->frame_len); /* a good frame behind it does not help */
	assert_refused(f, out, (size_t)(p - out) + f->frame_len);
	free(out);
}

/* A well-formed frame of zstd 0.7, which a library built with legacy support decompresses. */
static void test_legacy_frame(void **state)
{
	const struct header h = {
		.magic = 0xfd2fb527, .descriptor = 0xa0, .size_bytes = 4, .size = BLOCK};
	struct fixture *f = *state;
	uint8_t *out = allocate(ROOM), *p = out + put_header(out, &h);

	put_le(&p, 0x40 | BLOCK >> 16, 1); /* one block of bytes as they are, */
	put_le(&p, 0, 2);
	memset(p, 'x', BLOCK);
	p += BLOCK;
	put_le(&p, 0xc0, 3); /* and the end */
	assert_refused(f, out, (size_t)(p - out));
	free(out);
}

/* zstd blocks: type 0 is bytes as they are, 1 one byte repeated, 3 reserved. */
struct zblock {
	bool last;
	unsigned type;
	unsigned size;
};

static size_t put_frame(uint8_t *out, const struct zblock *blocks, size_t n)
{
	const struct header h = {.descriptor = 0xa0, .size_bytes = 4, .size = BLOCK};
	uint8_t *p = out + put_header(out, &h);

	for (size_t i = 0; i < n; i++) {
		const struct zblock *b = &blocks[i];
		size_t stored = b->type == 1 ? 1 : b->size;

		put_le(&p, b->size << 3 | b->type << 1 | b->last, 3);
		assert_true((size_t)(p - out) + stored <= 4 * BLOCK);
		memset(p, 'x', stored);
		p += stored;
	}
	return (size_t)(p - out);
}

static void test_blocks_by_hand(void **state)
{
	static const struct {
		struct zblock blocks[3];
		size_t n;
		bool good;
	} cases[] = {
		{{{true, 1, BLOCK}}, 1, true},
		{{{true, 0, BLOCK}}, 1, true},
		{{{false, 1, BLOCK / 2}, {true, 0, BLOCK / 2}}, 2, true},
		{{{false, 1, BLOCK}, {true, 0, 0}}, 2, true},
		/* too little and too much */
		{{{true, 1, BLOCK - 1}}, 1, false},
		{{{true, 1, BLOCK + 1}}, 1, false},
		{{{false, 1, BLOCK}, {true, 1, 1}}, 2, false},
		{{{false, 1, BLOCK}, {false, 1, BLOCK}, {true, 1, BLOCK}}, 3, false},
		{{{false, 0, BLOCK}, {true, 0, BLOCK}}, 2, false},
		{{{true, 1, (1 << 21) - 1}}, 1, false},
		/* no last block; a reserved type; nothing at all */
		{{{false, 1, BLOCK}}, 1, false},
		{{{true, 3, BLOCK}}, 1, false},
		{{{true, 0, 0}}, 0, false},
	};
	struct fixture *f = *state;
	uint8_t *out = allocate(4 * BLOCK);

	memset(f->block, 'x', BLOCK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = put_frame(out, cases[i].blocks, cases[i].n);

		if (cases[i].good)
			assert_accepted(f, out, len);
		else
			assert_refused(f, out, len);
	}
	free(out);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_level_range),
		cmocka_unit_test(test_all_levels),
		cmocka_unit_test(test_block_sizes),
		WITH_FIXTURE(test_level_matters),
		WITH_FIXTURE(test_tight_space),
		WITH_FIXTURE(test_incompressible),
		WITH_FIXTURE(test_every_truncation),
		WITH_FIXTURE(test_every_bit_flipped),
		WITH_FIXTURE(test_random_bytes),
		WITH_FIXTURE(test_what_follows),
		WITH_FIXTURE(test_wrong_content_size),
		WITH_FIXTURE(test_lying_content_size),
		WITH_FIXTURE(test_checksum),
		WITH_FIXTURE(test_headers),
		WITH_FIXTURE(test_skippable_frame),
		WITH_FIXTURE(test_legacy_frame),
		WITH_FIXTURE(test_blocks_by_hand),
	};

	return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
