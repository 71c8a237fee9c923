/* SPDX-License-Identifier: MIT */
/* /dev/ublk-control and the ring through which commands reach it.  For control.c only. */
#ifndef BRIDGE_CONTROL_LINK_H
#define BRIDGE_CONTROL_LINK_H

#include "bridge/control.h"

/* The link that control_new() is given with these.  Errors as of control_open(), no message. */
MUST_CHECK errint_t control_link_open(void **link);
extern const struct control_link_ops control_link_uring;

#endif
