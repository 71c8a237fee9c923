/* SPDX-License-Identifier: MIT */
/*
 * An image in memory with a volatile journal in a directory of its own, for tests with cmocka,
 * which a step that goes wrong fails.
 */
#ifndef TESTS_LIB_VJ_BENCH_H
#define TESTS_LIB_VJ_BENCH_H

#include "image/vj_priv.h"
#include "tests/lib/live.h"

#define VJ_DEVICE 7u
#define VJ_NAME	  "00112233-4455-6677-8899-aabbccddeeff.vj"

extern const uint8_t vj_uuid[16];

struct vj_bench {
	struct live l;
	int dir;
	char path[512];
	struct vj_recover recover;
	struct vj_state state;
	bool exists; /* the device */
};

/* The whole file, and back. */
#define VJ_FILE_LEN (UNIT_SIZE + (sizeof(struct disk_vj_slot) << VJ_SHIFT_MIN))
struct vj_file {
	struct disk_vj h;
	struct disk_vj_slot slot[1u << VJ_SHIFT_MIN];
};
_Static_assert(sizeof(struct vj_file) == VJ_FILE_LEN, "the file");

/* Warnings and errors since it was emptied. */
extern char vj_message[8192];
/* They say this; empties it. */
void vj_bench_expect_said(const char *text);

/* Of each test. */
int vj_bench_setup(void **state);
int vj_bench_teardown(void **state);

/* Open the image, with a new volatile journal. */
void vj_bench_start(struct vj_bench *b);
/* Go on with the one that is there. */
errint_t vj_bench_try_recover(struct vj_bench *b);
void vj_bench_recover(struct vj_bench *b);

/* Write something, flush it, write more, and die. */
void vj_bench_die_with_something(struct vj_bench *b);
/* The recovery fails, saying why, and touches nothing. */
void vj_bench_refused(struct vj_bench *b, errint_t want, const char *says);

struct vj_info vj_bench_info(struct vj_bench *b);
uint64_t vj_bench_unretired(struct vj_bench *b);
bool vj_bench_exists(struct vj_bench *b);
void vj_bench_load(struct vj_bench *b, struct vj_file *f);
void vj_bench_save(struct vj_bench *b, const struct vj_file *f);

#endif
