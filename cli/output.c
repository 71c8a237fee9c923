/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/output.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "common/log.h"

/* The first error of standard output; process-wide because that is. */
static errint_t output_error;

static errint_t output_failed(int error)
{
	if (output_error)
		return output_error;
	output_error = error ? -error : -EIO;
	if (output_error == -EPIPE)
		log_info("standard output: the reader went away");
	else
		log_err(output_error, "standard output: cannot write");
	return output_error;
}

void output_begin(void)
{
	/* The longest help text fits into it, so that an error is that of closing, which is known.
	 */
	static char buffer[256 << 10];

	if (!isatty(STDOUT_FILENO) && setvbuf(stdout, buffer, _IOFBF, sizeof(buffer)))
		log_info("standard output: has a small buffer");
}

errint_t output_check(void)
{
	/* The error is that of the write just before, as callers look after each. */
	return ferror(stdout) ? output_failed(errno) : output_error;
}

errint_t output_close(void)
{
	bool failed = ferror(stdout);

	/* A standard output that was closed from the start is one that nobody wants. */
	errno = 0;
	if (fclose(stdout) && errno != EBADF)
		return output_failed(errno);
	if (failed)
		return output_failed(0);
	return output_error;
}
