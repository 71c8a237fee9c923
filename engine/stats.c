/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "engine/stats.h"

#include "engine/queue_priv.h"

static uint64_t figure(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void counters_add(struct engine_stats *s, const struct counters *c)
{
	for (unsigned i = 0; i < REQ_OPS; i++) {
		s->requests[i] += figure(&c->requests[i]);
		s->bytes[i] += figure(&c->bytes[i]);
		for (unsigned k = 0; k < LATENCY_BUCKETS; k++)
			s->latency[i][k] += figure(&c->latency[i][k]);
	}
	s->errors += figure(&c->errors);
	s->zero_copy_read += figure(&c->zero_copy_read);
	s->zero_copy_written += figure(&c->zero_copy_written);
	s->direct_read += figure(&c->direct_read);
	s->direct_written += figure(&c->direct_written);
	s->zero_read += figure(&c->zero_read);
	s->backing_read += figure(&c->backing_read);
	s->blob_read += figure(&c->blob_read);
	s->cached_read += figure(&c->cached_read);
	s->cluster_written += figure(&c->cluster_written);
	s->copied += figure(&c->copied);
	s->copied_raw += figure(&c->copied_raw);
	s->sqes += figure(&c->sqes);
	s->enters += figure(&c->enters);
	s->handoffs += figure(&c->handoffs);
}

void engine_get_stats(struct engine *e, struct engine_stats *stats)
{
	struct repacker_stats repack = {0};
	struct cache_stats cache;

	cache_get_stats(e->cache, &cache);
	if (e->repacker)
		repacker_get_stats(e->repacker, &repack);
	SCOPED_LOCK(&e->queues_lock);
	*stats = e->past;
	stats->repacked = repack.clusters;
	for (const struct engine_queue *q = e->queues; q; q = q->next)
		counters_add(stats, &q->counters);
	stats->cache_hits = cache.hits;
	stats->cache_misses = cache.misses;
	stats->cache_bytes = cache.bytes;
}
