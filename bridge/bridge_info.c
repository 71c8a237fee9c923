/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/bridge_info.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "bridge/bridge_priv.h"
#include "common/json_build.h"
#include "common/log.h"
#include "engine/stats.h"
#include "image/report.h"

static void put_u64(json_t *obj, const char *key, uint64_t value)
{
	json_object_set_new(obj, key, json_integer((json_int_t)value));
}

/* A file's name may be any bytes; JSON is UTF-8. */
static void put_text(json_t *obj, const char *key, const char *text)
{
	json_object_set_new(obj, key, json_text(text));
}

/* When the device was made, as ISO 8601 in UTC. */
static void put_time(json_t *obj, const char *key, const struct timespec *t)
{
	char text[32];
	struct tm tm;

	gmtime_r(&t->tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	put_text(obj, key, text);
}

/* Who this is, and what it serves. */
static json_t *about(struct bridge *b)
{
	const struct device *d = b->device;
	json_t *obj = json_object();

	put_u64(obj, "pid", (uint64_t)getpid());
	put_text(obj, "version", PACKAGE_VERSION);
	put_text(obj, "device", d->path);
	put_text(obj, "kind", d->ops->kind);
	put_text(obj, "image", b->opts->image);
	put_u64(obj, "image_device", b->file.st_dev);
	put_u64(obj, "image_inode", b->file.st_ino);
	put_text(obj, "name", b->opts->name ? b->opts->name : "");
	put_text(obj, "mode", mode_name(d->choice.mode));
	put_text(obj, "mode_reason", d->choice.why);
	put_u64(obj, "size", image_size(b->image));
	json_object_set_new(obj, "read_only", json_boolean(b->opts->read_only));
	json_object_set_new(obj, "recovery", json_boolean(d->recoverable));
	put_text(obj, "recovery_reason", b->no_recovery);
	json_object_set_new(obj, "restart", json_boolean(b->opts->restart));
	json_object_set_new(obj, "foreground", json_boolean(b->opts->foreground));
	put_time(obj, "since", &b->since);
	return obj;
}

static errint_t ping(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge *b = arg;
	errint_t err = bridge_use_begin(b);

	(void)rq;
	if (err)
		return err;
	*result = about(b);
	bridge_use_end(b);
	return 0;
}

/* What the document of info says of the device. */
static json_t *attached(struct bridge *b)
{
	const struct device *d = b->device;
	struct json_build o;

	json_build_begin(&o);
	json_build_text(&o, "device", d->path);
	json_build_text(&o, "name", b->opts->name ? b->opts->name : "");
	json_build_text(&o, "mode", mode_name(d->choice.mode));
	json_build_text(&o, "mode_reason", d->choice.why);
	json_build_bool(&o, "read_only", b->opts->read_only);
	json_build_u64(&o, "pid", (uint64_t)getpid());
	if (d->ops->describe)
		d->ops->describe(b->device, &o);
	return json_build_finish(&o);
}

errint_t bridge_info(struct bridge *b, const char *name, json_t **out)
{
	struct report report;
	errint_t err = report_gather(b->image, &report);

	if (err)
		return err;
	*out = report_info_json(&report, name ? name : b->opts->image);
	json_object_set_new(*out, "attached", attached(b));
	return 0;
}

/* {"image": "as the user named it"} */
static errint_t info(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge *b = arg;
	errint_t err = bridge_use_begin(b);

	if (err)
		return err;
	err = bridge_info(b, json_string_value(json_object_get(rq->params, "image")), result);
	bridge_use_end(b);
	return err;
}

static const char *const op_names[REQ_OPS] = {
	[REQ_READ] = "read",
	[REQ_WRITE] = "write",
	[REQ_FLUSH] = "flush",
	[REQ_DISCARD] = "discard",
	[REQ_WRITE_ZEROES] = "write_zeroes",
};

static json_t *requests(const struct engine_stats *s)
{
	json_t *all = json_object();

	for (unsigned op = 0; op < REQ_OPS; op++) {
		json_t *one = json_object(), *latency = json_array();

		put_u64(one, "requests", s->requests[op]);
		put_u64(one, "bytes", s->bytes[op]);
		for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
			json_array_append_new(latency, json_integer((json_int_t)s->latency[op][i]));
		json_object_set_new(one, "latency_log2_us", latency);
		json_object_set_new(all, op_names[op], one);
	}
	return all;
}

/* The counters of the engine, by the names of struct engine_stats. */
static json_t *engine_json(const struct engine_stats *s)
{
	const struct {
		const char *key;
		uint64_t value;
	} rows[] = {
		{"errors", s->errors},
		{"zero_copy_read", s->zero_copy_read},
		{"zero_copy_written", s->zero_copy_written},
		{"direct_read", s->direct_read},
		{"direct_written", s->direct_written},
		{"zero_read", s->zero_read},
		{"backing_read", s->backing_read},
		{"blob_read", s->blob_read},
		{"cached_read", s->cached_read},
		{"cluster_written", s->cluster_written},
		{"copied", s->copied},
		{"copied_raw", s->copied_raw},
		{"sqes", s->sqes},
		{"enters", s->enters},
		{"handoffs", s->handoffs},
		{"cache_hits", s->cache_hits},
		{"cache_misses", s->cache_misses},
		{"cache_bytes", s->cache_bytes},
		{"repacked", s->repacked},
	};
	json_t *obj = json_object();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		put_u64(obj, rows[i].key, rows[i].value);
	json_object_set_new(obj, "requests", requests(s));
	return obj;
}

void bridge_add_stats(struct bridge *b, json_t *to)
{
	struct engine_stats es;
	struct image_stats is;

	engine_get_stats(b->engine, &es);
	image_get_stats(b->image, &is);
	json_object_set_new(to, "engine", engine_json(&es));
	json_object_set_new(to, "image_io", report_stats_json(&is));
}

static errint_t stats(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge *b = arg;
	errint_t err = bridge_use_begin(b);

	(void)rq;
	if (err)
		return err;
	*result = about(b);
	bridge_add_stats(b, *result);
	bridge_use_end(b);
	return 0;
}

/* Asks main for the end, and waits for it. */
static errint_t ask_for_end(struct bridge *b, enum bridge_stop how)
{
	const uint64_t one = 1;
	errint_t err;

	pthread_mutex_lock(&b->lock);
	while (b->stop.asked)
		pthread_cond_wait(&b->changed, &b->lock);
	if (b->stop.ended) {
		pthread_mutex_unlock(&b->lock);
		return 0;
	}
	b->stop.asked = true;
	b->stop.answered = false;
	b->stop.how = how;
	if (write(b->stop_fd, &one, sizeof(one)) != sizeof(one))
		assert(!"an event descriptor takes a one");
	while (!b->stop.answered)
		pthread_cond_wait(&b->changed, &b->lock);
	err = b->stop.result;
	socket_log_error(b->stop.message);
	pthread_mutex_unlock(&b->lock);
	return err;
}

/* {"force": bool} */
static errint_t detach(void *arg, struct socket_request *rq, json_t **result)
{
	(void)result;
	return ask_for_end(arg, json_is_true(json_object_get(rq->params, "force"))
					? BRIDGE_DETACH_FORCE
					: BRIDGE_DETACH);
}

/* Leaves the device to the bridge that takes it back. */
static errint_t hand_over(void *arg, struct socket_request *rq, json_t **result)
{
	(void)rq;
	(void)result;
	return ask_for_end(arg, BRIDGE_HAND_OVER);
}

const struct socket_method *bridge_methods(struct bridge *b)
{
	const struct socket_method methods[] = {
		{"ping", ping, b},     {"info", info, b},	    {"stats", stats, b},
		{"detach", detach, b}, {"hand-over", hand_over, b}, {NULL, NULL, NULL},
	};

	_Static_assert(sizeof(methods) <= sizeof(b->methods), "there is room");
	memcpy(b->methods, methods, sizeof(methods));
	return b->methods;
}
