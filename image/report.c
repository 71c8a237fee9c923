/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "image/report.h"

#include <stdio.h>
#include <time.h>

#include "codecs/codec.h"
#include "common/json_build.h"
#include "image/dump.h"
#include "image/snapshot.h"

errint_t report_gather(struct image *im, struct report *r)
{
	errint_t err;

	image_get_info(im, &r->info);
	image_get_content(im, &r->content);
	image_get_backing(im, &r->backing);
	r->file_usage = store_usage(image_store(im));
	err = store_length(image_store(im), &r->file_length);
	return err ? err : walk_totals(im, &r->map);
}

uint64_t report_stored(const struct report *r)
{
	return r->map.raw_bytes + r->map.zstd_stored;
}

double report_ratio(const struct report *r)
{
	uint64_t stored = report_stored(r);

	return stored ? (double)r->map.mapped_bytes / (double)stored : 0;
}

const char *report_kind(enum map_kind kind)
{
	static const char *const names[] = {
		[MAP_HOLE] = "hole", [MAP_ZERO] = "zero",	[MAP_RAW] = "raw",
		[MAP_ZSTD] = "zstd", [MAP_BACKING] = "backing",
	};

	return names[kind];
}

bool report_is_stored(const struct map_extent *e)
{
	return e->kind == MAP_RAW || e->kind == MAP_ZSTD;
}

uint64_t report_stored_bytes(const struct map_extent *e)
{
	return e->kind == MAP_ZSTD ? e->stored : e->len;
}

json_t *report_compression_json(unsigned codec, int level)
{
	struct json_build o;

	if (codec == CODEC_NONE)
		return json_null();
	json_build_begin(&o);
	json_build_text(&o, "codec", codec_name(codec));
	json_build_put(&o, "level", json_integer(level));
	return json_build_finish(&o);
}

json_t *report_backing_json(const struct backing_ref *ref)
{
	struct json_build o;
	char uuid[37];

	if (ref->kind == BACKING_NONE)
		return json_null();
	json_build_begin(&o);
	json_build_text(&o, "file", ref->path);
	json_build_text(&o, "format",
			ref->kind == BACKING_RAW     ? "raw"
			: ref->kind == BACKING_QCOW2 ? "qcow2"
						     : "ublk-img");
	json_build_u64(&o, "size", ref->size);
	json_build_u64(&o, "shown_bytes", ref->limit);
	dump_uuid(ref->id, uuid);
	json_build_put(&o, "uuid", ref->kind == BACKING_UBLK_IMG ? json_string(uuid) : json_null());
	dump_uuid(ref->snapshot, uuid);
	json_build_put(&o, "snapshot_uuid", ref->has_snapshot ? json_string(uuid) : json_null());
	json_build_bool(&o, "commit_interrupted", ref->committing);
	return json_build_finish(&o);
}

static json_t *clusters_json(const struct map_totals *map)
{
	struct json_build o;

	json_build_begin(&o);
	json_build_u64(&o, "hole", map->clusters[MAP_HOLE]);
	json_build_u64(&o, "zero", map->clusters[MAP_ZERO]);
	json_build_u64(&o, "raw", map->clusters[MAP_RAW]);
	json_build_u64(&o, "zstd", map->clusters[MAP_ZSTD]);
	json_build_u64(&o, "backing", map->clusters[MAP_BACKING]);
	return json_build_finish(&o);
}

static json_t *features_json(const struct image_info *i)
{
	struct json_build o;

	json_build_begin(&o);
	json_build_mask(&o, "incompat", i->incompat);
	json_build_mask(&o, "ro_compat", i->ro_compat);
	json_build_mask(&o, "compat", i->compat);
	return json_build_finish(&o);
}

json_t *report_point_json(const struct content_point *p)
{
	struct json_build o;
	char uuid[37];

	dump_uuid(p->uuid, uuid);
	json_build_begin(&o);
	json_build_text(&o, "uuid", uuid);
	if (p->name[0])
		json_build_text(&o, "name", p->name);
	else
		json_build_put(&o, "name", json_null());
	json_build_u64(&o, "virtual_size", p->size);
	return json_build_finish(&o);
}

static json_t *content_json(const struct content *c)
{
	static const char *const names[] = {
		[CONTENT_AT] = "at",
		[CONTENT_DELTA] = "delta",
		[CONTENT_APPLYING] = "applying",
	};
	struct json_build o;
	char uuid[37];

	json_build_begin(&o);
	json_build_text(&o, "state", names[c->state]);
	if (c->state != CONTENT_AT) {
		dump_uuid(c->image, uuid);
		json_build_text(&o, "image_uuid", uuid);
		json_build_put(&o, "base", report_point_json(&c->base));
	}
	json_build_put(&o, "target", report_point_json(&c->target));
	return json_build_finish(&o);
}

