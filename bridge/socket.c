/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/socket.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bridge/message.h"
#include "common/cleanup.h"
#include "common/log.h"

enum {
	IDLE_MS = 60000, /* between two requests, and for all of one to come */
	SEND_MS = 10000,
	NAME_LEN = 108, /* sun_path */
	ERROR_LEN = 1024,
};

struct socket_server {
	int dir;
	char name[64];
	const struct socket_method *const *methods;
	int listen_fd;
	int stop_fd; /* readable when all threads are to end */
	pthread_t acceptor;

	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t changed;
	unsigned nclients;
	bool closed;
};

struct client {
	struct socket_server *server;
	int sock;
	pid_t pid;
};

/* What the thread reported last, for the reply.  A thread's own, so nobody shares it. */
static _Thread_local char thread_error[ERROR_LEN];

void socket_log_error(const char *message)
{
	snprintf(thread_error, sizeof(thread_error), "%s", message);
}

const char *socket_last_error(void)
{
	return thread_error;
}

/* --- one connection -----------------------------------------------------------------------------
 */

static const struct socket_method *find_method(const struct socket_server *s, const char *name)
{
	for (const struct socket_method *const *table = s->methods; *table; table++)
		for (const struct socket_method *m = *table; m->name; m++)
			if (!strcmp(m->name, name))
				return m;
	return NULL;
}

static json_t *error_reply(errint_t err)
{
	const char *text = thread_error[0] ? thread_error : strerror(-err);

	return json_pack("{s:{s:i,s:s%}}", "error", "errno", -err, "message", text, strlen(text));
}

static errint_t call(struct client *c, const json_t *msg, int *fd, json_t **result)
{
	static const char no_method[] = "a request needs a \"method\"";
	const char *name = json_string_value(json_object_get(msg, "method"));
	const json_t *params = json_object_get(msg, "params");
	json_auto_t *none = json_object();
	struct socket_request rq = {
		.params = json_is_object(params) ? params : none, .fd = *fd, .pid = c->pid};
	const struct socket_method *m = name ? find_method(c->server, name) : NULL;
	errint_t err;

	if (!name)
		return log_fail(-EINVAL, "%s", no_method);
	if (!m)
		return log_fail(-ENOSYS, "the bridge knows no method \"%s\"", name);
	err = m->call(m->arg, &rq, result);
	*fd = rq.fd;
	return err;
}

/* Answers one request; the result of failing ones is told to the client, not here. */
static errint_t answer(struct client *c, const json_t *msg, int *fd)
{
	json_auto_t *result = NULL, *reply = NULL;
	errint_t err;

	thread_error[0] = '\0';
	err = call(c, msg, fd, &result);
	if (err)
		reply = error_reply(err);
	else
		reply = json_pack("{s:o}", "result", result ? json_incref(result) : json_object());
	if (!reply)
		return -ENOMEM;
	err = message_send(c->sock, SEND_MS, reply, -1);
	if (err != -EMSGSIZE)
		return err;
	json_decref(reply);
	reply = json_pack("{s:{s:i,s:s}}", "error", "errno", EMSGSIZE, "message",
			  "the answer is too long for a control socket");
	return reply ? message_send(c->sock, SEND_MS, reply, -1) : -ENOMEM;
}

/* Waits for the client to send something, or for the server's end. */
static bool wait_request(struct client *c, const struct message_stream *s)
{
	struct pollfd p[2] = {
		{.fd = c->sock, .events = POLLIN},
		{.fd = c->server->stop_fd, .events = POLLIN},
	};
	int n;

	if (memchr(s->buf, '\n', s->len))
		return true;
	do
		n = poll(p, 2, IDLE_MS);
	while (n < 0 && errno == EINTR);
	return n > 0 && !(p[1].revents & POLLIN);
}

static void serve(struct client *c)
{
	struct message_stream s;

	if (message_begin(&s, c->sock))
		return;
	while (wait_request(c, &s)) {
		json_auto_t *msg = NULL;
		CLEANUP(close) int fd = -1;

		if (message_receive(&s, SEND_MS, &msg, &fd) || answer(c, msg, &fd))
			break;
	}
	message_end(&s);
}

