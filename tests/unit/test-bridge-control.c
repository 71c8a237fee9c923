/* SPDX-License-Identifier: MIT */
/* Commands to the driver (bridge/control.h), over a link that is a driver of ours. */
#include "config.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/control.h"
#include "bridge/dead_device.h"
#include "common/log.h"

/* A driver that notes the last command, and answers as it is told. */
struct driver {
	int answer;
	const void *reply; /* put in the command's buffer */
	size_t reply_len;
	pthread_mutex_t gate; /* held by a test that makes it hang */

	unsigned calls, closed;
	uint32_t op;
	struct ublksrv_ctrl_cmd cmd;
	unsigned char given[256]; /* the buffer as it came */
};

static char last[1024];

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg, (void)level;
	snprintf(last, sizeof(last), "%s", message);
}

static int driver_run(void *arg, uint32_t op, const struct ublksrv_ctrl_cmd *cmd)
{
	struct driver *d = arg;

	pthread_mutex_lock(&d->gate);
	d->calls++;
	d->op = op;
	d->cmd = *cmd;
	if (cmd->addr)
		memcpy(d->given, (const void *)(uintptr_t)cmd->addr,
		       cmd->len < sizeof(d->given) ? cmd->len : sizeof(d->given));
	if (d->reply)
		memcpy((void *)(uintptr_t)cmd->addr, d->reply, d->reply_len);
	pthread_mutex_unlock(&d->gate);
	return d->answer;
}

static void driver_close(void *arg)
{
	((struct driver *)arg)->closed++;
}

static const struct control_link_ops ops = {.run = driver_run, .close = driver_close};

static struct control *connect_to(struct driver *d, unsigned patience)
{
	struct control *c;

	*d = (struct driver){.answer = 0};
	pthread_mutex_init(&d->gate, NULL);
	last[0] = '\0';
	assert_int_equal(control_new(&ops, d, patience, &c), 0);
	return c;
}

static void disconnect(struct control *c, struct driver *d)
{
	control_close(c);
	assert_int_equal(d->closed, 1);
	pthread_mutex_destroy(&d->gate);
}

/* The numbers of commands, from Documentation/block/ublk.rst and the kernel's header. */
static void test_numbers(void **state)
{
	(void)state;
	assert_int_equal(UBLK_U_CMD_GET_FEATURES, 0x80207513);
	assert_int_equal(UBLK_U_CMD_ADD_DEV, 0xc0207504);
	assert_int_equal(UBLK_U_CMD_DEL_DEV, 0xc0207505);
	assert_int_equal(UBLK_U_CMD_START_DEV, 0xc0207506);
	assert_int_equal(UBLK_U_CMD_STOP_DEV, 0xc0207507);
	assert_int_equal(UBLK_U_CMD_SET_PARAMS, 0xc0207508);
	assert_int_equal(UBLK_U_CMD_GET_PARAMS, 0x80207509);
	assert_int_equal(UBLK_U_CMD_GET_DEV_INFO, 0x80207502);
	assert_int_equal(UBLK_U_CMD_GET_QUEUE_AFFINITY, 0x80207501);
	assert_int_equal(UBLK_U_CMD_DEL_DEV_ASYNC, 0x80207514);
	assert_int_equal(UBLK_U_CMD_UPDATE_SIZE, 0xc0207515);
	assert_int_equal(UBLK_U_CMD_TRY_STOP_DEV, 0xc0207517);
	assert_int_equal(UBLK_U_CMD_START_USER_RECOVERY, 0xc0207510);
	assert_int_equal(UBLK_U_CMD_END_USER_RECOVERY, 0xc0207511);
	assert_int_equal(UBLK_U_CMD_QUIESCE_DEV, 0xc0207516);
	assert_int_equal(UBLK_U_IO_FETCH_REQ, 0xc0107520);
	assert_int_equal(UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0xc0107521);
	assert_int_equal(UBLK_U_IO_REGISTER_IO_BUF, 0xc0107523);
	assert_int_equal(UBLK_U_IO_UNREGISTER_IO_BUF, 0xc0107524);
	assert_int_equal(ublk_user_copy_pos(0, 0, 0), 0x80000000);
	assert_int_equal(ublk_user_copy_pos(3, 5, 7), 0x80000000 + (3ull << 41) + (5ull << 25) + 7);
	assert_int_equal(ublk_auto_buf_reg_addr(0x1234, UBLK_AUTO_BUF_REG_FALLBACK), 0x11234);
}

