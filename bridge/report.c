/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "bridge/report.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

enum { LINE_LEN = 6144 }; /* a message of the log is shorter */

static const char letters[] = {
	[LOG_LEVEL_ERROR] = 'E',
	[LOG_LEVEL_WARN] = 'W',
	[LOG_LEVEL_INFO] = 'I',
	[LOG_LEVEL_DEBUG] = 'D',
};
#define READY 'R'

static void send_line(int fd, char letter, const char *text)
{
	char line[LINE_LEN];
	int len = snprintf(line, sizeof(line), "%c %s\n", letter, text);

	if ((size_t)len >= sizeof(line)) {
		len = (int)sizeof(line) - 1;
		line[len - 1] = '\n';
	}
	if (write(fd, line, (size_t)len) != len)
		return; /* nobody reads any more */
}

void report_message(int fd, enum log_level level, const char *message)
{
	send_line(fd, letters[level], message);
}

void report_ready(int fd, const char *device)
{
	send_line(fd, READY, device);
}

/* What came of the report so far. */
struct reader {
	char buf[LINE_LEN];
	size_t len;
	bool failed; /* an error was shown */
	bool ready;
};

static void take_line(struct reader *r, const char *line, char device[REPORT_DEVICE_MAX])
{
	const char *text = strlen(line) > 2 ? line + 2 : "";

	if (line[0] == letters[LOG_LEVEL_ERROR]) {
		r->failed = true;
		(void)log_fail(-EIO, "%s", text);
	} else if (line[0] == letters[LOG_LEVEL_WARN]) {
		log_warn("%s", text);
	} else if (line[0] == letters[LOG_LEVEL_INFO]) {
		log_info("%s", text);
	} else if (line[0] == READY) {
		snprintf(device, REPORT_DEVICE_MAX, "%s", text);
		r->ready = true;
	}
}

static void take_lines(struct reader *r, char device[REPORT_DEVICE_MAX])
{
	char *begin = r->buf, *nl;

	while ((nl = memchr(begin, '\n', r->len - (size_t)(begin - r->buf)))) {
		*nl = '\0';
		take_line(r, begin, device);
		begin = nl + 1;
	}
	r->len -= (size_t)(begin - r->buf);
	memmove(r->buf, begin, r->len);
	if (r->len == sizeof(r->buf))
		r->len = 0; /* no line is that long */
}

errint_t report_wait(int fd, unsigned seconds, char device[REPORT_DEVICE_MAX])
{
	struct reader r = {.len = 0};
	uint64_t until = clock_ms() + seconds * 1000ull;

	while (!r.ready) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = (int64_t)(until - clock_ms());
		ssize_t n;

		if (left <= 0)
			return log_fail(-ETIMEDOUT,
					"the device does not answer after %u s; the messages of "
					"ublk-bridge in the system log may say why",
					seconds);
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		n = read(fd, r.buf + r.len, sizeof(r.buf) - r.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 && r.failed)
			return -EPIPE;
		if (n <= 0)
			return log_fail(-EPIPE, "the bridge ended without a reason before the "
						"device was ready; was it killed?");
		r.len += (size_t)n;
		take_lines(&r, device);
	}
	return 0;
}
