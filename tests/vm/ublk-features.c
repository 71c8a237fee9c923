/* SPDX-License-Identifier: MIT */
/* ublk-features: print what the running driver can do, in one number. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bridge/control.h"

int main(void)
{
	struct control *c = NULL;
	uint64_t features;

	errint_t err = control_open(&c, &features);
	if (err) {
		fprintf(stderr, "ublk-features: %s\n", strerror(-err));
		return 1;
	}
	printf("%#" PRIx64 "\n", features);
	control_close(c);
	return 0;
}
