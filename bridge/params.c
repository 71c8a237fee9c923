/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/params.h"

#include <assert.h>

#define SECTOR 512u

#define PHYSICAL_SHIFT 12

/* The block layer's own default: a segment may lie across anything but a 4 GiB boundary. */
#define SEG_BOUNDARY_MASK 0xffffffffull

/* Memory is never expected to be aligned to less than the block layer's default. */
#define MEM_ALIGN_MIN 4u

static void make_basic(const struct params_facts *f, struct ublk_param_basic *b)
{
	*b = (struct ublk_param_basic){
		.logical_bs_shift = f->sector_shift,
		/* Smaller writes may make the host read, change and write back a block. */
		.physical_bs_shift = PHYSICAL_SHIFT,
		/* Smaller writes to fresh space make the image fill up a block. */
		.io_min_shift = f->block_shift,
		/* A whole cluster is what is compressed. */
		.io_opt_shift = f->cluster_shift,
		.max_sectors = BRIDGE_REQUEST_MAX / SECTOR,
		.dev_sectors = f->size / SECTOR,
	};
	/* Nothing is ever written to a read-only device, so there is nothing to flush.  FUA has an
	 * effect only together with a volatile cache. */
	b->attrs = f->read_only ? UBLK_ATTR_READ_ONLY : UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
}

static void make_discard(const struct params_facts *f, struct ublk_param_discard *d)
{
	*d = (struct ublk_param_discard){
		.discard_granularity = 1u << f->block_shift,
		.max_discard_sectors = BRIDGE_DISCARD_MAX / SECTOR,
		.max_write_zeroes_sectors = BRIDGE_DISCARD_MAX / SECTOR,
		.max_discard_segments = 1, /* the only number that the driver accepts */
	};
}

/*
 * Under zero copy the memory of a request is what the file's direct I/O works on.  With as many
 * segments as the largest request has pages, none needs to be split on its way to the file.
 */
static void make_memory(const struct params_facts *f, struct ublk_params *p)
{
	uint32_t align = f->mem_align < MEM_ALIGN_MIN ? MEM_ALIGN_MIN : f->mem_align;

	p->dma.alignment = align - 1;
	p->seg = (struct ublk_param_segment){
		.seg_boundary_mask = SEG_BOUNDARY_MASK,
		.max_segment_size = BRIDGE_REQUEST_MAX,
		.max_segments = BRIDGE_REQUEST_MAX / UBLK_MIN_SEGMENT_SIZE,
	};
	p->types |= UBLK_PARAM_TYPE_DMA_ALIGN | UBLK_PARAM_TYPE_SEGMENT;
}

void params_make(const struct params_facts *f, struct ublk_params *p)
{
	assert(f->sector_shift == 9 || f->sector_shift == 12);
	assert(f->block_shift >= PHYSICAL_SHIFT && f->cluster_shift >= f->block_shift);
	assert(f->size % (1u << f->sector_shift) == 0);
	assert(f->mode < BRIDGE_LOOP);
	assert(f->mem_align && f->mem_align <= 4096 && !(f->mem_align & (f->mem_align - 1)));

	*p = (struct ublk_params){.len = sizeof(*p), .types = UBLK_PARAM_TYPE_BASIC};
	make_basic(f, &p->basic);
	if (!f->read_only) {
		make_discard(f, &p->discard);
		p->types |= UBLK_PARAM_TYPE_DISCARD;
	}
	if (mode_is_zero_copy(f->mode))
		make_memory(f, p);
}

unsigned params_default_queues(unsigned cpus)
{
	const unsigned most = 16;

	assert(cpus);
	return cpus < most ? cpus : most;
}
