/* SPDX-License-Identifier: MIT */
/* Memory for what is large at most and small or unused mostly: it is taken where it is touched. */
#ifndef COMMON_ROOM_H
#define COMMON_ROOM_H

#include <stddef.h>

/* @len bytes, zero, aligned to a page; NULL when there is no memory.  room_free() frees it. */
void *room_new(size_t len);
/* Gives back what has been touched of it, which is zero again.  For the one who uses it. */
void room_empty(void *room, size_t len);
/* NULL is allowed. */
void room_free(void *room, size_t len);

#endif