static void test_features(void **state)
{
	static const struct {
		int answer;
		errint_t err;
	} answers[] = {
		{-EPERM, -EACCES},   {-EOPNOTSUPP, -ENOTSUP},
		{-EINVAL, -ENOTSUP}, {-ENODEV, -ENOTSUP},
		{-EIO, -EIO},
	};
	const uint64_t has = 0x1fffff;
	struct driver d;
	struct control *c = connect_to(&d, 0);
	uint64_t features = 0;

	(void)state;
	d.reply = &has;
	d.reply_len = sizeof(has);
	assert_int_equal(control_features(c, &features), 0);
	assert_int_equal(features, has);
	assert_int_equal(d.op, UBLK_U_CMD_GET_FEATURES);
	assert_int_equal(d.cmd.len, UBLK_FEATURES_LEN);
	features = 5;
	for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		d.answer = answers[i].answer;
		assert_int_equal(control_features(c, &features), answers[i].err);
	}
	assert_int_equal(features, 5);
	assert_string_equal(last, "");
	disconnect(c, &d);
}

static void test_add(void **state)
{
	const struct ublksrv_ctrl_dev_info made = {.dev_id = 7, .nr_hw_queues = 2, .flags = 0x40};
	struct ublksrv_ctrl_dev_info info = {.dev_id = UINT32_MAX, .nr_hw_queues = 4};
	struct driver d;
	struct control *c = connect_to(&d, 0);

	(void)state;
	d.reply = &made;
	d.reply_len = sizeof(made);
	assert_int_equal(control_add(c, &info), 0);
	assert_memory_equal(&info, &made, sizeof(made));
	assert_int_equal(d.op, UBLK_U_CMD_ADD_DEV);
	assert_int_equal(d.cmd.dev_id, UINT32_MAX);
	assert_int_equal(d.cmd.queue_id, UINT16_MAX);
	assert_int_equal(d.cmd.len, 64);
	assert_int_equal(((struct ublksrv_ctrl_dev_info *)(void *)d.given)->nr_hw_queues, 4);
	assert_string_equal(last, "");

	/* A refusal leaves the caller's struct alone. */
	d.answer = -EPERM;
	info.dev_id = 1;
	assert_int_equal(control_add(c, &info), -EPERM);
	assert_int_equal(info.dev_id, 1);
	assert_non_null(strstr(last, "root"));
	d.answer = -EINVAL;
	assert_int_equal(control_add(c, &info), -EINVAL);
	assert_non_null(strstr(last, "--mode"));
	d.answer = -ENOSPC;
	assert_int_equal(control_add(c, &info), -ENOSPC);
	assert_non_null(strstr(last, "too many"));
	disconnect(c, &d);
}

static void test_params(void **state)
{
	const struct ublk_params p = {.len = sizeof(p), .types = 3, .basic.dev_sectors = 99};
	struct ublk_params got;
	struct driver d;
	struct control *c = connect_to(&d, 0);

	(void)state;
	assert_int_equal(control_set_params(c, 3, &p), 0);
	assert_int_equal(d.op, UBLK_U_CMD_SET_PARAMS);
	assert_int_equal(d.cmd.dev_id, 3);
	assert_int_equal(d.cmd.len, sizeof(p));
	assert_memory_equal(d.given, &p, sizeof(p));
	d.reply = &p;
	d.reply_len = sizeof(p);
	assert_int_equal(control_get_params(c, 3, &got), 0);
	assert_int_equal(*(uint32_t *)(void *)d.given, sizeof(p)); /* the driver reads len */
	assert_memory_equal(&got, &p, sizeof(p));
	disconnect(c, &d);
}

static bool nobody(int32_t pid)
{
	(void)pid;
	return false;
}

static bool only_5(int32_t pid)
{
	return pid == 5;
}

/* Which devices may be deleted because their bridge was killed. */
static void test_dead(void **state)
{
	struct ublksrv_ctrl_dev_info info = {.state = UBLK_S_DEV_DEAD,
					     .ublksrv_flags = dead_device_mark(5)};
	struct ublksrv_ctrl_dev_info got;
	struct driver d;
	struct control *c = connect_to(&d, 0);

	(void)state;
	d.reply = &info;
	d.reply_len = sizeof(info);
	assert_int_equal(control_find(c, 3, &got), 0);
	assert_int_equal(d.op, UBLK_U_CMD_GET_DEV_INFO);
	assert_memory_equal(&got, &info, sizeof(info));
	d.answer = -ENODEV;
	assert_int_equal(control_find(c, 3, &got), -ENODEV);
	assert_string_equal(last, "");
	disconnect(c, &d);

	assert_true(dead_device_is(&info, nobody));
	assert_false(dead_device_is(&info, only_5)); /* its bridge is about to start it */
	info.state = UBLK_S_DEV_LIVE;
	assert_false(dead_device_is(&info, nobody));
	info.state = UBLK_S_DEV_DEAD;
	info.ublksrv_flags = 5; /* another server's */
	assert_false(dead_device_is(&info, nobody));
	info.ublksrv_flags = 0;
	assert_false(dead_device_is(&info, nobody));
}

