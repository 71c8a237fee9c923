/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/freeze.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

enum {
	/* Writing out what there is for a file system may take long. */
	FREEZE_MS = 300000,
	THAW_MS = 30000,
	KILL_MS = 5000,
};

/* What the process tells: once when all are frozen, once when they are thawed. */
struct news {
	errint_t err;
	uint32_t index; /* of the file system that the error is about */
	uint64_t frozen;
};

/* ---- the kernel's -------------------------------------------------------------------------- */

static int kernel_freeze(int fd)
{
	return ioctl(fd, FIFREEZE, 0);
}

static int kernel_thaw(int fd)
{
	return ioctl(fd, FITHAW, 0);
}

static const struct freeze_ops kernel_ops = {
	.sync = syncfs,
	.freeze = kernel_freeze,
	.thaw = kernel_thaw,
};

/* ---- both processes ------------------------------------------------------------------------ */

/* Thaws those of @frozen.  -ETIMEDOUT: one was not frozen any more. */
static void thaw(const struct freeze_opts *o, uint64_t frozen, struct news *news)
{
	for (unsigned i = o->n; i--;) {
		if (!(frozen >> i & 1) || !o->ops->thaw(o->fs[i].fd))
			continue;
		if (errno != EINVAL)
			*news = (struct news){.err = -errno, .index = i};
		else if (!news->err)
			*news = (struct news){.err = -ETIMEDOUT, .index = i};
	}
}

/* ---- the process that freezes: it writes to nothing but its socket --------------------------- */

static void freeze(const struct freeze_opts *o, struct news *news)
{
	for (unsigned i = 0; i < o->n && !news->err; i++) {
		if (!o->ops->freeze(o->fs[i].fd))
			news->frozen |= 1ull << i;
		else if (errno != EOPNOTSUPP || !o->fs[i].optional)
			*news = (struct news){.err = -errno, .index = i, .frozen = news->frozen};
	}
}

/* Until the parent wants them thawed, or has gone; false: it did not in time. */
static bool wait_end(int sock, uint64_t until)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	uint64_t now = clock_ms();

	/* With all signals blocked nothing interrupts it. */
	return poll(&p, 1, now < until ? (int)(until - now) : 0) != 0;
}

