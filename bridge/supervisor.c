/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/supervisor.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

bool supervisor_may_start(struct supervisor_budget *b, int64_t now)
{
	int64_t oldest = b->at[b->next];

	if (b->used == SUPERVISOR_STARTS && now - oldest < SUPERVISOR_SECONDS)
		return false;
	b->at[b->next] = now;
	b->next = (b->next + 1) % SUPERVISOR_STARTS;
	if (b->used < SUPERVISOR_STARTS)
		b->used++;
	return true;
}

static errint_t start(const struct supervised *s, const struct device_state *takeover, pid_t *child)
{
	*child = fork();
	if (*child < 0)
		return log_errno("cannot start a bridge");
	if (*child == 0)
		_exit(s->run(s->arg, takeover) ? EXIT_FAILURE : EXIT_SUCCESS);
	return 0;
}

/* True: it has died, and @state is its device's, which can be taken back.  It was to take back
 * *@state, if not NULL. */
static bool wait_dead(const struct supervised *s, pid_t child, struct device_state **state,
		      errint_t *result)
{
	CLEANUP(free) struct device_state *before = *state;
	int status = 0;

	*state = NULL;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFSIGNALED(status)) {
		*result = WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
		return false;
	}
	*result = s->find(child, before, state);
	if (*result == -ENOENT)
		log_warn("the bridge (pid %ld) has died by signal %d, and left no device that "
			 "could be recovered",
			 (long)child, WTERMSIG(status));
	else if (!*result)
		log_warn("the bridge of %s (pid %ld) has died by signal %d", (*state)->device,
			 (long)child, WTERMSIG(status));
	return !*result;
}

errint_t supervisor_run(const struct supervised *s)
{
	CLEANUP(free) struct device_state *state = NULL;
	struct supervisor_budget budget = {.used = 0};
	errint_t err;
	pid_t child;

	prctl(PR_SET_NAME, "ublk-supervisor");
	/* What is needed to start it again may be on its device. */
	(void)mlockall(MCL_CURRENT);
	err = start(s, NULL, &child);
	s->started(s->arg);
	while (!err && wait_dead(s, child, &state, &err)) {
		if (!supervisor_may_start(&budget, (int64_t)(clock_ms() / 1000)))
			return log_fail(-EAGAIN,
					"%s: its bridge has died %d times within %d seconds and is "
					"not started again; \"ublk-img recover %s\" does",
					state->device, SUPERVISOR_STARTS + 1, SUPERVISOR_SECONDS,
					state->device);
		err = start(s, state, &child);
	}
	return err;
}
