#!/bin/bash
# SPDX-License-Identifier: MIT
#
# init of a User Mode Linux guest; see boot.sh.  Its root is the host's and could be written: so
# everything that is written is kept in memory, above it.  $share, from the kernel's command line, is
# the one directory of the host's that stays writable.
set -eu

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t tmpfs -o mode=755 upper /run
mkdir /run/share /run/root /run/data /run/work
mount --bind "$share" /run/share
mount -o remount,bind,ro /
mount -t overlay -o lowerdir=/,upperdir=/run/data,workdir=/run/work root /run/root
cd /run/root
mount -t devtmpfs dev dev
mount --move /run/share mnt
umount /proc
pivot_root . srv
exec chroot . bash "${BASH_SOURCE[0]%/*}/guest-init.sh" uml