/* The commands without a buffer, and what they carry instead. */
static void test_plain(void **state)
{
	struct driver d;
	struct control *c = connect_to(&d, 0);
	uint64_t mask[16];

	(void)state;
	assert_int_equal(control_start(c, 9), 0);
	assert_int_equal(d.op, UBLK_U_CMD_START_DEV);
	assert_int_equal(d.cmd.dev_id, 9);
	assert_int_equal(d.cmd.data[0], getpid());
	assert_int_equal(d.cmd.addr, 0);
	assert_int_equal(control_stop(c, 9, false), 0);
	assert_int_equal(d.op, UBLK_U_CMD_STOP_DEV);
	assert_int_equal(control_stop(c, 9, true), 0);
	assert_int_equal(d.op, UBLK_U_CMD_TRY_STOP_DEV);
	assert_int_equal(control_delete(c, 9), 0);
	assert_int_equal(d.op, UBLK_U_CMD_DEL_DEV_ASYNC);
	assert_int_equal(control_update_size(c, 9, 1 << 20), 0);
	assert_int_equal(d.op, UBLK_U_CMD_UPDATE_SIZE);
	assert_int_equal(d.cmd.data[0], 2048);
	assert_int_equal(control_affinity(c, 9, 5, mask, sizeof(mask)), 0);
	assert_int_equal(d.op, UBLK_U_CMD_GET_QUEUE_AFFINITY);
	assert_int_equal(d.cmd.data[0], 5);
	assert_int_equal(control_start_recovery(c, 9), 0);
	assert_int_equal(d.op, UBLK_U_CMD_START_USER_RECOVERY);
	assert_int_equal(d.cmd.dev_id, 9);
	assert_int_equal(control_end_recovery(c, 9), 0);
	assert_int_equal(d.op, UBLK_U_CMD_END_USER_RECOVERY);
	assert_int_equal(d.cmd.data[0], getpid());
	assert_int_equal(control_quiesce(c, 9, 1234), 0);
	assert_int_equal(d.op, UBLK_U_CMD_QUIESCE_DEV);
	assert_int_equal(d.cmd.data[0], 1234);
	assert_int_equal(d.calls, 9);

	d.answer = -EBUSY;
	assert_int_equal(control_stop(c, 9, true), -EBUSY);
	assert_string_equal(last, "");
	assert_int_equal(control_stop(c, 9, false), -EBUSY);
	assert_non_null(strstr(last, "cannot stop the ublk device 9"));
	last[0] = '\0';
	assert_int_equal(control_start_recovery(c, 9), -EBUSY); /* to be tried again */
	assert_string_equal(last, "");
	assert_int_equal(control_quiesce(c, 9, 1), -EBUSY);
	assert_non_null(strstr(last, "cannot quiesce the ublk device 9"));
	d.answer = -EINVAL;
	assert_int_equal(control_start_recovery(c, 9), -EINVAL);
	assert_non_null(strstr(last, "cannot begin to take back the ublk device 9"));
	disconnect(c, &d);
}

/* A driver that never answers: the caller gets away in time, and so does whoever comes after. */
static void test_stuck(void **state)
{
	struct ublksrv_ctrl_dev_info info = {.dev_id = UINT32_MAX};
	static struct driver d; /* what is left behind still uses it */
	struct control *c = connect_to(&d, 1);
	struct timespec began, ended;
	unsigned tries = 0;

	(void)state;
	pthread_mutex_lock(&d.gate);
	clock_gettime(CLOCK_MONOTONIC, &began);
	assert_int_equal(control_add(c, &info), -ETIMEDOUT);
	assert_non_null(strstr(last, "cannot add a ublk device: no answer in 1 s"));
	assert_non_null(strstr(last, "dmesg"));
	last[0] = '\0';
	assert_int_equal(control_start(c, 1), -ETIMEDOUT);
	assert_string_equal(last, "");
	control_close(c);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	assert_in_range(ended.tv_sec - began.tv_sec, 0, 3);
	assert_int_equal(d.calls, 0);

	/* It comes back after all, and finds its memory where it was. */
	pthread_mutex_unlock(&d.gate);
	while (tries++ < 1000) {
		unsigned calls;

		pthread_mutex_lock(&d.gate);
		calls = d.calls;
		pthread_mutex_unlock(&d.gate);
		if (calls)
			break;
		usleep(10000);
	}
	assert_int_equal(d.calls, 1);
	assert_int_equal(d.closed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_features),
		cmocka_unit_test(test_add),	cmocka_unit_test(test_params),
		cmocka_unit_test(test_plain),	cmocka_unit_test(test_stuck),
		cmocka_unit_test(test_dead),
	};

	log_set_sink(keep, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
