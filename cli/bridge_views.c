/* SPDX-License-Identifier: MIT */
/*
 * Each view has a thread that waits for its end, whether its user unmounts it or the bridge ends.
 */
#include "config.h"

#include "cli/bridge_views.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/json_build.h"
#include "common/log.h"
#include "fuse/session.h"

/* Seconds for requests that are under way to end. */
enum { STOP_SECONDS = 20 };

/* /dev/fuse: the major number of miscellaneous devices, and FUSE's among them. */
enum { FUSE_MAJOR = 10, FUSE_MINOR = 229 };

struct bridge_view {
	struct bridge_views *all;
	struct bridge_view *next; /* all->lock */
	struct bridge *b;
	char *dir, *image; /* the image as its user named it */
	struct view *view;
	struct session *session;
};

struct bridge_views {
	struct bridge *b; /* constant once there are methods */
	int stop_fd;	  /* readable when all threads are to end */

	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t changed;
	struct bridge_view *first;
	errint_t err; /* of one that could not be stopped: its threads stay */
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

static void free_view(struct bridge_view *bv)
{
	view_free(bv->view);
	free(bv->dir);
	free(bv->image);
	free(bv);
}

static void view_ended(struct bridge_view *bv, errint_t err)
{
	struct bridge_views *all = bv->all;
	struct bridge_view **at = &all->first;

	SCOPED_LOCK(&all->lock);
	while (*at != bv)
		at = &(*at)->next;
	*at = bv->next;
	if (err)
		all->err = err;
	else
		free_view(bv);
	pthread_cond_broadcast(&all->changed);
}

/* What is mounted when the bridge ends is left to whoever asked for the end: this process sees no
 * mounts. */
static void *run_view(void *arg)
{
	struct bridge_view *bv = arg;
	struct pollfd p[2] = {
		{.fd = session_ended_fd(bv->session), .events = POLLIN},
		{.fd = bv->all->stop_fd, .events = POLLIN},
	};
	errint_t err;

	while (poll(p, 2, -1) < 0)
		;
	err = session_stop(bv->session, STOP_SECONDS);
	if (!err)
		log_info("the view on %s has ended", *bv->dir ? bv->dir : "no directory");
	view_ended(bv, err);
	return NULL;
}

static errint_t start_thread(struct bridge_view *bv)
{
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attr, run_view, bv);
	pthread_attr_destroy(&attr);
	return error ? log_err(-error, "cannot start a thread for the mounted view") : 0;
}

/* From now on @bv is in the list, and its thread's. */
static errint_t add_view(struct bridge_view *bv)
{
	errint_t err;

	SCOPED_LOCK(&bv->all->lock);
	err = start_thread(bv);
	if (err)
		return err;
	bv->next = bv->all->first;
	bv->all->first = bv;
	return 0;
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
		.mode = (mode_t)json_integer_value(json_object_get(params, "mode")) & 0666,
		.snapshots = json_is_true(json_object_get(params, "snapshots")),
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

static errint_t new_view(struct bridge_views *v, const json_t *params, struct bridge_view **out)
{
	const char *dir = json_string_value(json_object_get(params, "dir"));
	const char *image = json_string_value(json_object_get(params, "image"));
	struct bridge_view *bv;

	if (!dir || (*dir && *dir != '/') || !image)
		return log_fail(-EINVAL, "mount: \"dir\", an absolute path or empty, and "
					 "\"image\" are needed");
	bv = calloc(1, sizeof(*bv));
	if (!bv)
		return log_err(-ENOMEM, "%s: cannot serve the mounted view", dir);
	bv->all = v;
	bv->b = v->b;
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
	v->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (v->stop_fd < 0) {
		free(v);
		return log_errno("cannot make an event descriptor");
	}
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	*out = v;
	return 0;
}

void bridge_views_free(struct bridge_views *v)
{
	if (v->first || v->err)
		return; /* the bridge was left as it is, and the process ends */
	close(v->stop_fd);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void bridge_views_begin(struct bridge_views *v, struct bridge *b)
{
	v->b = b;
}

errint_t bridge_views_end(struct bridge_views *v)
{
	if (eventfd_write(v->stop_fd, 1))
		assert(!"an event descriptor takes a one");
	SCOPED_LOCK(&v->lock);
	while (v->first)
		pthread_cond_wait(&v->changed, &v->lock);
	return v->err;
}

static bool is_fuse(int fd)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(FUSE_MAJOR, FUSE_MINOR);
}

static errint_t mount_view(struct bridge_views *v, struct socket_request *rq)
{
	struct bridge_view *bv = NULL;
	errint_t err = new_view(v, rq->params, &bv);

	if (err)
		return err;
	err = begin_view(bv, rq);
	if (!err) {
		err = add_view(bv);
		if (err && session_stop(bv->session, STOP_SECONDS))
			return err; /* its threads use it as long as the process lives */
	}
	if (err)
		free_view(bv);
	return err;
}

errint_t bridge_views_mount(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge_views *v = arg;
	errint_t err;

	(void)result;
	if (!is_fuse(rq->fd))
		return log_fail(-EINVAL, "mount: no descriptor of /dev/fuse came with it");
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
		if (*bv->dir)
			json_array_append_new(dirs, json_string(bv->dir));
	*result = json_pack("{s:o}", "views", dirs);
	return *result ? 0 : log_err(-ENOMEM, "cannot list the mounted views");
}
