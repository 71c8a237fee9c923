/* SPDX-License-Identifier: MIT */
/* What an engine has done since it was made, by the way the bytes went. */
#ifndef ENGINE_STATS_H
#define ENGINE_STATS_H

#include <stdint.h>

struct engine;

enum req_op { REQ_READ, REQ_WRITE, REQ_FLUSH, REQ_DISCARD, REQ_WRITE_ZEROES, REQ_OPS };

/* Latencies of a sample of the requests, by powers of two: bucket i counts those of less than 2^i
 * microseconds (and not less than half of that); the last one takes all that are longer. */
#define LATENCY_BUCKETS 24u

struct engine_stats {
	uint64_t requests[REQ_OPS];
	uint64_t bytes[REQ_OPS];
	uint64_t errors; /* requests that failed */
	uint64_t latency[REQ_OPS][LATENCY_BUCKETS];

	/* Bytes of requests, by path. */
	uint64_t zero_copy_read, zero_copy_written; /* between the client's pages and the file */
	uint64_t direct_read, direct_written;	    /* file and this process's memory */
	uint64_t zero_read;			    /* read from nowhere */
	uint64_t backing_read;	  /* of what was read in any way, from the backing */
	uint64_t blob_read;	  /* decompressed */
	uint64_t cached_read;	  /* of these, from the cache of clusters */
	uint64_t cluster_written; /* compressed, or whole clusters put together in memory */
	uint64_t copied;	  /* all that passed copy_in() and copy_out() */
	uint64_t copied_raw;	  /* of these, uncompressed extents read or written in place */

	uint64_t sqes;	   /* of the engine: the client's own not included */
	uint64_t enters;   /* system calls that submitted or waited */
	uint64_t handoffs; /* requests, or segments, that a worker took over */
	uint64_t cache_hits, cache_misses, cache_bytes;
	uint64_t repacked; /* clusters that were written in parts, and compressed later */
};

/* The sum over all queues, also those that are gone.  Any thread; the figures belong together only
 * when nothing is under way. */
void engine_get_stats(struct engine *e, struct engine_stats *stats);

#endif
