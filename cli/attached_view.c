/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/attached_view.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fuse/session.h"

#define CALL_MS	 30000
#define VIEWS_MS 20000

errint_t attached_view_open(struct bridge_client *c, int *root)
{
	CLEANUP(close) int fuse = -1;
	CLEANUP(close) int dir = -1;
	errint_t err = session_mount_private(&fuse, &dir);

	if (!err)
		err = client_call(c, "mount",
				  json_pack("{s:s, s:s, s:I}", "dir", "", "image",
					    client_text(c, "image"), "mode", (json_int_t)0400),
				  fuse, CALL_MS, NULL);
	if (!err)
		*root = steal_fd(&dir);
	return err;
}

errint_t attached_view_file(int root, const char *image, const char *snapshot, const char *file,
			    int *fd)
{
	char path[PATH_MAX];

	if (snapshot)
		snprintf(path, sizeof(path), "snapshots/%s/%s", snapshot, file);
	else
		snprintf(path, sizeof(path), "%s", file);
	*fd = openat(root, path, O_RDONLY | O_CLOEXEC);
	if (*fd >= 0)
		return 0;
	if (snapshot && errno == ENOENT)
		return log_fail(-ENOENT, "%s: there is no snapshot '%s'", image, snapshot);
	return log_errno("%s: cannot read %s", image, path);
}

json_t *attached_view_list(struct bridge_client *c)
{
	json_t *result = NULL, *views;
	errint_t err = client_call(c, "views", NULL, -1, VIEWS_MS, &result);

	if (err)
		return NULL;
	views = json_incref(json_object_get(result, "views"));
	json_decref(result);
	return views;
}

void attached_view_unmount(json_t *views)
{
	json_t *dir;
	size_t i;

	json_array_foreach(views, i, dir)
	{
		const char *path = json_string_value(dir);

		if (!session_is_mounted(path) || !session_is_dead(path))
			continue;
		if (session_unmount(path, true))
			log_warn("%s: a view of the image is left there; \"ublk-img umount %s\" "
				 "removes it",
				 path, path);
		else
			log_warn("the view on %s has ended with the device's bridge", path);
	}
}
