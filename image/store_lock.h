/* SPDX-License-Identifier: MIT */
/*
 * The image lock of a file (docs/format.md section 10, rule L1), and the name of whoever holds it.
 */
#ifndef IMAGE_STORE_LOCK_H
#define IMAGE_STORE_LOCK_H

#include "image/store.h"

/*
 * Take the lock on bytes 0..4095 of the open file description behind @fd, or change the one that it
 * has.  -EBUSY: held by somebody else; unless @quiet the message is logged, with the holder's
 * process id and command as far as /proc shows them to this user.  Does not wait, unless no process
 * is to be seen that has it: then for two seconds, since one that has just died may hold it.
 * @quiet: never.
 */
MUST_CHECK errint_t store_lock_fd(int fd, const char *name, enum store_lock how, bool quiet);

/* Gives the lock up, whoever still has a reference to the description: the kernel drops that of an
 * io_uring some time after the ring is closed. */
void store_unlock_fd(int fd);

#endif
