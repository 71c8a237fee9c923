/* SPDX-License-Identifier: MIT */
/* Which way a device is served (bridge/mode.h): the kernels that there are, and every fault. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bridge/mode.h"
#include "bridge/ublk_abi.h"
#include "common/log.h"

/* What the drivers of these kernels answer. */
#define FEATURES_7_3  0x1fffffull
#define FEATURES_6_18 0x7fffull
#define FEATURES_6_12 0x1feull
#define FEATURES_6_15 (FEATURES_6_12 | UBLK_F_USER_RECOVERY_FAIL_IO | UBLK_F_SUPPORT_ZERO_COPY)

static char last[1024];

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	snprintf(last, sizeof(last), "%s", message);
}

static struct mode_facts kernel(uint64_t features)
{
	return (struct mode_facts){.features = features, .mem_align = 512, .stable_fd = true};
}

static void expect(const struct mode_facts *f, enum bridge_mode want, enum bridge_mode mode,
		   const char *why)
{
	struct mode_choice c;

	last[0] = '\0';
	assert_int_equal(mode_choose(f, want, &c), 0);
	assert_string_equal(last, "");
	assert_int_equal(c.mode, mode);
	if (*why)
		assert_non_null(strstr(c.why, why));
	else
		assert_string_equal(c.why, "");
}

/* The message says @problem and @advice. */
static void refuse(const struct mode_facts *f, enum bridge_mode want, errint_t err,
		   const char *problem, const char *advice)
{
	struct mode_choice c;

	last[0] = '\0';
	assert_int_equal(mode_choose(f, want, &c), err);
	assert_non_null(strstr(last, problem));
	assert_non_null(strstr(last, advice));
	if (want != BRIDGE_MODE_AUTO)
		assert_non_null(strstr(last, mode_name(want)));
}

static void test_kernels(void **state)
{
	const struct mode_facts k73 = kernel(FEATURES_7_3), k618 = kernel(FEATURES_6_18),
				k615 = kernel(FEATURES_6_15), k612 = kernel(FEATURES_6_12),
				old = kernel(UBLK_F_CMD_IOCTL_ENCODE);

	(void)state;
	expect(&k73, BRIDGE_MODE_AUTO, BRIDGE_ZERO_COPY, "");
	expect(&k618, BRIDGE_MODE_AUTO, BRIDGE_ZERO_COPY, "");
	expect(&k615, BRIDGE_MODE_AUTO, BRIDGE_ZERO_COPY_EXPLICIT, "6.16");
	expect(&k612, BRIDGE_MODE_AUTO, BRIDGE_USER_COPY, "no zero copy");
	expect(&old, BRIDGE_MODE_AUTO, BRIDGE_COPY, "no zero copy");
}

/* Any mode that is possible can be asked for. */
static void test_forced(void **state)
{
	const struct mode_facts k73 = kernel(FEATURES_7_3), k612 = kernel(FEATURES_6_12);

	(void)state;
	expect(&k73, BRIDGE_ZERO_COPY, BRIDGE_ZERO_COPY, "");
	expect(&k73, BRIDGE_ZERO_COPY_EXPLICIT, BRIDGE_ZERO_COPY_EXPLICIT, "--mode=");
	expect(&k73, BRIDGE_USER_COPY, BRIDGE_USER_COPY, "--mode=user-copy");
	expect(&k73, BRIDGE_COPY, BRIDGE_COPY, "--mode=copy");
	expect(&k73, BRIDGE_LOOP, BRIDGE_LOOP, "--mode=loop");
	refuse(&k612, BRIDGE_ZERO_COPY, -ENOTSUP, "no zero copy", "--mode=auto");
	refuse(&k612, BRIDGE_ZERO_COPY_EXPLICIT, -ENOTSUP, "no zero copy", "--mode=auto");
}

