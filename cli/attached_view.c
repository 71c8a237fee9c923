/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/attached_view.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fuse/session.h"

#define CALL_MS 30000

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
