/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/attached.h"

#include <sys/stat.h>

#include "bridge/awaiting.h"
#include "bridge/client.h"
#include "common/cleanup.h"
#include "common/log.h"

/* Looking at the map of a large image takes its time. */
#define ASK_MS 120000

static errint_t refuse_awaiting(const char *what, const struct device_state *s)
{
	return log_fail(-EBUSY,
			"%s is attached as %s, which awaits recovery, as its bridge has died; "
			"\"ublk-img recover %s\" takes it back",
			what, s->device, s->device);
}

errint_t attached_find(const char *what, struct bridge_client *c)
{
	CLEANUP(free) struct device_state *state = NULL;
	bool image_only;
	struct stat st;
	errint_t err;

	image_only = !stat(what, &st) && S_ISREG(st.st_mode);
	err = image_only ? client_find_image(what, c) : client_find(what, c);
	if (err != -ENOENT)
		return err;
	err = image_only ? awaiting_find_image(what, &state) : awaiting_find(what, &state);
	return err ? err : refuse_awaiting(what, state);
}

errint_t attached_refuse(const char *path, bool write)
{
	CLEANUP(client) struct bridge_client c;
	CLEANUP(free) struct device_state *state = NULL;
	errint_t err = client_find_image(path, &c);

	if (err == -ENOENT) {
		err = awaiting_find_image(path, &state);
		if (!err && (write || !state->read_only))
			return refuse_awaiting(path, state);
		return err == -ENOENT ? 0 : err;
	}
	if (err)
		return err;
	if (!write && json_is_true(json_object_get(c.about, "read_only")))
		return 0;
	return log_fail(-EBUSY, "%s is attached as %s (pid %ld); detach it first", path,
			client_text(&c, "device"), client_pid(&c));
}

errint_t attached_ask(const char *path, const char *method, json_t *params, json_t **result)
{
	CLEANUP(client) struct bridge_client c;
	errint_t err = client_find_image(path, &c);

	if (err) {
		json_decref(params);
		return err;
	}
	return client_call(&c, method, params, -1, ASK_MS, result);
}
