/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C: a portable version that takes eight bytes a step, and one for the crc32c instructions of
 * x86-64 and arm64, chosen at the first call.
 *
 * All functions but the two exported ones work on the bare remainder, without the inversion at
 * either end.
 *
 * The instruction has a latency of three cycles and a throughput of one, so a single chain of it
 * uses a third of the machine.  Long buffers are therefore cut in three lanes that are computed
 * together and joined by moving a remainder over the bytes behind it: appending n bytes multiplies
 * it by x^(8n) mod P.  A carry-less multiplication by the reflected constant x^(8n - 33) mod P
 * gives a 64-bit value which one more crc32c instruction reduces; the 33 are the 32 bits which that
 * step adds and the one bit by which the product of two reflected numbers is shifted.
 */
#include <config.h>

#include "common/crc32c.h"

#include <assert.h>
#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

/*
 * The tables of the portable version.  Table k, entry n is the remainder of the byte n followed by
 * 3 + k zero bytes.  Being linear, an entry is the sum of those of its bits, so the compiler makes
 * each table from eight numbers; table 0, entry 128 is the polynomial itself.
 */
#define BIT(n, b, v) (((n) >> (b)&1) * v)
#define ENTRY(n, b0, b1, b2, b3, b4, b5, b6, b7)                                                   \
	(BIT(n, 0, b0) ^ BIT(n, 1, b1) ^ BIT(n, 2, b2) ^ BIT(n, 3, b3) ^ BIT(n, 4, b4) ^           \
	 BIT(n, 5, b5) ^ BIT(n, 6, b6) ^ BIT(n, 7, b7))
#define ENTRIES4(n, ...)                                                                           \
	ENTRY(n, __VA_ARGS__), ENTRY(n + 1, __VA_ARGS__), ENTRY(n + 2, __VA_ARGS__),               \
		ENTRY(n + 3, __VA_ARGS__)
#define ENTRIES16(n, ...)                                                                          \
	ENTRIES4(n, __VA_ARGS__), ENTRIES4(n + 4, __VA_ARGS__), ENTRIES4(n + 8, __VA_ARGS__),      \
		ENTRIES4(n + 12, __VA_ARGS__)
#define ENTRIES64(n, ...)                                                                          \
	ENTRIES16(n, __VA_ARGS__), ENTRIES16(n + 16, __VA_ARGS__), ENTRIES16(n + 32, __VA_ARGS__), \
		ENTRIES16(n + 48, __VA_ARGS__)
#define TABLE(...)                                                                                 \
	{                                                                                          \
		ENTRIES64(0, __VA_ARGS__), ENTRIES64(64, __VA_ARGS__),                             \
			ENTRIES64(128, __VA_ARGS__), ENTRIES64(192, __VA_ARGS__)                   \
	}

static const uint32_t table[8][256] = {
	TABLE(0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu, 0x105ec76fu, 0x20bd8edeu,
	      0x417b1dbcu, 0x82f63b78u),
	TABLE(0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u, 0x3fc5f181u, 0x7f8be302u,
	      0xff17c604u, 0xfbc3faf9u),
	TABLE(0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u, 0x70a27d8au, 0xe144fb14u,
	      0xc76580d9u, 0x8b277743u),
	TABLE(0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u, 0xe964b13du, 0xd725148bu,
	      0xaba65fe7u, 0x52a0c93fu),
	TABLE(0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u, 0x8f2261d3u, 0x1ba8b557u,
	      0x37516aaeu, 0x6ea2d55cu),
	TABLE(0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu, 0xc00c303eu, 0x85f4168du,
	      0x0e045bebu, 0x1c08b7d6u),
	TABLE(0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u, 0x9c5bfaa6u, 0x3d5b83bdu,
	      0x7ab7077au, 0xf56e0ef4u),
	TABLE(0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau, 0x847609b4u, 0x0d006599u,
	      0x1a00cb32u, 0x34019664u),
};

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint32_t remainder_portable(uint32_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v = load64(p) ^ crc;

		crc = table[7][v & 0xff] ^ table[6][v >> 8 & 0xff] ^ table[5][v >> 16 & 0xff] ^
		      table[4][v >> 24 & 0xff] ^ table[3][v >> 32 & 0xff] ^
		      table[2][v >> 40 & 0xff] ^ table[1][v >> 48 & 0xff] ^ table[0][v >> 56];
	}
	for (; len; p++, len--)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
	return crc;
}

/*
 * What an architecture provides: HW_TARGET, the attribute that lets a function use the
 * instructions; hw_byte() and hw_word(), one step of one and of eight bytes; hw_clmul(), the 64-bit
 * carry-less product; hw_usable(), whether this processor has them.
 */
#if defined(__x86_64__)

#define HW_TARGET __attribute__((target("sse4.2,pclmul")))

HW_TARGET static inline uint32_t hw_byte(uint32_t crc, uint8_t v)
{
	return _mm_crc32_u8(crc, v);
}

