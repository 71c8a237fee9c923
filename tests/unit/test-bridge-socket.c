/* SPDX-License-Identifier: MIT */
/* Control sockets: messages, the server, finding and asking bridges (bridge/message.h, socket.h,
 * client.h, runtime_dir.h). */
#include "config.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bridge/client.h"
#include "bridge/message.h"
#include "bridge/runtime_dir.h"
#include "bridge/socket.h"
#include "common/log.h"

static char dir_path[] = "/tmp/test-bridge-socket-XXXXXX";
static char last[2048];

static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;

static void keep(void *arg, enum log_level level, const char *message)
{
	(void)arg;
	pthread_mutex_lock(&last_lock);
	snprintf(last, sizeof(last), "%s", message);
	pthread_mutex_unlock(&last_lock);
	if (level == LOG_LEVEL_ERROR)
		socket_log_error(message);
}

/* --- messages ---------------------------------------------------------------------------------
 */

struct pair {
	int a, b;
	struct message_stream s; /* on b */
};

static void pair_begin(struct pair *p)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	p->a = fds[0];
	p->b = fds[1];
	assert_int_equal(message_begin(&p->s, p->b), 0);
}

static void pair_end(struct pair *p)
{
	message_end(&p->s);
	if (p->a >= 0)
		close(p->a);
	close(p->b);
}

static void say(struct pair *p, const char *text)
{
	assert_int_equal(write(p->a, text, strlen(text)), strlen(text));
}

static void expect(struct pair *p, const char *key, const char *value)
{
	json_t *msg = NULL;
	int fd = -1;

	assert_int_equal(message_receive(&p->s, 1000, &msg, &fd), 0);
	assert_string_equal(json_string_value(json_object_get(msg, key)), value);
	assert_int_equal(fd, -1);
	json_decref(msg);
}

static void expect_error(struct pair *p, errint_t err)
{
	json_t *msg = NULL;
	int fd = -1;

	assert_int_equal(message_receive(&p->s, 50, &msg, &fd), err);
	assert_null(msg);
}

static void test_messages(void **state)
{
	struct pair p;

	(void)state;
	pair_begin(&p);
	/* In pieces, and several at once. */
	say(&p, "{\"a\": \"1");
	expect_error(&p, -ETIMEDOUT);
	say(&p, "\"}\n{\"a\": \"2\"}\n{\"a\":");
	expect(&p, "a", "1");
	expect(&p, "a", "2");
	expect_error(&p, -ETIMEDOUT);
	say(&p, "\"3\"}\n");
	expect(&p, "a", "3");
	/* What is no object, with the next line unharmed. */
	say(&p, "[1]\nnonsense\n\n{\"a\":1,\"a\":2}\n{\"a\": \"4\"}\n");
	for (unsigned i = 0; i < 4; i++)
		expect_error(&p, -EPROTO);
	expect(&p, "a", "4");
	/* The end, in the middle of a line. */
	say(&p, "{");
	close(p.a);
	p.a = -1;
	expect_error(&p, -ECONNRESET);
	pair_end(&p);
}

