/* SPDX-License-Identifier: MIT */
/*
 * What there is to tell of an open image, as the documents that commands, the mounted view and the
 * control socket of an attached image share (docs/json.md).
 */
#ifndef IMAGE_REPORT_H
#define IMAGE_REPORT_H

#include <jansson.h>

#include "image/backing.h"
#include "image/content.h"
#include "image/image.h"
#include "image/walk.h"

struct report {
	struct image_info info;
	struct content content;
	struct backing_ref backing;
	struct map_totals map;
	uint64_t file_length, file_usage; /* bytes */
};

/* Looks at all of the map.  May block, any thread.  Errors are those of reading, message logged. */
MUST_CHECK errint_t report_gather(struct image *im, struct report *r);

/* Bytes that the mapped part of the disk takes as it is stored. */
uint64_t report_stored(const struct report *r);
/* How many bytes of the disk each stored byte stands for; 0 when nothing is stored. */
double report_ratio(const struct report *r);

/* The document that `ublk-img info --json` prints, @path being the image as its user named it.  A
 * new reference; NULL when out of memory. */
json_t *report_info_json(const struct report *r, const char *path);

/* What is told of one extent of the map: the name of its kind; whether it takes space; how many
 * bytes of the file. */
const char *report_kind(enum map_kind kind);
bool report_is_stored(const struct map_extent *e);
uint64_t report_stored_bytes(const struct map_extent *e);

/* {"codec": "zstd", "level": 3}, or null for CODEC_NONE.  As above. */
json_t *report_compression_json(unsigned codec, int level);

/* {"uuid": ..., "name": ..., "virtual_size": ...}; the name is null for what was no snapshot.  As
 * above. */
json_t *report_point_json(const struct content_point *p);
/* What an image says of its backing, or null.  As above. */
struct backing_ref;
json_t *report_backing_json(const struct backing_ref *ref);

/* One element of "snapshots" of `ublk-img snapshot list --json`.  As above. */
struct snapshot_info;
json_t *report_snapshot_json(const struct snapshot_info *s);

/* The counters of image_get_stats(), an object without "schema".  As above. */
json_t *report_stats_json(const struct image_stats *s);

#endif
