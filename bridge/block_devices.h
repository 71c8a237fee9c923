/* SPDX-License-Identifier: MIT */
/*
 * A block device with its partitions and what is built on them, and where their file systems are
 * mounted.  Reads /proc and /sys only, of which tests have their own.
 */
#ifndef BRIDGE_BLOCK_DEVICES_H
#define BRIDGE_BLOCK_DEVICES_H

#include <stdbool.h>
#include <sys/types.h>

/* More of them are left out. */
#define BLOCK_DEVICES_MAX 64

struct block_devices {
	unsigned count;
	struct {
		char name[64];	 /* "ublkb0p1" */
		char number[24]; /* "259:0" */
		dev_t dev;
	} at[BLOCK_DEVICES_MAX];
};

/* The device @name ("ublkb0"), first, and its partitions; with @holders also the devices that use
 * one of these (LVM, RAID, encryption), theirs, and so on.  @sys: "/sys".  None if there is no such
 * device. */
void block_devices_find(struct block_devices *b, const char *sys, const char *name, bool holders);

/* Is the device of that number, or the one that is called @source ("/dev/ublkb0"), among them? */
bool block_devices_have(const struct block_devices *b, const char *number, const char *source);

/* A mount of a file system on one of them. */
struct block_mount {
	int id;		    /* statx.stx_mnt_id */
	const char *number; /* of the file system's device: the same for all its mounts */
	const char *point;
};

/* Calls @fn for each mount that process @pid ("self") sees, until it returns false; returns the
 * last result, or true.  @proc: "/proc". */
typedef bool (*block_mount_fn)(void *arg, const struct block_mount *m);
bool block_devices_mounts(const struct block_devices *b, const char *proc, const char *pid,
			  block_mount_fn fn, void *arg);

#endif