static void *say_much(void *arg)
{
	static char bytes[4096];
	struct pair *p = arg;

	memset(bytes, 'x', sizeof(bytes));
	for (unsigned i = 0; i <= MESSAGE_MAX / sizeof(bytes); i++)
		if (send(p->a, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0)
			break;
	return NULL;
}

/* A line without end does not use memory without end. */
static void test_too_long(void **state)
{
	struct pair p;
	pthread_t thread;
	json_t *big, *msg = NULL;
	char *text = malloc(MESSAGE_MAX + 1);
	int fd = -1;

	(void)state;
	pair_begin(&p);
	assert_int_equal(pthread_create(&thread, NULL, say_much, &p), 0);
	assert_int_equal(message_receive(&p.s, 10000, &msg, &fd), -EMSGSIZE);
	shutdown(p.b, SHUT_RDWR);
	pthread_join(thread, NULL);
	pair_end(&p);

	pair_begin(&p);
	memset(text, 'y', MESSAGE_MAX);
	text[MESSAGE_MAX] = '\0';
	big = json_pack("{s:s}", "k", text);
	assert_int_equal(message_send(p.a, 100, big, -1), -EMSGSIZE);
	expect_error(&p, -ETIMEDOUT); /* nothing was sent */
	json_decref(big);
	/* One that fits a message, but no socket's buffer, to somebody who does not read. */
	text[MESSAGE_MAX - 20] = '\0';
	big = json_pack("{s:s}", "k", text);
	setsockopt(p.a, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
	assert_int_equal(message_send(p.a, 50, big, -1), -ETIMEDOUT);
	json_decref(big);
	free(text);
	pair_end(&p);
}

static void test_descriptor(void **state)
{
	json_t *msg = json_pack("{s:i}", "n", 7), *got = NULL;
	struct pair p;
	struct stat a, b;
	int fd = -1;

	(void)state;
	pair_begin(&p);
	assert_int_equal(message_send(p.a, 100, msg, p.b), 0);
	assert_int_equal(message_receive(&p.s, 1000, &got, &fd), 0);
	assert_int_equal(json_integer_value(json_object_get(got, "n")), 7);
	assert_int_not_equal(fd, -1);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstat(p.b, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	json_decref(msg);
	json_decref(got);
	pair_end(&p);
}

/* --- the server and its clients ---------------------------------------------------------------
 */

struct bridge {
	int dir;
	struct socket_server *server;
	unsigned pings;
	char about[512];
};

static errint_t ping(void *arg, struct socket_request *rq, json_t **result)
{
	struct bridge *b = arg;

	(void)rq;
	__atomic_add_fetch(&b->pings, 1, __ATOMIC_SEQ_CST);
	*result = json_loads(b->about, 0, NULL);
	return 0;
}

static errint_t echo(void *arg, struct socket_request *rq, json_t **result)
{
	char byte = 'e';

	(void)arg;
	*result = json_pack("{s:O,s:i}", "params", rq->params, "pid", (int)rq->pid);
	if (rq->fd >= 0)
		assert_int_equal(write(rq->fd, &byte, 1), 1);
	return 0;
}

static errint_t refuse(void *arg, struct socket_request *rq, json_t **result)
{
	(void)arg, (void)rq, (void)result;
	return log_fail(-EBUSY, "the cat sits on it");
}

static errint_t huge(void *arg, struct socket_request *rq, json_t **result)
{
	char *text = calloc(1, MESSAGE_MAX + 1);

	(void)arg, (void)rq;
	memset(text, 'z', MESSAGE_MAX);
	*result = json_pack("{s:s}", "k", text);
	free(text);
	return 0;
}

static errint_t nothing(void *arg, struct socket_request *rq, json_t **result)
{
	(void)arg, (void)rq, (void)result;
	return 0;
}

static struct bridge the_bridge;
static const struct socket_method first[] = {
	{"ping", ping, &the_bridge},
	{"echo", echo, NULL},
	{NULL, NULL, NULL},
};
static const struct socket_method second[] = {
	{"fail", refuse, NULL},
	{"huge", huge, NULL},
	{"nothing", nothing, NULL},
	{NULL, NULL, NULL},
};
static const struct socket_method *const methods[] = {first, second, NULL};

static void bridge_begin(const char *name)
{
	struct stat st;

	the_bridge.pings = 0;
	assert_int_equal(stat(dir_path, &st), 0);
	snprintf(the_bridge.about, sizeof(the_bridge.about),
		 "{\"pid\": %ld, \"device\": \"/dev/ublkb77\", \"name\": \"tester\", "
		 "\"image_device\": %llu, \"image_inode\": %llu}",
		 (long)getpid(), (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	assert_int_equal(runtime_dir_open(true, &the_bridge.dir), 0);
	assert_int_equal(socket_server_new(the_bridge.dir, name, methods, &the_bridge.server), 0);
}

static void bridge_end(void)
{
	socket_server_free(the_bridge.server);
	close(the_bridge.dir);
}

static void test_call(void **state)
{
	struct bridge_client c;
	json_t *result = NULL;
	int pipes[2];
	char byte = 0;

	(void)state;
	bridge_begin("ublkb77.sock");
	assert_int_equal(client_find("ublkb77", &c), 0);
	assert_int_equal(client_pid(&c), getpid());
	assert_string_equal(client_text(&c, "name"), "tester");
	assert_string_equal(client_text(&c, "no such"), "");

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(
		client_call(&c, "echo", json_pack("{s:i}", "x", 5), pipes[1], 1000, &result), 0);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(result, "params"), "x")), 5);
	assert_int_equal(json_integer_value(json_object_get(result, "pid")), getpid());
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'e');
	json_decref(result);
	close(pipes[1]);
	/* The bridge closed what it did not keep. */
	assert_int_equal(client_call(&c, "nothing", NULL, -1, 1000, NULL), 0);
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);

	assert_int_equal(client_call(&c, "fail", NULL, -1, 1000, NULL), -EBUSY);
	assert_string_equal(last, "the cat sits on it");
	assert_int_equal(client_call(&c, "huge", NULL, -1, 1000, NULL), -EMSGSIZE);
	assert_int_equal(client_call(&c, "sing", NULL, -1, 1000, NULL), -ENOSYS);
	assert_non_null(strstr(last, "no method \"sing\""));
	assert_int_equal(client_call(&c, "nothing", NULL, -1, 1000, &result), 0);
	assert_true(json_is_object(result));
	json_decref(result);
	client_close(&c);
	bridge_end();
}

