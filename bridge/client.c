/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/client.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "bridge/awaiting.h"
#include "bridge/runtime_dir.h"
#include "common/cleanup.h"
#include "common/log.h"

enum {
	PING_MS = 5000,
	SUFFIX_LEN = sizeof(".sock") - 1,
};

static const struct bridge_client no_client = {.sock = -1};

/* --- one bridge ---------------------------------------------------------------------------------
 */

void client_close(struct bridge_client *c)
{
	message_end(&c->stream);
	json_decref(c->about);
	if (c->sock >= 0)
		close(c->sock);
	*c = no_client;
}

struct bridge_client client_steal(struct bridge_client *from)
{
	struct bridge_client c = *from;

	*from = no_client;
	return c;
}

const char *client_text(const struct bridge_client *c, const char *key)
{
	const char *text = json_string_value(json_object_get(c->about, key));

	return text ? text : "";
}

long client_pid(const struct bridge_client *c)
{
	return (long)json_integer_value(json_object_get(c->about, "pid"));
}

/* The error in a reply, logged; 0 when it is a result. */
static errint_t reply_error(const json_t *reply)
{
	const json_t *error = json_object_get(reply, "error");
	const char *text = json_string_value(json_object_get(error, "message"));
	json_int_t number = json_integer_value(json_object_get(error, "errno"));

	if (!error)
		return 0;
	if (number <= 0 || number > 4095)
		number = EPROTO;
	return log_fail(-(errint_t)number, "%s", text ? text : "the bridge gave no reason");
}

/* Without a message.  @params is stolen. */
static errint_t ask(struct bridge_client *c, const char *method, json_t *params, int fd,
		    int timeout_ms, json_t **reply)
{
	json_auto_t *request =
		json_pack("{s:s,s:o}", "method", method, "params", params ? params : json_object());
	CLEANUP(close) int got_fd = -1;
	errint_t err;

	if (!request)
		return -ENOMEM;
	err = message_send(c->sock, timeout_ms, request, fd);
	return err ? err : message_receive(&c->stream, timeout_ms, reply, &got_fd);
}

errint_t client_call(struct bridge_client *c, const char *method, json_t *params, int fd,
		     int timeout_ms, json_t **result)
{
	json_auto_t *reply = NULL;
	errint_t err = ask(c, method, params, fd, timeout_ms, &reply);

	if (err)
		return log_err(err, "no answer to \"%s\" from the bridge (pid %ld)", method,
			       client_pid(c));
	err = reply_error(reply);
	if (!err && result)
		*result = json_incref(json_object_get(reply, "result"));
	return err;
}

errint_t client_wait_gone(struct bridge_client *c, int timeout_ms)
{
	json_auto_t *msg = NULL;
	CLEANUP(close) int fd = -1;
	errint_t err = message_receive(&c->stream, timeout_ms, &msg, &fd);

	if (err == -ETIMEDOUT)
		return log_fail(err, "the bridge (pid %ld) does not end", client_pid(c));
	return 0;
}

