/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/backing_work.h"

#include "bridge/bridge.h"
#include "bridge/socket.h"
#include "cli/image_file.h"
#include "cli/json_output.h"
#include "common/cleanup.h"
#include "common/log.h"

/* ---- an image that nobody serves ----------------------------------------------------------- */

static void show(void *arg, uint64_t done, uint64_t total)
{
	struct progress *p = arg;

	progress_set_total(p, total);
	progress_update(p, done);
}

/* An engine on it, and what the work on that shows. */
struct here {
	struct engine *engine;
	struct progress *progress;
	struct work_opts opts;
};

static errint_t begin(struct here *h, struct image *im, enum progress_mode mode, const char *what)
{
	errint_t err = image_file_engine(im, &h->engine);

	if (err)
		return err;
	h->progress = progress_begin(mode, what, image_size(im));
	h->opts = (struct work_opts){.progress = show, .arg = h->progress};
	return 0;
}

static errint_t end(struct here *h, errint_t err)
{
	engine_free(h->engine);
	progress_end(h->progress);
	return err;
}

errint_t backing_commit_here(struct image *im, enum progress_mode mode, struct work_result *res)
{
	struct here h;
	errint_t err = begin(&h, im, mode, "commit");

	return err ? err : end(&h, engine_commit(h.engine, &h.opts, res));
}

errint_t backing_rebase_here(struct image *im, struct backing *to, const struct backing_ref *ref,
			     enum progress_mode mode, struct work_result *res)
{
	struct here h;
	errint_t err = begin(&h, im, mode, "rebase");

	return err ? err : end(&h, engine_rebase(h.engine, to, ref, &h.opts, res));
}

/* ---- one that is attached ------------------------------------------------------------------ */

errint_t backing_work_ask(struct bridge_client *c, const char *method, struct work_result *res)
{
	CLEANUP(json) json_t *result = NULL;
	errint_t err = client_call(c, method, NULL, -1, -1, &result);

	if (err)
		return err;
	*res = (struct work_result){
		.bytes = (uint64_t)json_integer_value(json_object_get(result, "bytes")),
		.left = (uint64_t)json_integer_value(json_object_get(result, "left")),
	};
	return 0;
}

static bool is_ending(void *arg)
{
	return bridge_is_ending(arg);
}

static errint_t flatten(struct engine *e, const struct work_opts *opts, struct work_result *res)
{
	return engine_rebase(e, NULL, NULL, opts, res);
}

static errint_t work_there(struct bridge *b,
			   errint_t (*work)(struct engine *e, const struct work_opts *opts,
					    struct work_result *res),
			   json_t **result)
{
	const struct work_opts opts = {.stop = is_ending, .arg = b};
	struct work_result res;
	errint_t err;

	if (bridge_opts(b)->read_only)
		return log_fail(-EROFS, "%s is attached read-only", bridge_opts(b)->image);
	err = bridge_use_begin(b);
	if (err)
		return err;
	err = work(bridge_engine(b), &opts, &res);
	bridge_use_end(b);
	if (!err)
		*result = json_pack("{s:I, s:I}", "bytes", (json_int_t)res.bytes, "left",
				    (json_int_t)res.left);
	return err;
}

errint_t bridge_commit(void *arg, struct socket_request *rq, json_t **result)
{
	(void)rq;
	return work_there(arg, engine_commit, result);
}

errint_t bridge_flatten(void *arg, struct socket_request *rq, json_t **result)
{
	(void)rq;
	return work_there(arg, flatten, result);
}

/* -------------------------------------------------------------------------------------------- */

errint_t backing_work_json(const char *command, const char *image, const struct work_result *res)
{
	json_t *doc = json_document(command);

	json_put_text(doc, "image", image);
	json_put_u64(doc, "moved_bytes", res->bytes);
	json_put_u64(doc, "left_bytes", res->left);
	return json_print(doc);
}
