/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/dead_device.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "bridge/control.h"
#include "common/log.h"

/* In the upper half, so that other servers' devices are not taken for ours. */
#define MARK 0x75626b69ull /* "ubki" */

uint64_t dead_device_mark(int32_t pid)
{
	return MARK << 32 | (uint32_t)pid;
}

bool dead_device_is(const struct ublksrv_ctrl_dev_info *info, bool (*alive)(int32_t pid))
{
	return info->ublksrv_flags >> 32 == MARK && info->state == UBLK_S_DEV_DEAD &&
	       !alive((int32_t)(uint32_t)info->ublksrv_flags);
}

static bool is_alive(int32_t pid)
{
	return pid <= 0 || !kill(pid, 0) || errno != ESRCH;
}

void dead_device_remove(const char *name)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = 0};
	struct control *control;
	uint64_t features;
	uint32_t id;

	if (sscanf(name, "ublkb%" SCNu32, &id) != 1 || control_open(&control, &features))
		return;
	if (!control_find(control, id, &info) && dead_device_is(&info, is_alive) &&
	    !control_delete(control, id))
		log_info("removed what was left of /dev/%s, whose bridge was killed", name);
	control_close(control);
}