static void tell(int sock, const struct news *news)
{
	while (send(sock, news, sizeof(*news), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void run(const struct freeze_opts *o, int sock)
{
	struct news news = {.err = 0}, ignored = {.err = 0};
	uint64_t until;

	for (unsigned i = 0; i < o->n; i++)
		o->ops->sync(o->fs[i].fd); /* whoever writes need not wait for it later */
	until = clock_ms() + o->ms;
	freeze(o, &news);
	if (news.err) {
		thaw(o, news.frozen, &ignored);
		tell(sock, &news);
		return;
	}
	tell(sock, &news);
	if (!wait_end(sock, until))
		news.err = -ETIMEDOUT;
	thaw(o, news.frozen, &news);
	tell(sock, &news);
}

/* Nothing that ends its parent's job ends it. */
static void detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	for (int fd = 0; fd < 3; fd++)
		if (null < 0 || dup2(null, fd) < 0)
			close(fd);
}

/* ---- its parent ------------------------------------------------------------------------------
 */

enum answer { TOLD, SILENT, DEAD };

/* Waits for @ms. */
static enum answer listen_to(const struct freezer *f, int ms, struct news *news)
{
	struct pollfd p = {.fd = f->sock, .events = POLLIN};
	uint64_t until = clock_ms() + (uint64_t)ms;
	int n;

	do {
		uint64_t now = clock_ms();

		n = poll(&p, 1, now < until ? (int)(until - now) : 0);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return SILENT;
	return recv(f->sock, news, sizeof(*news), 0) == sizeof(*news) ? TOLD : DEAD;
}

/* A process that is silent is not waited for: it thaws, and ends, as soon as the kernel lets it. */
static void let_go(struct freezer *f, enum answer answer)
{
	close(f->sock);
	f->sock = -1;
	while (answer != SILENT && waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static errint_t explain_freeze(const struct freeze_opts *o, const struct news *news)
{
	const char *dir = o->fs[news->index].dir;

	switch (news->err) {
	case -EBUSY:
		return log_fail(news->err,
				"%s: is frozen already; \"fsfreeze --unfreeze %s\" thaws it", dir,
				dir);
	case -EOPNOTSUPP:
		return log_fail(news->err, "%s: file systems of this kind cannot be frozen", dir);
	case -EPERM:
		return log_fail(news->err, "%s: only root may freeze the file system", dir);
	default:
		return log_err(news->err, "%s: cannot freeze the file system", dir);
	}
}

static errint_t explain_thaw(const struct freeze_opts *o, const struct news *news)
{
	const char *dir = o->fs[news->index].dir;

	if (news->err == -ETIMEDOUT)
		return log_fail(news->err,
				"%s was thawed too early: by somebody else, or because it took "
				"longer than %u s",
				dir, o->ms / 1000);
	return log_err(news->err, "%s: cannot thaw it; \"fsfreeze --unfreeze %s\" may", dir, dir);
}

/* In place of a process that was killed. */
static void thaw_instead(const struct freezer *f, struct news *news)
{
	uint64_t frozen = 0;

	for (unsigned i = 0; i < f->opts.n; i++)
		frozen |= (uint64_t)f->opts.fs[i].is_frozen << i;
	*news = (struct news){.err = 0};
	thaw(&f->opts, frozen, news);
}

static errint_t explain_loss(const struct freezer *f, enum answer answer)
{
	const char *dir = f->opts.fs[0].dir;

	if (answer == SILENT)
		return log_fail(-ETIMEDOUT,
				"%s: writing out what there is takes longer than %d s; it is not "
				"frozen, or not for long",
				dir, FREEZE_MS / 1000);
	return log_fail(-ECANCELED, "the process that was to freeze %s was killed", dir);
}

static errint_t start(struct freezer *f)
{
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return log_errno("cannot make a socket");
	f->pid = fork();
	if (f->pid < 0) {
		errint_t err = log_errno("cannot start a process");

		close(socks[0]);
		close(socks[1]);
		return err;
	}
	if (!f->pid) {
		close(socks[0]);
		detach();
		run(&f->opts, socks[1]);
		_exit(0);
	}
	close(socks[1]);
	f->sock = socks[0];
	return 0;
}

errint_t freeze_begin(const struct freeze_opts *opts, struct freezer *f)
{
	enum answer answer;
	struct news news = {.err = 0};
	errint_t err;

	assert(opts->n && opts->n <= FREEZE_MAX);
	*f = (struct freezer){.opts = *opts, .sock = -1};
	if (!f->opts.ops)
		f->opts.ops = &kernel_ops;
	for (unsigned i = 0; i < opts->n; i++)
		opts->fs[i].is_frozen = false;
	err = start(f);
	if (err)
		return err;
	answer = listen_to(f, FREEZE_MS, &news);
	if (answer != TOLD || news.err)
		let_go(f, answer);
	/* It may have frozen some. */
	for (unsigned i = 0; i < opts->n; i++)
		opts->fs[i].is_frozen = answer == DEAD || news.frozen >> i & 1;
	if (answer == DEAD)
		thaw_instead(f, &news);
	if (answer != TOLD)
		return explain_loss(f, answer);
	assert(news.index < opts->n);
	return news.err ? explain_freeze(&f->opts, &news) : 0;
}

errint_t freeze_end(struct freezer *f)
{
	struct news news = {.err = 0};
	enum answer answer;

	assert(f->sock >= 0);
	shutdown(f->sock, SHUT_WR);
	answer = listen_to(f, THAW_MS, &news);
	if (answer == SILENT) {
		kill(f->pid, SIGKILL); /* somebody has stopped it? */
		answer = listen_to(f, KILL_MS, &news);
	}
	let_go(f, answer);
	if (answer == SILENT)
		return log_fail(-EIO, "%s: does not thaw; process %ld goes on with it",
				f->opts.fs[0].dir, (long)f->pid);
	if (answer == DEAD)
		thaw_instead(f, &news);
	assert(news.index < f->opts.n);
	return news.err ? explain_thaw(&f->opts, &news) : 0;
}
