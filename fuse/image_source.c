/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fuse/image_source.h"

#include "common/json_build.h"
#include "common/log.h"
#include "image/report.h"

static errint_t give(json_t *doc, json_t **out)
{
	if (!doc)
		return log_err(-ENOMEM, "cannot describe the image");
	*out = doc;
	return 0;
}

static errint_t image_info(void *arg, json_t **out)
{
	const struct image_source *s = arg;
	struct report r;
	errint_t err = report_gather(s->image, &r);

	return err ? err : give(report_info_json(&r, s->path), out);
}

static errint_t image_stats(void *arg, json_t **out)
{
	const struct image_source *s = arg;
	struct image_stats stats;
	struct json_build o;

	image_get_stats(s->image, &stats);
	json_build_begin(&o);
	json_build_u64(&o, "schema", JSON_SCHEMA);
	json_build_text(&o, "image", s->path);
	json_build_put(&o, "image_io", report_stats_json(&stats));
	return give(json_build_finish(&o), out);
}

const struct view_source_ops image_source_ops = {
	.info = image_info,
	.stats = image_stats,
};
