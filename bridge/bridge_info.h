/* SPDX-License-Identifier: MIT */
/* What a bridge does for those who connect to its control socket. */
#ifndef BRIDGE_BRIDGE_INFO_H
#define BRIDGE_BRIDGE_INFO_H

#include "bridge/bridge.h"

/* The methods of every bridge, as a table for socket_server_new(); part of @b. */
const struct socket_method *bridge_methods(struct bridge *b);

#endif
