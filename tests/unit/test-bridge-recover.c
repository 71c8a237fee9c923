/* SPDX-License-Identifier: MIT */
/* Decisions about devices whose bridge has died, with a driver of ours: bridge/ublk_recover.c,
 * bridge/awaiting.c, bridge/supervisor.c. */
#include "config.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/awaiting.h"
#include "bridge/control.h"
#include "bridge/dead_device.h"
#include "bridge/supervisor.h"
#include "bridge/ublk_device.h"
#include "common/log.h"

#define MARK dead_device_mark(4711)

static char last[1024];

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	snprintf(last, sizeof(last), "%s", message);
}

/* ---- waiting for the former server ------------------------------------------------------- */

/* A driver with one device, which is busy for some calls. */
struct driver {
	struct ublksrv_ctrl_dev_info info;
	unsigned busy;	 /* START_USER_RECOVERY is refused that often */
	unsigned dies;	 /* it is then, after so many, that the device is stopped; 0: never */
	unsigned starts; /* calls of it */
	int find;	 /* result of GET_DEV_INFO */
};

static int driver_run(void *arg, uint32_t op, const struct ublksrv_ctrl_cmd *cmd)
{
	struct driver *d = arg;

	switch (op) {
	case UBLK_U_CMD_GET_DEV_INFO:
		memcpy((void *)(uintptr_t)cmd->addr, &d->info, sizeof(d->info));
		return d->find;
	case UBLK_U_CMD_START_USER_RECOVERY:
		assert_int_equal(cmd->dev_id, 3);
		d->starts++;
		if (d->starts == d->dies)
			d->info.state = UBLK_S_DEV_DEAD;
		return d->starts <= d->busy ? -EBUSY : 0;
	default:
		return -EOPNOTSUPP;
	}
}

static void driver_close(void *arg)
{
	(void)arg;
}

static const struct control_link_ops ops = {.run = driver_run, .close = driver_close};

static const struct driver quiesced = {
	.info = {.state = UBLK_S_DEV_QUIESCED,
		 .dev_id = 3,
		 .flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE},
};

static errint_t wait_for(struct driver *d)
{
	struct control *c;
	errint_t err;

	last[0] = '\0';
	d->info.ublksrv_flags = d->info.ublksrv_flags ? d->info.ublksrv_flags : MARK;
	assert_int_equal(control_new(&ops, d, 0, &c), 0);
	err = ublk_device_wait_quiesced(c, UBLK_F_SUPPORT_ZERO_COPY, 3, MARK);
	control_close(c);
	return err;
}

static void test_wait(void **state)
{
	struct driver d = quiesced;

	(void)state;
	assert_int_equal(wait_for(&d), 0);
	assert_int_equal(d.starts, 1);
	assert_string_equal(last, "");

	/* The driver has not noticed yet: the device looks as if it was served. */
	d = quiesced;
	d.info.state = UBLK_S_DEV_LIVE;
	d.busy = 7;
	assert_int_equal(wait_for(&d), 0);
	assert_int_equal(d.starts, 8);
	assert_string_equal(last, "");

	/* It goes away meanwhile. */
	d = quiesced;
	d.busy = 1000;
	d.dies = 3;
	assert_int_equal(wait_for(&d), -ENODEV);
	assert_int_equal(d.starts, 3);
	assert_non_null(strstr(last, "/dev/ublkb3 is gone"));
	d = quiesced;
	d.find = -ENODEV;
	assert_int_equal(wait_for(&d), -ENODEV);
	assert_int_equal(d.starts, 0);

	/* Another one has its number. */
	d = quiesced;
	d.info.ublksrv_flags = MARK + 1;
	assert_int_equal(wait_for(&d), -ENODEV);
	assert_int_equal(d.starts, 0);

	/* Without both flags requests would be lost. */
	d = quiesced;
	d.info.flags = UBLK_F_USER_RECOVERY;
	assert_int_equal(wait_for(&d), -ENOTSUP);
	assert_int_equal(d.starts, 0);
	d = quiesced;
	d.find = -EIO;
	assert_int_equal(wait_for(&d), -EIO);
}

static void test_features(void **state)
{
	(void)state;
	assert_true(ublk_device_can_recover(0x1fe)); /* 6.12 */
	assert_true(ublk_device_can_recover(0x7fff));
	assert_false(ublk_device_can_recover(UBLK_F_USER_RECOVERY));
	assert_false(ublk_device_can_recover(0));
}

/* ---- what is to be done with a device ---------------------------------------------------- */

