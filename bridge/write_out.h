/* SPDX-License-Identifier: MIT */
/* Writing out what the kernel has cached for a block device. */
#ifndef BRIDGE_WRITE_OUT_H
#define BRIDGE_WRITE_OUT_H

/*
 * Has what is cached for the device at @path ("/dev/ublkb0"), for its partitions and for what is
 * built on them written, file systems that are mounted included.  Waits for @seconds at most, then
 * says so; what fails to be written is not said here, but to its writer.
 *
 * STOP_DEV does that only for devices without UBLK_F_USER_RECOVERY: for others the driver refuses
 * requests before it has the block layer write.
 */
void write_out(const char *path, unsigned seconds);

#endif
