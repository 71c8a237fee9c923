/* SPDX-License-Identifier: MIT */
/*
 * Commands and the thread that runs them.  The thread only ever touches the connection, which
 * outlives it: a command's buffer is part of the connection, so a command that comes back after its
 * caller gave up writes to memory that is still there.
 */
#include "config.h"

#include "bridge/control.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bridge/control_link.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	BUFFER_MAX = 1024, /* bytes: params, info, or a mask of 8192 processors */
};

/* What there is to say about a command.  @waits: for what the user may have to look at. */
struct command {
	const char *what;
	uint32_t op;
	unsigned seconds;
	const char *waits;
};

enum command_id {
	FEATURES,
	ADD,
	SET_PARAMS,
	GET_PARAMS,
	GET_INFO,
	AFFINITY,
	START,
	STOP,
	TRY_STOP,
	DELETE,
	UPDATE_SIZE,
	START_RECOVERY,
	END_RECOVERY,
	QUIESCE,
};

static const char stuck_driver[] =
	"some kernels (6.17, 6.18.4, 6.18.5) hang in it; look at dmesg, restart with another "
	"kernel, or use \"ublk-img mount\"";

static const struct command commands[] = {
	[FEATURES] = {"ask for the features of the ublk driver", UBLK_U_CMD_GET_FEATURES, 10,
		      stuck_driver},
	[ADD] = {"add a ublk device", UBLK_U_CMD_ADD_DEV, 20, stuck_driver},
	[SET_PARAMS] = {"set the parameters of the ublk device", UBLK_U_CMD_SET_PARAMS, 10,
			stuck_driver},
	[GET_PARAMS] = {"get the parameters of the ublk device", UBLK_U_CMD_GET_PARAMS, 10,
			stuck_driver},
	[GET_INFO] = {"get the state of the ublk device", UBLK_U_CMD_GET_DEV_INFO, 10,
		      stuck_driver},
	[AFFINITY] = {"get the processors of a queue", UBLK_U_CMD_GET_QUEUE_AFFINITY, 10,
		      stuck_driver},
	[START] = {"start the ublk device", UBLK_U_CMD_START_DEV, 30,
		   "it waits for requests on the new device, such as reading the partition table"},
	[STOP] = {"stop the ublk device", UBLK_U_CMD_STOP_DEV, 120,
		  "it waits until what is cached for the device is written"},
	[TRY_STOP] = {"stop the ublk device", UBLK_U_CMD_TRY_STOP_DEV, 120,
		      "it waits until what is cached for the device is written"},
	[DELETE] = {"delete the ublk device", UBLK_U_CMD_DEL_DEV_ASYNC, 30, stuck_driver},
	[UPDATE_SIZE] = {"change the size of the ublk device", UBLK_U_CMD_UPDATE_SIZE, 10,
			 stuck_driver},
	[START_RECOVERY] = {"begin to take back the ublk device", UBLK_U_CMD_START_USER_RECOVERY,
			    60,
			    "it waits for what its former server had under way; try again later"},
	[END_RECOVERY] = {"take back the ublk device", UBLK_U_CMD_END_USER_RECOVERY, 30,
			  stuck_driver},
	[QUIESCE] = {"quiesce the ublk device", UBLK_U_CMD_QUIESCE_DEV, 30,
		     "it waits for requests that are under way"},
};

struct control {
	const struct control_link_ops *ops;
	void *link;	   /* the thread's, and control_close()'s after it ended */
	unsigned patience; /* seconds; 0: by command */
	pthread_t thread;

	pthread_mutex_t lock; /* protects all that follows */
	pthread_cond_t changed;
	bool posted; /* a command is to be run, or running */
	bool quit;
	bool stuck;  /* a caller gave up; the thread may still be in the kernel */
	uint32_t op; /* of the command, while posted: the thread's */
	struct ublksrv_ctrl_cmd cmd;
	int result;
	_Alignas(8) unsigned char buffer[BUFFER_MAX];
};

/* --- the thread ---------------------------------------------------------------------------------
 */

