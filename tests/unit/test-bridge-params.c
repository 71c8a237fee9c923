/* SPDX-License-Identifier: MIT */
/* What a device tells the block layer (bridge/params.h), against the driver's own rules. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridge/params.h"

static const uint8_t sector_shifts[] = {9, 12};
static const uint8_t cluster_shifts[] = {16, 17, 18};
static const uint32_t mem_aligns[] = {1, 2, 4, 8, 64, 512, 4096};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct params_facts usual(void)
{
	return (struct params_facts){
		.size = 1ull << 40,
		.sector_shift = 9,
		.block_shift = 12,
		.cluster_shift = 16,
		.mode = BRIDGE_ZERO_COPY,
		.mem_align = 512,
	};
}

/* Each member, for the usual disk. */
static void test_usual(void **state)
{
	const struct params_facts f = usual();
	struct ublk_params p;

	(void)state;
	params_make(&f, &p);
	assert_int_equal(p.len, 136);
	assert_int_equal(p.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD |
					  UBLK_PARAM_TYPE_DMA_ALIGN | UBLK_PARAM_TYPE_SEGMENT);
	assert_int_equal(p.basic.attrs, UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA);
	assert_int_equal(p.basic.logical_bs_shift, 9);
	assert_int_equal(p.basic.physical_bs_shift, 12);
	assert_int_equal(p.basic.io_min_shift, 12);
	assert_int_equal(p.basic.io_opt_shift, 16);
	assert_int_equal(p.basic.max_sectors, 2048);
	assert_int_equal(p.basic.chunk_sectors, 0);
	assert_int_equal(p.basic.dev_sectors, 1ull << 31);
	assert_int_equal(p.basic.virt_boundary_mask, 0);
	assert_int_equal(p.discard.discard_alignment, 0);
	assert_int_equal(p.discard.discard_granularity, 4096);
	assert_int_equal(p.discard.max_discard_sectors, 1u << 21);
	assert_int_equal(p.discard.max_write_zeroes_sectors, 1u << 21);
	assert_int_equal(p.discard.max_discard_segments, 1);
	assert_int_equal(p.dma.alignment, 511);
	assert_int_equal(p.seg.seg_boundary_mask, 0xffffffff);
	assert_int_equal(p.seg.max_segment_size, 1u << 20);
	assert_int_equal(p.seg.max_segments, 256);
}

/* The rules of the driver's ublk_validate_params(), and of the block layer's queue limits. */
static void check_accepted(const struct ublk_params *p)
{
	const uint64_t boundary = p->seg.seg_boundary_mask + 1;

	assert_int_equal(p->len, sizeof(*p));
	assert_true(p->types & UBLK_PARAM_TYPE_BASIC);
	assert_in_range(p->basic.logical_bs_shift, 9, 12);
	assert_true(p->basic.physical_bs_shift >= p->basic.logical_bs_shift);
	assert_true(p->basic.io_min_shift >= p->basic.physical_bs_shift);
	assert_true(p->basic.io_opt_shift >= p->basic.io_min_shift);
	assert_in_range(p->basic.io_opt_shift, 9, 28);
	assert_in_range(p->basic.max_sectors, 8, BRIDGE_REQUEST_MAX >> 9);
	assert_int_equal(p->types & (UBLK_PARAM_TYPE_DEVT | UBLK_PARAM_TYPE_ZONED), 0);
	if (p->basic.attrs & UBLK_ATTR_FUA)
		assert_true(p->basic.attrs & UBLK_ATTR_VOLATILE_CACHE);
	if (p->types & UBLK_PARAM_TYPE_DISCARD) {
		assert_int_equal(p->discard.max_discard_segments, 1);
		assert_true(p->discard.discard_granularity >= 1u << p->basic.logical_bs_shift);
		assert_true(p->discard.max_discard_sectors < 1u << 22);
		assert_true(p->discard.max_write_zeroes_sectors < 1u << 22);
	}
	if (p->types & UBLK_PARAM_TYPE_DMA_ALIGN) {
		assert_true(p->dma.alignment < 4096);
		assert_int_equal((p->dma.alignment + 1) & p->dma.alignment, 0);
	}
	if (p->types & UBLK_PARAM_TYPE_SEGMENT) {
		assert_true(boundary >= 4096 && !(boundary & (boundary - 1)));
		assert_true(p->seg.max_segment_size >= 4096);
		assert_int_not_equal(p->seg.max_segments, 0);
		/* A whole request of single pages fits. */
		assert_true(p->seg.max_segments * 4096u >= p->basic.max_sectors << 9);
	}
}

static void check_one(const struct params_facts *f)
{
	struct ublk_params p;

	params_make(f, &p);
	check_accepted(&p);
	assert_int_equal(p.basic.logical_bs_shift, f->sector_shift);
	assert_int_equal(p.basic.physical_bs_shift, 12);
	assert_int_equal(p.basic.io_min_shift, f->block_shift);
	assert_int_equal(p.basic.io_opt_shift, f->cluster_shift);
	assert_int_equal(p.basic.dev_sectors << 9, f->size);
	assert_int_equal(!!(p.basic.attrs & UBLK_ATTR_READ_ONLY), f->read_only);
	assert_int_equal(!!(p.basic.attrs & UBLK_ATTR_FUA), !f->read_only);
	assert_int_equal(!!(p.types & UBLK_PARAM_TYPE_DISCARD), !f->read_only);
	assert_int_equal(!!(p.types & UBLK_PARAM_TYPE_DMA_ALIGN), mode_is_zero_copy(f->mode));
	assert_int_equal(!!(p.types & UBLK_PARAM_TYPE_SEGMENT), mode_is_zero_copy(f->mode));
	if (mode_is_zero_copy(f->mode))
		assert_int_equal(p.dma.alignment + 1, f->mem_align < 4 ? 4 : f->mem_align);
	if (!f->read_only)
		assert_int_equal(p.discard.discard_granularity, 1u << f->block_shift);
}

/* Every combination of what can differ. */
static void test_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COUNT(sector_shifts) * COUNT(cluster_shifts); i++)
		for (unsigned k = 0; k < COUNT(mem_aligns) * 2 * BRIDGE_LOOP; k++) {
			uint8_t cluster = cluster_shifts[i / COUNT(sector_shifts)];
			const struct params_facts f = {
				.size = 4096ull * (1 + i * 1000003ull),
				.sector_shift = sector_shifts[i % COUNT(sector_shifts)],
				.block_shift = (uint8_t)(cluster - 4),
				.cluster_shift = cluster,
				.read_only = k & 1,
				.mode = (enum bridge_mode)(k / 2 % BRIDGE_LOOP),
				.mem_align = mem_aligns[k / 2 / BRIDGE_LOOP],
			};

			check_one(&f);
		}
}

/* The smallest disk, and the largest that sectors can count. */
static void test_sizes(void **state)
{
	static const uint64_t sizes[] = {512, 4096, 1ull << 62};
	struct params_facts f = usual();

	(void)state;
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		f.size = sizes[i];
		check_one(&f);
	}
}

static void test_queues(void **state)
{
	(void)state;
	assert_int_equal(params_default_queues(1), 1);
	assert_int_equal(params_default_queues(16), 16);
	assert_int_equal(params_default_queues(17), 16);
	assert_int_equal(params_default_queues(512), 16);
	assert_true(BRIDGE_MAX_QUEUES <= UBLK_MAX_NR_QUEUES);
	assert_true(BRIDGE_MAX_DEPTH <= UBLK_MAX_QUEUE_DEPTH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usual),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