static void *run_client(void *arg)
{
	struct client *c = arg;
	struct socket_server *s = c->server;

	serve(c);
	close(c->sock);
	free(c);
	pthread_mutex_lock(&s->lock);
	s->nclients--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- accepting ----------------------------------------------------------------------------------
 */

/* May the process at the other end connect? */
static bool is_allowed(int sock, pid_t *pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return false;
	*pid = cred.pid;
	return cred.uid == 0 || cred.uid == geteuid();
}

static errint_t start_client(struct socket_server *s, int *sock, pid_t pid)
{
	CLEANUP(free) struct client *c = malloc(sizeof(*c));
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	if (!c)
		return -ENOMEM;
	*c = (struct client){.server = s, .sock = *sock, .pid = pid};
	pthread_mutex_lock(&s->lock);
	if (s->nclients == SOCKET_CLIENTS_MAX) {
		pthread_mutex_unlock(&s->lock);
		return -EBUSY;
	}
	s->nclients++;
	pthread_mutex_unlock(&s->lock);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attr, run_client, c);
	pthread_attr_destroy(&attr);
	if (error) {
		pthread_mutex_lock(&s->lock);
		s->nclients--;
		pthread_mutex_unlock(&s->lock);
		return -error;
	}
	(void)steal_pointer(&c);
	(void)steal_fd(sock);
	return 0;
}

static void *run_acceptor(void *arg)
{
	struct socket_server *s = arg;

	for (;;) {
		struct pollfd p[2] = {
			{.fd = s->listen_fd, .events = POLLIN},
			{.fd = s->stop_fd, .events = POLLIN},
		};
		CLEANUP(close) int sock = -1;
		pid_t pid = 0;
		errint_t err;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		sock = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (sock < 0) {
			/* Out of descriptors, perhaps: not to be tried as fast as possible. */
			if (errno != EINTR && errno != ECONNABORTED)
				poll(&p[1], 1, 100);
			continue;
		}
		if (!is_allowed(sock, &pid)) {
			log_warn("control socket: refused a connection from pid %ld, which is of "
				 "another user",
				 (long)pid);
			continue;
		}
		err = start_client(s, &sock, pid);
		if (err)
			log_warn("control socket: refused a connection from pid %ld: %s", (long)pid,
				 strerror(-err));
	}
	return NULL;
}

/* --- the server ---------------------------------------------------------------------------------
 */

/* The address of @name in @dir, whatever the length of the directory's own name. */
static void set_address(struct sockaddr_un *a, int dir, const char *name)
{
	int len;

	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	len = snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", dir, name);
	assert(len > 0 && (size_t)len < sizeof(a->sun_path));
}

/* A socket that listens appears under its name in one step, so that whoever finds it can tell a
 * dead one. */
static errint_t listen_on(struct socket_server *s)
{
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	char temp[sizeof(s->name) + 24];

	snprintf(temp, sizeof(temp), "%s.%ld", s->name, (long)getpid());
	set_address(&addr, s->dir, temp);
	unlinkat(s->dir, temp, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) ||
	    fchmodat(s->dir, temp, 0600, 0) || listen(fd, SOCKET_CLIENTS_MAX) ||
	    renameat(s->dir, temp, s->dir, s->name)) {
		errint_t err = log_errno("cannot make the control socket %s", s->name);

		unlinkat(s->dir, temp, 0);
		return err;
	}
	s->listen_fd = steal_fd(&fd);
	return 0;
}

errint_t socket_server_new(int dir, const char *name, const struct socket_method *const *methods,
			   struct socket_server **out)
{
	struct socket_server *s = calloc(1, sizeof(*s));
	errint_t err;

	if (!s)
		return log_err(-ENOMEM, "cannot make the control socket %s", name);
	*s = (struct socket_server){.dir = dir, .methods = methods, .listen_fd = -1};
	assert(strlen(name) < sizeof(s->name));
	memcpy(s->name, name, strlen(name) + 1);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = s->stop_fd < 0 ? log_errno("cannot make an event descriptor") : listen_on(s);
	if (!err) {
		int error = pthread_create(&s->acceptor, NULL, run_acceptor, s);

		if (error)
			err = log_err(-error, "cannot start a thread for the control socket");
	}
	if (!err) {
		*out = s;
		return 0;
	}
	s->closed = true; /* there is no thread to wait for */
	if (s->listen_fd >= 0) {
		unlinkat(s->dir, s->name, 0);
		close(s->listen_fd);
	}
	socket_server_free(s);
	return err;
}

void socket_server_close(struct socket_server *s)
{
	uint64_t one = 1;

	if (s->closed)
		return;
	s->closed = true;
	unlinkat(s->dir, s->name, 0);
	if (write(s->stop_fd, &one, sizeof(one)) != sizeof(one))
		assert(!"an event descriptor takes a one");
	pthread_join(s->acceptor, NULL);
	close(s->listen_fd);
}

void socket_server_free(struct socket_server *s)
{
	if (!s)
		return;
	socket_server_close(s);
	pthread_mutex_lock(&s->lock);
	while (s->nclients)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
