/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/attached.h"

#include <sys/stat.h>

#include "bridge/client.h"
#include "common/cleanup.h"
#include "common/log.h"

/* Looking at the map of a large image takes its time. */
#define ASK_MS 120000

errint_t attached_find(const char *what, struct bridge_client *c)
{
	struct stat st;

	if (!stat(what, &st) && S_ISREG(st.st_mode))
		return client_find_image(what, c);
	return client_find(what, c);
}

errint_t attached_refuse(const char *path, bool write)
{
	CLEANUP(client) struct bridge_client c;
	errint_t err = client_find_image(path, &c);

	if (err)
		return err == -ENOENT ? 0 : err;
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
