/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/mode.h"

#include <assert.h>
#include <stdio.h>

#include "bridge/ublk_abi.h"
#include "common/log.h"

/* What file systems align memory to; a device that asks for more refuses their requests. */
#define MEM_ALIGN_MAX 512u

const char *const mode_words[] = {
	[BRIDGE_ZERO_COPY] = "zero-copy",
	[BRIDGE_ZERO_COPY_EXPLICIT] = "zero-copy-explicit",
	[BRIDGE_USER_COPY] = "user-copy",
	[BRIDGE_COPY] = "copy",
	[BRIDGE_LOOP] = "loop",
	[BRIDGE_MODE_AUTO] = "auto",
	NULL,
};

const char *mode_name(enum bridge_mode mode)
{
	assert((unsigned)mode <= BRIDGE_MODE_AUTO);
	return mode_words[mode];
}

uint64_t mode_flags(enum bridge_mode mode)
{
	static const uint64_t flags[BRIDGE_NMODES] = {
		[BRIDGE_ZERO_COPY] =
			UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY,
		[BRIDGE_ZERO_COPY_EXPLICIT] = UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_USER_COPY,
		[BRIDGE_USER_COPY] = UBLK_F_USER_COPY,
		[BRIDGE_COPY] = 0,
	};

	assert((unsigned)mode < BRIDGE_LOOP);
	return flags[mode] | UBLK_F_CMD_IOCTL_ENCODE;
}

/* What stands between the user and any mode of ublk; NULL: nothing. */
static const char *driver_problem(const struct mode_facts *f)
{
	switch (f->driver) {
	case 0:
		return NULL;
	case -ENOENT:
		return "the ublk driver is not loaded, or this kernel has none";
	case -EACCES:
		return "only root may make ublk devices";
	case -ENOTSUP:
		return "the ublk driver of this kernel is too old (Linux 6.5 or later is needed)";
	case -ENOSYS:
		return "io_uring is not to be had here (the sysctl kernel.io_uring_disabled, or the "
		       "rules of a container, forbid it)";
	default:
		return "the ublk driver does not answer";
	}
}

static const char *loop_problem(const struct mode_facts *f)
{
	switch (f->loop) {
	case 0:
		return NULL;
	case -EACCES:
		return "only root may make loop devices";
	case -ENOENT:
		return "there is no loop driver (\"modprobe loop\" loads it)";
	case -ENODEV:
		return "there is no FUSE (\"modprobe fuse\" loads it)";
	default:
		return "this program cannot make loop devices";
	}
}

static const char *zero_copy_problem(const struct mode_facts *f, enum bridge_mode mode)
{
	if (!(f->features & UBLK_F_SUPPORT_ZERO_COPY))
		return "the ublk driver of this kernel has no zero copy (Linux 6.15 has)";
	if (mode == BRIDGE_ZERO_COPY && !(f->features & UBLK_F_AUTO_BUF_REG))
		return "the ublk driver of this kernel does not register buffers by itself "
		       "(Linux 6.16 does)";
	if (!f->stable_fd)
		return "the image is not in a file";
	if (f->mem_align > MEM_ALIGN_MAX)
		return "the image's file system wants memory aligned to more than 512 bytes";
	return NULL;
}

/* Why @mode is impossible; NULL: it is possible. */
static const char *mode_problem(const struct mode_facts *f, enum bridge_mode mode)
{
	const char *problem = driver_problem(f);

	if (mode == BRIDGE_LOOP)
		return loop_problem(f);
	if (!problem && !(f->features & UBLK_F_CMD_IOCTL_ENCODE))
		problem = "the ublk driver of this kernel does not know numbered commands";
	if (!problem && mode_is_zero_copy(mode))
		problem = zero_copy_problem(f, mode);
	/* Zero copy needs user copy as well, for data that is compressed. */
	if (!problem && mode != BRIDGE_COPY && !(f->features & UBLK_F_USER_COPY))
		problem = "the ublk driver of this kernel has no user copy (Linux 6.5 has)";
	return problem;
}

static const char *advice(const struct mode_facts *f)
{
	switch (f->driver) {
	case 0:
		return "--mode=auto takes what there is";
	case -ENOENT:
		return "\"modprobe ublk_drv\" loads it; \"ublk-img mount\" works without";
	case -EACCES:
		return "run this command as root, for instance with sudo";
	default:
		return "\"ublk-img mount\" works on any kernel with FUSE";
	}
}

static errint_t impossible(const struct mode_facts *f, enum bridge_mode want, const char *problem)
{
	errint_t err = f->driver ? f->driver : -ENOTSUP;

	if (want == BRIDGE_LOOP)
		return log_fail(f->loop, "mode loop is not possible: %s", problem);
	if (want == BRIDGE_MODE_AUTO)
		return log_fail(err, "cannot attach: %s; %s", problem, advice(f));
	return log_fail(err, "mode %s is not possible: %s; %s", mode_name(want), problem,
			advice(f));
}

errint_t mode_choose(const struct mode_facts *f, enum bridge_mode want, struct mode_choice *choice)
{
	const char *first = NULL, *problem = NULL;

	*choice = (struct mode_choice){.mode = want};
	if (want != BRIDGE_MODE_AUTO) {
		problem = mode_problem(f, want);
		if (problem)
			return impossible(f, want, problem);
		if (want != BRIDGE_ZERO_COPY)
			snprintf(choice->why, sizeof(choice->why), "asked for with --mode=%s",
				 mode_name(want));
		return 0;
	}
	for (enum bridge_mode m = BRIDGE_ZERO_COPY; m < BRIDGE_NMODES; m++) {
		problem = mode_problem(f, m);
		if (!problem) {
			choice->mode = m;
			if (first)
				snprintf(choice->why, sizeof(choice->why), "%s", first);
			return 0;
		}
		if (!first)
			first = problem;
	}
	return impossible(f, want, first);
}
