/* SPDX-License-Identifier: MIT */
/*
 * What a mounted view that is served in the background has to say, last of all whether the image
 * was closed: a file in the directory where bridges can be found (bridge/runtime_dir.h), called
 * view-PID.log, which is left behind only by a view that failed.
 */
#ifndef CLI_VIEW_LOG_H
#define CLI_VIEW_LOG_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/errint.h"

/* A descriptor for this process's log; -1 where it cannot have one, which is said. */
int view_log_create(void);
/* This process's image is closed, and there is nothing to tell. */
void view_log_remove(void);

/* Print what process @pid has left, and remove it.  False when there is nothing, so all is well. */
bool view_log_show(pid_t pid);

#endif
