/* SPDX-License-Identifier: MIT */
/*
 * The methods of the control socket for snapshots and for the size of the disk; @arg is the bridge.
 *
 *	snapshot-create   {"name": N}			 {"name": N, "id": I}
 *	snapshot-list     {"after": I, optional}	 {"snapshots": [...], "more": bool}: a part,
 *							 of those with ids above I
 *	snapshot-rename   {"name": N, "to": M}
 *	snapshot-delete   {"name": N}
 *	snapshot-rollback {"name": N, "keep": M, optional} {"virtual_size": S}
 *	snapshot-diff     {"from": N, "to": M, optional} the file that comes with it gets the
 *							 extents: struct diff_record
 *	resize		  {"virtual_size": S}
 */
#ifndef CLI_BRIDGE_SNAPSHOTS_H
#define CLI_BRIDGE_SNAPSHOTS_H

#include "bridge/socket.h"
#include "common/errint.h"

errint_t bridge_snapshot_create(void *arg, struct socket_request *rq, json_t **result);
errint_t bridge_snapshot_list(void *arg, struct socket_request *rq, json_t **result);
errint_t bridge_snapshot_rename(void *arg, struct socket_request *rq, json_t **result);
errint_t bridge_snapshot_delete(void *arg, struct socket_request *rq, json_t **result);
errint_t bridge_snapshot_rollback(void *arg, struct socket_request *rq, json_t **result);
errint_t bridge_snapshot_diff(void *arg, struct socket_request *rq, json_t **result);
errint_t bridge_resize(void *arg, struct socket_request *rq, json_t **result);

#endif