/* Without ublk: loop where that is possible, else a message that says what to do. */
static void test_no_driver(void **state)
{
	struct mode_facts f = kernel(FEATURES_7_3);

	(void)state;
	f.driver = -ENOENT;
	expect(&f, BRIDGE_MODE_AUTO, BRIDGE_LOOP, "not loaded");
	refuse(&f, BRIDGE_COPY, -ENOENT, "not loaded", "modprobe ublk_drv");
	f.loop = -ENOENT;
	refuse(&f, BRIDGE_MODE_AUTO, -ENOENT, "not loaded", "modprobe ublk_drv");
	refuse(&f, BRIDGE_LOOP, -ENOENT, "no loop driver", "modprobe loop");
	f.loop = -ENODEV;
	refuse(&f, BRIDGE_LOOP, -ENODEV, "no FUSE", "modprobe fuse");
	f.loop = -EACCES;
	refuse(&f, BRIDGE_LOOP, -EACCES, "only root", "");

	f.driver = -EACCES;
	refuse(&f, BRIDGE_MODE_AUTO, -EACCES, "only root", "sudo");
	refuse(&f, BRIDGE_ZERO_COPY, -EACCES, "only root", "sudo");

	f.driver = -ENOTSUP;
	refuse(&f, BRIDGE_MODE_AUTO, -ENOTSUP, "too old", "ublk-img mount");
	f.driver = -ENOSYS;
	refuse(&f, BRIDGE_MODE_AUTO, -ENOSYS, "kernel.io_uring_disabled", "ublk-img mount");
	f.driver = -ETIMEDOUT;
	refuse(&f, BRIDGE_MODE_AUTO, -ETIMEDOUT, "does not answer", "ublk-img mount");
}

/* The file stands in the way of zero copy, not of the rest. */
static void test_file(void **state)
{
	struct mode_facts f = kernel(FEATURES_7_3);

	(void)state;
	f.mem_align = 512;
	expect(&f, BRIDGE_MODE_AUTO, BRIDGE_ZERO_COPY, "");
	f.mem_align = 1024;
	expect(&f, BRIDGE_MODE_AUTO, BRIDGE_USER_COPY, "aligned to more than 512 bytes");
	refuse(&f, BRIDGE_ZERO_COPY, -ENOTSUP, "aligned to more than 512 bytes", "--mode=auto");
	f = kernel(FEATURES_7_3);
	f.stable_fd = false;
	expect(&f, BRIDGE_MODE_AUTO, BRIDGE_USER_COPY, "not in a file");
}

/* One bit less than a mode needs, and it is not chosen. */
static void test_each_bit(void **state)
{
	(void)state;
	for (enum bridge_mode m = 0; m < BRIDGE_LOOP; m++)
		for (unsigned bit = 0; bit < 64; bit++) {
			struct mode_facts f = kernel(mode_flags(m) & ~(1ull << bit));
			struct mode_choice c;

			if (!(mode_flags(m) >> bit & 1))
				continue;
			assert_int_not_equal(mode_choose(&f, m, &c), 0);
			assert_int_equal(mode_choose(&f, BRIDGE_MODE_AUTO, &c), 0);
			assert_true(c.mode > m);
			assert_string_not_equal(c.why, "");
		}
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned m = 0; m <= BRIDGE_MODE_AUTO; m++)
		assert_string_equal(mode_words[m], mode_name((enum bridge_mode)m));
	assert_null(mode_words[BRIDGE_MODE_AUTO + 1]);
	assert_string_equal(mode_name(BRIDGE_LOOP), "loop");
	assert_true(mode_is_zero_copy(BRIDGE_ZERO_COPY_EXPLICIT));
	assert_false(mode_is_zero_copy(BRIDGE_USER_COPY));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels),	  cmocka_unit_test(test_forced),
		cmocka_unit_test(test_no_driver), cmocka_unit_test(test_file),
		cmocka_unit_test(test_each_bit),  cmocka_unit_test(test_names),
	};

	log_set_sink(keep, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