static errint_t connect_to(int dir, const char *name, int *out)
{
	CLEANUP(close) int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int len = snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir, name);

	if (sock < 0)
		return -errno;
	if ((size_t)len >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	if (connect(sock, (const struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	*out = steal_fd(&sock);
	return 0;
}

/* -ENOENT when the bridge is just dying. */
static errint_t ping(struct bridge_client *c)
{
	json_auto_t *reply = NULL;
	errint_t err = ask(c, "ping", NULL, -1, PING_MS, &reply);

	if (err == -ECONNRESET || err == -EPIPE)
		return -ENOENT;
	if (err)
		return err;
	err = reply_error(reply);
	if (!err)
		c->about = json_incref(json_object_get(reply, "result"));
	return err;
}

/* -ENOENT when nobody is behind socket @name any more. */
static errint_t client_open(int dir, const char *name, struct bridge_client *c)
{
	errint_t err;

	*c = no_client;
	err = connect_to(dir, name, &c->sock);
	if (err == -ECONNREFUSED) {
		char device[64];

		snprintf(device, sizeof(device), "%.*s", (int)(strlen(name) - SUFFIX_LEN), name);
		(void)awaiting_settle(dir, device);
		unlinkat(dir, name, 0);
		return -ENOENT;
	}
	if (!err)
		err = message_begin(&c->stream, c->sock);
	if (!err)
		err = ping(c);
	if (err)
		client_close(c);
	return err;
}

/* --- all bridges --------------------------------------------------------------------------------
 */

static bool is_socket_name(const char *name)
{
	size_t len = strlen(name);

	return len > SUFFIX_LEN && !strcmp(name + len - SUFFIX_LEN, ".sock");
}

static int by_name(const void *a, const void *b)
{
	/* "ublkb9" before "ublkb10" */
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* The names of all sockets in @dir, sorted. */
static errint_t socket_names(int dir, char ***out, size_t *count)
{
	int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char **names = NULL;
	struct dirent *e;
	size_t n = 0;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return log_errno("cannot list the control sockets");
	}
	rewinddir(d);
	while ((e = readdir(d))) {
		char **more;

		if (!is_socket_name(e->d_name))
			continue;
		more = realloc(names, (n + 1) * sizeof(*names));
		if (more)
			names = more;
		if (!more || !(names[n] = strdup(e->d_name))) {
			closedir(d);
			free_names(names, n);
			return log_err(-ENOMEM, "cannot list the control sockets");
		}
		n++;
	}
	closedir(d);
	if (n)
		qsort(names, n, sizeof(*names), by_name);
	*out = names;
	*count = n;
	return 0;
}

errint_t client_visit_all(client_visit_fn fn, void *arg)
{
	CLEANUP(close) int dir = -1;
	char **names = NULL;
	size_t count = 0;
	errint_t err = runtime_dir_open(false, &dir);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = socket_names(dir, &names, &count);
	for (size_t i = 0; i < count && !err; i++) {
		CLEANUP(client) struct bridge_client c = no_client;
		errint_t gone = client_open(dir, names[i], &c);

		if (gone) {
			if (gone != -ENOENT)
				log_warn("the bridge of %.*s does not answer: %s",
					 (int)(strlen(names[i]) - SUFFIX_LEN), names[i],
					 strerror(-gone));
			continue;
		}
		if (!fn(arg, &c))
			break;
	}
	free_names(names, count);
	return err;
}

/* --- finding one --------------------------------------------------------------------------------
 */

struct search {
	const char *what;
	bool image_only;
	bool exists; /* @what leads to something, which @st is about */
	struct stat st;
	struct bridge_client found;
};

static bool is_number(const json_t *about, const char *key, uint64_t value)
{
	const json_t *j = json_object_get(about, key);

	return json_is_integer(j) && (uint64_t)json_integer_value(j) == value;
}

/* The file, or the device, that the user named. */
static bool is_image(const struct search *s, const struct bridge_client *c)
{
	return s->exists && is_number(c->about, "image_device", s->st.st_dev) &&
	       is_number(c->about, "image_inode", s->st.st_ino);
}

static bool is_device(const struct search *s, const struct bridge_client *c)
{
	const char *device = client_text(c, "device");
	struct stat st;

	if (!strcmp(device, s->what) ||
	    (!strncmp(device, "/dev/", 5) && !strcmp(device + 5, s->what)))
		return true;
	return s->exists && S_ISBLK(s->st.st_mode) && !stat(device, &st) &&
	       st.st_rdev == s->st.st_rdev;
}

static bool visit(void *arg, struct bridge_client *c)
{
	struct search *s = arg;

	if (is_image(s, c) ||
	    (!s->image_only && (is_device(s, c) || !strcmp(client_text(c, "name"), s->what)))) {
		s->found = client_steal(c);
		return false;
	}
	return true;
}

static errint_t find(const char *what, bool image_only, struct bridge_client *c)
{
	struct search s = {.what = what, .image_only = image_only, .found = no_client};
	errint_t err;

	*c = no_client;
	s.exists = !stat(what, &s.st);
	err = client_visit_all(visit, &s);
	if (err)
		return err;
	if (s.found.sock < 0)
		return -ENOENT;
	*c = s.found;
	return 0;
}

errint_t client_find(const char *what, struct bridge_client *c)
{
	return find(what, false, c);
}

errint_t client_find_image(const char *path, struct bridge_client *c)
{
	return find(path, true, c);
}