static void *run_commands(void *arg)
{
	struct control *c = arg;

	pthread_mutex_lock(&c->lock);
	while (!c->quit) {
		int result;

		if (!c->posted) {
			pthread_cond_wait(&c->changed, &c->lock);
			continue;
		}
		pthread_mutex_unlock(&c->lock);
		result = c->ops->run(c->link, c->op, &c->cmd);
		pthread_mutex_lock(&c->lock);
		c->result = result;
		c->posted = false;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* False when the thread did not do it in time.  Lock held. */
static bool wait_done(struct control *c, unsigned seconds)
{
	const struct timespec until = clock_after_ms(seconds * 1000ull);

	while (c->posted)
		if (pthread_cond_timedwait(&c->changed, &c->lock, &until) == ETIMEDOUT)
			return !c->posted;
	return true;
}

/* --- commands -----------------------------------------------------------------------------------
 */

/*
 * Runs command @id on device @dev; @in and @out are its buffer before and after, either may be
 * NULL.  Without a message, but for a command that is stuck.
 */
static errint_t run(struct control *c, enum command_id id, uint32_t dev, uint64_t data,
		    const void *in, void *out, size_t len)
{
	const struct command *cmd = &commands[id];
	unsigned seconds = c->patience ? c->patience : cmd->seconds;

	assert(len <= BUFFER_MAX && len % 8 == 0);
	SCOPED_LOCK(&c->lock);
	if (c->stuck)
		return -ETIMEDOUT;
	assert(!c->posted);
	if (in)
		memcpy(c->buffer, in, len);
	else
		memset(c->buffer, 0, sizeof(c->buffer));
	c->cmd = (struct ublksrv_ctrl_cmd){
		.dev_id = dev,
		.queue_id = UINT16_MAX,
		.len = (uint16_t)len,
		.addr = len ? (uintptr_t)c->buffer : 0,
		.data = {data},
	};
	c->op = cmd->op;
	c->posted = true;
	pthread_cond_broadcast(&c->changed);
	if (!wait_done(c, seconds)) {
		c->stuck = true;
		return log_fail(-ETIMEDOUT, "cannot %s: no answer in %u s; %s", cmd->what, seconds,
				cmd->waits);
	}
	if (out && c->result >= 0)
		memcpy(out, c->buffer, len);
	return c->result < 0 ? c->result : 0;
}

/* What the user can do about @err; NULL: nothing that is known here. */
static const char *advice(enum command_id id, errint_t err)
{
	switch (err) {
	case -EPERM:
	case -EACCES:
		return "run this command as root";
	case -ENOSPC:
		return "there are too many ublk devices; detach some";
	case -ENODEV:
		return "somebody else deleted the device";
	case -EINVAL:
		return id == ADD || id == SET_PARAMS ? "the driver refuses what was asked for; "
						       "try another --mode"
						     : NULL;
	default:
		return NULL;
	}
}

static errint_t failed(enum command_id id, uint32_t dev, errint_t err)
{
	const char *what = commands[id].what, *hint = advice(id, err);

	if (err == -ETIMEDOUT)
		return err; /* said when it happened */
	if (id == ADD)
		return hint ? log_err(err, "cannot %s (%s)", what, hint)
			    : log_err(err, "cannot %s", what);
	return hint ? log_err(err, "cannot %s %" PRIu32 " (%s)", what, dev, hint)
		    : log_err(err, "cannot %s %" PRIu32, what, dev);
}

errint_t control_features(struct control *c, uint64_t *features)
{
	errint_t err = run(c, FEATURES, 0, 0, NULL, features, UBLK_FEATURES_LEN);

	switch (err) {
	case -EPERM:
		return -EACCES;
	case -EOPNOTSUPP: /* before Linux 6.5 */
	case -EINVAL:
	case -ENODEV:
		return -ENOTSUP;
	default:
		return err;
	}
}

errint_t control_add(struct control *c, struct ublksrv_ctrl_dev_info *info)
{
	errint_t err = run(c, ADD, info->dev_id, 0, info, info, sizeof(*info));

	return err ? failed(ADD, info->dev_id, err) : 0;
}

errint_t control_set_params(struct control *c, uint32_t id, const struct ublk_params *p)
{
	errint_t err = run(c, SET_PARAMS, id, 0, p, NULL, sizeof(*p));

	return err ? failed(SET_PARAMS, id, err) : 0;
}

errint_t control_get_params(struct control *c, uint32_t id, struct ublk_params *p)
{
	const struct ublk_params ask = {.len = sizeof(ask)};
	errint_t err = run(c, GET_PARAMS, id, 0, &ask, p, sizeof(*p));

	return err ? failed(GET_PARAMS, id, err) : 0;
}

errint_t control_find(struct control *c, uint32_t id, struct ublksrv_ctrl_dev_info *info)
{
	return run(c, GET_INFO, id, 0, NULL, info, sizeof(*info));
}

errint_t control_affinity(struct control *c, uint32_t id, unsigned queue, void *mask, size_t len)
{
	return run(c, AFFINITY, id, queue, NULL, mask, len);
}

errint_t control_start(struct control *c, uint32_t id)
{
	errint_t err = run(c, START, id, (uint64_t)getpid(), NULL, NULL, 0);

	return err ? failed(START, id, err) : 0;
}

errint_t control_stop(struct control *c, uint32_t id, bool idle_only)
{
	enum command_id cmd = idle_only ? TRY_STOP : STOP;
	errint_t err = run(c, cmd, id, 0, NULL, NULL, 0);

	if (!err || (idle_only && err == -EBUSY))
		return err;
	return failed(cmd, id, err);
}

errint_t control_delete(struct control *c, uint32_t id)
{
	errint_t err = run(c, DELETE, id, 0, NULL, NULL, 0);

	return err ? failed(DELETE, id, err) : 0;
}

errint_t control_update_size(struct control *c, uint32_t id, uint64_t bytes)
{
	errint_t err = run(c, UPDATE_SIZE, id, bytes / 512, NULL, NULL, 0);

	return err ? failed(UPDATE_SIZE, id, err) : 0;
}

errint_t control_start_recovery(struct control *c, uint32_t id)
{
	errint_t err = run(c, START_RECOVERY, id, 0, NULL, NULL, 0);

	return err && err != -EBUSY ? failed(START_RECOVERY, id, err) : err;
}

errint_t control_end_recovery(struct control *c, uint32_t id)
{
	errint_t err = run(c, END_RECOVERY, id, (uint64_t)getpid(), NULL, NULL, 0);

	return err ? failed(END_RECOVERY, id, err) : 0;
}

errint_t control_quiesce(struct control *c, uint32_t id, unsigned ms)
{
	errint_t err = run(c, QUIESCE, id, ms, NULL, NULL, 0);

	return err ? failed(QUIESCE, id, err) : 0;
}

/* --- connections --------------------------------------------------------------------------------
 */

errint_t control_new(const struct control_link_ops *ops, void *link, unsigned patience,
		     struct control **out)
{
	CLEANUP(free) struct control *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	int error;

	if (!c)
		return log_err(-ENOMEM, "cannot connect to the ublk driver");
	*c = (struct control){.ops = ops, .link = link, .patience = patience};
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	pthread_condattr_destroy(&attr);
	error = pthread_create(&c->thread, NULL, run_commands, c);
	if (error) {
		pthread_cond_destroy(&c->changed);
		pthread_mutex_destroy(&c->lock);
		return log_err(-error, "cannot start a thread for the ublk driver");
	}
	*out = steal_pointer(&c);
	return 0;
}

/* The thread is in the kernel, who knows how long: it and what it uses stay behind. */
static void leave_behind(struct control *c)
{
	c->quit = true;
	pthread_detach(c->thread);
}

void control_close(struct control *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	if (c->stuck) {
		leave_behind(c);
		pthread_mutex_unlock(&c->lock);
		return;
	}
	c->quit = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	c->ops->close(c->link);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

errint_t control_open(struct control **out, uint64_t *features)
{
	struct control *c;
	void *link;
	errint_t err = control_link_open(&link);

	if (err)
		return err;
	err = control_new(&control_link_uring, link, 0, &c);
	if (err) {
		control_link_uring.close(link);
		return err;
	}
	err = control_features(c, features);
	if (err) {
		control_close(c);
		return err;
	}
	*out = c;
	return 0;
}