json_t *report_info_json(const struct report *r, const char *path)
{
	const struct image_info *i = &r->info;
	struct json_build o;
	char uuid[37];

	dump_uuid(i->uuid, uuid);
	json_build_begin(&o);
	json_build_u64(&o, "schema", JSON_SCHEMA);
	json_build_text(&o, "command", "info");
	json_build_text(&o, "image", path);
	json_build_u64(&o, "format_version", FORMAT_MAJOR);
	json_build_text(&o, "uuid", uuid);
	json_build_text(&o, "creator", i->creator);
	json_build_u64(&o, "virtual_size", i->size);
	json_build_u64(&o, "disk_usage", r->file_usage);
	json_build_u64(&o, "file_length", r->file_length);
	json_build_u64(&o, "cluster_size", 1ull << i->geo.cluster_shift);
	json_build_u64(&o, "sector_size", 1ull << i->geo.sector_shift);
	json_build_put(&o, "compression", report_compression_json(i->codec, i->level));
	json_build_put(&o, "backing", report_backing_json(&r->backing));
	json_build_put(&o, "clusters", clusters_json(&r->map));
	json_build_u64(&o, "mapped_bytes", r->map.mapped_bytes);
	json_build_u64(&o, "raw_bytes", r->map.raw_bytes);
	json_build_u64(&o, "compressed_bytes", r->map.zstd_stored);
	json_build_put(&o, "ratio", report_stored(r) ? json_real(report_ratio(r)) : json_null());
	json_build_u64(&o, "map_nodes", r->map.nodes);
	json_build_u64(&o, "used_units", i->used_units);
	json_build_put(&o, "features", features_json(i));
	if (r->content.state != CONTENT_UNKNOWN)
		json_build_put(&o, "content", content_json(&r->content));
	json_build_bool(&o, "clean", i->flags & SUPER_CLEAN && !i->replayed);
	json_build_bool(&o, "errors", i->flags & SUPER_ERRORS);
	json_build_u64(&o, "replayed_transactions", i->replayed);
	json_build_u64(&o, "generation", i->generation);
	json_build_u64(&o, "epoch", i->epoch);
	json_build_u64(&o, "snapshots", i->nsnapshots);
	json_build_u64(&o, "journal_offset", i->journal_offset);
	json_build_u64(&o, "journal_length", i->journal_length);
	return json_build_finish(&o);
}

json_t *report_stats_json(const struct image_stats *s)
{
	struct json_build o;

	json_build_begin(&o);
	json_build_u64(&o, "commits", s->commits);
	json_build_u64(&o, "checkpoints", s->checkpoints);
	json_build_u64(&o, "journal_records", s->records);
	json_build_u64(&o, "journal_blocks", s->journal_blocks);
	json_build_u64(&o, "metadata_syncs", s->datasyncs);
	json_build_u64(&o, "metadata_dsync_writes", s->dsync_writes);
	json_build_u64(&o, "metadata_bytes_written", s->meta_bytes_written);
	json_build_u64(&o, "node_loads", s->node_loads);
	json_build_u64(&o, "node_evictions", s->node_evictions);
	json_build_u64(&o, "clusters_allocated", s->clusters_allocated);
	json_build_u64(&o, "clusters_freed", s->clusters_freed);
	json_build_u64(&o, "blobs_written", s->blobs_written);
	json_build_u64(&o, "punches", s->punches);
	return json_build_finish(&o);
}

static void put_time(struct json_build *o, const char *key, uint64_t ns)
{
	time_t t = (time_t)(ns / 1000000000u);
	char text[32];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_build_text(o, key, text);
}

json_t *report_snapshot_json(const struct snapshot_info *s)
{
	struct json_build o;
	char uuid[37];

	dump_uuid(s->uuid, uuid);
	json_build_begin(&o);
	json_build_u64(&o, "id", s->id);
	json_build_text(&o, "name", s->name);
	put_time(&o, "created", s->ctime_ns);
	json_build_u64(&o, "virtual_size", s->size);
	json_build_put(&o, "parent", s->parent ? json_integer(s->parent) : json_null());
	json_build_bool(&o, "current", s->current);
	json_build_text(&o, "uuid", uuid);
	json_build_u64(&o, "open", s->opens);
	json_build_bool(&o, "deleting", s->deleting);
	if (s->deleting) {
		json_build_u64(&o, "clusters_done", s->done);
		json_build_u64(&o, "clusters", s->end);
	}
	return json_build_finish(&o);
}
