/* SPDX-License-Identifier: MIT */
/*
 * A store that writes down what is done to another one: each write with its bytes, each sync, each
 * change of length.  From the log follows what the file may hold after a power cut at any moment
 * (docs/format.md section 18), as with the dm-log-writes of the kernel.
 */
#ifndef TESTS_LIB_LOG_STORE_H
#define TESTS_LIB_LOG_STORE_H

#include "image/store.h"

enum log_type {
	LOG_WRITE, /* followed by @len bytes */
	LOG_PUNCH,
	LOG_LENGTH, /* @off: the new one */
	LOG_GROW,   /* @off: the least */
	LOG_SYNC,
	LOG_MARK, /* @off: a number that the test chose */
};

/* In the order of @end.  Moments are counted, each is one event. */
struct log_record {
	uint32_t type;
	uint32_t durable;    /* a write: by itself, when it ends */
	uint64_t begin, end; /* moments */
	uint64_t off, len;
};

/* Logs what is done to @below, which it takes over, to the new file @path.  Never NULL: without it
 * there is no test. */
struct store *log_store_new(struct store *below, const char *path);

/* Notes that @number has been reached.  Any thread. */
void log_store_mark(struct store *st, uint64_t number);

#endif
