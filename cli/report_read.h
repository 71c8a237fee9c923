/* SPDX-License-Identifier: MIT */
/* Reading what image/report.h writes. */
#ifndef CLI_REPORT_READ_H
#define CLI_REPORT_READ_H

#include <jansson.h>

#include "image/content.h"
#include "image/desc.h"

/* -EINVAL, without a message, for what is no uuid. */
MUST_CHECK errint_t report_read_uuid(const json_t *text, uint8_t uuid[16]);

/* An object with "uuid", "name" and "virtual_size": one of report_point_json() or
 * report_snapshot_json().  -EPROTO, message logged. */
MUST_CHECK errint_t report_read_point(const json_t *o, struct content_point *p);

/* Its "cluster_size" and "sector_size"; -EINVAL, without a message. */
MUST_CHECK errint_t report_read_geometry(const json_t *o, struct geometry *geo);

#endif