static void test_judge(void **state)
{
	static struct device_state s;
	struct ublksrv_ctrl_dev_info info = {.state = UBLK_S_DEV_QUIESCED, .ublksrv_flags = MARK};

	(void)state;
	s.mark = MARK;
	assert_int_equal(awaiting_judge(&s, 0, false, &info), AWAITING_YES);
	info.state = UBLK_S_DEV_LIVE; /* its bridge is just dying */
	assert_int_equal(awaiting_judge(&s, 0, false, &info), AWAITING_YES);
	info.state = UBLK_S_DEV_DEAD;
	assert_int_equal(awaiting_judge(&s, 0, false, &info), AWAITING_DEAD);
	assert_int_equal(awaiting_judge(&s, -ENODEV, false, &info), AWAITING_NOT);
	assert_int_equal(awaiting_judge(&s, -ENODEV, true, &info), AWAITING_NOT);
	assert_int_equal(awaiting_judge(&s, -ENOENT, false, &info), AWAITING_NOT);
	/* The driver is not to be seen here, but the device is. */
	assert_int_equal(awaiting_judge(&s, -ENOENT, true, &info), AWAITING_YES);
	/* Nothing is removed because nobody may ask. */
	assert_int_equal(awaiting_judge(&s, -EACCES, false, &info), AWAITING_YES);
	assert_int_equal(awaiting_judge(&s, -ETIMEDOUT, false, &info), AWAITING_YES);
	info.ublksrv_flags = MARK + 1;
	assert_int_equal(awaiting_judge(&s, 0, false, &info), AWAITING_NOT);
}

/* ---- starting again ---------------------------------------------------------------------- */

static void test_budget(void **state)
{
	struct supervisor_budget b = {.used = 0};

	(void)state;
	for (int64_t i = 0; i < SUPERVISOR_STARTS; i++)
		assert_true(supervisor_may_start(&b, 1000 + i));
	assert_false(supervisor_may_start(&b, 1005));
	assert_false(supervisor_may_start(&b, 1000 + SUPERVISOR_SECONDS - 1));
	/* The oldest is forgotten, one for one. */
	assert_true(supervisor_may_start(&b, 1000 + SUPERVISOR_SECONDS));
	assert_false(supervisor_may_start(&b, 1000 + SUPERVISOR_SECONDS));
	assert_true(supervisor_may_start(&b, 1001 + SUPERVISOR_SECONDS));
	/* One death an hour is no reason to give up. */
	for (int64_t i = 1; i < 100; i++)
		assert_true(supervisor_may_start(&b, 1000 + i * 3600));
}

struct child {
	int how; /* a signal; 0: it ends; -1: with an error */
	unsigned *runs;
	unsigned started;
};

static errint_t child_run(void *arg, const struct device_state *takeover)
{
	struct child *c = arg;

	(void)takeover;
	++*c->runs;
	if (c->how > 0)
		raise(c->how);
	return c->how ? -EIO : 0;
}

static void child_started(void *arg)
{
	((struct child *)arg)->started++;
}

/* The device that the first one has left stays the same, whatever the others come to. */
static errint_t find_device(pid_t child, const struct device_state *before,
			    struct device_state **out)
{
	assert_true(child > 0);
	if (before)
		assert_int_equal(before->mark, MARK);
	*out = calloc(1, sizeof(**out));
	assert_non_null(*out);
	(*out)->mark = MARK;
	strcpy((*out)->device, "/dev/ublkb3");
	return 0;
}

/* One that dies while it takes the device back is started again too, but not for ever. */
static void test_supervisor_again(void **state)
{
	unsigned *runs = mmap(NULL, sizeof(*runs), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child c = {.runs = runs, .how = SIGKILL};
	const struct supervised s = {
		.run = child_run, .started = child_started, .find = find_device, .arg = &c};

	(void)state;
	assert_ptr_not_equal(runs, MAP_FAILED);
	assert_int_equal(supervisor_run(&s), -EAGAIN);
	assert_int_equal(*runs, 1 + SUPERVISOR_STARTS);
	munmap(runs, sizeof(*runs));
}

/* An orderly end is not made up for, nor a death that has left no device. */
static void test_supervisor(void **state)
{
	char dir[] = "/tmp/ublk-img-supervisor.XXXXXX";
	unsigned *runs = mmap(NULL, sizeof(*runs), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child c = {.runs = runs};
	const struct supervised s = {
		.run = child_run, .started = child_started, .find = awaiting_find_left, .arg = &c};

	(void)state;
	assert_ptr_not_equal(runs, MAP_FAILED);
	assert_non_null(mkdtemp(dir));
	setenv("UBLK_IMG_RUNTIME_DIR", dir, 1);
	assert_int_equal(supervisor_run(&s), 0);
	c.how = -1;
	assert_int_not_equal(supervisor_run(&s), 0);
	c.how = SIGKILL;
	assert_int_equal(supervisor_run(&s), -ENOENT);
	assert_non_null(strstr(last, "has died by signal 9, and left no device"));
	assert_int_equal(*runs, 3);
	assert_int_equal(c.started, 3);
	munmap(runs, sizeof(*runs));
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wait),	   cmocka_unit_test(test_features),
		cmocka_unit_test(test_judge),	   cmocka_unit_test(test_budget),
		cmocka_unit_test(test_supervisor), cmocka_unit_test(test_supervisor_again),
	};

	log_set_sink(keep, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