HW_TARGET static inline uint32_t hw_word(uint32_t crc, uint64_t v)
{
	return (uint32_t)_mm_crc32_u64(crc, v);
}

HW_TARGET static inline uint64_t hw_clmul(uint32_t a, uint32_t b)
{
	__m128i product =
		_mm_clmulepi64_si128(_mm_cvtsi32_si128((int)a), _mm_cvtsi32_si128((int)b), 0);

	return (uint64_t)_mm_cvtsi128_si64(product);
}

static bool hw_usable(void)
{
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

#elif defined(__aarch64__) && defined(__linux__)

/* Builtins and intrinsics disagree between compilers about target attributes; assembly does not. */
#define HW_TARGET

/* <asm/hwcap.h>, which not every C library installs. */
#define HW_CAP_PMULL (1ul << 4)
#define HW_CAP_CRC32 (1ul << 7)

static inline uint32_t hw_byte(uint32_t crc, uint8_t v)
{
	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)v));
	return crc;
}

static inline uint32_t hw_word(uint32_t crc, uint64_t v)
{
	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(v));
	return crc;
}

static inline uint64_t hw_clmul(uint32_t a, uint32_t b)
{
	uint64x2_t x = {a, 0}, y = {b, 0}, product;

	__asm__(".arch_extension aes\n\tpmull %0.1q, %1.1d, %2.1d"
		: "=w"(product)
		: "w"(x), "w"(y));
	return vgetq_lane_u64(product, 0);
}

static bool hw_usable(void)
{
	const unsigned long need = HW_CAP_PMULL | HW_CAP_CRC32;

	return (getauxval(AT_HWCAP) & need) == need;
}

#endif

#ifdef HW_TARGET

/* Bytes in one lane, chosen so that three of them just fit in 4 KiB and in 1 KiB. */
enum { LONG_LANE = 1360, SHORT_LANE = 336 };
_Static_assert(3 * LONG_LANE <= 4096 && LONG_LANE % 8 == 0, "three long lanes in 4 KiB");
_Static_assert(3 * SHORT_LANE <= 1024 && SHORT_LANE % 8 == 0, "three short lanes in 1 KiB");

/* x^(8n - 33) mod P, reflected, for n of one and of two lanes. */
static const uint32_t long_over_1 = 0x3f70cc6f, long_over_2 = 0x5aa1f3cf;
static const uint32_t short_over_1 = 0xa60ce07b, short_over_2 = 0xcec3662e;

/* The remainder after three lanes of @lane bytes at @p; @over1 and @over2 belong to @lane. */
HW_TARGET static inline uint32_t hw_three_lanes(uint32_t crc, const uint8_t *p, size_t lane,
						uint32_t over1, uint32_t over2)
{
	uint32_t a = crc, b = 0, c = 0;

	for (size_t i = 0; i < lane; i += 8) {
		a = hw_word(a, load64(p + i));
		b = hw_word(b, load64(p + lane + i));
		c = hw_word(c, load64(p + 2 * lane + i));
	}
	return hw_word(0, hw_clmul(a, over2) ^ hw_clmul(b, over1)) ^ c;
}

HW_TARGET static uint32_t remainder_hw(uint32_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 3 * LONG_LANE; p += 3 * LONG_LANE, len -= 3 * LONG_LANE)
		crc = hw_three_lanes(crc, p, LONG_LANE, long_over_1, long_over_2);
	for (; len >= 3 * SHORT_LANE; p += 3 * SHORT_LANE, len -= 3 * SHORT_LANE)
		crc = hw_three_lanes(crc, p, SHORT_LANE, short_over_1, short_over_2);
	for (; len >= 8; p += 8, len -= 8)
		crc = hw_word(crc, load64(p));
	for (; len; p++, len--)
		crc = hw_byte(crc, *p);
	return crc;
}

#else

#define remainder_hw remainder_portable

static bool hw_usable(void)
{
	return false;
}

#endif

typedef uint32_t (*remainder_fn)(uint32_t crc, const uint8_t *p, size_t len);

/*
 * The version in use; NULL before the first call.  Threads that race to be first store the same
 * value, and it points to code, so that no ordering is needed.
 */
static _Atomic(remainder_fn) remainder_chosen;

static remainder_fn choose_remainder(void)
{
	remainder_fn fn = hw_usable() ? remainder_hw : remainder_portable;

	atomic_store_explicit(&remainder_chosen, fn, memory_order_relaxed);
	return fn;
}

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	remainder_fn fn = atomic_load_explicit(&remainder_chosen, memory_order_relaxed);

	assert(buf || len == 0);
	if (__builtin_expect(!fn, 0))
		fn = choose_remainder();
	return ~fn(~crc, buf, len);
}

uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len)
{
	assert(buf || len == 0);
	return ~remainder_portable(~crc, buf, len);
}
