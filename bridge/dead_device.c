/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/dead_device.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bridge/control.h"
#include "common/clock.h"
#include "common/log.h"

/* In the upper half, so that other servers' devices are not taken for ours. */
#define MARK 0x75626b69ull /* "ubki" */

enum { POLL_MS = 20, DEAD_MS = 10000 };

uint64_t dead_device_mark(int32_t pid)
{
	return MARK << 32 | (uint32_t)pid;
}

static bool is_ours(const struct ublksrv_ctrl_dev_info *info, bool (*alive)(int32_t pid))
{
	return info->ublksrv_flags >> 32 == MARK && !alive((int32_t)(uint32_t)info->ublksrv_flags);
}

bool dead_device_is(const struct ublksrv_ctrl_dev_info *info, bool (*alive)(int32_t pid))
{
	return is_ours(info, alive) && info->state == UBLK_S_DEV_DEAD;
}

static bool is_alive(int32_t pid)
{
	return pid <= 0 || !kill(pid, 0) || errno != ESRCH;
}

/* The driver takes its time to notice that a bridge has gone.  False: it is not such a device. */
static bool wait_dead(struct control *control, uint32_t id)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = 0};

	for (unsigned ms = 0; ms < DEAD_MS; ms += POLL_MS) {
		if (control_find(control, id, &info) || !is_ours(&info, is_alive))
			return false;
		if (info.state == UBLK_S_DEV_DEAD)
			return true;
		clock_sleep_ms(POLL_MS);
	}
	log_warn("/dev/ublkb%" PRIu32 " still answers %d seconds after its bridge was killed", id,
		 DEAD_MS / 1000);
	return false;
}

void dead_device_remove(const char *name)
{
	struct control *control;
	uint64_t features;
	uint32_t id;

	if (sscanf(name, "ublkb%" SCNu32, &id) != 1 || control_open(&control, &features))
		return;
	if (wait_dead(control, id) && !control_delete(control, id))
		log_info("removed what was left of /dev/%s, whose bridge was killed", name);
	control_close(control);
}

/* The driver has seen the end of its server; ours, whoever has made it. */
static bool is_orphan(const struct ublksrv_ctrl_dev_info *info)
{
	return info->ublksrv_flags >> 32 == MARK &&
	       (info->state == UBLK_S_DEV_QUIESCED || info->state == UBLK_S_DEV_FAIL_IO);
}

static errint_t force(struct control *control, uint32_t id)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = 0};
	errint_t err = 0;

	/* It takes its time to see that. */
	for (unsigned ms = 0; !err && ms < DEAD_MS; ms += POLL_MS) {
		err = control_find(control, id, &info);
		if (!err && is_orphan(&info)) {
			err = control_stop(control, id, false);
			return err ? err : control_delete(control, id);
		}
		if (!err && dead_device_is(&info, is_alive))
			return control_delete(control, id);
		if (!err && !is_ours(&info, is_alive))
			return -ENOENT;
		clock_sleep_ms(POLL_MS);
	}
	return -ENOENT;
}

errint_t dead_device_force(const char *what)
{
	struct control *control;
	uint64_t features;
	uint32_t id;
	char more;

	if (!strncmp(what, "/dev/", 5))
		what += 5;
	if (sscanf(what, "ublkb%" SCNu32 "%c", &id, &more) != 1 ||
	    control_open(&control, &features))
		return -ENOENT;
	errint_t err = force(control, id);
	control_close(control);
	return err;
}
