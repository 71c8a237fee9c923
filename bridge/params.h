/* SPDX-License-Identifier: MIT */
/*
 * What a device tells the block layer about itself: the one place where an image's geometry becomes
 * the driver's parameters.  A pure function.
 */
#ifndef BRIDGE_PARAMS_H
#define BRIDGE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/mode.h"
#include "bridge/ublk_abi.h"
#include "common/errint.h"

/* Bytes of the largest read or write request. */
#define BRIDGE_REQUEST_MAX (1u << 20)
/* Bytes of the largest discard or write-zeroes request: what one request may ask for is bounded, so
 * that those behind it in the queue are not held up for long.  Below 2^31, as results are signed.
 */
#define BRIDGE_DISCARD_MAX (1u << 30)

struct params_facts {
	uint64_t size;	       /* of the disk: bytes, a multiple of the logical sector */
	uint8_t sector_shift;  /* 9 or 12 */
	uint8_t block_shift;   /* log2 of the unit that is mapped and discarded: the sub-block */
	uint8_t cluster_shift; /* 16..18 */
	bool read_only;
	enum bridge_mode mode; /* not BRIDGE_LOOP */
	uint32_t mem_align; /* bytes: how the file's direct I/O wants memory; 1: any way, <= 4096 */
};

/*
 * Fills @params for SET_PARAMS (Documentation/block/ublk.rst, UBLK_CMD_SET_PARAMS).  Never fails:
 * the facts are those of an open image.
 */
void params_make(const struct params_facts *facts, struct ublk_params *params);

/* How many hardware queues a device has by default on a machine with @cpus processors. */
unsigned params_default_queues(unsigned cpus);
#define BRIDGE_DEFAULT_DEPTH 128u
#define BRIDGE_MAX_QUEUES    64u
#define BRIDGE_MAX_DEPTH     1024u

#endif
