/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/bridge_views.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "fuse/session.h"

/* Seconds for requests that are under way to end. */
enum { STOP_SECONDS = 20 };

struct bridge_view {
	struct bridge_view *next;
	struct bridge *b;
	char *dir, *image; /* the image as its user named it */
	struct view *view;
	struct session *session;
};

struct bridge_views {
	struct bridge *b; /* constant once there are methods */
	pthread_mutex_t lock;
	struct bridge_view *first;
};

/* ---- what a view tells ------------------------------------------------------------------- */

static errint_t view_info(void *arg, json_t **out)
{
	struct bridge_view *bv = arg;

	return bridge_info(bv->b, bv->image, out);
}

static errint_t view_stats(void *arg, json_t **out)
{
	struct bridge_view *bv = arg;
	json_t *doc = json_pack("{s:i, s:s}", "schema", JSON_SCHEMA, "image", bv->image);

	if (!doc)
		return log_err(-ENOMEM, "cannot describe the image");
	bridge_add_stats(bv->b, doc);
	/* Not a counter: it also falls. */
	json_object_del(json_object_get(doc, "engine"), "cache_bytes");
	*out = doc;
	return 0;
}

static const struct view_source_ops source_ops = {.info = view_info, .stats = view_stats};

/* ---- one view ---------------------------------------------------------------------------- */

static bool is_unmounted(const struct bridge_view *bv)
{
	struct pollfd p = {.fd = session_ended_fd(bv->session), .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* Not when requests are still under way after a while: then @bv stays for as long as the process
 * does.  What is mounted is left to whoever asked for the end: this process sees no mounts. */
static void free_view(struct bridge_view *bv)
{
	if (bv->session && session_stop(bv->session, STOP_SECONDS))
		return;
	view_free(bv->view);
	free(bv->dir);
	free(bv->image);
	free(bv);
}

/* The numbers that a client may leave out are those of root. */
static errint_t make_view(struct bridge_view *bv, const json_t *params)
{
	const struct view_opts opts = {
		.image = bridge_image(bv->b),
		.engine = bridge_engine(bv->b),
		.source = &source_ops,
		.source_arg = bv,
		.changing = true,
		.uid = (uid_t)json_integer_value(json_object_get(params, "uid")),
		.gid = (gid_t)json_integer_value(json_object_get(params, "gid")),
		.mode = (mode_t)json_integer_value(json_object_get(params, "mode")) & 0444,
	};

	return view_new(&opts, &bv->view);
}

static errint_t begin_view(struct bridge_view *bv, struct socket_request *rq)
{
	struct session_opts opts = {.fd = rq->fd};
	errint_t err = make_view(bv, rq->params);

	if (err)
		return err;
	opts.view = bv->view;
	rq->fd = -1;
	return session_start(&opts, &bv->session);
}

static errint_t new_view(struct bridge *b, const json_t *params, struct bridge_view **out)
{
	const char *dir = json_string_value(json_object_get(params, "dir"));
	const char *image = json_string_value(json_object_get(params, "image"));
	struct bridge_view *bv;

	if (!dir || dir[0] != '/' || !image)
		return log_fail(-EINVAL, "mount: \"dir\", an absolute path, and \"image\" are "
					 "needed");
	bv = calloc(1, sizeof(*bv));
	if (!bv)
		return log_err(-ENOMEM, "%s: cannot serve the mounted view", dir);
	bv->b = b;
	bv->dir = strdup(dir);
	bv->image = strdup(image);
	if (!bv->dir || !bv->image) {
		free_view(bv);
		return log_err(-ENOMEM, "%s: cannot serve the mounted view", dir);
	}
	*out = bv;
	return 0;
}

/* ---- all of them ------------------------------------------------------------------------- */

errint_t bridge_views_new(struct bridge_views **out)
{
	struct bridge_views *v = calloc(1, sizeof(*v));

	if (!v)
		return log_err(-ENOMEM, "cannot start");
	pthread_mutex_init(&v->lock, NULL);
	*out = v;
	return 0;
}

void bridge_views_free(struct bridge_views *v)
{
	if (v->first)
		return; /* the bridge was left as it is, and the process ends */
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void bridge_views_begin(struct bridge_views *v, struct bridge *b)
{
	v->b = b;
}

/* Takes out of the list those that have been unmounted, or @all. */
static struct bridge_view *take(struct bridge_views *v, bool all)
{
	struct bridge_view *taken = NULL, **at = &v->first;

	SCOPED_LOCK(&v->lock);
	while (*at) {
		struct bridge_view *bv = *at;

		if (all || is_unmounted(bv)) {
			*at = bv->next;
			bv->next = taken;
			taken = bv;
		} else {
			at = &bv->next;
		}
	}
	return taken;
}

static void free_views(struct bridge_view *bv)
{
	while (bv) {
		struct bridge_view *next = bv->next;

		free_view(bv);
		bv = next;
	}
}

void bridge_views_end(struct bridge_views *v)
{
	free_views(take(v, true));
}

static errint_t mount_view(struct bridge_views *v, struct socket_request *rq)
{
	struct bridge_view *bv = NULL;
	errint_t err = new_view(v->b, rq->params, &bv);

	if (err)
		return err;
	err = begin_view(bv, rq);
	if (err) {
		free_view(bv);
		return err;
	}
	SCOPED_LOCK(&v->lock);
	bv->next = v->first;
	v->first = bv;
	return 0;
}

errint_t bridge_views_mount(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge_views *v = arg;
	errint_t err;

	(void)result;
	if (rq->fd < 0)
		return log_fail(-EINVAL, "mount: no descriptor of /dev/fuse came with it");
	/* Nothing tells when a view is unmounted; its memory goes with the next one. */
	free_views(take(v, false));
	err = bridge_use_begin(v->b);
	if (err)
		return err;
	err = mount_view(v, rq);
	bridge_use_end(v->b);
	return err;
}

errint_t bridge_views_list(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge_views *v = arg;
	json_t *dirs = json_array();

	(void)rq;
	SCOPED_LOCK(&v->lock);
	for (const struct bridge_view *bv = v->first; bv; bv = bv->next)
		if (!is_unmounted(bv))
			json_array_append_new(dirs, json_string(bv->dir));
	*result = json_pack("{s:o}", "views", dirs);
	return *result ? 0 : log_err(-ENOMEM, "cannot list the mounted views");
}