static void test_find(void **state)
{
	static const char *const names[] = {"/dev/ublkb77", "ublkb77", "tester", dir_path};
	struct bridge_client c;

	(void)state;
	assert_int_equal(client_find("tester", &c), -ENOENT);
	bridge_begin("ublkb77.sock");
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(client_find(names[i], &c), 0);
		client_close(&c);
	}
	assert_int_equal(client_find_image(dir_path, &c), 0);
	client_close(&c);
	assert_int_equal(client_find_image("tester", &c), -ENOENT);
	assert_int_equal(client_find("ublkb7", &c), -ENOENT);
	assert_int_equal(client_find("/tmp", &c), -ENOENT);
	bridge_end();
	assert_int_equal(client_find("tester", &c), -ENOENT);
}

static bool count(void *arg, struct bridge_client *c)
{
	(void)c;
	++*(unsigned *)arg;
	return true;
}

/* A socket that nobody listens on is removed; files of others are left alone. */
static void test_stale(void **state)
{
	char path[128];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	unsigned n = 0;
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/ublkb5.sock", dir_path);
	assert_int_equal(bind(sock, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	close(sock);
	snprintf(path, sizeof(path), "%s/README", dir_path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	bridge_begin("ublkb77.sock");
	assert_int_equal(client_visit_all(count, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(access(addr.sun_path, F_OK), -1);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
	bridge_end();
	n = 0;
	assert_int_equal(client_visit_all(count, &n), 0);
	assert_int_equal(n, 0);
}

/* A client that says nothing keeps nobody from the end, nor from being served. */
static void test_silent(void **state)
{
	struct bridge_client silent[3], c;

	(void)state;
	bridge_begin("ublkb77.sock");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(client_find("tester", &silent[i]), 0);
	assert_int_equal(client_find("tester", &c), 0);
	assert_int_equal(client_call(&c, "echo", NULL, -1, 1000, NULL), 0);
	assert_int_equal(client_wait_gone(&c, 50), -ETIMEDOUT);
	bridge_end();
	assert_int_equal(client_wait_gone(&c, 1000), 0);
	client_close(&c);
	for (unsigned i = 0; i < 3; i++)
		client_close(&silent[i]);
}

/* There is an end to connections. */
static void test_many(void **state)
{
	struct bridge_client c[SOCKET_CLIENTS_MAX], more;

	(void)state;
	bridge_begin("ublkb77.sock");
	for (unsigned i = 0; i < SOCKET_CLIENTS_MAX; i++)
		assert_int_equal(client_find("tester", &c[i]), 0);
	assert_int_equal(client_find("tester", &more), -ENOENT);
	for (unsigned i = 0; i < SOCKET_CLIENTS_MAX; i++)
		client_close(&c[i]);
	bridge_end();
}

/* Another user is refused.  Needs root to become one. */
static void test_other_user(void **state)
{
	pid_t child;
	int status;

	(void)state;
	if (geteuid() != 0)
		skip();
	bridge_begin("ublkb77.sock");
	chmod(dir_path, 0755);
	child = fork();
	if (!child) {
		struct sockaddr_un addr = {.sun_family = AF_UNIX};
		int sock = socket(AF_UNIX, SOCK_STREAM, 0);
		char byte;

		snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/ublkb77.sock", dir_path);
		chmod(addr.sun_path, 0666); /* past the first line of defence */
		if (setuid(65534))
			_exit(2);
		if (connect(sock, (const struct sockaddr *)&addr, sizeof(addr)))
			_exit(3);
		/* It may have been closed already. */
		if (send(sock, "{\"method\":\"ping\"}\n", 18, MSG_NOSIGNAL) < 0)
			_exit(0);
		_exit(read(sock, &byte, 1) > 0 ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(__atomic_load_n(&the_bridge.pings, __ATOMIC_SEQ_CST), 0);
	bridge_end();
}

/* --- names ------------------------------------------------------------------------------------
 */

static void test_names(void **state)
{
	static const char *const good[] = {"a", "disk.1", "A_b+c-9"};
	static const char *const bad[] = {"",	 ".",	"..",	    ".x", "-x",
					  "a/b", "a b", "\xc3\xa4", "a\n"};
	char longest[BRIDGE_NAME_MAX + 2];
	int dir = -1, lock = -1, again = -1;

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(runtime_name_check(good[i]), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(runtime_name_check(bad[i]), -EINVAL);
	memset(longest, 'n', sizeof(longest));
	longest[BRIDGE_NAME_MAX + 1] = '\0';
	assert_int_equal(runtime_name_check(longest), -EINVAL);
	longest[BRIDGE_NAME_MAX] = '\0';
	assert_int_equal(runtime_name_check(longest), 0);

	assert_int_equal(runtime_dir_open(true, &dir), 0);
	assert_int_equal(runtime_name_lock(dir, longest, 0, &lock), 0);
	assert_int_equal(runtime_name_lock(dir, longest, 0, &again), -EBUSY);
	assert_non_null(strstr(last, "is taken"));
	/* One that died has left its file. */
	close(lock);
	assert_int_equal(runtime_name_lock(dir, longest, 0, &lock), 0);
	runtime_name_unlock(dir, longest, &lock);
	assert_int_equal(lock, -1);
	assert_int_equal(runtime_name_lock(dir, longest, 0, &again), 0);
	runtime_name_unlock(dir, longest, &again);
	assert_int_equal(unlinkat(dir, "names", AT_REMOVEDIR), 0);
	close(dir);
}

/* A directory in which others could put sockets is not used. */
static void test_owner(void **state)
{
	int dir = -1;

	(void)state;
	chmod(dir_path, 0777);
	assert_int_equal(runtime_dir_open(true, &dir), -EPERM);
	chmod(dir_path, 0700);
	assert_int_equal(runtime_dir_open(true, &dir), 0);
	close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),   cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_descriptor), cmocka_unit_test(test_call),
		cmocka_unit_test(test_find),	   cmocka_unit_test(test_stale),
		cmocka_unit_test(test_silent),	   cmocka_unit_test(test_many),
		cmocka_unit_test(test_other_user), cmocka_unit_test(test_names),
		cmocka_unit_test(test_owner),
	};
	int failed;

	if (!mkdtemp(dir_path))
		return 99;
	setenv("UBLK_IMG_RUNTIME_DIR", dir_path, 1);
	log_set_sink(keep, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir_path);
	return failed;
}
