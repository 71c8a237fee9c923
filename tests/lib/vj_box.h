/* SPDX-License-Identifier: MIT */
/*
 * State directories for simulated machines: each holds the volatile journal of one image, a real
 * file below $TMPDIR.  What is in it survives a process and is lost with the power.
 */
#ifndef TESTS_LIB_VJ_BOX_H
#define TESTS_LIB_VJ_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of a volatile journal. */
struct vj_copy {
	size_t len;
	uint8_t *bytes;
};
void vj_copy_free(struct vj_copy *c); /* NULL is allowed */
struct vj_copy *vj_copy_clone(const struct vj_copy *c);
bool vj_copy_poisoned(const struct vj_copy *c);

struct vj_box;

/* An empty one, for an image with @uuid. */
struct vj_box *vj_box_new(const uint8_t uuid[16]);
void vj_box_free(struct vj_box *b); /* NULL is allowed */

int vj_box_dir(const struct vj_box *b);

/* What is in it, or NULL. */
struct vj_copy *vj_box_take(const struct vj_box *b);
void vj_box_put(struct vj_box *b, const struct vj_copy *c);

#endif
